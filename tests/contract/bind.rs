//! What a bind gives, and what unbind and close give back.

use evtchn_core::{DomId, ErrorKind, EventChannel, RemotePort, Virq};
use rustix::io::Errno;

use super::platform::*;

pub(crate) fn an_unbound_port_has_no_event<P: Platform>(p: &P) {
    let device = p.open();
    device.bind_unbound_port(DomId::SELF).unwrap();
    expect_quiet(p, &device);
}

pub(crate) fn an_interdomain_port_has_one_event_at_once<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (_, port) = connect(&near, &far);
    expect_events(p, &far, &[port]);
    expect_quiet(p, &far);
    expect_quiet(p, &near);
}

pub(crate) fn a_virq_port_has_no_event<P: Platform>(p: &P) {
    let device = p.open();
    for virq in free_virqs(p) {
        device.bind_virq(virq).unwrap();
    }
    expect_quiet(p, &device);
}

pub(crate) fn a_static_bind_is_unsupported_before_linux_6_6<P: Platform>(p: &P) {
    let device = p.open();
    let bound = device.bind_static(port(100));
    expect_refused::<P, _>(bound, Errno::NOSYS, ErrorKind::Unsupported);
}

pub(crate) fn self_and_the_own_domid_name_the_same_domain<P: Platform>(p: &P) {
    let device = p.open();
    for (owner, binder) in [(DomId::SELF, p.domid()), (p.domid(), DomId::SELF)] {
        let port = device.bind_unbound_port(owner).unwrap();
        let remote = RemotePort {
            domid: binder,
            port,
        };
        device.bind_interdomain(remote).unwrap();
    }
}

pub(crate) fn a_port_may_wait_for_a_domain_that_does_not_exist_unless_xen_has_silo<P: Platform>(
    p: &P,
) {
    let device = p.open();
    for domid in [1234, 0x7ff1, 0x8000, 0xffff] {
        for_absent(p, &device, DomId::new(domid));
    }
}

pub(crate) fn both_ends_may_be_on_one_device<P: Platform>(p: &P) {
    let device = p.open();
    let (near, far) = connect(&device, &device);
    expect_events(p, &device, &[far]);
    device.notify(far).unwrap();
    expect_events(p, &device, &[near]);
}

pub(crate) fn the_lowest_free_number_is_bound_first<P: Platform>(p: &P) {
    let device = p.open();
    let bind = || device.bind_unbound_port(DomId::SELF).unwrap();
    let ports = [bind(), bind(), bind(), bind()];
    assert!(ports.is_sorted());
    for port in [ports[3], ports[0], ports[2]] {
        device.unbind(port).unwrap();
    }
    assert_eq!([bind(), bind(), bind()], [ports[0], ports[2], ports[3]]);
}

pub(crate) fn every_kind_of_bind_reuses_the_number_that_was_unbound_last<P: Platform>(p: &P) {
    let (device, other) = (p.open(), p.open());
    let first = device.bind_unbound_port(DomId::SELF).unwrap();
    let remote = other.bind_unbound_port(DomId::SELF).unwrap();

    device.unbind(first).unwrap();
    let second = device.bind_virq(Virq::TBUF).unwrap();
    device.unbind(second).unwrap();
    let third = device.bind_interdomain(local(remote)).unwrap();
    device.unbind(third).unwrap();
    let fourth = other.bind_unbound_port(DomId::SELF).unwrap();
    assert_eq!([second, third, fourth], [first; 3]);
}

pub(crate) fn a_virq_is_free_again_after_unbind<P: Platform>(p: &P) {
    let (device, other) = (p.open(), p.open());
    for virq in free_virqs(p) {
        let port = device.bind_virq(virq).unwrap();
        device.unbind(port).unwrap();
        other.bind_virq(virq).unwrap();
    }
}

pub(crate) fn closing_a_device_unbinds_its_ports<P: Platform>(p: &P) {
    let (device, other) = (p.open(), p.open());
    let (near, far) = connect(&device, &other);
    let virq = device.bind_virq(Virq::TBUF).unwrap();
    drop(device);

    assert_eq!(other.bind_unbound_port(DomId::SELF).unwrap(), near);
    assert_eq!(other.bind_virq(Virq::TBUF).unwrap(), virq);
    // The peer waits for a new partner.
    other.bind_interdomain(local(far)).unwrap();
}
