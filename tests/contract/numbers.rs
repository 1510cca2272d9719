//! Port numbers and virtual interrupts belong to the whole domain.

use evtchn_core::{DomId, ErrorKind, EventChannel, Port, Virq};
use rustix::io::Errno;

use super::platform::*;

pub(crate) fn port_numbers_are_shared_by_all_devices<P: Platform>(p: &P) {
    let (one, two) = (p.open(), p.open());
    let bind = |device: &P::Device| device.bind_unbound_port(DomId::SELF).unwrap();
    let ports = [bind(&one), bind(&two), bind(&one), bind(&two)];
    assert!(ports.is_sorted_by(|a, b| a < b), "{ports:?}");
    one.unbind(ports[0]).unwrap();
    assert_eq!(bind(&two), ports[0]);
    expect_refused::<P, _>(one.notify(ports[0]), Errno::NOTCONN, ErrorKind::NotBound);
}

pub(crate) fn the_kernel_holds_its_virqs_and_leaves_the_others<P: Platform>(p: &P) {
    let device = p.open();
    let held = (0..24).map(Virq::new).filter(|&virq| {
        let bound = device.bind_virq(virq);
        bound.is_err_and(|error| P::errno(&error) == Errno::EXIST)
    });
    let held: Vec<Virq> = held.collect();
    let mut its = p.kernel().virqs.value.to_vec();
    its.sort_unstable();
    assert_eq!(held, its);
}

pub(crate) fn an_undefined_virq_can_be_bound<P: Platform>(p: &P) {
    let device = p.open();
    for raw in [5, 14, 15, 17, 18, 19, 20, 21, 22, 23] {
        device.bind_virq(Virq::new(raw)).unwrap();
    }
    expect_quiet(p, &device);
}

pub(crate) fn one_peer_may_be_bound_to_many_times<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 3);
    far.notify(wires[1].1).unwrap();
    expect_events(p, &near, &[wires[1].0]);
}

pub(crate) fn a_second_bind_to_one_port_leaves_the_first_connection<P: Platform>(p: &P) {
    let (near, far, other) = (p.open(), p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let second = other.bind_interdomain(local(port));
    expect_refused::<P, _>(second, Errno::INVAL, ErrorKind::Invalid);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    expect_quiet(p, &other);
}

pub(crate) fn the_largest_domid_can_be_restricted_to<P: Platform>(p: &P) {
    let device = p.open();
    device.restrict(DomId::new(0x7fef)).unwrap();
    let bound = device.bind_virq(Virq::TBUF);
    expect_refused::<P, _>(bound, Errno::ACCESS, ErrorKind::NotPermitted);
}

pub(crate) fn a_refused_restriction_leaves_the_device_free<P: Platform>(p: &P) {
    let device = p.open();
    for domid in [DomId::DOM0, DomId::new(0x7ff1), DomId::SELF] {
        device.restrict(domid).unwrap_err();
    }
    device.bind_virq(Virq::TBUF).unwrap();
    device.restrict(DomId::new(1)).unwrap();
}

pub(crate) fn a_refused_unbind_leaves_the_port<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let refused = far.unbind(port);
    expect_refused::<P, _>(refused, Errno::NOTCONN, ErrorKind::NotBound);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
}

pub(crate) fn notifies_while_half_closed_are_the_one_event_of_the_next_bind<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    expect_events(p, &far, &[peer]);
    far.unbind(peer).unwrap();
    for _ in 0..3 {
        near.notify(port).unwrap();
    }
    let again = far.bind_interdomain(local(port)).unwrap();
    expect_events(p, &far, &[again]);
    far.unmask(&[again]).unwrap();
    expect_quiet(p, &far);
}

pub(crate) fn a_half_closed_port_can_be_unmasked<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    far.unbind(peer).unwrap();
    assert_eq!(near.unmask(&[port]).unwrap(), 1);
    expect_quiet(p, &near);
    let again = far.bind_interdomain(local(port)).unwrap();
    far.notify(again).unwrap();
    expect_events(p, &near, &[port]);
}

pub(crate) fn a_loopback_notify_reaches_only_the_other_end<P: Platform>(p: &P) {
    let device = p.open();
    let (near, far) = connect(&device, &device);
    expect_events(p, &device, &[far]);
    device.unmask(&[far]).unwrap();
    device.notify(near).unwrap();
    expect_events(p, &device, &[far]);
    let both: [Port; 2] = [near, far];
    assert_eq!(device.unmask(&both).unwrap(), 2);
    expect_quiet(p, &device);
}
