//! Why nobody answers, as far as somebody says it.

use std::fmt;

use anyhow::Result;
use evtchn::{Channel, Sleep, Status};

use crate::exit::{Exit, line};

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// The other end is closed.
    Gone,
    /// The other end is bound.
    Alive,
    /// Nobody says what it is, for this reason.
    Unknown(String),
}

impl Silence {
    /// Asks about a channel that was connected.
    pub(super) fn of(channel: &Channel<impl Sleep>) -> Silence {
        let ask = || Ok(channel.peer_state()?.state);
        Silence::known(ask())
    }

    /// What the state of a port that was connected says of its peer.
    fn known(state: Result<Status>) -> Silence {
        match state {
            Ok(Status::Interdomain { .. }) => Silence::Alive,
            // The port waits for a peer again.
            Ok(_) => Silence::Gone,
            Err(error) => Silence::Unknown(line(&error)),
        }
    }

    /// The code that says it to programs.
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Silence::Gone => Exit::NoPeer,
            Silence::Alive | Silence::Unknown(_) => Exit::TimedOut,
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Silence::Gone => f.write_str(
                "it closed its end or died; let `evtchn listen --echo` there offer a port again",
            ),
            Silence::Alive => f.write_str(
                "it is there and silent; is `evtchn listen --echo` what runs there? --timeout waits \
                 longer",
            ),
            Silence::Unknown(why) => {
                write!(f, "whether it is gone or silent cannot be asked: {why}")
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
    fn each_answer_and_none_has_a_line_and_a_code() {
        let remote = DomId::new(3);
        let connected = "3:7".parse().unwrap();
        for (state, exit, part) in [
            (Ok(Status::Interdomain { remote: connected }), 6, "silent"),
            (Ok(Status::Unbound { remote }), 5, "died"),
            (Ok(Status::Closed), 5, "died"),
            (Err(anyhow!("EACCES (13)")), 6, "asked: EACCES (13)"),
        ] {
            let silence = Silence::known(state);
            let line = silence.to_string();
            assert_eq!(silence.exit() as u8, exit, "{line}");
            assert!(line.contains(part) && !line.contains('\n'), "{line}");
        }
    }
}
