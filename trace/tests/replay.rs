//! Runs on the simulator that are recorded and replayed.
#![expect(clippy::panic, reason = "a helper of a test fails as the test does")]

use crate::support::changed::changed_bytes;
use crate::support::recorded::recorded;
use evtchn_core::Trigger;
use evtchn_sim::Delivery;
use evtchn_trace::{Call, Line, Replayed, Trace, What, replay, replay_on_sim};
use proptest::prelude::*;

fn same(replayed: Replayed) -> usize {
    match replayed {
        Replayed::Same(tally) => tally.calls,
        Replayed::Differs(difference) => panic!("{difference}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_recorded_run_replays_over_its_answers_and_on_the_simulator(
        seed in 0_u64..1 << 40,
        edge in any::<bool>(),
        kind in 0_usize..3,
    ) {
        let trigger = if edge { Trigger::Edge } else { Trigger::Level };
        let delivery = [Delivery::Immediate, Delivery::Held, Delivery::Chosen][kind];
        let bytes = recorded(seed, trigger, delivery);
        let trace = Trace::read(&bytes).unwrap();
        prop_assert_eq!(&trace.to_bytes(), &bytes);
        let calls = same(replay(&trace).unwrap());
        prop_assert!(calls > 100);
        prop_assert_eq!(same(replay_on_sim(&trace).unwrap()), calls);
    }
}

#[test]
fn the_first_answer_that_is_another_is_told_with_its_line() {
    let bytes = recorded(3, Trigger::Level, Delivery::Immediate);
    let mut trace = Trace::read(&bytes).unwrap();
    let notify = |line: &Line| matches!(line.what, What::Call(Call::Notify { .. }));
    let place = trace.lines.iter().position(notify).unwrap();
    trace.lines[place].what = What::Call(Call::NextTimeout);
    let Replayed::Differs(difference) = replay(&trace).unwrap() else {
        panic!("it is not the same");
    };
    // What others did comes between the call and what it made of the seam.
    let mut after = (place..).zip(&trace.lines[place..]);
    let seam = after.find(|(_, line)| matches!(line.what, What::Seam(_)));
    assert_eq!(Some(difference.line - 2), seam.map(|(at, _)| at));
    assert!(difference.expected.contains(r#""seam":"notify""#));
    assert!(difference.got.contains(r#""answer":"timeout""#));
}

#[test]
fn the_simulator_tells_a_read_that_it_does_not_give() {
    let bytes = recorded(4, Trigger::Level, Delivery::Immediate);
    let mut trace = Trace::read(&bytes).unwrap();
    let send = |line: &Line| matches!(line.what, What::Guest(evtchn_trace::Guest::Send { .. }));
    let place = trace.lines.iter().position(send).unwrap();
    trace.lines.remove(place);
    assert!(matches!(replay(&trace), Ok(Replayed::Same(_))));
    assert!(matches!(replay_on_sim(&trace), Ok(Replayed::Differs(_))));
}

#[test]
fn calls_that_overlap_are_refused_with_both_lines() {
    let bytes = recorded(5, Trigger::Level, Delivery::Immediate);
    let mut trace = Trace::read(&bytes).unwrap();
    let call = |line: &Line| matches!(line.what, What::Call(_));
    let place = trace.lines.iter().position(call).unwrap();
    let mut other = Line::new(What::Call(Call::NextTimeout));
    other.thread = 1;
    trace.lines.insert(place + 1, other);
    let bad = replay(&trace).unwrap_err();
    assert_eq!(bad.line, place + 3);
    assert!(bad.to_string().contains(&format!("line {}", place + 2)));
}

#[test]
fn one_byte_changed_is_always_refused() {
    let bytes = recorded(6, Trigger::Edge, Delivery::Chosen);
    for on in [replay, replay_on_sim] {
        let outcomes = changed_bytes(&bytes, false, on);
        eprintln!("100 changed bytes: {outcomes:?}");
        assert_eq!(outcomes.refused, 100);
    }
}

#[test]
fn one_byte_changed_under_a_digest_that_fits_never_panics() {
    let bytes = recorded(7, Trigger::Level, Delivery::Immediate);
    for (on, most) in [(replay as fn(&Trace) -> _, 70), (replay_on_sim, 50)] {
        let outcomes = changed_bytes(&bytes, true, on);
        eprintln!("100 changed bytes, sealed again: {outcomes:?}");
        // What is the same still is a byte in what the replay has no use for, as in an act of a guest.
        assert!(outcomes.differs > 20, "{outcomes:?}");
        assert!(outcomes.same <= most, "{outcomes:?}");
    }
}
