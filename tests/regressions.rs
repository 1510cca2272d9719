//! One script for each bug that was found, as printed after shrinking.

use evtchn_checks::{Failing::*, Op::*, Source::*, check};
use evtchn_core::Trigger;

/// A port masked since one overflow can be unmasked and lose its event to the next overflow.
#[test]
fn second_overflow_of_a_port_without_a_wait_is_latched() {
    check(
        Trigger::Level,
        &[
            Bind(0, Unbound),
            Wait(0),
            Overflow,
            Turn,
            Bind(2, Interdomain),
            Overflow,
            Signal(0),
            Unbind(2),
            Bind(2, Unbound),
            Wait(0),
        ],
    );
}

/// The failed device was still counted as held by its dead channels.
#[test]
fn teardown_inside_the_round_in_which_the_device_failed_succeeds() {
    check(
        Trigger::Level,
        &[
            Bind(0, Virq),
            Wait(0),
            Fail(Reading),
            Begin(5),
            Next,
            Teardown,
        ],
    );
}

/// A dead channel kept its virtual interrupt bound on the device that failed.
#[test]
fn dropping_a_dead_channel_frees_its_virtual_interrupt() {
    check(
        Trigger::Edge,
        &[
            Bind(1, Virq),
            Bind(2, Virq),
            Wait(2),
            Fail(Reading),
            Begin(5),
            Next,
            Drop(2),
            Bind(2, Virq),
        ],
    );
}

/// Unread entries of a failed device kept the loop awake.
#[test]
fn round_that_ends_after_its_device_failed_has_no_more() {
    check(
        Trigger::Edge,
        &[
            Bind(0, Virq),
            Fail(Reading),
            Wait(0),
            Begin(5),
            Drop(0),
            Bind(1, Unbound),
            Finish,
        ],
    );
}

/// Wakes with `Gone` registered the next device though no channel waited.
#[test]
fn waking_waiters_of_a_failed_device_registers_nothing() {
    check(
        Trigger::Edge,
        &[
            Bind(1, Virq),
            Bind(0, Unbound),
            Wait(1),
            Fail(Reading),
            Unbind(0),
            Bind(0, Unbound),
            Bind(2, Unbound),
        ],
    );
}

/// After an overflow a port can be unmasked with an event unread, so three are in flight. The model
/// expected two.
#[test]
fn third_event_in_flight_after_an_overflow_is_expected() {
    check(
        Trigger::Edge,
        &[
            Bind(0, Unbound),
            Bind(1, Unbound),
            Signal(0),
            Bind(2, Virq),
            Wait(2),
            Overflow,
            Begin(1),
            Next,
            Finish,
            Signal(2),
            Signal(2),
            Wait(2),
            Signal(2),
            Begin(1),
            Next,
            Finish,
            Wait(2),
            Wait(2),
        ],
    );
}

/// The model expected three: after the overflow and again after the hand-over the port was unmasked
/// with its event unread. Found by exploration, seed 0, script 338,410.
#[test]
fn fourth_event_in_flight_after_an_overflow_and_a_hand_over_is_expected() {
    check(
        Trigger::Level,
        &[
            Bind(2, Unbound),
            Overflow,
            Wait(2),
            Turn,
            Signal(2),
            Wait(2),
            HandOver,
            Wait(2),
            Signal(2),
            Wait(2),
            Signal(2),
            Signal(2),
            Serve,
        ],
    );
}

/// The queue still held a cancelled wake of the port, and the next wake got its cause.
#[test]
fn wake_queued_after_a_cancelled_one_has_its_own_cause() {
    check(
        Trigger::Level,
        &[
            Bind(2, Unbound),
            Bind(1, Interdomain),
            Bind(0, Unbound),
            Signal(2),
            Wait(2),
            Wait(1),
            Unbind(0),
            Bind(0, Unbound),
            Cancel(1),
            Wait(1),
            Wait(1),
            Overflow,
            Unbind(2),
            Bind(2, Unbound),
        ],
    );
}

/// Each failed unmask costs a turn, and the player gave up after fewer turns.
#[test]
fn a_loop_comes_to_rest_after_many_failed_unmasks() {
    let mut script = vec![Bind(23, Interdomain), Wait(44), Begin(1), Next];
    script.extend([Fail(Unmasking); 100]);
    script.push(Wait(17));
    check(Trigger::Level, &script);
}
