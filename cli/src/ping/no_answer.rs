//! Why no answer came, as far as Xen reports it.

use std::fmt;

use anyhow::Result;
use evtchn::{Channel, Sleep, Status};

use crate::exit::{Exit, line};

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The other end is closed.
    Gone,
    /// The other end is bound.
    Present,
    /// Xen could not be asked, for this reason.
    Unknown(String),
}

impl NoAnswer {
    /// Asks Xen about a channel that was connected.
    pub(super) fn of(channel: &Channel<impl Sleep>) -> NoAnswer {
        let ask = || Ok(channel.peer_state()?.state);
        NoAnswer::from_status(ask())
    }

    /// The reason, from the status of a port that was connected.
    fn from_status(state: Result<Status>) -> NoAnswer {
        match state {
            Ok(Status::Interdomain { .. }) => NoAnswer::Present,
            // The port is free or waits for a peer again.
            Ok(_) => NoAnswer::Gone,
            Err(error) => NoAnswer::Unknown(line(&error)),
        }
    }

    /// The exit code.
    pub(super) const fn exit(&self) -> Exit {
        match self {
            NoAnswer::Gone => Exit::NoPeer,
            NoAnswer::Present | NoAnswer::Unknown(_) => Exit::TimedOut,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::Gone => f.write_str(
                "it closed its end or died; run `evtchn listen --echo` there again",
            ),
            NoAnswer::Present => f.write_str(
                "it is there and silent; does `evtchn listen --echo` run there? --timeout waits longer",
            ),
            NoAnswer::Unknown(why) => {
                write!(f, "Xen cannot be asked: {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use evtchn::DomId;

    #[test]
    fn each_status_has_a_message_and_an_exit_code() {
        let remote = DomId::new(3);
        let connected = "3:7".parse().unwrap();
        for (state, exit, part) in [
            (Ok(Status::Interdomain { remote: connected }), 6, "silent"),
            (Ok(Status::Unbound { remote }), 5, "died"),
            (Ok(Status::Closed), 5, "died"),
            (Err(anyhow!("EACCES (13)")), 6, "asked: EACCES (13)"),
        ] {
            let no_answer = NoAnswer::from_status(state);
            let line = no_answer.to_string();
            assert_eq!(no_answer.exit() as u8, exit, "{line}");
            assert!(line.contains(part) && !line.contains('\n'), "{line}");
        }
    }
}
