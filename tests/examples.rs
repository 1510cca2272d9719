//! Every example runs and prints what it should: on the simulator (`sim::`) and, the same code, on
//! `/dev/xen/evtchn` (`xen::`).
//!
//! Without the device the second half is ignored, and reported as ignored; with
//! `EVTCHN_REQUIRE_XEN=1` it fails. `cargo test` builds the examples unless targets are selected.
//! If the test binary was copied elsewhere, the examples are beside it.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::env;
use std::fs;
use std::process::Command;

use evtchn::xen::DEVICE_PATH;
use libtest_mimic::{Failed, Trial};

/// An example, and the check of its output, given whether it ran on a real Xen.
type Example = (&'static str, fn(&str, bool) -> bool);

const EXAMPLES: &[Example] = &[
    ("suspend", |said, _| {
        let lines: Vec<_> = said.lines().collect();
        let ends = [
            "guest 0 is suspended",
            "guest 1 does not answer",
            "guest 2 is suspended",
        ];
        lines.len() == 4 && lines[..3] == ends && lines[3].ends_with("registrations, all ended")
    }),
    ("virq", |said, is_xen| {
        let dies = if is_xen { "no" } else { "a" };
        said.starts_with("watching VIRQ_DOM_EXC on port ")
            && said.ends_with(&format!("\n{dies} domain died\n"))
    }),
    ("server", |said, _| {
        let lines: Vec<_> = said.lines().collect();
        lines.len() == 2
            && lines[0] == "100 guests got 1000 answers, each the right one"
            && lines[1].ends_with(" wakes, and nothing is left registered")
    }),
    ("backend", |said, _| {
        said == "4 front ends got 1000 sectors, 1000 as they should be\n\
                 at most one write a round, one registration: true\n"
    }),
    ("vchan", |said, _| {
        said == "100000 bytes came back, each as it should be\n"
    }),
];

/// Runs an example to its end and looks at what it printed.
fn run(&(name, is_right): &Example, backend: &str) -> Result<(), Failed> {
    let tests = env::current_exe().unwrap();
    let beside = tests.with_file_name(name);
    let built = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(name);
    let program = if built.exists() { built } else { beside };
    let ran = Command::new(&program).args(["--backend", backend]).output();
    let ran = ran.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&ran.stdout);
    if ran.status.success() && is_right(&said, backend == "xen") {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&ran.stderr);
    Err(format!("{}\n{said}{complaint}", ran.status).into())
}

/// Every example, on both sides.
pub(crate) fn trials() -> Vec<Trial> {
    let is_left_out = excuse().is_some();
    let trials = EXAMPLES.iter().flat_map(|example| {
        let (name, _) = *example;
        let xen = Trial::test(format!("examples::xen::{name}"), || run(example, "xen"));
        [
            Trial::test(format!("examples::sim::{name}"), || run(example, "sim")),
            xen.with_ignored_flag(is_left_out),
        ]
    });
    trials.collect()
}

/// Why the examples are not run on the device, if they are not.
pub(crate) fn excuse() -> Option<String> {
    let is_missing = !fs::exists(DEVICE_PATH).unwrap_or(true);
    let is_required = env::var_os("EVTCHN_REQUIRE_XEN").is_some_and(|value| value == "1");
    (is_missing && !is_required).then(|| format!("no {DEVICE_PATH}"))
}
