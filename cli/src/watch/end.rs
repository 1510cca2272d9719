//! The other end of a channel, and which of them are of interest.

use std::fmt;
use std::str::FromStr;

use evtchn::{DomId, Port, RemotePort, Virq};

use crate::options;

/// The other end of a channel that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A port of a domain.
    Remote(RemotePort),
    /// Whatever port the domain binds to ours.
    Awaited(DomId),
    /// A virtual interrupt.
    Virq(Virq),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Remote(remote) => remote.fmt(f),
            End::Awaited(domid) => write!(f, "{domid}:?"),
            End::Virq(virq) => write!(f, "VIRQ {virq}"),
        }
    }
}

/// Channels of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only {
    /// The one with this port here.
    Port(Port),
    /// Those to this domain.
    Domain(DomId),
    /// The one to this port there.
    Remote(RemotePort),
    /// The one of this virtual interrupt.
    Virq(Virq),
}

impl Only {
    /// Whether the channel is of interest.
    pub(crate) fn names(self, here: Port, end: End) -> bool {
        match self {
            Only::Port(port) => port == here,
            Only::Domain(of) => match end {
                End::Remote(RemotePort { domid, .. }) | End::Awaited(domid) => domid == of,
                End::Virq(_) => false,
            },
            Only::Remote(remote) => end == End::Remote(remote),
            Only::Virq(virq) => end == End::Virq(virq),
        }
    }
}

impl FromStr for Only {
    type Err = String;

    fn from_str(text: &str) -> Result<Only, String> {
        let says = || "a port here (14), a domain (3:), a port there (3:7), or a virtual interrupt (DOM_EXC)";
        let only = if let Some(domid) = text.strip_suffix(':') {
            options::domid(domid).map(Only::Domain)
        } else if text.contains(':') {
            options::remote(text).map(Only::Remote)
        } else if text.starts_with(|letter: char| letter.is_ascii_digit()) {
            text.parse().map(Only::Port)
        } else {
            text.parse().map(Only::Virq)
        };
        only.map_err(|error| format!("{error}; it is {}", says()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_name_channels_names_those_and_no_other() {
        let port = |raw| Port::new(raw).unwrap();
        let remote = End::Remote("3:7".parse().unwrap());
        let awaited = End::Awaited(DomId::new(3));
        let virq = End::Virq(Virq::DOM_EXC);
        let other = End::Remote("30:70".parse().unwrap());
        let all = [(14, remote), (15, awaited), (16, virq), (3, other)];
        for (text, named) in [
            ("14", vec![14]),
            ("3:", vec![14, 15]),
            ("3:7", vec![14]),
            ("DOM_EXC", vec![16]),
            ("self:", vec![]),
        ] {
            let only: Only = text.parse().unwrap();
            let found = all
                .iter()
                .filter(|(here, end)| only.names(port(*here), *end));
            assert_eq!(
                found.map(|(here, _)| *here).collect::<Vec<_>>(),
                named,
                "{text}"
            );
        }
        for text in ["", ":", "0", "3:0", ":7", "BOGUS", "3:7:1", "99999999999"] {
            assert!(text.parse::<Only>().is_err(), "{text}");
        }
    }
}
