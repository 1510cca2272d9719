//! What is run in the guest, and in which order.

use std::fmt::Write as _;

/// An implementation that is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Implementation {
    /// Its name in rows.
    pub(super) name: &'static str,
    /// The program that has it.
    program: &'static str,
    /// It takes so many times as long as the fastest.
    slowness: u32,
}

/// A case of so many channels, and its rounds for the fastest.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    channels: u32,
    rounds: u32,
}

const fn own(name: &'static str) -> Implementation {
    Implementation {
        name,
        program: "xenbench run",
        slowness: 1,
    }
}

/// Those that the quick run leaves out are last.
const IMPLEMENTATIONS: [Implementation; 6] = [
    own("raw"),
    own("rawpoll"),
    own("evtchn"),
    own("evtchn-callback"),
    own("evtchn-tokio"),
    own("evtchn-polling"),
];

const CASES: [Case; 4] = [
    Case {
        name: "pingpong",
        channels: 1,
        rounds: 1000,
    },
    Case {
        name: "burst",
        channels: 16,
        rounds: 100,
    },
    Case {
        name: "burst",
        channels: 256,
        rounds: 20,
    },
    Case {
        name: "burst",
        channels: 1000,
        rounds: 8,
    },
];

/// Which implementations, and how often each case is played.
#[derive(Debug)]
pub(super) struct Plan {
    implementations: &'static [Implementation],
    repetitions: u32,
}

impl Plan {
    pub(super) fn quick() -> Plan {
        Plan {
            implementations: &IMPLEMENTATIONS,
            repetitions: 3,
        }
    }

    /// A shell script for the guest: in each repetition, for each case, every implementation in turn.
    pub(super) fn script(&self) -> String {
        // The ports of a program that ended are closed behind it, which the next one is not to pay for.
        const PAUSE: &str = "sleep 0.2";
        let mut script = "set -e\n".to_owned();
        for _ in 0..self.repetitions {
            for case in CASES {
                for it in self.implementations {
                    let rounds = (case.rounds / it.slowness).max(1);
                    let Case { name, channels, .. } = case;
                    let run = format!("{} {} {name} {channels} {rounds}", it.program, it.name);
                    let _written = writeln!(script, "{run}\n{PAUSE}");
                }
            }
        }
        script
    }
}
