//! Waits and cancels: when the device is registered, and what a wait finds.

use evtchn_core::{Cause, DomId, Error, EventChannel, Virq};

use super::platform::*;
use super::rig::{Rig, Wire};
use super::spy::Refused;

pub(crate) fn a_bind_registers_nothing<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let _wire: Wire<P> = rig.wire();
    let _virq = rig.context.bind_virq(Virq::TBUF).unwrap();
    rig.expect_hooks(0, 0);
    rig.expect_settled();
}

pub(crate) fn a_wait_registers_and_the_last_wake_deregisters<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    for turn in 1..4 {
        wire.wait();
        rig.expect_hooks(turn, turn - 1);
        rig.fire(&wire);
        rig.expect_wakes(&[&wire]);
        rig.expect_hooks(turn, turn);
    }
}

pub(crate) fn the_device_stays_registered_while_another_channel_waits<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [one, other] = rig.wires();
    one.wait();
    other.wait();
    rig.fire(&one);
    rig.expect_wakes(&[&one]);
    rig.expect_hooks(1, 0);
    rig.fire(&other);
    rig.expect_wakes(&[&other]);
    rig.expect_hooks(1, 1);
}

pub(crate) fn cancel_of_the_last_waiter_deregisters<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [one, other] = rig.wires();
    one.wait();
    other.wait();
    assert!(one.channel.cancel().unwrap());
    rig.expect_hooks(1, 0);
    assert!(other.channel.cancel().unwrap());
    rig.expect_hooks(1, 1);
    rig.expect_idle();
}

pub(crate) fn cancel_without_a_wait_changes_nothing<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [one, other] = rig.wires();
    assert!(!one.channel.cancel().unwrap());
    other.wait();
    assert!(!one.channel.cancel().unwrap());
    rig.expect_hooks(1, 0);
    rig.fire(&other);
    rig.expect_wakes(&[&other]);
}

pub(crate) fn a_refused_registration_leaves_no_wait<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    rig.spy.log().refuse_register = true;
    let refused = wire.channel.wait().unwrap_err();
    assert!(matches!(refused, Error::Register(error) if error.get_ref().is::<Refused>()));
    rig.fire(&wire);
    rig.expect_idle();
    rig.expect_hooks(0, 0);

    wire.wait();
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn a_refused_deregistration_leaves_the_wait<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    rig.spy.log().refuse_deregister = true;
    let refused = wire.channel.cancel().unwrap_err();
    assert!(matches!(refused, Error::Deregister(error) if error.get_ref().is::<Refused>()));
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
    rig.expect_hooks(1, 1);
}

pub(crate) fn waiting_twice_is_one_wait<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    wire.wait();
    rig.expect_hooks(1, 0);
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
    rig.expect_idle();
    rig.expect_hooks(1, 1);
    rig.expect_writes(&[]);
}

pub(crate) fn an_event_before_the_first_wait_wakes_it<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    rig.fire(&wire);
    rig.expect_idle();
    wire.wait();
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn an_event_read_without_a_wait_makes_the_next_wait_ready<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [waited, ignored] = rig.wires();
    waited.wait();
    rig.fire(&ignored);
    rig.fire(&waited);
    rig.expect_wakes(&[&waited]);

    rig.expect_latched(&ignored, Cause::Event);
    rig.expect_idle();
    // The loop watches the device for as long as the wake is queued.
    rig.expect_hooks(2, 2);
    // The latch holds one event, and the next wait unmasks the port.
    ignored.wait();
    rig.expect_writes(&[&[ignored.port()]]);
    rig.fire(&ignored);
    rig.expect_wakes(&[&ignored]);
}

pub(crate) fn a_port_without_a_wait_wakes_the_loop_once<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [waited, storm] = rig.wires();
    waited.wait();
    rig.fire(&storm);
    assert_eq!(rig.turn(), []);
    for _ in 0..1000 {
        rig.peer.notify(storm.peer).unwrap();
    }
    rig.expect_idle();
    assert_eq!(rig.context.stats().latched, 1);
}

pub(crate) fn an_interdomain_channel_has_a_wake_at_once<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let remote = rig.peer.bind_unbound_port(DomId::SELF).unwrap();
    let channel = rig.context.bind_interdomain(local(remote)).unwrap();
    channel.wait().unwrap();
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);

    channel.wait().unwrap();
    rig.expect_idle();
    channel.notify().unwrap();
    expect_events(p, &rig.peer, &[remote]);
}

pub(crate) fn unbound_and_virq_channels_have_no_wake<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let unbound = rig.context.bind_unbound_port(DomId::SELF).unwrap();
    let virq = rig.context.bind_virq(Virq::TBUF).unwrap();
    for channel in [unbound, virq] {
        channel.wait().unwrap();
        rig.expect_idle();
    }
}

pub(crate) fn a_cancelled_wait_brings_no_wake_and_loses_no_event<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [cancelled, waited] = rig.wires();
    cancelled.wait();
    waited.wait();
    cancelled.channel.cancel().unwrap();
    rig.fire(&cancelled);
    rig.fire(&waited);
    rig.expect_wakes(&[&waited]);
    rig.expect_latched(&cancelled, Cause::Event);
}

pub(crate) fn a_wait_outside_a_round_unmasks_a_port_that_was_read<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
    rig.expect_writes(&[]);
    // Pending in Xen until the port is written.
    rig.fire_masked(&wire);
    wire.wait();
    rig.expect_writes(&[&[wire.port()]]);
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn a_cancelled_port_that_was_not_read_is_not_unmasked<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    for _ in 0..3 {
        wire.wait();
        wire.channel.cancel().unwrap();
    }
    wire.wait();
    rig.expect_writes(&[]);
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn a_notifier_wakes_the_peer_from_another_thread<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    expect_events(p, &rig.peer, &[wire.peer]);
    rig.peer.unmask(&[wire.peer]).unwrap();
    let notifier = wire.channel.notifier();
    std::thread::spawn(move || notifier.notify().unwrap())
        .join()
        .unwrap();
    expect_events(p, &rig.peer, &[wire.peer]);
}

pub(crate) fn a_peer_that_closes_wakes_no_channel_and_can_bind_again<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let mut wire = rig.wire();
    wire.wait();
    rig.peer.unbind(wire.peer).unwrap();
    rig.expect_idle();
    wire.channel.notify().unwrap();
    wire.peer = rig.peer.bind_interdomain(local(wire.port())).unwrap();
    rig.expect_idle();
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
}
