//! The sources of events that are watched, and filters for them.

use std::fmt;
use std::str::FromStr;

use evtchn::{DomId, Port, RemotePort, Virq};
use serde_json::{Map, Value};

use crate::options;

/// What a watched channel is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A port of a domain.
    Remote(RemotePort),
    /// A port that this domain will bind to ours.
    Unbound(DomId),
    /// A virtual interrupt.
    Virq(Virq),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Remote(remote) => remote.fmt(f),
            Source::Unbound(domid) => f.pad(&format!("{domid}:?")),
            Source::Virq(virq) => f.pad(&format!("VIRQ {virq}")),
        }
    }
}

impl Source {
    /// Puts what it is into an object of the output, in the same shape in every command: `remote` in the
    /// words that commands take (`3:17`, `self:17`, and `3:?` where the port is not known), or `virq`
    /// and `virq_name`.
    pub(crate) fn put(self, object: &mut Map<String, Value>) {
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        match self {
            Source::Remote(_) | Source::Unbound(_) => {
                put("remote", self.to_string().into());
            }
            Source::Virq(virq) => {
                put("virq", virq.as_raw().into());
                put("virq_name", virq.name().into());
            }
        }
    }
}

/// Selects channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// The channel with this local port.
    Port(Port),
    /// The channels to this domain.
    Domain(DomId),
    /// The channel to this remote port.
    Remote(RemotePort),
    /// The channel of this virtual interrupt.
    Virq(Virq),
}

impl Filter {
    /// Whether it selects a channel.
    pub(crate) fn matches(self, local: Port, source: Source) -> bool {
        match self {
            Filter::Port(port) => port == local,
            Filter::Domain(of) => match source {
                Source::Remote(RemotePort { domid, .. }) | Source::Unbound(domid) => domid == of,
                Source::Virq(_) => false,
            },
            Filter::Remote(remote) => source == Source::Remote(remote),
            Filter::Virq(virq) => source == Source::Virq(virq),
        }
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Filter, String> {
        let filter = if let Some(domid) = text.strip_suffix(':') {
            options::domid(domid).map(Filter::Domain).ok()
        } else if text.contains(':') {
            options::remote(text).map(Filter::Remote).ok()
        } else if text.starts_with(|letter: char| letter.is_ascii_digit()) {
            text.parse().map(Filter::Port).ok()
        } else {
            text.parse().map(Filter::Virq).ok()
        };
        let forms = "expected a local port (14), a domain (3:), a remote port (3:7), or a virtual \
                     interrupt (DOM_EXC)";
        filter.ok_or_else(|| forms.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_filter_matches_its_channels_and_no_other() {
        let port = |raw| Port::new(raw).unwrap();
        let remote = Source::Remote("3:7".parse().unwrap());
        let unbound = Source::Unbound(DomId::new(3));
        let virq = Source::Virq(Virq::DOM_EXC);
        let other = Source::Remote("30:70".parse().unwrap());
        let all = [(14, remote), (15, unbound), (16, virq), (3, other)];
        for (text, expected) in [
            ("14", vec![14]),
            ("3:", vec![14, 15]),
            ("3:7", vec![14]),
            ("DOM_EXC", vec![16]),
            ("self:", vec![]),
        ] {
            let filter: Filter = text.parse().unwrap();
            let found = all
                .iter()
                .filter(|(local, source)| filter.matches(port(*local), *source));
            assert_eq!(
                found.map(|(local, _)| *local).collect::<Vec<_>>(),
                expected,
                "{text}"
            );
        }
        for text in ["", ":", "0", "3:0", ":7", "BOGUS", "3:7:1", "99999999999"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
