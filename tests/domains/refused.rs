//! Calls that are refused between two domains, and their errnos.

use evtchn_core::{DomId, Error, ErrorKind, EventChannel, Port, Virq};
use evtchn_xen::Errno;

use super::backend::Backend;
use super::rig::*;
use super::side::{Guest, Side};

/// A domain that never exists here.
const UNKNOWN_DOMAIN: DomId = DomId::new(1234);

pub(crate) fn a_bind_to_a_port_that_the_guest_did_not_allocate_is_einval<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    // Free, a port of the toolstack's that its kernel holds, never valid, and no port of Xen's.
    for raw in [60, 1, 900, 200_000, Port::MAX.as_raw()] {
        let answer = here.bind_interdomain(of(guest.domid(), port(raw)));
        expect_refused::<S, _>(answer, Errno::INVAL, ErrorKind::Invalid);
        let answer = there.bind_interdomain(DomId::DOM0, port(raw));
        assert_eq!(answer, Err(Errno::INVAL), "{raw}");
    }
    there.close();
}

pub(crate) fn a_bind_to_a_port_meant_for_another_domain_is_einval<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    for remote in [UNKNOWN_DOMAIN, DomId::SELF, guest.domid()] {
        let far = there.bind_unbound_port(remote).unwrap();
        let answer = here.bind_interdomain(of(guest.domid(), far));
        expect_refused::<S, _>(answer, Errno::INVAL, ErrorKind::Invalid);
    }
    for remote in [UNKNOWN_DOMAIN, DomId::SELF, DomId::DOM0] {
        let near = here.bind_unbound_port(remote).unwrap();
        let answer = there.bind_interdomain(DomId::DOM0, near);
        assert_eq!(answer, Err(Errno::INVAL), "{remote}");
    }
    there.close();
}

pub(crate) fn a_bind_to_a_bound_port_is_einval_from_either_side<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let far = there.bind_unbound_port(DomId::DOM0).unwrap();
    let near = here.bind_interdomain(of(guest.domid(), far)).unwrap();
    let again = here.bind_interdomain(of(guest.domid(), far));
    expect_refused::<S, _>(again, Errno::INVAL, ErrorKind::Invalid);
    assert_eq!(there.bind_interdomain(DomId::DOM0, near), Err(Errno::INVAL));
    // The first connection is unchanged.
    expect_event(&here, near);
    here.notify(near).unwrap();
    assert_eq!(there.read(), [far.as_raw()]);
    there.close();
}

pub(crate) fn a_bind_to_an_unknown_domain_is_esrch_and_a_port_for_it_can_be_allocated<S: Side>(
    side: &S,
) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let answer = here.bind_interdomain(of(UNKNOWN_DOMAIN, port(1)));
    expect_refused::<S, _>(answer, Errno::SRCH, ErrorKind::NoSuchDomain);
    assert_eq!(
        there.bind_interdomain(UNKNOWN_DOMAIN, port(1)),
        Err(Errno::SRCH)
    );
    let near = here.bind_unbound_port(UNKNOWN_DOMAIN).unwrap();
    here.notify(near).unwrap();
    let far = there.bind_unbound_port(UNKNOWN_DOMAIN).unwrap();
    there.notify(far, 1);
    expect_quiet(&here);
    assert!(there.read().is_empty());
    there.close();
}

pub(crate) fn a_refused_bind_takes_no_number_in_either_domain<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let (near, far) = connect(&here, &guest, &there);
    for _ in 0..3 {
        here.bind_interdomain(of(guest.domid(), far)).unwrap_err();
        there.bind_interdomain(DomId::DOM0, near).unwrap_err();
    }
    let (next_near, next_far) = connect(&here, &guest, &there);
    assert_eq!(next_near.as_raw(), near.as_raw() + 1);
    assert_eq!(next_far.as_raw(), far.as_raw() + 1);
    there.close();
}

/// Xen 4.17. A successful bind does not mean that the interrupt ever fires.
pub(crate) fn a_guest_binds_any_virq_but_those_of_its_kernel_and_none_of_dom0_fires_there<
    S: Side,
>(
    side: &S,
) {
    let guest = side.guest();
    let there = guest.open();
    let answers = (0..25).map(|raw| (raw, there.bind_virq(Virq::new(raw)).map(drop)));
    let refused: Vec<_> = answers.filter(|(_, answer)| answer.is_err()).collect();
    assert_eq!(refused, [(0, Err(Errno::EXIST)), (24, Err(Errno::INVAL))]);
    // Domains are created and destroyed, of which only dom0 gets an event.
    let empty = side.create_empty();
    side.destroy(empty);
    assert!(there.read().is_empty());
    there.close();
}

pub(crate) fn a_device_restricted_to_the_guest_binds_to_it_alone<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let far = there.bind_unbound_port(DomId::DOM0).unwrap();
    let before = here.bind_unbound_port(DomId::SELF).unwrap();
    here.restrict(guest.domid()).unwrap();

    let near = here.bind_interdomain(of(guest.domid(), far)).unwrap();
    expect_event(&here, near);
    here.notify(near).unwrap();
    assert_eq!(there.read(), [far.as_raw()]);

    let refused = [
        here.bind_interdomain(of(DomId::SELF, before)),
        here.bind_interdomain(of(DomId::DOM0, before)),
        here.bind_interdomain(of(UNKNOWN_DOMAIN, far)),
        here.bind_unbound_port(guest.domid()),
        here.bind_unbound_port(DomId::SELF),
        here.bind_virq(Virq::TBUF),
    ];
    for answer in refused {
        expect_refused::<S, _>(answer, Errno::ACCESS, ErrorKind::NotPermitted);
    }
    let gone = here.bind_interdomain(of(guest.domid(), far));
    expect_refused::<S, _>(gone, Errno::INVAL, ErrorKind::Invalid);
    there.close();
}

pub(crate) fn a_context_restricted_first_binds_to_the_guest_alone<S: Side>(side: &S) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let far = there.bind_unbound_port(DomId::DOM0).unwrap();
    rig.context.restrict(guest.domid()).unwrap();
    let error = rig.context.bind_unbound_port(guest.domid()).unwrap_err();
    assert!(matches!(error, Error::Device(e) if S::Open::errno(&e) == Errno::ACCESS));
    let error = rig.context.bind_virq(Virq::TBUF).unwrap_err();
    assert!(matches!(error, Error::Device(e) if S::Open::errno(&e) == Errno::ACCESS));

    let channel = rig
        .context
        .bind_interdomain(of(guest.domid(), far))
        .unwrap();
    channel.wait().unwrap();
    let mut wakes = 0;
    rig.turn(|_| wakes += 1);
    assert_eq!(wakes, 1);
    channel.wait().unwrap();
    there.notify(far, 1);
    rig.turn(|wake| assert_eq!(wake.port(), channel.port()));
    channel.notify().unwrap();
    assert_eq!(there.read(), [far.as_raw()]);
    there.close();
}

/// Domain 0 cannot be restricted to, so a restricted device in a guest never binds to it.
pub(crate) fn a_restricted_device_in_the_guest_binds_to_dom0_never<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let near = here.bind_unbound_port(guest.domid()).unwrap();
    assert_eq!(there.restrict(DomId::DOM0), Err(Errno::INVAL));
    there.restrict(guest.domid()).unwrap();
    assert_eq!(
        there.bind_interdomain(DomId::DOM0, near),
        Err(Errno::ACCESS)
    );
    assert_eq!(there.bind_unbound_port(DomId::DOM0), Err(Errno::ACCESS));
    there.close();
}
