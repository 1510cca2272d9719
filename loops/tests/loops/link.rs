//! When the loop watches the device, and when it does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use evtchn_core::Error;

use super::bench::{Bench, hooks};
use super::device::{Backend, Refused};
use super::rig::Rig;

pub(crate) fn the_first_wait_registers_and_the_last_wake_deregisters_after_the_round<
    B: Backend,
    A: Rig<B>,
>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let [one, other] = bench.wires();
    bench.expect_hooks(0, 0);
    one.wait();
    other.wait();
    bench.expect_hooks(1, 0);
    bench.fire(&one);
    bench.expect_wakes(&[&one]);
    bench.expect_hooks(1, 0);
    bench.fire(&other);
    let log = Arc::clone(&bench.log);
    let fired = bench.turn_with(move |_, _| assert_eq!(hooks(&log), (1, 0)));
    assert_eq!(fired.len(), 1);
    bench.expect_hooks(1, 1);
    bench.expect_idle();
}

pub(crate) fn a_wait_inside_the_round_costs_no_registration<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let wire = bench.wire();
    wire.wait();
    for _ in 0..10 {
        bench.fire(&wire);
        assert_eq!(bench.rewait().len(), 1);
        bench.expect_hooks(1, 0);
        bench.expect_idle();
    }
}

pub(crate) fn an_idle_context_has_no_entry_in_the_loop<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let wire = bench.wire();
    for turn in 1..4 {
        assert!(!bench.rig.watches(bench.fd()));
        wire.wait();
        assert!(bench.rig.watches(bench.fd()));
        bench.fire(&wire);
        bench.expect_wakes(&[&wire]);
        bench.expect_hooks(turn, turn);
    }
    // Nothing waits, so even an event is not looked at.
    wire.wait();
    wire.channel.cancel().unwrap();
    bench.fire(&wire);
    bench.expect_idle();
}

pub(crate) fn cancel_of_the_last_waiter_deregisters<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let [one, other] = bench.wires();
    one.wait();
    other.wait();
    one.channel.cancel().unwrap();
    bench.expect_hooks(1, 0);
    other.channel.cancel().unwrap();
    bench.expect_hooks(1, 1);
    bench.expect_idle();
    bench.fire(&one);
    one.wait();
    bench.expect_wakes(&[&one]);
}

pub(crate) fn unbind_while_waiting_deregisters<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let [mut wire, other] = bench.wires();
    wire.wait();
    bench.fire(&wire);
    wire.channel.unbind().unwrap();
    bench.expect_hooks(1, 1);
    bench.expect_idle();
    // An entry that is left in the ring does not go to the next waiter.
    other.wait();
    bench.expect_idle();
    bench.fire(&other);
    bench.expect_wakes(&[&other]);
}

pub(crate) fn a_refused_registration_leaves_nothing<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let wire = bench.wire();
    bench.log.refuse_register.store(true, Ordering::Relaxed);
    let refused = wire.channel.wait().unwrap_err();
    let Error::Register(refused) = refused else {
        panic!("{refused}");
    };
    assert!(refused.get_ref().is::<Refused>());
    bench.expect_hooks(0, 0);
    bench.fire(&wire);
    bench.expect_idle();
    wire.wait();
    bench.expect_wakes(&[&wire]);
}

pub(crate) fn a_refused_deregistration_is_tried_again<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let wire = bench.wire();
    wire.wait();
    bench.fire(&wire);
    bench.log.refuse_deregister.store(true, Ordering::Relaxed);
    bench.try_turn(|_, _| ()).unwrap_err();
    bench.expect_hooks(1, 0);
    // Any call on the context.
    wire.channel.cancel().unwrap();
    bench.expect_hooks(1, 1);
    bench.expect_idle();
    wire.wait();
    bench.fire(&wire);
    bench.expect_wakes(&[&wire]);
}

pub(crate) fn two_contexts_in_one_loop_have_their_own_wakes_or_one_is_refused<
    B: Backend,
    A: Rig<B>,
>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let another = bench.another();
    let [mine, theirs] = [bench.wire(), bench.wire_of(&another)];
    mine.wait();
    if A::WATCHES_ONE {
        theirs.channel.wait().unwrap_err();
        bench.fire(&mine);
        return bench.expect_wakes(&[&mine]);
    }
    theirs.wait();
    for _ in 0..3 {
        bench.fire(&theirs);
        let fired = bench.rewait();
        assert_eq!(fired.first().map(|it| it.0), Some(theirs.port()));
        bench.fire(&mine);
        let fired = bench.rewait();
        assert_eq!(fired.first().map(|it| it.0), Some(mine.port()));
    }
    bench.expect_hooks(1, 0);
    mine.channel.cancel().unwrap();
    bench.expect_hooks(1, 1);
    bench.fire(&theirs);
    bench.expect_wakes(&[&theirs]);
}
