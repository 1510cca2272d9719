//! Replays the committed inputs of the fuzz targets.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::path::Path;

use evtchn_checks::{Op, check, check_calls, check_hand_over, check_registrar};

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(folder).unwrap();
    let inputs: Vec<_> = files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    inputs
}

#[test]
fn inputs_of_calls_hold() {
    for input in inputs("calls") {
        let (trigger, script) = Op::decode(&input);
        check(trigger, &script);
    }
}

#[test]
fn inputs_of_driver_hold() {
    for input in inputs("driver") {
        check_calls(&input);
    }
}

#[test]
fn inputs_of_handover_hold() {
    for input in inputs("handover") {
        check_hand_over(&input);
    }
}

#[test]
fn inputs_of_registrar_hold() {
    for input in inputs("registrar") {
        check_registrar(&input);
    }
}
