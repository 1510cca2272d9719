//! The result of a test run, from what the guest wrote.

use std::fmt;

use crate::vm::End;

/// Words with which Linux and Xen report faults of their own.
const COMPLAINTS: [&str; 14] = [
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "Kernel panic",
    "general protection fault",
    "Call Trace:",
    "Xen call trace:",
    "Xen BUG at",
    "Xen WARN at",
    "Panic on CPU",
    "FATAL TRAP",
    "Assertion '",
    "Dom0 crashed",
];

/// The result of a test run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    passed: u32,
    failed: u32,
    ignored: u32,
    /// The tests of each binary that came to an end.
    tallies: Vec<(String, Tally)>,
    /// What went wrong apart from failed tests; each counts as one failure.
    problems: Vec<String>,
}

impl Verdict {
    /// The result of a run of all `expected` test binaries.
    pub(crate) fn new(expected: &[&str], report: &str, console: &str, end: End) -> Self {
        let mut verdict = Self::default();
        match end {
            End::PoweredOff => {}
            End::TimedOut => verdict.problems.push("the guest hung".to_owned()),
        }
        if let Some(complaint) = complaint(console) {
            verdict
                .problems
                .push(format!("the console says: {complaint}"));
        }
        if expected.is_empty() {
            verdict.problems.push("no tests to run".to_owned());
        }
        for name in expected {
            if let Err(problem) = verdict.add(name, section(report, name)) {
                verdict.problems.push(format!("{name} {problem}"));
            }
        }
        verdict
    }

    /// Whether every expected test ran and passed.
    pub(crate) fn is_success(&self) -> bool {
        self.failed == 0 && self.problems.is_empty()
    }

    /// The tests of each binary that came to an end.
    pub(crate) fn tallies(&self) -> &[(String, Tally)] {
        &self.tallies
    }

    /// Counts the tests of one binary.
    fn add(&mut self, name: &str, section: Option<&str>) -> Result<(), String> {
        let section = section.ok_or("did not start")?;
        let tally = section.lines().filter_map(Tally::parse).next_back();
        self.tallies
            .extend(tally.map(|tally| (name.to_owned(), tally)));
        let Tally {
            passed,
            failed,
            ignored,
        } = tally.unwrap_or_default();
        self.passed += passed;
        self.failed += failed;
        self.ignored += ignored;
        match exit_code(section) {
            None => Err("did not end".to_owned()),
            Some(_) if tally.is_none() => Err("ended without a test result".to_owned()),
            Some(code) if code != 0 && failed == 0 => Err(format!("exited with {code}")),
            Some(_) if passed + failed == 0 => Err("ran no test".to_owned()),
            Some(_) => Ok(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "FAILED: {problem}")?;
        }
        if self.ignored > 0 {
            writeln!(f, "NOT RUN: {} ignored", self.ignored)?;
        }
        let failed = self.problems.len() + self.failed as usize;
        write!(f, "{} passed, {failed} failed", self.passed)
    }
}

/// The last line of a test binary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
}

impl Tally {
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what| {
            let mut counts = counts.split("; ").filter_map(|count| count.split_once(' '));
            counts.find(|(_, name)| *name == what)?.0.parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }
}

/// The first complaint of Linux or Xen about itself.
pub(crate) fn complaint(console: &str) -> Option<&str> {
    console
        .lines()
        .find(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)))
        .map(str::trim)
}

/// What the guest said of its versions.
pub(crate) fn booted(report: &str) -> Option<&str> {
    report
        .lines()
        .find_map(|line| line.strip_prefix("=== booted "))
        .map(str::trim)
}

/// The exit code of a program, if it ended.
pub(crate) fn exit_code(report: &str) -> Option<u8> {
    let code = report
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("=== exit "))?;
    code.trim().parse().ok()
}

/// What one test binary wrote, from its start to the start of the next.
fn section<'a>(report: &'a str, name: &str) -> Option<&'a str> {
    report
        .split("=== run ")
        .skip(1)
        .find_map(|section| section.strip_prefix(name)?.strip_prefix('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: &str = "(XEN) Xen version 4.17\n[    1.6] Grant table initialized\n";

    fn run(name: &str, counts: &str, code: u8) -> String {
        format!(
            "=== run {name}\nrunning tests\n\ntest result: {counts}; 0 measured; 7 filtered out\n\n=== exit {code}\n"
        )
    }

    fn text(expected: &[&str], report: &str, console: &str, end: End) -> String {
        let verdict = Verdict::new(expected, report, console, end);
        assert!(!verdict.is_success());
        verdict.to_string()
    }

    #[test]
    fn counts_of_all_binaries_are_added() {
        let report = run("smoke", "ok. 2 passed; 0 failed; 0 ignored", 0)
            + &run("contract", "ok. 40 passed; 0 failed; 0 ignored", 0);
        let verdict = Verdict::new(&["smoke", "contract"], &report, QUIET, End::PoweredOff);
        assert!(verdict.is_success());
        assert_eq!(verdict.to_string(), "42 passed, 0 failed");
    }

    #[test]
    fn a_failed_test_fails_the_run() {
        let report = run("smoke", "FAILED. 3 passed; 2 failed; 0 ignored", 101);
        let text = text(&["smoke"], &report, QUIET, End::PoweredOff);
        assert_eq!(text, "3 passed, 2 failed");
    }

    #[test]
    fn an_exit_code_without_a_failed_test_fails_the_run() {
        let report = run("smoke", "ok. 3 passed; 0 failed; 0 ignored", 1);
        let text = text(&["smoke"], &report, QUIET, End::PoweredOff);
        assert_eq!(text, "FAILED: smoke exited with 1\n3 passed, 1 failed");
    }

    #[test]
    fn ignored_tests_are_named_but_do_not_fail_the_run() {
        let report = run("smoke", "ok. 3 passed; 0 failed; 2 ignored", 0);
        let verdict = Verdict::new(&["smoke"], &report, QUIET, End::PoweredOff);
        assert!(verdict.is_success());
        assert_eq!(
            verdict.to_string(),
            "NOT RUN: 2 ignored\n3 passed, 0 failed"
        );
    }

    #[test]
    fn a_run_without_tests_fails() {
        let report = run("smoke", "ok. 0 passed; 0 failed; 0 ignored", 0);
        let nothing = text(&["smoke"], &report, QUIET, End::PoweredOff);
        assert_eq!(nothing, "FAILED: smoke ran no test\n0 passed, 1 failed");
        let silent = text(
            &["smoke"],
            "=== run smoke\n\n=== exit 0\n",
            QUIET,
            End::PoweredOff,
        );
        assert_eq!(
            silent,
            "FAILED: smoke ended without a test result\n0 passed, 1 failed"
        );
        let empty = text(&["smoke"], "", QUIET, End::PoweredOff);
        assert_eq!(empty, "FAILED: smoke did not start\n0 passed, 1 failed");
        let none = text(&[], "", QUIET, End::PoweredOff);
        assert_eq!(none, "FAILED: no tests to run\n0 passed, 1 failed");
    }

    #[test]
    fn a_binary_that_did_not_end_keeps_the_others_counts() {
        let report =
            run("smoke", "ok. 2 passed; 0 failed; 0 ignored", 0) + "=== run contract\nrunning";
        let text = text(&["smoke", "contract"], &report, QUIET, End::TimedOut);
        assert_eq!(
            text,
            "FAILED: the guest hung\nFAILED: contract did not end\n2 passed, 2 failed"
        );
    }

    #[test]
    fn a_complaint_on_the_console_fails_a_run_that_passed() {
        let report = run("smoke", "ok. 2 passed; 0 failed; 0 ignored", 0);
        for line in [
            "[    6.3] Kernel panic - not syncing: sysrq triggered crash",
            "[    6.3] WARNING: CPU: 0 PID: 7 at drivers/xen/evtchn.c:170 evtchn_interrupt+0xb3/0xe0",
            "[    6.3] BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "[    6.3] kernel BUG at drivers/xen/events/events_base.c:1000!",
            "[    6.3] Oops: 0002 [#1] PREEMPT SMP NOPTI",
            "(XEN) Panic on CPU 0:",
            "(XEN) Xen BUG at event_fifo.c:55",
            "(XEN) Assertion 'port_is_valid(d, port)' failed at event_channel.c:55",
            "(XEN) Hardware Dom0 crashed: rebooting machine in 5 seconds.",
        ] {
            let console = format!("{QUIET}{line}\r\n{QUIET}");
            let text = text(&["smoke"], &report, &console, End::PoweredOff);
            assert_eq!(
                text,
                format!("FAILED: the console says: {line}\n2 passed, 1 failed")
            );
        }
    }

    #[test]
    fn only_the_last_result_line_of_a_binary_counts() {
        let report = "=== run smoke\ntest result: ok. 9 passed; 0 failed; 0 ignored\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n=== exit 0\n";
        let verdict = Verdict::new(&["smoke"], report, QUIET, End::PoweredOff);
        assert_eq!(verdict.to_string(), "1 passed, 0 failed");
    }

    #[test]
    fn the_exit_code_of_a_command_is_the_last_one_reported() {
        assert_eq!(exit_code("=== exit 3\n=== exit 7\n"), Some(7));
        assert_eq!(exit_code("=== exit \n"), None);
        assert_eq!(exit_code(""), None);
    }
}
