//! The programs that run in the guest, and their order.

use std::fmt::Write as _;

use crate::vm::Clock;

/// A program in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// This library, and the hand-written loops.
    Own,
    /// The loop of libxl.
    Libxl,
    /// The crate krata-xenevtchn.
    Krata,
}

impl Program {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Own => "xenbench",
            Self::Libxl => "libxl",
            Self::Krata => "krata",
        }
    }
}

/// An implementation that is measured.
#[derive(Clone, Copy, Debug)]
struct Implementation {
    name: &'static str,
    program: Program,
}

const fn own(name: &'static str) -> Implementation {
    Implementation {
        name,
        program: Program::Own,
    }
}

const fn other(program: Program) -> Implementation {
    Implementation {
        name: program.name(),
        program,
    }
}

impl Implementation {
    fn command(self) -> String {
        match self.program {
            Program::Own => format!("xenbench run {}", self.name),
            Program::Libxl | Program::Krata => self.name.to_owned(),
        }
    }

    /// The number of its rounds, fewer for an implementation that is slow in a large burst.
    const fn rounds(self, case: Case) -> u32 {
        match self.program {
            Program::Own => case.rounds,
            Program::Libxl | Program::Krata if case.channels == 1 => case.rounds,
            Program::Libxl => case.rounds / 2,
            Program::Krata => case.rounds / 8,
        }
    }
}

/// A case with its number of channels and of rounds.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    channels: u32,
    rounds: u32,
}

const fn case(name: &'static str, channels: u32, rounds: u32) -> Case {
    Case {
        name,
        channels,
        rounds,
    }
}

const CASES: [Case; 4] = [
    case("pingpong", 1, 800),
    case("burst", 16, 80),
    case("burst", 256, 16),
    case("burst", 1000, 8),
];

/// The implementations that bind and unbind ports in the case `bind`.
const BINDERS: [&str; 2] = ["raw", "evtchn"];

/// What is measured, and how often.
#[derive(Debug)]
pub(super) struct Plan {
    implementations: &'static [Implementation],
    /// How many ports are bound and unbound, and in how many rounds. With 10,000 ports a round takes a minute, because
    /// Xen searches for each free port number.
    binds: &'static [(u32, u32)],
    /// How often each implementation runs each case.
    pub(super) repetitions: usize,
    /// The machines; each is booted once.
    pub(super) machines: &'static [(Clock, u8)],
    /// The name of the result file in cargo's target directory.
    pub(super) result: &'static str,
}

impl Plan {
    /// Everything. Instructions are counted on one virtual CPU only: with more, qemu has one count for all, which includes
    /// the spinning of an idle one.
    pub(super) const WHOLE: Plan = Plan {
        implementations: &[
            own("raw"),
            own("rawpoll"),
            own("evtchn"),
            own("evtchn-each"),
            own("evtchn-many"),
            own("evtchn-callback"),
            own("evtchn-handlers"),
            own("evtchn-mio"),
            own("evtchn-polling"),
            own("evtchn-async-io"),
            own("evtchn-tokio"),
            own("evtchn-tokio-streams"),
            own("evtchn-tokio-futures"),
            other(Program::Libxl),
            other(Program::Krata),
        ],
        binds: &[(1000, 2), (10_000, 1)],
        repetitions: 5,
        machines: &[(Clock::Instructions, 1), (Clock::Wall, 1), (Clock::Wall, 2)],
        result: "xen-bench.json",
    };

    /// A short plan that can run for every change.
    pub(super) const QUICK: Plan = Plan {
        implementations: &[
            own("raw"),
            own("rawpoll"),
            own("evtchn"),
            own("evtchn-each"),
            own("evtchn-many"),
            own("evtchn-callback"),
            own("evtchn-handlers"),
            own("evtchn-tokio"),
            own("evtchn-tokio-streams"),
            own("evtchn-tokio-futures"),
            other(Program::Libxl),
        ],
        binds: &[(1000, 2)],
        repetitions: 3,
        machines: &[(Clock::Instructions, 1)],
        result: "xen-bench-quick.json",
    };

    /// The programs that it needs, each once.
    pub(super) fn programs(&self) -> Vec<Program> {
        let mut programs: Vec<_> = self.implementations.iter().map(|it| it.program).collect();
        programs.dedup();
        programs
    }

    /// A shell script for the guest: in each repetition, for each case, every implementation in turn.
    pub(super) fn script(&self) -> String {
        // The kernel closes the ports of a program after its end; the pause keeps that out of the next measurement.
        const PAUSE: &str = "sleep 0.2";
        let mut script = "set -e\n".to_owned();
        for _ in 0..self.repetitions {
            for case in CASES {
                for it in self.implementations {
                    let rounds = it.rounds(case);
                    let Case { name, channels, .. } = case;
                    let run = format!("{} {name} {channels} {rounds}", it.command());
                    let _written = writeln!(script, "{run}\n{PAUSE}");
                }
            }
            for (ports, rounds) in self.binds {
                for binder in BINDERS {
                    let run = format!("xenbench bind {binder} {ports} {rounds}");
                    let _written = writeln!(script, "{run}\n{PAUSE}");
                }
            }
        }
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implementations_take_turns() {
        const PLAN: Plan = Plan {
            implementations: &[own("raw"), other(Program::Krata)],
            binds: &[(1000, 2)],
            repetitions: 2,
            machines: &[],
            result: "",
        };
        let script = PLAN.script();
        let lines: Vec<&str> = script.lines().filter(|it| *it != "sleep 0.2").collect();
        let [first, raw, krata, ..] = lines[..] else {
            panic!("{script}");
        };
        assert_eq!(first, "set -e");
        assert_eq!(raw, "xenbench run raw pingpong 1 800");
        assert_eq!(krata, "krata pingpong 1 800");
        let binds = PLAN.binds.len() * BINDERS.len();
        assert_eq!(lines.len(), 1 + 2 * (2 * CASES.len() + binds));
        assert_eq!(lines[lines.len() - 1], "xenbench bind evtchn 1000 2");
        assert_eq!(PLAN.programs(), [Program::Own, Program::Krata]);
    }
}
