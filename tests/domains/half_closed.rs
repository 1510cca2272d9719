//! If one of two domains unbinds, the other gets no event.

use evtchn_core::{DomId, EventChannel};

use super::rig::*;
use super::side::{Guest, Side};

pub(crate) fn an_unbind_in_the_guest_sends_no_event_and_it_can_bind_again<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let (near, mut far) = connect(&here, &guest, &there);
    for _ in 0..3 {
        there.unbind(far);
        expect_quiet(&here);
        here.notify(near).unwrap();
        far = there.bind_interdomain(DomId::DOM0, near).unwrap();
        assert_eq!(there.read(), [far.as_raw()]);
        expect_quiet(&here);
        there.unmask(far);
        assert!(there.read().is_empty());

        there.notify(far, 1);
        expect_event(&here, near);
        here.unmask(&[near]).unwrap();
        here.notify(near).unwrap();
        assert_eq!(there.read(), [far.as_raw()]);
        there.unmask(far);
    }
    there.close();
}

pub(crate) fn an_unbind_in_dom0_sends_no_event_and_it_can_bind_again<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let (near, far) = connect(&here, &guest, &there);
    here.unbind(near).unwrap();
    assert!(there.read().is_empty());
    there.notify(far, 1);
    let near = here.bind_interdomain(of(guest.domid(), far)).unwrap();
    expect_event(&here, near);
    assert!(there.read().is_empty());
    here.notify(near).unwrap();
    assert_eq!(there.read(), [far.as_raw()]);
    there.close();
}

pub(crate) fn a_program_in_the_guest_that_ends_closes_its_ports<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let (near, far) = connect(&here, &guest, &there);
    there.notify(far, 1);
    there.close();
    // An event sent before is not lost, and there is no other.
    expect_event(&here, near);
    here.unmask(&[near]).unwrap();
    expect_quiet(&here);
    here.notify(near).unwrap();

    let other = guest.open();
    let again = other.bind_interdomain(DomId::DOM0, near).unwrap();
    assert_eq!((again, other.read()), (far, vec![far.as_raw()]));
    expect_quiet(&here);
    other.close();
}
