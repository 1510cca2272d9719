//! Replays the committed inputs of the fuzz targets. What memory each input takes: `testing/checks/tests/memory`.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::path::Path;

use evtchn_checks::Target;

fn holds(target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target.name());
    let mut inputs = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        target.check(&std::fs::read(file.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus of {} is empty", target.name());
}

#[test]
fn inputs_of_calls_hold() {
    holds(Target::Calls);
}

#[test]
fn inputs_of_driver_hold() {
    holds(Target::Driver);
}

#[test]
fn inputs_of_handover_hold() {
    holds(Target::HandOver);
}

#[test]
fn inputs_of_replay_hold() {
    holds(Target::Replay);
}

#[test]
fn inputs_of_timeline_hold() {
    holds(Target::Timeline);
}

#[test]
fn inputs_of_registrar_hold() {
    holds(Target::Registrar);
}
