//! What is reported, and how much of it in one turn.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use evtchn_core::{Cause, EventChannel, PortBuf};

use super::bench::{Bench, Wire};
use super::device::Backend;
use super::rig::Rig;

pub(crate) fn an_event_before_the_registration_is_reported<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let wire = bench.wire();
    for _ in 0..3 {
        bench.fire(&wire);
        wire.wait();
        bench.expect_wakes(&[&wire]);
    }
}

pub(crate) fn an_overflow_of_a_registered_device_wakes_every_waiter<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let wires: [_; 3] = bench.wires();
    wires.iter().for_each(Wire::wait);
    bench.expect_idle();
    for turn in 0..3 {
        bench.overflow(&wires[turn]);
        let fired = bench.rewait();
        assert_eq!(fired.len(), 3);
        assert!(fired.iter().all(|it| it.1 == Cause::Overflow), "{fired:?}");
        bench.fire(&wires[0]);
        assert_eq!(bench.rewait(), [(wires[0].port(), Cause::Event)]);
        bench.expect_idle();
    }
    bench.expect_hooks(1, 0);
}

pub(crate) fn an_overflow_before_the_registration_wakes_every_waiter<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let [one, other] = bench.wires();
    bench.overflow(&one);
    let quiet = bench.rig.quiet();
    one.wait();
    other.wait();
    drop(quiet);
    let fired = bench.turn();
    assert_eq!(fired.len(), 2);
    assert!(fired.iter().all(|it| it.1 == Cause::Overflow), "{fired:?}");
    bench.expect_hooks(1, 1);
    bench.expect_idle();
}

pub(crate) fn a_thousand_channels_wake_and_wake_again<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let wires: Vec<_> = (0..1000).map(|_| bench.wire()).collect();
    wires.iter().for_each(Wire::wait);
    let all: BTreeSet<_> = wires.iter().map(Wire::port).collect();
    for _ in 0..2 {
        wires.iter().for_each(|wire| bench.fire(wire));
        let mut fired = Vec::new();
        while fired.len() < wires.len() {
            let more = bench.rewait();
            assert!(!more.is_empty(), "only {} fired", fired.len());
            fired.extend(more);
        }
        assert_eq!(fired.len(), wires.len());
        assert_eq!(fired.iter().map(|it| it.0).collect::<BTreeSet<_>>(), all);
    }
    bench.expect_hooks(1, 0);
    bench.expect_idle();
}

pub(crate) fn a_budget_leaves_the_rest_to_the_next_turns<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::at_most(backend, 3);
    let wires: [_; 10] = bench.wires();
    for _ in 0..2 {
        wires.iter().for_each(Wire::wait);
        wires.iter().for_each(|wire| bench.fire(wire));
        // The ring is read at once: no readiness reports the other events.
        let turns = [0; 4].map(|_| bench.turn().len());
        assert_eq!(turns, [3, 3, 3, 1]);
        bench.expect_idle();
    }
    bench.expect_hooks(2, 2);
}

pub(crate) fn a_budget_that_ends_at_a_full_read_leaves_the_rest_to_the_next_turn<
    B: Backend,
    A: Rig<B>,
>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::at_most(backend, PortBuf::MAX);
    let wires: Vec<_> = (0..PortBuf::MAX + 50).map(|_| bench.wire()).collect();
    wires.iter().for_each(Wire::wait);
    wires.iter().for_each(|wire| bench.fire(wire));
    // The rest is in the ring still, and an edge-triggered loop has reported it already.
    assert_eq!(bench.turn().len(), PortBuf::MAX);
    assert_eq!(bench.turn().len(), 50);
    bench.expect_hooks(1, 1);
    bench.expect_idle();
}

pub(crate) fn a_storm_leaves_the_others_their_turn<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::at_most(backend, 2);
    let [stormy, calm] = bench.wires();
    stormy.wait();
    calm.wait();
    bench.fire(&stormy);
    bench.fire(&calm);
    let mut fired = Vec::new();
    for _ in 0..20 {
        let (peer, port) = (Arc::clone(&bench.peer), stormy.peer);
        fired.extend(bench.turn_with(move |context, wake| {
            peer.notify(port).unwrap();
            context.wait(wake.channel).unwrap();
            peer.notify(port).unwrap();
        }));
    }
    let calms = fired.iter().filter(|it| it.0 == calm.port());
    assert_eq!(calms.count(), 1);
    assert!((20..=40).contains(&fired.len()), "{}", fired.len());
    let place = fired.iter().position(|it| it.0 == calm.port());
    assert!(place.is_some_and(|place| place < 4), "{place:?}");
}

pub(crate) fn an_event_inside_the_round_is_not_lost<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let [one, other] = bench.wires();
    one.wait();
    other.wait();
    for _ in 0..5 {
        bench.fire(&one);
        let (peer, port) = (Arc::clone(&bench.peer), other.peer);
        let (first, fires) = (one.port(), Rc::new(Cell::new(0)));
        let count = Rc::clone(&fires);
        let mut fired = bench.turn_with(move |context, wake| {
            if wake.port() == first {
                peer.notify(port).unwrap();
                count.set(count.get() + 1);
            }
            context.wait(wake.channel).unwrap();
        });
        if fired.len() == 1 {
            fired.extend(bench.rewait());
        }
        let event = |port| (port, Cause::Event);
        assert_eq!(fired, [event(one.port()), event(other.port())]);
        assert_eq!(fires.get(), 1);
    }
    bench.expect_hooks(1, 0);
    bench.expect_idle();
}

pub(crate) fn a_round_that_is_dropped_leaves_its_wakes_to_the_next_turn<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let wires: [_; 3] = bench.wires();
    wires.iter().for_each(Wire::wait);
    wires.iter().for_each(|wire| bench.fire(wire));
    // A round beside the loop, and not to its end.
    let first = bench.context.dispatch().unwrap().next();
    assert_eq!(first.map(|wake| wake.port()), Some(wires[0].port()));
    bench.expect_wakes(&[&wires[1], &wires[2]]);
    bench.expect_hooks(1, 1);
}
