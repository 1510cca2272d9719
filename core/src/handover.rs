//! What one process tells the next about the device that it hands over.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::ids::{BadId, DomId, Port};

/// The ports of a device that is handed over, in an order that both processes know, and its
/// restriction: all that the driver cannot be asked for.
///
/// As text it fits into an argument or a variable of the environment: `v1:-:3,4,9.`, or
/// `v1:5:3,4,9.` where the device is restricted to domain 5. Only what is written so is read;
/// a text that was cut short is an error.
///
/// ```
/// use evtchn_core::HandOver;
///
/// let table: HandOver = "v1:5:3,4,9.".parse()?;
/// assert_eq!(table.ports().len(), 3);
/// assert_eq!(table.to_string(), "v1:5:3,4,9.");
/// # Ok::<_, evtchn_core::BadHandOver>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// Each once.
    pub(crate) ports: Vec<Port>,
    pub(crate) restriction: Option<DomId>,
}

/// A text that is no [`HandOver`].
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
    #[error("not a hand-over of version 1")]
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
    /// A port is there twice.
    #[error("port {0} is in the hand-over twice")]
    Twice(Port),
}

impl HandOver {
    /// A table of these ports and this restriction.
    ///
    /// # Errors
    /// [`BadHandOver::Twice`]
    pub fn new(ports: Vec<Port>, restriction: Option<DomId>) -> Result<HandOver, BadHandOver> {
        let mut seen = BTreeSet::new();
        if let Some(port) = ports.iter().find(|port| !seen.insert(**port)) {
            return Err(BadHandOver::Twice(*port));
        }
        Ok(HandOver { ports, restriction })
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
}

impl fmt::Display for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.restriction {
            Some(domid) => write!(f, "v1:{}:", domid.as_raw())?,
            None => f.write_str("v1:-:")?,
        }
        for (index, port) in self.ports.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{port}")?;
        }
        f.write_str(".")
    }
}

impl FromStr for HandOver {
    type Err = BadHandOver;

    fn from_str(text: &str) -> Result<HandOver, BadHandOver> {
        let text = text.strip_prefix("v1:").ok_or(BadHandOver::Version)?;
        // The mark tells a whole text from one that was cut within a port.
        let text = text.strip_suffix('.').ok_or(BadHandOver::Incomplete)?;
        let (restriction, ports) = text.split_once(':').ok_or(BadHandOver::Incomplete)?;
        let restriction = match restriction {
            "-" => None,
            domid => Some(
                number(domid)
                    .and_then(DomId::try_from)
                    .map_err(BadHandOver::Restriction)?,
            ),
        };
        let ports = match ports {
            "" => Vec::new(),
            ports => ports
                .split(',')
                .map(|port| number(port).and_then(Port::try_from))
                .collect::<Result<_, _>>()
                .map_err(BadHandOver::Port)?,
        };
        HandOver::new(ports, restriction)
    }
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
        let ports = vec![Port::MAX, Port::new(3).unwrap()];
        let table = HandOver::new(ports.clone(), Some(DomId::new(7))).unwrap();
        assert_eq!(table.ports(), ports);
        assert_eq!(table.restriction(), Some(DomId::new(7)));
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["v1:-:.", "v1:0:1.", "v1:65535:2147483647,1."] {
            assert_eq!(text.parse::<HandOver>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_written_so_is_an_error() {
        use BadHandOver as Bad;
        let cases = [
            ("", Bad::Version),
            ("v2:-:1.", Bad::Version),
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
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<HandOver>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn text_that_was_cut_anywhere_is_an_error() {
        let text = "v1:5:3,14,159.";
        for end in 0..text.len() {
            text[..end].parse::<HandOver>().unwrap_err();
        }
    }
}
