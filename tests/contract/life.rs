//! The life of a context and its channels: open, unbind, rebind, teardown, drop.

use std::time::Duration;

use evtchn_core::{Cause, DomId, Error, EventChannel, Link, Port, Virq};
use rustix::io::Errno;

use super::platform::*;
use super::rig::{Rig, Wire};

pub(crate) fn nothing_is_opened_before_the_first_bind<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    rig.expect_idle();
    rig.context.teardown().unwrap();
    assert_eq!(rig.spy.log().opens, 0);
    let _wires: [Wire<P>; 3] = rig.wires();
    assert_eq!((rig.spy.log().opens, rig.context.link()), (1, Link::Idle));
}

pub(crate) fn a_failed_first_bind_closes_the_device_again<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    for failed in 1..3 {
        let error = rig.context.bind_interdomain(local(Port::MAX)).unwrap_err();
        assert!(matches!(error, Error::Device(e) if P::errno(&e) == Errno::INVAL));
        assert_eq!(rig.spy.opens_and_closes(), (failed, failed));
        assert_eq!(rig.context.link(), Link::Closed);
    }
    let _wire: Wire<P> = rig.wire();
    rig.expect_settled();
}

pub(crate) fn a_failed_later_bind_changes_nothing<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    rig.context.bind_interdomain(local(Port::MAX)).unwrap_err();
    rig.context.bind_virq(Virq::new(24)).unwrap_err();
    assert_eq!(rig.spy.opens_and_closes(), (1, 0));
    rig.expect_hooks(1, 0);
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn unbind_while_waiting_deregisters<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [mut one, other] = rig.wires();
    one.wait();
    other.wait();
    one.channel.unbind().unwrap();
    rig.expect_hooks(1, 0);
    drop(other);
    rig.expect_hooks(1, 1);
    rig.expect_idle();
}

pub(crate) fn an_unbound_channel_gives_its_number_back<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let Wire { mut channel, .. } = rig.wire();
    let (id, port) = (channel.id(), channel.port());
    channel.unbind().unwrap();
    assert_eq!(rig.peer.bind_unbound_port(DomId::SELF).unwrap(), port);
    let error = rig.context.wait(id).unwrap_err();
    assert!(matches!(error, Error::NotBound(stale) if stale == id));
}

pub(crate) fn a_stale_id_is_not_bound_though_its_number_is<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let Wire { channel, .. } = rig.wire();
    let stale = channel.id();
    drop(channel);
    let wire = rig.wire();
    assert_eq!(wire.port(), stale.port());
    assert!(matches!(rig.context.wait(stale), Err(Error::NotBound(_))));
    wire.wait();
    rig.context.cancel(stale).unwrap_err();
    rig.expect_hooks(1, 0);
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn a_number_bound_again_does_not_see_the_stale_event<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let old = rig.wire();
    rig.fire(&old);
    let number = old.port();
    drop(old);
    let new = rig.wire();
    assert_eq!(new.port(), number);
    new.wait();
    rig.expect_idle();
    assert_eq!(rig.context.stats().foreign, 1);
    rig.fire(&new);
    rig.expect_wakes(&[&new]);
}

pub(crate) fn events_of_other_ports_survive_a_rebind<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [old, waiting, ignored] = rig.wires();
    waiting.wait();
    rig.fire(&old);
    rig.fire(&waiting);
    rig.fire(&ignored);
    drop(old);
    let new = rig.wire();
    new.wait();
    // The bind read the event, so the device has nothing more and the loop must not sleep.
    assert_eq!(p.poll(&rig.spy.device()), OUT);
    assert_eq!(rig.context.next_timeout(), Some(Duration::ZERO));
    assert!(rig.spy.log().wakes > 0);

    rig.expect_wakes(&[&waiting]);
    rig.expect_latched(&ignored, Cause::Event);
    rig.expect_idle();
}

pub(crate) fn cancel_of_a_queued_wake_keeps_it_for_the_next_wait<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [old, waiting] = rig.wires();
    waiting.wait();
    rig.fire(&waiting);
    drop(old);
    let _new: Wire<P> = rig.wire();
    waiting.channel.cancel().unwrap();
    rig.expect_idle();
    rig.expect_hooks(1, 1);
    rig.expect_latched(&waiting, Cause::Event);
}

pub(crate) fn unbind_of_a_channel_drops_its_queued_wake<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [old, waiting] = rig.wires();
    waiting.wait();
    rig.fire(&waiting);
    drop(old);
    let _new: Wire<P> = rig.wire();
    drop(waiting);
    rig.expect_idle();
    rig.expect_hooks(1, 1);
}

pub(crate) fn a_notifier_of_an_unbound_channel_is_not_bound<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    let notifier = wire.channel.notifier();
    notifier.notify().unwrap();
    drop(wire);
    // It does not notify the next owner of the number.
    let next = rig.wire();
    assert_eq!(next.port(), notifier.id().port());
    assert!(matches!(notifier.notify(), Err(Error::NotBound(_))));
}

pub(crate) fn teardown_with_leftovers_lists_them_and_changes_nothing<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [waiting, idle, gone] = rig.wires();
    waiting.wait();
    let notifier = gone.channel.notifier();
    drop(gone);
    let error = rig.context.teardown().unwrap_err();
    let Error::StillInUse(leftover) = error else {
        panic!("{error}");
    };
    assert_eq!(leftover.channels, [waiting.port(), idle.port()]);
    assert_eq!(leftover.waiting, [waiting.port()]);
    assert_eq!(leftover.held, 1);

    rig.expect_hooks(1, 0);
    rig.fire(&waiting);
    rig.expect_wakes(&[&waiting]);
    idle.channel.notify().unwrap();
    drop((waiting, idle));
    rig.context.teardown().unwrap_err();
    drop(notifier);
    rig.context.teardown().unwrap();
    rig.expect_settled();
}

pub(crate) fn teardown_closes_and_the_next_bind_opens_again<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    for life in 1..4 {
        let wire = rig.wire();
        wire.wait();
        rig.fire(&wire);
        rig.expect_wakes(&[&wire]);
        let id = wire.channel.id();
        drop(wire);
        rig.context.teardown().unwrap();
        assert_eq!(rig.spy.opens_and_closes(), (life, life));
        assert_eq!(rig.context.link(), Link::Closed);
        rig.expect_idle();
        rig.context.wait(id).unwrap_err();
    }
}

pub(crate) fn a_dropped_context_leaves_its_channels_to_their_owners<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    rig.fire(&wire);
    let Rig {
        spy, context, peer, ..
    } = rig;
    drop(context);
    assert!(!spy.is_registered());
    assert!(spy.is_open());

    expect_events(p, &peer, &[wire.peer]);
    peer.unmask(&[wire.peer]).unwrap();
    wire.channel.notify().unwrap();
    expect_events(p, &peer, &[wire.peer]);
    wire.channel.wait().unwrap_err();
    let port = wire.port();
    drop(wire);
    assert!(!spy.is_open());
    assert_eq!(peer.bind_unbound_port(DomId::SELF).unwrap(), port);
}

pub(crate) fn a_restriction_before_the_open_is_set_at_the_open<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    rig.context.restrict(DomId::new(5)).unwrap();
    assert_eq!(rig.spy.log().opens, 0);
    for _ in 0..2 {
        let error = rig.context.bind_unbound_port(DomId::SELF).unwrap_err();
        assert!(matches!(error, Error::Device(e) if P::errno(&e) == Errno::ACCESS));
        assert!(!rig.spy.is_open());
    }
    let again = rig.context.restrict(DomId::new(5)).unwrap_err();
    assert!(matches!(again, Error::Restricted(_)));
}

pub(crate) fn a_restriction_that_no_device_takes_is_refused_before_the_open<P: Platform>(p: &P) {
    let device = p.open();
    let rig = Rig::new(p);
    for domid in [DomId::DOM0, DomId::FIRST_RESERVED, DomId::new(u16::MAX)] {
        let refused = device.restrict(domid).unwrap_err();
        assert_eq!(P::errno(&refused), Errno::INVAL);
        let refused = rig.context.restrict(domid).unwrap_err();
        assert!(matches!(refused, Error::NoTarget(it) if it == domid));
    }
    let wire = rig.wire();
    rig.fire(&wire);
}

pub(crate) fn a_restriction_after_the_open_leaves_the_channels<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    let refused = rig.context.restrict(DomId::DOM0).unwrap_err();
    assert!(matches!(refused, Error::Device(e) if P::errno(&e) == Errno::INVAL));
    rig.context.restrict(DomId::new(5)).unwrap();
    let error = rig.context.bind_virq(Virq::TBUF).unwrap_err();
    assert!(matches!(error, Error::Device(e) if P::errno(&e) == Errno::ACCESS));
    wire.wait();
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
}
