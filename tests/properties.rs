//! Long random scripts of calls, with failures, against the model.

use std::path::Path;

use evtchn_checks::{Op, SLOTS, keep, play, shortest};
use evtchn_core::Trigger;
use proptest::prelude::*;

fn scripts() -> impl Strategy<Value = Vec<Op>> {
    let op = (any::<u8>(), any::<u8>()).prop_map(|(kind, which)| Op::of(kind, which));
    prop::collection::vec(op, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig {
        // More where PROPTEST_CASES asks for more.
        cases: ProptestConfig::default().cases.max(2_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn long_scripts_hold_on_a_level_triggered_loop(script in scripts()) {
        prop_assert!(play(Trigger::Level, &script).is_ok(), "{}", broken(Trigger::Level, &script));
    }

    #[test]
    fn long_scripts_hold_on_an_edge_triggered_loop(script in scripts()) {
        prop_assert!(play(Trigger::Edge, &script).is_ok(), "{}", broken(Trigger::Edge, &script));
    }

    #[test]
    fn the_same_script_is_the_same_run(script in scripts()) {
        let digest = |script: &[Op]| play(Trigger::Level, script).ok().map(|played| played.digest);
        prop_assert_eq!(digest(&script), digest(&script));
    }
}

/// The failure of a script, its text for `tests/regressions.rs`, and the command that plays it
/// again.
fn broken(trigger: Trigger, script: &[Op]) -> String {
    match play(trigger, script) {
        Ok(_) => String::new(),
        Err(broken) => {
            let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let (slots, short) = shortest(SLOTS, trigger, script);
            let kept = keep(dir, slots, trigger, &short);
            format!("{broken}\n    check(Trigger::{trigger:?}, &{short:?});\n{kept}")
        }
    }
}
