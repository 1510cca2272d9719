//! Domains that do not run.

use evtchn_core::{ErrorKind, EventChannel};
use evtchn_xen::Errno;

use super::rig::*;
use super::side::{Guest, Side};

pub(crate) fn notifies_to_a_paused_guest_are_one_event_when_it_runs_again<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let (near, far) = connect(&here, &guest, &there);
    side.pause(guest.domid());
    for _ in 0..20 {
        here.notify(near).unwrap();
    }
    // Its ports can be bound to meanwhile.
    side.unpause(guest.domid());
    assert_eq!(there.read(), [far.as_raw()]);
    there.unmask(far);
    assert!(there.read().is_empty());
    there.close();
}

pub(crate) fn an_empty_domain_is_there_until_it_is_destroyed<S: Side>(side: &S) {
    let here = open(side);
    let empty = side.create_empty();
    let near = here.bind_unbound_port(empty).unwrap();
    // Free, and never valid: nothing but the domain itself or the toolstack allocates in it.
    for raw in [60, 900] {
        let answer = here.bind_interdomain(of(empty, port(raw)));
        expect_refused::<S, _>(answer, Errno::INVAL, ErrorKind::Invalid);
    }
    side.destroy(empty);
    for raw in [60, 900] {
        let answer = here.bind_interdomain(of(empty, port(raw)));
        expect_refused::<S, _>(answer, Errno::SRCH, ErrorKind::NoSuchDomain);
    }
    here.notify(near).unwrap();
    expect_quiet(&here);
    here.unbind(near).unwrap();
    // A port for a domain that is gone is given like one for a domain that never was.
    here.bind_unbound_port(empty).unwrap();
}
