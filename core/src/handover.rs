//! What one process passes to the next about the device that it hands over.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::ids::{BadId, DomId, Port, RemotePort};
use crate::machine::peers::Peer;
use crate::status::PORTS;

/// A table of what the driver of a device that is handed over cannot be asked for: its ports, in an
/// order that both processes know, what is known of their peers, and the restriction of the device.
///
/// As text it fits into an argument or a variable of the environment. `v1:-:3,4,9.` says that a
/// device without a restriction has three ports, `v1:5:3,4,9.` that it is restricted to domain 5.
/// If something is known of a peer, the text is `v2:5:3,4,9;peers=5:17,+,-.`: port 3 is connected
/// to port 17 of domain 5, port 4 had an event of a peer that no
/// [check](crate::Context::check_peers) has seen, and nothing is known of the peer of port 9.
///
/// Reading a text fails if it was cut short, or has a port twice or a port that Xen does not have.
/// In version 2 a reader skips the sections behind the ports that it does not know. Older programs
/// read version 1 only: [`to_v1`](Self::to_v1) writes that.
///
/// ```
/// use evtchn::HandOver;
///
/// let table: HandOver = "v2:5:3,4,9;peers=5:17,+,-.".parse()?;
/// assert_eq!(table.ports().len(), 3);
/// assert_eq!(table.to_string(), "v2:5:3,4,9;peers=5:17,+,-.");
/// assert_eq!(table.to_v1(), "v1:5:3,4,9.");
/// # Ok::<_, evtchn::BadHandOver>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// Each port is there once.
    ports: Vec<Port>,
    /// One for each port; empty if nothing is known of any peer.
    peers: Vec<Peer>,
    restriction: Option<DomId>,
}

/// Why a text or a list of ports is not a valid [`HandOver`].
///
/// ```
/// use evtchn::{BadHandOver, HandOver};
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
    /// [`BadHandOver::TooLarge`] if Xen cannot have one of the ports, [`BadHandOver::Twice`] if a
    /// port is there twice.
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

    /// The table in version 1, without what is known of the peers, for a program that reads no
    /// other version. A check in that program does not notice a peer that left before the check.
    ///
    /// ```
    /// use evtchn::HandOver;
    ///
    /// let table: HandOver = "v2:-:3;peers=5:17.".parse()?;
    /// assert_eq!(table.to_v1(), "v1:-:3.");
    /// # Ok::<_, evtchn::BadHandOver>(())
    /// ```
    #[must_use]
    pub fn to_v1(&self) -> String {
        let mut text = String::new();
        let written = self.write_ports("v1", &mut text);
        // Writing to a string never fails.
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
                Peer::HadEvent => write!(f, "{comma}+")?,
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
        // A text without the mark may have been cut within a number.
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
            // A text that was cut behind an end mark inside a section would seem whole.
            if name.is_empty() || section.contains('.') {
                return Err(BadHandOver::Section);
            }
            // Other sections may come from a later version.
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
            "+" => Ok(Peer::HadEvent),
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

/// Collects ports that Xen can have, each once. It stops at the first other one, so the list never
/// grows beyond the number of ports that Xen can have.
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
mod tests;
