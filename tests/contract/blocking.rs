//! Blocking for the wake of one channel.

use std::time::Duration;

use evtchn_core::{Cause, Error, Outcome, Sleep};

use super::platform::*;
use super::rig::{Rig, Wire};
use super::spy::Refused;

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(10);

fn in_time<P: Platform>(rig: &Rig<'_, P>) -> DeadlineOf<P> {
    rig.context.registrar().deadline(PATIENCE)
}

fn now<P: Platform>(rig: &Rig<'_, P>) -> DeadlineOf<P> {
    rig.context.registrar().deadline(Duration::ZERO)
}

#[track_caller]
fn expect_block<P: Platform>(rig: &Rig<'_, P>, wire: &Wire<P>, cause: Cause) {
    let blocked = wire.channel.block_until(in_time(rig)).unwrap();
    assert_eq!(blocked, Some(cause));
}

pub(crate) fn a_latched_event_ends_a_block_before_it_sleeps<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [latched, other] = rig.wires();
    other.wait();
    rig.fire(&latched);
    assert_eq!(rig.turn(), []);
    rig.expect_hooks(1, 0);
    let reads = rig.context.stats().reads;
    expect_block(&rig, &latched, Cause::Event);
    assert_eq!(rig.context.stats().reads, reads);
}

pub(crate) fn an_event_ends_a_block_and_nothing_stays_registered<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    for turn in 1..4 {
        if turn > 1 {
            // Its event stays in Xen until the block unmasks the port.
            rig.fire_masked(&wire);
        } else {
            rig.fire(&wire);
        }
        expect_block(&rig, &wire, Cause::Event);
        rig.expect_hooks(turn, turn);
        rig.expect_settled();
    }
    assert_eq!(rig.context.stats().wakes, 3);
    rig.expect_idle();
}

pub(crate) fn a_block_unmasks_a_port_that_was_read<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    rig.fire(&wire);
    expect_block(&rig, &wire, Cause::Event);
    rig.expect_writes(&[]);
    rig.fire_masked(&wire);
    expect_block(&rig, &wire, Cause::Event);
    rig.expect_writes(&[&[wire.port()]]);
}

pub(crate) fn a_block_past_its_deadline_leaves_no_wait<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    let blocked = wire.channel.block_until(now(&rig)).unwrap();
    assert_eq!(blocked, None);
    rig.expect_hooks(1, 1);
    rig.expect_idle();
    // An event that comes now is for the next wait.
    rig.fire(&wire);
    expect_block(&rig, &wire, Cause::Event);
}

pub(crate) fn an_event_before_the_deadline_is_taken_at_the_deadline<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    rig.fire(&wire);
    let blocked = wire.channel.block_until(now(&rig)).unwrap();
    assert_eq!(blocked, Some(Cause::Event));
    rig.expect_hooks(1, 1);
}

pub(crate) fn a_block_leaves_other_wakes_to_the_next_round<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [one, own, other, latched] = rig.wires();
    one.wait();
    other.wait();
    for wire in [&one, &own, &other, &latched] {
        rig.fire(wire);
    }
    expect_block(&rig, &own, Cause::Event);
    rig.expect_settled();
    // Nothing is left on the device: the loop was woken, and must not sleep.
    assert_eq!(p.poll(&rig.spy.device()), OUT);
    assert_eq!(rig.spy.log().wakes, 1);
    assert_eq!(rig.context.next_timeout(), Some(Duration::ZERO));
    rig.expect_wakes(&[&one, &other]);
    rig.expect_hooks(1, 1);
    rig.expect_latched(&latched, Cause::Event);
}

pub(crate) fn a_block_inside_a_round_takes_only_its_own_wake<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [one, own, other] = rig.wires();
    one.wait();
    other.wait();
    rig.fire(&own);
    expect_block(&rig, &own, Cause::Event);
    // A block inside a round, for a port that has to be unmasked.
    rig.fire_masked(&own);
    rig.fire(&one);
    rig.fire(&other);
    let wakes = rig.turn_with(|wake| {
        if wake.channel == one.channel.id() {
            expect_block(&rig, &own, Cause::Event);
        }
    });
    let events = [&one, &other].map(|wire| (wire.port(), Cause::Event));
    assert_eq!(wakes, events);
    rig.expect_hooks(1, 1);
    rig.expect_idle();
}

pub(crate) fn a_block_ends_when_its_condition_does<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    let blocked = wire
        .channel
        .block_while(Some(in_time(&rig)), || false)
        .unwrap();
    assert_eq!(blocked, None);
    rig.expect_hooks(1, 1);
    rig.expect_idle();
}

pub(crate) fn an_overflow_ends_a_block_with_the_cause<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [own, other] = rig.wires();
    other.wait();
    overflow(&*rig.spy.device(), own.port(), || rig.fire_masked(&own));
    expect_block(&rig, &own, Cause::Overflow);
    assert_eq!(rig.turn(), [(other.port(), Cause::Overflow)]);
    // Everything works again.
    rig.fire_masked(&own);
    expect_block(&rig, &own, Cause::Event);
}

pub(crate) fn a_second_waiter_is_refused_and_the_first_one_wakes<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    let refused = wire.channel.block_until(now(&rig)).unwrap_err();
    assert!(matches!(refused, Error::AlreadyWaited(id) if id == wire.channel.id()));
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);

    let asked = std::cell::Cell::new(0);
    rig.fire_masked(&wire);
    let blocked = wire.channel.block_while(Some(in_time(&rig)), || {
        // Checked while this thread blocks.
        asked.set(asked.get() + 1);
        let refused = wire.channel.wait().unwrap_err();
        assert!(matches!(refused, Error::AlreadyWaited(_)));
        let refused = wire.channel.block().unwrap_err();
        assert!(matches!(refused, Error::AlreadyWaited(_)));
        // A round leaves the wake to this thread.
        let mut round = rig.context.dispatch().unwrap();
        assert_eq!(round.next(), None);
        assert_eq!(round.finish().unwrap(), Outcome::Done);
        true
    });
    assert_eq!(blocked.unwrap(), Some(Cause::Event));
    assert_ne!(asked.get(), 0);
    rig.expect_settled();
}

pub(crate) fn a_refused_registration_ends_a_block<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    rig.spy.log().refuse_register = true;
    let refused = wire.channel.block_until(in_time(&rig)).unwrap_err();
    assert!(matches!(refused, Error::Register(error) if error.get_ref().is::<Refused>()));
    rig.expect_settled();
    rig.expect_hooks(0, 0);
    rig.fire(&wire);
    expect_block(&rig, &wire, Cause::Event);
    rig.expect_settled();
}
