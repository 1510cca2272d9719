//! Overflow of the ring under a context, caused by another holder of its device.

use evtchn_core::{Cause, EventChannel};

use super::platform::*;
use super::rig::{Rig, Wire};

impl<P: Platform> Rig<'_, P> {
    /// Overflows the ring of the context behind its back, through this wire.
    fn overflow(&self, wire: &Wire<P>) {
        let device = self.spy.device();
        overflow(&*device, wire.port(), || {
            self.peer.notify(wire.peer).unwrap();
        });
        assert_eq!(self.p.poll(&device), ERR);
    }
}

pub(crate) fn an_overflow_wakes_every_waiter_once_with_the_cause<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: [Wire<P>; 5] = rig.wires();
    wires.iter().for_each(Wire::wait);
    rig.overflow(&wires[2]);
    let causes = wires.each_ref().map(|wire| (wire.port(), Cause::Overflow));
    assert_eq!(rig.turn(), causes);
    rig.expect_hooks(1, 1);
    rig.expect_idle();
    assert_eq!(rig.context.stats().overflows, 1);
}

pub(crate) fn events_arrive_again_after_an_overflow<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: [Wire<P>; 5] = rig.wires();
    wires.iter().for_each(Wire::wait);
    rig.overflow(&wires[0]);
    for _ in 0..3 {
        // First an overflow, then an event of each.
        let wakes = rig.turn_and_rewait();
        assert_eq!(wakes.len(), wires.len());
        let ports = wires.each_ref().map(Wire::port);
        rig.expect_writes(&[&ports]);
        wires.iter().for_each(|wire| rig.fire(wire));
    }
    rig.expect_hooks(1, 0);
    assert_eq!(rig.context.stats().overflows, 1);
}

pub(crate) fn a_port_without_a_wait_keeps_the_overflow_for_its_next_wait<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [waiting, lost] = rig.wires();
    waiting.wait();
    // The event that does not fit is that of a port without a wait.
    rig.overflow(&lost);
    assert_eq!(rig.turn(), [(waiting.port(), Cause::Overflow)]);
    rig.expect_latched(&lost, Cause::Overflow);
    lost.wait();
    rig.fire(&lost);
    rig.expect_wakes(&[&lost]);
}

pub(crate) fn a_latched_event_stays_an_event_at_an_overflow<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [waiting, latched, other] = rig.wires();
    waiting.wait();
    rig.fire(&latched);
    rig.fire(&waiting);
    rig.expect_wakes(&[&waiting]);

    other.wait();
    rig.overflow(&other);
    assert_eq!(rig.turn(), [(other.port(), Cause::Overflow)]);
    rig.expect_latched(&latched, Cause::Event);
    latched.wait();
    rig.expect_idle();
    rig.fire(&latched);
    rig.expect_wakes(&[&latched]);
}

pub(crate) fn a_port_masked_since_one_overflow_loses_nothing_in_the_next<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [held, other] = rig.wires();
    held.wait();
    other.wait();
    rig.overflow(&other);
    assert_eq!(rig.turn().len(), 2);

    // Its wake was the overflow, so the driver never masked its port: its event can be the one that
    // does not fit.
    other.wait();
    let device = rig.spy.device();
    fill(&*device, other.port(), || rig.fire_masked(&other));
    rig.fire_masked(&held);
    assert_eq!(p.poll(&device), ERR);
    assert_eq!(rig.turn(), [(other.port(), Cause::Overflow)]);
    rig.expect_latched(&held, Cause::Overflow);
    held.wait();
    rig.fire(&held);
    rig.expect_wakes(&[&held]);
}

pub(crate) fn an_event_pending_in_xen_comes_after_an_overflow<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    rig.overflow(&wire);
    rig.fire_masked(&wire);
    rig.turn_with(|_| wire.wait());
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn an_overflow_before_a_rebind_wakes_the_others<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [old, waiting] = rig.wires();
    waiting.wait();
    rig.overflow(&old);
    drop(old);
    let new = rig.wire();
    new.wait();
    assert_eq!(p.poll(&rig.spy.device()), OUT);
    assert_eq!(rig.turn(), [(waiting.port(), Cause::Overflow)]);
    rig.fire(&new);
    rig.expect_wakes(&[&new]);
}

pub(crate) fn a_second_entry_of_one_port_wakes_once_and_is_kept<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    rig.fire(&wire);
    rig.spy.device().unmask(&[wire.port()]).unwrap();
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
    rig.expect_latched(&wire, Cause::Event);
    assert_eq!(rig.context.stats().spurious, 1);
}

pub(crate) fn a_foreign_port_is_counted_and_left_alone<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    let (foreign, fires) = connect(&*rig.spy.device(), &rig.peer);
    rig.peer.notify(fires).unwrap();
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
    assert_eq!(rig.context.stats().foreign, 1);
    rig.peer.notify(fires).unwrap();
    wire.wait();
    rig.expect_idle();
    rig.expect_writes(&[&[wire.port()]]);
    rig.spy.device().unbind(foreign).unwrap();
}
