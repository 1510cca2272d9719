//! Which system calls the loops make in steady state, by strace.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

mod trace;

use trace::Calls;

/// Traces every scenario with a tracer.
#[derive(Debug, clap::Args)]
pub(crate) struct Syscalls {
    /// The command line of strace
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    tracer: Vec<String>,
}

/// What is traced, and what may be seen of it.
struct Scenario {
    /// The arguments.
    command: &'static str,
    /// How often each of these calls is made, no more and no less.
    exactly: &'static [(&'static str, usize)],
    /// How often each of these calls is made at most; any other, never.
    at_most: &'static [(&'static str, usize)],
}

const ANY: usize = usize::MAX;
/// One call each of what a round trip needs.
const ROUND_TRIPS: &[(&str, usize)] = &[("ioctl", 50), ("poll", 50), ("read", 50), ("write", 50)];
/// A notify each; the rest is for all of them together.
const BURSTS: &[(&str, usize)] = &[("ioctl", 5000), ("poll", 5), ("read", 5), ("write", 5)];
/// One hypercall for all notifies of a burst.
const MANY: &[(&str, usize)] = &[("ioctl", 5), ("poll", 5), ("read", 5), ("write", 5)];
/// How many reads find nothing is checked elsewhere; one more per burst would do no harm.
const EMPTY_READS: &[(&str, usize)] = &[("read EAGAIN", 5)];
const NOTIFIES: &[(&str, usize)] = &[("ioctl", 800)];
/// In any order of the threads, none waits for another.
const NO_FUTEX: &[(&str, usize)] = &[
    ("poll", ANY),
    ("read", ANY),
    ("read EAGAIN", ANY),
    ("write", ANY),
];

const SCENARIOS: [Scenario; 7] = [
    Scenario {
        command: "run --marks evtchn pingpong 1 50",
        exactly: ROUND_TRIPS,
        at_most: &[],
    },
    Scenario {
        command: "run --marks evtchn-callback pingpong 1 50",
        exactly: ROUND_TRIPS,
        at_most: &[],
    },
    Scenario {
        command: "run --marks evtchn burst 1000 5",
        exactly: BURSTS,
        at_most: EMPTY_READS,
    },
    Scenario {
        command: "run --marks evtchn-many burst 1000 5",
        exactly: MANY,
        at_most: EMPTY_READS,
    },
    Scenario {
        command: "run --marks evtchn-callback burst 1000 5",
        exactly: BURSTS,
        at_most: EMPTY_READS,
    },
    Scenario {
        command: "threads evtchn 4 200",
        exactly: NOTIFIES,
        at_most: NO_FUTEX,
    },
    Scenario {
        command: "threads evtchn-callback 4 200",
        exactly: NOTIFIES,
        at_most: NO_FUTEX,
    },
];

impl Syscalls {
    /// Plays every scenario, and fails after the last one if any made other calls than expected.
    pub(crate) fn run(&self) -> Result<()> {
        let mut failed = 0;
        for scenario in &SCENARIOS {
            let calls = self.trace(scenario)?;
            println!("{}: {calls}", scenario.command);
            for complaint in scenario.complaints(&calls) {
                failed += 1;
                println!("  FAILED: {complaint}");
            }
        }
        ensure!(failed == 0, "{failed} counts of system calls are wrong");
        Ok(())
    }

    fn trace(&self, scenario: &Scenario) -> Result<Calls> {
        let path = env::temp_dir().join("xenbench.trace");
        let (tracer, arguments) = self.tracer.split_first().context("no tracer")?;
        let output = Command::new(tracer)
            .args(arguments)
            // Threads that wait for one another here do so by this call.
            .args(["-f", "-qq", "-e", "trace=!sched_yield", "-e", "signal=none"])
            .arg("-o")
            .arg(&path)
            .arg(env::current_exe()?)
            .args(scenario.command.split(' '))
            .output()
            .with_context(|| format!("cannot run {tracer}"))?;
        ensure!(
            output.status.success(),
            "{} failed: {}",
            scenario.command,
            String::from_utf8_lossy(&output.stderr)
        );
        Calls::read(&read(&path)?)
    }
}

impl Scenario {
    fn complaints(&self, calls: &Calls) -> Vec<String> {
        let mut complaints = Vec::new();
        for (name, count) in self.exactly {
            let made = calls.count(name);
            if made != *count {
                complaints.push(format!("{name} was called {made} times, not {count}"));
            }
        }
        for (name, made) in calls.iter() {
            let is_counted = self.exactly.iter().any(|(counted, _)| *counted == name);
            let limit = self.at_most.iter().find(|(limited, _)| *limited == name);
            let limit = limit.map_or(0, |(_, limit)| *limit);
            if !is_counted && made > limit {
                complaints.push(format!("{name} was called {made} times, over {limit}"));
            }
        }
        complaints
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("no trace in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: Scenario = Scenario {
        command: "",
        exactly: &[("poll", 1)],
        at_most: &[("read EAGAIN", 1)],
    };

    fn complaints(lines: &[&str]) -> Vec<String> {
        let begin = [r#"1 write(1, "begin\n", 6) = 6"#];
        let end = [r#"1 write(1, "end\n", 4) = 4"#];
        let text = [&begin, lines, &end].concat().join("\n");
        SCENARIO.complaints(&Calls::read(&text).unwrap())
    }

    #[test]
    fn expected_calls_pass_with_and_without_allowed_ones() {
        let poll = "1 poll([{fd=3}], 1, -1) = 1";
        let empty = "1 read(3, 0x7ff, 64) = -1 EAGAIN (Resource temporarily unavailable)";
        assert!(complaints(&[poll]).is_empty());
        assert!(complaints(&[poll, empty]).is_empty());
    }

    #[test]
    fn a_missing_extra_or_unknown_call_fails() {
        let poll = "1 poll([{fd=3}], 1, -1) = 1";
        let futex = "1 futex(0x7ff, FUTEX_WAIT, 2, NULL) = 0";
        let empty = "1 read(3, 0x7ff, 64) = -1 EAGAIN (Resource temporarily unavailable)";
        assert_eq!(complaints(&[]), ["poll was called 0 times, not 1"]);
        assert_eq!(
            complaints(&[poll, poll]),
            ["poll was called 2 times, not 1"]
        );
        assert_eq!(
            complaints(&[poll, futex]),
            ["futex was called 1 times, over 0"]
        );
        assert_eq!(
            complaints(&[poll, empty, empty]),
            ["read EAGAIN was called 2 times, over 1"]
        );
    }
}
