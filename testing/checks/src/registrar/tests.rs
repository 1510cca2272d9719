//! Scripts written by hand, each played on every kind of loop.

use super::player::play;
use super::script::{
    Act::{self, *},
    Budget, Callback,
    Op::{self, *},
    Point::{self, *},
    Quirk::{self, *},
    Setup, Target,
    Way::*,
};
use crate::op::Source::*;

/// A callback that waits again.
const AGAIN: Callback = Callback {
    again: true,
    ..Callback::PLAIN
};

/// Plays a script on every kind of loop and to every end. Each time this many quirks take effect.
#[track_caller]
fn holds(quirks: usize, script: &[Op]) {
    (0..64).for_each(|setup| holds_on(setup, quirks, script));
}

#[track_caller]
fn holds_on(setup: u8, quirks: usize, script: &[Op]) {
    let setup = Setup::of(setup);
    match play(setup, script) {
        Ok(met) => assert_eq!(met, quirks, "{setup:?}"),
        Err(broken) => panic!("{broken}\n    {setup:?}, {script:?}"),
    }
}

/// Calls every hook. Slot 0 has a wait, slot 1 an event that was kept.
fn through(point: Point, quirk: Quirk) -> Vec<Op> {
    vec![
        Do(Restrict(Target::Dom0)),
        Hook(point, quirk),
        Do(Bind(0, Unbound)),
        Do(Bind(1, Interdomain)),
        Call(0, AGAIN),
        Call(1, Callback::PLAIN),
        Do(Wait(0)),
        Turn(Calls(Budget::ALL)),
        Do(Wait(1)),
        Do(Signal(0)),
        Turn(Calls(Budget::ALL)),
        Do(Cancel(0)),
        Do(Wait(0)),
    ]
}

#[test]
fn every_act_inside_of_every_hook_is_refused_or_harmless() {
    for point in Point::ALL {
        for act in (0..Act::ALL).map(Act::of) {
            for quirk in [Before(act), After(act), Refuse(act)] {
                let script = through(point, quirk);
                // The kinds of loops that differ most.
                holds_on(0b10_0100, 1, &script);
                holds_on(0b00_1001, 1, &script);
            }
        }
    }
}

#[test]
fn a_hook_that_fails_or_panics_once_leaves_the_context_usable() {
    for point in Point::ALL {
        holds(1, &through(point, Fail));
        holds(1, &through(point, Panic));
    }
}

#[test]
fn a_registration_that_fails_many_times_is_tried_each_time() {
    let refusals = [Hook(Register, Fail); 3];
    let waits = [Do(Wait(0)); 4];
    let keeps = [Hook(Deregister, Fail); 3];
    let cancels = [Do(Cancel(0)); 4];
    let script = [
        &[Do(Bind(0, Unbound))],
        &refusals[..],
        &waits,
        &keeps,
        &cancels,
    ];
    holds(6, &script.concat());
}

#[test]
fn a_wait_or_cancel_can_be_repeated_after_its_hook_panicked() {
    holds(
        2,
        &[
            Do(Bind(0, Unbound)),
            Hook(Register, Panic),
            Do(Wait(0)),
            Do(Wait(0)),
            Do(Signal(0)),
            Hook(Deregister, Panic),
            Do(Cancel(0)),
            Do(Cancel(0)),
            Do(Wait(0)),
        ],
    );
}

#[test]
fn readiness_reported_after_a_cancel_leads_to_an_empty_round() {
    for late in [Values(Budget::ALL), Calls(Budget::ALL)] {
        holds(
            0,
            &[
                Do(Bind(0, Unbound)),
                Do(Wait(0)),
                Do(Signal(0)),
                Poll,
                Do(Cancel(0)),
                Turn(late),
                Do(Wait(0)),
            ],
        );
    }
}

#[test]
fn readiness_seen_before_a_wait_was_replaced_serves_the_new_wait() {
    holds(
        0,
        &[
            Do(Bind(0, Unbound)),
            Do(Bind(1, Virq)),
            Do(Wait(0)),
            Do(Signal(0)),
            Poll,
            Do(Unbind(0)),
            Do(Wait(1)),
            Do(Signal(1)),
            Turn(Again(Budget(1))),
            Do(Signal(1)),
            Poll,
            Poll,
            Nudge,
            Turn(Values(Budget(0))),
        ],
    );
}

#[test]
fn a_callback_that_panics_while_a_deregistration_fails_loses_no_wake() {
    let panics = Callback {
        panics: true,
        ..Callback::PLAIN
    };
    let waits = |slot| [Do(Bind(slot, Unbound)), Call(slot, panics), Do(Wait(slot))];
    let script = [
        &waits(0)[..],
        &waits(1),
        &[Do(Signal(0)), Do(Signal(1)), Hook(Deregister, Fail)],
        &[Turn(Calls(Budget::ALL)); 3],
    ];
    holds(1, &script.concat());
}

#[test]
fn a_round_of_callbacks_inside_of_a_wake_up_keeps_a_latched_wake() {
    let script = [
        Do(Bind(0, Interdomain)),
        Do(Bind(1, Virq)),
        Do(Wait(1)),
        Turn(Values(Budget::ALL)),
        Do(Cancel(1)),
        // The event of the first was read while it had no wait.
        Hook(Wake, After(Dispatch(Calls(Budget(1))))),
        Do(Wait(0)),
        Turn(Values(Budget::ALL)),
        Do(Wait(0)),
        Turn(Values(Budget::ALL)),
    ];
    holds(1, &script);
}

#[test]
fn a_round_beside_a_held_one_fails_with_the_device_error_of_the_held_one() {
    let script = [
        Do(Bind(0, Unbound)),
        Do(Wait(0)),
        Break,
        Begin(Budget::ALL),
        Next,
        Do(Dispatch(Values(Budget::ALL))),
        Next,
        Finish,
    ];
    holds(0, &script);
}
