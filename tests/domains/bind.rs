//! Which end of a bind between two domains has an event, and which notifies it stands for.

use evtchn_core::{DomId, EventChannel};

use super::rig::*;
use super::side::{Guest, Side};

pub(crate) fn a_bind_to_the_guest_has_an_event_at_once_and_the_guest_has_none<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let far = there.bind_unbound_port(DomId::DOM0).unwrap();
    let near = here.bind_interdomain(of(guest.domid(), far)).unwrap();
    expect_event(&here, near);
    assert!(there.read().is_empty());

    here.unmask(&[near]).unwrap();
    expect_quiet(&here);
    there.notify(far, 1);
    expect_event(&here, near);
    here.notify(near).unwrap();
    assert_eq!(there.read(), [far.as_raw()]);
    there.close();
}

pub(crate) fn a_bind_by_the_guest_has_an_event_at_once_and_dom0_has_none<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let near = here.bind_unbound_port(guest.domid()).unwrap();
    let far = there.bind_interdomain(DomId::DOM0, near).unwrap();
    assert_eq!(there.read(), [far.as_raw()]);
    expect_quiet(&here);

    there.unmask(far);
    assert!(there.read().is_empty());
    here.notify(near).unwrap();
    assert_eq!(there.read(), [far.as_raw()]);
    there.notify(far, 1);
    expect_event(&here, near);
    there.close();
}

pub(crate) fn notifies_before_the_bind_are_the_one_event_of_the_bind<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let far = there.bind_unbound_port(DomId::DOM0).unwrap();
    there.notify(far, 5);
    let near = here.bind_interdomain(of(guest.domid(), far)).unwrap();
    expect_event(&here, near);
    here.unmask(&[near]).unwrap();
    expect_quiet(&here);
    there.close();
}

/// The first notify is one event and the others are one more, unless all come before the first is
/// handled.
pub(crate) fn unread_notifies_are_one_event_or_two<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let (near, far) = connect(&here, &guest, &there);
    for _ in 0..10 {
        there.notify(far, 50);
        expect_event(&here, near);
        here.unmask(&[near]).unwrap();
        if read(&here) == [near.as_raw()] {
            here.unmask(&[near]).unwrap();
        }
        expect_quiet(&here);
    }
    for _ in 0..50 {
        here.notify(near).unwrap();
    }
    assert_eq!(there.read(), [far.as_raw()]);
    there.unmask(far);
    if there.read() == [far.as_raw()] {
        there.unmask(far);
    }
    assert!(there.read().is_empty());
    there.close();
}

pub(crate) fn the_first_port_of_a_program_in_the_guest_is_after_those_of_its_kernel<S: Side>(
    side: &S,
) {
    let guest = side.guest();
    let there = guest.open();
    let ports = [(); 3].map(|()| there.bind_unbound_port(DomId::DOM0).unwrap().as_raw());
    // Store, console, the timer, and four for the vCPU.
    assert_eq!(ports, [8, 9, 10]);
    there.close();
}
