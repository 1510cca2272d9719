//! Guests that are destroyed, power off or reboot. Their peers get no event.

use evtchn_core::{Cause, DomId, ErrorKind, EventChannel, Link, Port};
use evtchn_xen::Errno;

use super::rig::*;
use super::side::{Guest, Side};

/// The ports in dom0 of a domain that is gone: no event came, no call is refused, and no event comes later.
#[track_caller]
fn expect_dead<S: Side>(here: &DeviceOf<S>, ports: &[Port], domid: DomId) {
    expect_quiet(here);
    for &port in ports {
        for _ in 0..3 {
            here.notify(port).unwrap();
        }
        let answer = here.bind_interdomain(of(domid, port));
        expect_refused::<S, _>(answer, Errno::SRCH, ErrorKind::NoSuchDomain);
        here.unmask(&[port]).unwrap();
    }
    expect_quiet(here);
    for &port in ports {
        here.unbind(port).unwrap();
        // The number is free again, and the lowest is given. Programs of dom0 gave some up too.
        assert!(here.bind_unbound_port(DomId::SELF).unwrap() <= port);
    }
}

pub(crate) fn a_destroyed_guest_sends_its_channels_no_event<S: Side>(side: &S) {
    let (guest, here, rig) = (side.own_guest(), open(side), Rig::new(side));
    let (there, domid) = (guest.open(), guest.domid());
    // One port that dom0 bound to, one that the guest bound to, one without a peer, and a context that waits.
    let offered = there.bind_unbound_port(DomId::DOM0).unwrap();
    let bound = here.bind_interdomain(of(domid, offered)).unwrap();
    expect_event(&here, bound);
    let (near, _) = connect(&here, &guest, &there);
    let unbound = here.bind_unbound_port(domid).unwrap();
    let mut channel = rig.offer(&guest);
    let _far = there.bind_interdomain(DomId::DOM0, channel.port()).unwrap();

    side.destroy(domid);
    expect_dead::<S>(&here, &[bound, near, unbound], domid);

    // The wait goes on, as with a peer that sends nothing.
    rig.expect_quiet();
    assert_eq!(rig.context.link(), Link::Watching);
    channel.notify().unwrap();
    channel.wait().unwrap();
    assert!(channel.cancel().unwrap());
    assert_eq!(rig.context.link(), Link::Idle);
    channel.unbind().unwrap();
    rig.context.teardown().unwrap();
}

pub(crate) fn events_sent_before_a_guest_was_destroyed_still_come<S: Side>(side: &S) {
    let (guest, here, rig) = (side.own_guest(), open(side), Rig::new(side));
    let there = guest.open();
    let (near, far) = connect(&here, &guest, &there);
    let channel = rig.offer(&guest);
    let sender = there.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    there.notify(far, 1);
    expect_event(&here, near);
    // The port is masked now: this notify stays pending in Xen.
    there.notify(far, 1);
    there.notify(sender, 1);
    side.destroy(guest.domid());

    rig.turn(|wake| assert_eq!((wake.port(), wake.cause), (channel.port(), Cause::Event)));
    rig.expect_quiet();
    expect_quiet(&here);
    here.unmask(&[near]).unwrap();
    expect_event(&here, near);
    here.unmask(&[near]).unwrap();
    expect_quiet(&here);
}

pub(crate) fn a_new_guest_has_nothing_of_the_old_one<S: Side>(side: &S) {
    let (old, here) = (side.own_guest(), open(side));
    let there = old.open();
    let (near, far) = connect(&here, &old, &there);
    let unbound = here.bind_unbound_port(old.domid()).unwrap();
    side.destroy(old.domid());

    let new = side.guest();
    assert_ne!(new.domid(), old.domid());
    let there = new.open();
    // Ports that were for the old domain cannot be bound by the new one.
    for port in [near, unbound] {
        assert_eq!(there.bind_interdomain(DomId::DOM0, port), Err(Errno::INVAL));
    }
    let (again_near, again_far) = connect(&here, &new, &there);
    assert_eq!(again_far, far);
    here.notify(near).unwrap();
    assert!(there.read().is_empty());
    here.notify(again_near).unwrap();
    assert_eq!(there.read(), [again_far.as_raw()]);
    there.notify(again_far, 1);
    expect_event(&here, again_near);
    there.close();
    here.unbind(near).unwrap();
    here.unbind(unbound).unwrap();
}

pub(crate) fn a_guest_that_powers_off_leaves_the_same_as_a_destroyed_one<S: Side>(side: &S) {
    let (guest, here) = (side.own_guest(), open(side));
    let (there, domid) = (guest.open(), guest.domid());
    let (near, _) = connect(&here, &guest, &there);
    let unbound = here.bind_unbound_port(domid).unwrap();
    side.power_off(guest);
    expect_dead::<S>(&here, &[near, unbound], domid);
}

pub(crate) fn a_guest_that_reboots_is_another_domain<S: Side>(side: &S) {
    let (guest, here) = (side.own_guest(), open(side));
    let (there, domid) = (guest.open(), guest.domid());
    let (near, far) = connect(&here, &guest, &there);
    let guest = side.reboot(guest);
    assert_ne!(guest.domid(), domid);
    let there = guest.open();
    assert_eq!(there.bind_interdomain(DomId::DOM0, near), Err(Errno::INVAL));
    let (again_near, again_far) = connect(&here, &guest, &there);
    assert_eq!(again_far, far);
    there.notify(again_far, 1);
    expect_event(&here, again_near);
    there.close();
    here.unbind(again_near).unwrap();
    expect_dead::<S>(&here, &[near], domid);
}
