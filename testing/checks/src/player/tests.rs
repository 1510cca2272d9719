use super::*;
use crate::op::{Each, Failing, Source};

const BIND: Each = Each::Binds(Source::Interdomain);

#[test]
fn a_step_for_many_slots_equals_a_step_for_each() {
    let eaches = [
        BIND,
        Each::Waits,
        Each::Signals,
        Each::Cancels,
        Each::Notifies,
        Each::Waits,
        Each::Drops,
        BIND,
        Each::Unbinds,
    ];
    let many: Vec<Op> = eaches.iter().map(|each| Op::Many(*each, 3, 9)).collect();
    let of_each = |each: &Each| [3, 4, 0, 1, 2].map(|slot| each.one(slot));
    let one: Vec<Op> = eaches.iter().flat_map(of_each).collect();
    let [many, one] = [many, one].map(|script| play_on(5, Trigger::Level, &script).unwrap());
    assert_eq!(many.most_bound, 5);
    assert_eq!(many, one);
}

#[test]
fn a_script_played_step_by_step_has_the_same_result() {
    let script = [
        Op::Many(BIND, 0, 300),
        Op::Many(Each::Waits, 0, 200),
        Op::Begin(50),
        Op::NextMany(30),
        Op::Leave,
        Op::Serve,
    ];
    let stepped = Stepped::new(300, Trigger::Edge);
    let seen = script.map(|op| stepped.step(op).unwrap());
    assert_eq!(seen.map(|seen| seen.bound), [300; 6]);
    assert_eq!(
        seen.map(|seen| seen.waiting),
        [0, 200, 200, 170, 170, 170],
        "wakes end waits, a turn that serves does not"
    );
    let whole = play_on(300, Trigger::Edge, &script).unwrap();
    assert_eq!(stepped.rest().unwrap(), whole);
}

#[test]
fn an_event_left_by_an_unbind_is_not_handed_over() {
    let script = [
        Op::Bind(0, Source::Interdomain),
        Op::Drop(0),
        Op::HandOver,
        Op::Bind(2, Source::Virq),
        Op::Wait(2),
    ];
    for trigger in [Trigger::Level, Trigger::Edge] {
        check(trigger, &script);
    }
}

#[test]
fn a_channel_bound_after_an_overflow_may_wake_with_its_cause() {
    let script = [
        Op::Bind(1, Source::Unbound),
        Op::Overflow,
        Op::Bind(2, Source::Virq),
        Op::Wait(2),
        Op::Turn,
        Op::Signal(2),
        Op::Wait(2),
        Op::Signal(2),
        Op::Signal(2),
        Op::Serve,
    ];
    check(Trigger::Level, &script);
}

#[test]
fn a_round_of_callbacks_keeps_the_wakes_of_channels_without_one() {
    let script = [
        Op::Bind(0, Source::Interdomain),
        Op::Bind(1, Source::Interdomain),
        Op::Callback(0),
        Op::Wait(0),
        Op::Wait(1),
        Op::Calls,
        Op::HandOver,
        Op::Callback(0),
        Op::Callback(0),
        Op::Wait(0),
        Op::Wait(1),
    ];
    let played = play(Trigger::Level, &script).unwrap();
    assert_eq!(played.wakes, 3, "one call, and one for each adopted port");
}

#[test]
fn every_kind_of_failure_happens_and_breaks_nothing() {
    for failing in Failing::ALL {
        let script = [
            Op::Fail(failing),
            Op::Bind(0, Source::Interdomain),
            Op::Bind(0, Source::Interdomain),
            Op::Wait(0),
            Op::Wait(0),
            Op::Notify(0),
            Op::Overflow,
            Op::Serve,
            Op::Turn,
            Op::Block(0),
            Op::Cancel(0),
            Op::Block(0),
            Op::Unbind(0),
            Op::Unbind(0),
        ];
        let whole = play(Trigger::Level, &script[1..]).unwrap();
        let failed = play(Trigger::Level, &script).unwrap();
        let reported = !matches!(failing, Failing::ShortUnmask | Failing::Interrupted);
        assert_eq!(failed.failures, u64::from(reported), "{failing:?}");
        assert_eq!(whole.failures, 0);
    }
}

#[test]
fn a_step_for_many_slots_is_shrunk_to_the_one_that_breaks() {
    let mut op = Op::Many(Each::Waits, 7, 4096);
    let mut tried = 0;
    let mut matters = |op: &Op| {
        tried += 1;
        let Op::Many(_, first, count) = *op else {
            return *op == Op::Wait(1507);
        };
        (first..first + count).contains(&1507)
    };
    while let Some(smaller) = op.smaller().find(&mut matters) {
        op = smaller;
    }
    assert_eq!(op, Op::Wait(1507));
    assert!(tried < 200, "{tried} tries");
}

#[test]
fn no_step_is_among_its_smaller_steps() {
    for op in [
        Op::Many(Each::Waits, 7, 1),
        Op::Many(Each::Waits, 0, 0),
        Op::Begin(1),
        Op::Short(1),
        Op::Storm(0, 1),
        Op::Serve,
    ] {
        assert!(op.smaller().all(|smaller| smaller != op), "{op:?}");
    }
}
