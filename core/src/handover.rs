//! What one process tells the next about the device that it hands over.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::ids::{BadId, DomId, Port, RemotePort};
use crate::machine::peers::Peer;
use crate::status::PORTS;

/// The ports of a device that is handed over, in an order that both processes know, what is known of
/// their peers, and the restriction of the device: all that the driver cannot be asked for.
///
/// As text it fits into an argument or a variable of the environment. `v1:-:3,4,9.` is three ports of
/// a device that is not restricted, `v1:5:3,4,9.` one that is restricted to domain 5. Where something
/// is known of a peer it is `v2:5:3,4,9;peers=5:17,+,-.`: port 3 is connected to port 17 of domain 5,
/// port 4 had an event of a peer that no [check](crate::Context::check_peers) has seen, and of port 9
/// nothing is known.
///
/// A text that was cut short is an error, and so is one with a port twice or with a port that Xen
/// does not have. In version 2, a reader skips sections behind the ports that it does not know.
/// Older programs read version 1 alone: [`to_v1`](Self::to_v1) writes that.
///
/// ```
/// use evtchn_core::HandOver;
///
/// let table: HandOver = "v2:5:3,4,9;peers=5:17,+,-.".parse()?;
/// assert_eq!(table.ports().len(), 3);
/// assert_eq!(table.to_string(), "v2:5:3,4,9;peers=5:17,+,-.");
/// assert_eq!(table.to_v1(), "v1:5:3,4,9.");
/// # Ok::<_, evtchn_core::BadHandOver>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// Each once.
    ports: Vec<Port>,
    /// One for each port, or none where nothing is known of any.
    peers: Vec<Peer>,
    restriction: Option<DomId>,
}

/// What is no [`HandOver`].
///
/// ```
/// use evtchn_core::{BadHandOver, HandOver};
///
/// // Cut short on its way.
/// assert_eq!("v1:-:3,4".parse::<HandOver>(), Err(BadHandOver::Incomplete));
/// assert_eq!("3,4,9".parse::<HandOver>(), Err(BadHandOver::Version));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadHandOver {
    /// It begins with another version, or is none at all.
    #[error("not a hand-over of version 1 or 2")]
    Version,
    /// It ends before the ports, or has no end mark.
    #[error("the hand-over is incomplete")]
    Incomplete,
    /// The restriction is no domain id.
    #[error("bad restriction in the hand-over")]
    Restriction(#[source] BadId),
    /// Something among the ports is none.
    #[error("bad port in the hand-over")]
    Port(#[source] BadId),
    /// A port is larger than any that Xen hands out, 131,071 (FIFO event channels).
    #[error("port {0} is in the hand-over, and Xen has no port above 131071")]
    TooLarge(Port),
    /// A port is there twice.
    #[error("port {0} is in the hand-over twice")]
    Twice(Port),
    /// A section behind the ports is not a name and a value.
    #[error("bad section in the hand-over")]
    Section,
    /// There are not as many peers as ports, or they are there twice.
    #[error("the peers in the hand-over do not fit its ports")]
    Peers,
    /// Something among the peers is none.
    #[error("bad peer in the hand-over")]
    Peer(#[source] BadId),
}

impl HandOver {
    /// A table of these ports and this restriction, in which nothing is known of the peers.
    ///
    /// # Errors
    /// [`BadHandOver::TooLarge`], [`BadHandOver::Twice`]
    pub fn new(ports: Vec<Port>, restriction: Option<DomId>) -> Result<HandOver, BadHandOver> {
        Ok(HandOver {
            ports: distinct(ports.into_iter().map(Ok))?,
            peers: Vec::new(),
            restriction,
        })
    }

    /// A table of these ports, each with what is known of its peer.
    #[cfg_attr(
        not(feature = "std"),
        expect(dead_code, reason = "the context hands over")
    )]
    pub(crate) fn of(
        known: Vec<(Port, Peer)>,
        restriction: Option<DomId>,
    ) -> Result<HandOver, BadHandOver> {
        let (ports, peers) = known.into_iter().unzip();
        let table = HandOver::new(ports, restriction)?;
        Ok(table.with_peers(peers))
    }

    fn with_peers(mut self, peers: Vec<Peer>) -> HandOver {
        let is_known = peers.iter().any(|peer| *peer != Peer::Unknown);
        self.peers = if is_known { peers } else { Vec::new() };
        self
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The domain that the device is restricted to.
    #[must_use]
    pub const fn restriction(&self) -> Option<DomId> {
        self.restriction
    }

    /// The table in version 1, for a program that reads no other: without what is known of the peers.
    /// A check there does not find a peer that went before that check.
    ///
    /// ```
    /// use evtchn_core::HandOver;
    ///
    /// let table: HandOver = "v2:-:3;peers=5:17.".parse()?;
    /// assert_eq!(table.to_v1(), "v1:-:3.");
    /// # Ok::<_, evtchn_core::BadHandOver>(())
    /// ```
    #[must_use]
    pub fn to_v1(&self) -> String {
        let mut text = String::new();
        let written = self.write_ports("v1", &mut text);
        // Nothing fails that writes to a string.
        debug_assert!(written.is_ok());
        text.push('.');
        text
    }

    /// The ports, each with what is known of its peer.
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "the context adopts"))]
    pub(crate) fn known(&self) -> impl Iterator<Item = (Port, Peer)> {
        let peers = self.peers.iter().copied();
        let peers = peers.chain(core::iter::repeat(Peer::Unknown));
        self.ports.iter().copied().zip(peers)
    }

    fn write_ports(&self, version: &str, to: &mut impl fmt::Write) -> fmt::Result {
        write!(to, "{version}:")?;
        match self.restriction {
            Some(domid) => write!(to, "{}:", domid.as_raw())?,
            None => to.write_str("-:")?,
        }
        for (index, port) in self.ports.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(to, "{comma}{port}")?;
        }
        Ok(())
    }
}

impl fmt::Display for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.peers.is_empty() {
            self.write_ports("v1", f)?;
            return f.write_str(".");
        }
        self.write_ports("v2", f)?;
        f.write_str(";peers=")?;
        for (index, peer) in self.peers.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match peer {
                Peer::Unknown => write!(f, "{comma}-")?,
                Peer::Heard => write!(f, "{comma}+")?,
                Peer::Seen(RemotePort { domid, port }) => {
                    write!(f, "{comma}{}:{port}", domid.as_raw())?;
                }
            }
        }
        f.write_str(".")
    }
}

impl FromStr for HandOver {
    type Err = BadHandOver;

    fn from_str(text: &str) -> Result<HandOver, BadHandOver> {
        let (version, text) = text.split_once(':').ok_or(BadHandOver::Version)?;
        let has_sections = match version {
            "v1" => false,
            "v2" => true,
            _ => return Err(BadHandOver::Version),
        };
        // The mark tells a whole text from one that was cut within a number.
        let text = text.strip_suffix('.').ok_or(BadHandOver::Incomplete)?;
        let (restriction, text) = text.split_once(':').ok_or(BadHandOver::Incomplete)?;
        let restriction = match restriction {
            "-" => None,
            domid => Some(
                number(domid)
                    .and_then(DomId::try_from)
                    .map_err(BadHandOver::Restriction)?,
            ),
        };
        let (ports, sections) = match text.split_once(';') {
            Some((ports, sections)) if has_sections => (ports, Some(sections)),
            Some(_) | None => (text, None),
        };
        let ports = list(ports).map(|port| number(port).and_then(Port::try_from));
        let table = HandOver {
            ports: distinct(ports.map(|port| port.map_err(BadHandOver::Port)))?,
            peers: Vec::new(),
            restriction,
        };
        let mut peers = None;
        for section in sections.into_iter().flat_map(|it| it.split(';')) {
            let (name, value) = section.split_once('=').ok_or(BadHandOver::Section)?;
            // With an end mark in it, a text that was cut there would be whole.
            if name.is_empty() || section.contains('.') {
                return Err(BadHandOver::Section);
            }
            // A later version may have written others.
            if name == "peers"
                && peers
                    .replace(read_peers(value, table.ports.len())?)
                    .is_some()
            {
                return Err(BadHandOver::Peers);
            }
        }
        Ok(table.with_peers(peers.unwrap_or_default()))
    }
}

/// As many peers as there are ports.
fn read_peers(text: &str, ports: usize) -> Result<Vec<Peer>, BadHandOver> {
    if list(text).count() != ports {
        return Err(BadHandOver::Peers);
    }
    list(text)
        .map(|peer| match peer {
            "-" => Ok(Peer::Unknown),
            "+" => Ok(Peer::Heard),
            remote => {
                let (domid, port) = remote.split_once(':').ok_or(BadId::Unreadable)?;
                Ok(Peer::Seen(RemotePort {
                    domid: number(domid).and_then(DomId::try_from)?,
                    port: number(port).and_then(Port::try_from)?,
                }))
            }
        })
        .collect::<Result<_, _>>()
        .map_err(BadHandOver::Peer)
}

/// The items of a list, which may be empty.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

/// Ports that Xen can have, each once. It ends at the first that is not, so it never takes more
/// room than there are such ports.
fn distinct(
    ports: impl Iterator<Item = Result<Port, BadHandOver>>,
) -> Result<Vec<Port>, BadHandOver> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for port in ports {
        let port = port?;
        if port.as_raw() >= PORTS {
            return Err(BadHandOver::TooLarge(port));
        }
        if !seen.insert(port) {
            return Err(BadHandOver::Twice(port));
        }
        all.push(port);
    }
    Ok(all)
}

/// A number as it is written, with no sign and no leading zero.
fn number(text: &str) -> Result<u32, BadId> {
    if text.starts_with('+') || (text.starts_with('0') && text != "0") {
        return Err(BadId::Unreadable);
    }
    text.parse().map_err(|_| BadId::Unreadable)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_table_has_what_it_was_made_of() {
        let ports = vec![Port::new(131_071).unwrap(), Port::new(3).unwrap()];
        let table = HandOver::new(ports.clone(), Some(DomId::new(7))).unwrap();
        assert_eq!(table.ports(), ports);
        assert_eq!(table.restriction(), Some(DomId::new(7)));
    }

    #[test]
    fn what_is_written_is_read() {
        let texts = [
            "v1:-:.",
            "v1:0:1.",
            "v1:65535:131071,1.",
            "v2:-:1;peers=+.",
            "v2:7:3,1,2;peers=-,32752:9,65535:2147483647.",
        ];
        for text in texts {
            assert_eq!(text.parse::<HandOver>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_written_so_is_an_error() {
        use BadHandOver as Bad;
        let cases = [
            ("", Bad::Version),
            ("v3:-:1.", Bad::Version),
            ("v1", Bad::Version),
            (" v1:-:1.", Bad::Version),
            ("v1:", Bad::Incomplete),
            ("v1:-.", Bad::Incomplete),
            ("v1:-:12", Bad::Incomplete),
            ("v1:-:1.\n", Bad::Incomplete),
            ("v1::1.", Bad::Restriction(BadId::Unreadable)),
            ("v1:self:1.", Bad::Restriction(BadId::Unreadable)),
            ("v1:65536:1.", Bad::Restriction(BadId::DomIdTooLarge(65536))),
            ("v1:-:1,.", Bad::Port(BadId::Unreadable)),
            ("v1:-:+1.", Bad::Port(BadId::Unreadable)),
            ("v1:-:01.", Bad::Port(BadId::Unreadable)),
            ("v1:-:0.", Bad::Port(BadId::PortZero)),
            (
                "v1:-:2147483648.",
                Bad::Port(BadId::PortTooLarge(0x8000_0000)),
            ),
            ("v1:-:4294967296.", Bad::Port(BadId::Unreadable)),
            ("v1:-:7,7.", Bad::Twice(Port::new(7).unwrap())),
            ("v1:-:131072.", Bad::TooLarge(Port::new(131_072).unwrap())),
            ("v1:-:2147483647.", Bad::TooLarge(Port::MAX)),
            ("v1:-:1;peers=+.", Bad::Port(BadId::Unreadable)),
            ("v2:-:1;.", Bad::Section),
            ("v2:-:1;=.", Bad::Section),
            ("v2:-:1;peers.", Bad::Section),
            ("v2:-:1;later=a.b.", Bad::Section),
            ("v2:-:1;peers=.", Bad::Peers),
            ("v2:-:1;peers=+,+.", Bad::Peers),
            ("v2:-:;peers=+.", Bad::Peers),
            ("v2:-:1;peers=+;peers=+.", Bad::Peers),
            ("v2:-:1;peers=?.", Bad::Peer(BadId::Unreadable)),
            ("v2:-:1;peers=7.", Bad::Peer(BadId::Unreadable)),
            ("v2:-:1;peers=07:1.", Bad::Peer(BadId::Unreadable)),
            ("v2:-:1;peers=7:0.", Bad::Peer(BadId::PortZero)),
            (
                "v2:-:1;peers=65536:1.",
                Bad::Peer(BadId::DomIdTooLarge(65536)),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<HandOver>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn text_that_was_cut_anywhere_is_an_error() {
        for text in ["v1:5:3,14,159.", "v2:5:3,14;peers=7:12,+;later=1."] {
            for end in 0..text.len() {
                text[..end].parse::<HandOver>().unwrap_err();
            }
        }
    }

    #[test]
    fn a_table_of_version_1_is_read_as_ever_and_knows_nothing_of_peers() {
        let table: HandOver = "v1:5:3,4,9.".parse().unwrap();
        let ports = [3, 4, 9].map(|raw| Port::new(raw).unwrap());
        assert_eq!(table.restriction(), Some(DomId::new(5)));
        assert!(table.known().eq(ports.map(|port| (port, Peer::Unknown))));
        assert_eq!(
            table,
            HandOver::new(ports.to_vec(), Some(DomId::new(5))).unwrap()
        );
    }

    #[test]
    fn what_is_known_of_each_peer_survives_its_text() {
        let remote = RemotePort {
            domid: DomId::new(5),
            port: Port::new(17).unwrap(),
        };
        let peers = [Peer::Seen(remote), Peer::Heard, Peer::Unknown];
        let ports = [3, 4, 9].map(|raw| Port::new(raw).unwrap());
        let known: Vec<_> = ports.into_iter().zip(peers).collect();
        let table = HandOver::of(known.clone(), None).unwrap();
        assert_eq!(table.to_string(), "v2:-:3,4,9;peers=5:17,+,-.");
        let read: HandOver = table.to_string().parse().unwrap();
        assert_eq!(read, table);
        assert!(read.known().eq(known));
    }

    #[test]
    fn a_program_that_reads_version_1_can_be_given_every_table() {
        for (text, v1) in [
            ("v2:5:3,4,9;peers=5:17,+,-.", "v1:5:3,4,9."),
            ("v2:-:;peers=.", "v1:-:."),
            ("v1:7:2.", "v1:7:2."),
        ] {
            let table: HandOver = text.parse().unwrap();
            assert_eq!(table.to_v1(), v1);
            assert_eq!(v1.parse::<HandOver>().unwrap().ports(), table.ports());
        }
    }

    #[test]
    fn a_section_of_a_later_version_is_skipped() {
        let known = "v2:5:3;peers=5:17.".parse::<HandOver>();
        for text in [
            "v2:5:3;peers=5:17;later=.",
            "v2:5:3;a=b;peers=5:17;c=d=e,f.",
        ] {
            assert_eq!(text.parse(), known, "{text:?}");
        }
        let none = "v2:5:3;later=1.".parse::<HandOver>().unwrap();
        assert_eq!(none.to_string(), "v1:5:3.");
    }
}
