//! Refused calls and their errnos.

use evtchn_core::{DomId, ErrorKind, EventChannel, Port, RemotePort, Virq};
use rustix::io::Errno;

use super::platform::*;

/// A domain that does not exist.
const UNKNOWN_DOMAIN: DomId = DomId::new(1234);

pub(crate) fn a_bind_to_an_unknown_domain_is_esrch<P: Platform>(p: &P) {
    let device = p.open();
    for domid in [UNKNOWN_DOMAIN, DomId::new(0x7ff1), DomId::new(0xffff)] {
        let remote = RemotePort {
            domid,
            port: port(1),
        };
        let bound = device.bind_interdomain(remote);
        expect_refused::<P, _>(bound, Errno::SRCH, ErrorKind::NoSuchDomain);
    }
}

pub(crate) fn a_bind_to_an_unallocated_port_is_einval<P: Platform>(p: &P) {
    let device = p.open();
    let freed = device.bind_unbound_port(DomId::SELF).unwrap();
    device.unbind(freed).unwrap();
    for remote in [freed, port(131_071), Port::MAX] {
        let bound = device.bind_interdomain(local(remote));
        expect_refused::<P, _>(bound, Errno::INVAL, ErrorKind::Invalid);
    }
}

pub(crate) fn a_bind_to_a_connected_port_is_einval<P: Platform>(p: &P) {
    let device = p.open();
    let (near, far) = connect(&device, &device);
    for remote in [near, far] {
        let bound = device.bind_interdomain(local(remote));
        expect_refused::<P, _>(bound, Errno::INVAL, ErrorKind::Invalid);
    }
}

pub(crate) fn a_bind_to_a_port_meant_for_another_domain_is_einval<P: Platform>(p: &P) {
    let device = p.open();
    let Some(remote) = for_absent(p, &device, UNKNOWN_DOMAIN) else {
        return;
    };
    let bound = device.bind_interdomain(local(remote));
    expect_refused::<P, _>(bound, Errno::INVAL, ErrorKind::Invalid);
}

pub(crate) fn a_bind_to_a_virq_port_is_einval<P: Platform>(p: &P) {
    let device = p.open();
    let remote = device.bind_virq(Virq::TBUF).unwrap();
    let bound = device.bind_interdomain(local(remote));
    expect_refused::<P, _>(bound, Errno::INVAL, ErrorKind::Invalid);
}

pub(crate) fn a_failed_bind_takes_no_number<P: Platform>(p: &P) {
    let device = p.open();
    let next = device.bind_unbound_port(DomId::SELF).unwrap();
    device.unbind(next).unwrap();
    device.bind_interdomain(local(Port::MAX)).unwrap_err();
    for virq in p.kernel().virqs.value {
        device.bind_virq(*virq).unwrap_err();
    }
    assert_eq!(device.bind_unbound_port(DomId::SELF).unwrap(), next);
}

pub(crate) fn a_virq_of_the_kernel_is_eexist<P: Platform>(p: &P) {
    let device = p.open();
    for virq in p.kernel().virqs.value {
        let bound = device.bind_virq(*virq);
        expect_refused::<P, _>(bound, Errno::EXIST, ErrorKind::InUse);
    }
}

pub(crate) fn a_virq_that_is_bound_is_eexist_on_every_device<P: Platform>(p: &P) {
    let (device, other) = (p.open(), p.open());
    for virq in free_virqs(p) {
        device.bind_virq(virq).unwrap();
        for again in [&device, &other] {
            let bound = again.bind_virq(virq);
            expect_refused::<P, _>(bound, Errno::EXIST, ErrorKind::InUse);
        }
    }
}

pub(crate) fn a_virq_of_24_or_more_is_einval<P: Platform>(p: &P) {
    let device = p.open();
    device.bind_virq(Virq::new(23)).unwrap();
    for raw in [24, 25, 1 << 31, u32::MAX] {
        let bound = device.bind_virq(Virq::new(raw));
        expect_refused::<P, _>(bound, Errno::INVAL, ErrorKind::Invalid);
    }
}

pub(crate) fn a_foreign_port_is_enotconn<P: Platform>(p: &P) {
    let (device, other) = (p.open(), p.open());
    let (foreign, _) = connect(&device, &device);
    expect_refused::<P, _>(other.notify(foreign), Errno::NOTCONN, ErrorKind::NotBound);
    expect_refused::<P, _>(other.unbind(foreign), Errno::NOTCONN, ErrorKind::NotBound);
    device.notify(foreign).unwrap();
    device.unbind(foreign).unwrap();
}

pub(crate) fn an_unbound_port_is_enotconn<P: Platform>(p: &P) {
    let device = p.open();
    let port = device.bind_unbound_port(DomId::SELF).unwrap();
    device.unbind(port).unwrap();
    expect_refused::<P, _>(device.notify(port), Errno::NOTCONN, ErrorKind::NotBound);
    expect_refused::<P, _>(device.unbind(port), Errno::NOTCONN, ErrorKind::NotBound);
}

pub(crate) fn a_port_of_the_kernel_is_enotconn<P: Platform>(p: &P) {
    let device = p.open();
    // The kernel binds its own ports first.
    expect_refused::<P, _>(device.notify(port(1)), Errno::NOTCONN, ErrorKind::NotBound);
    expect_refused::<P, _>(device.unbind(port(1)), Errno::NOTCONN, ErrorKind::NotBound);
}

pub(crate) fn a_number_out_of_range_is_einval_to_unbind_and_enotconn_to_notify<P: Platform>(p: &P) {
    let device = p.open();
    for port in [port(131_072), Port::MAX] {
        expect_refused::<P, _>(device.unbind(port), Errno::INVAL, ErrorKind::Invalid);
        expect_refused::<P, _>(device.notify(port), Errno::NOTCONN, ErrorKind::NotBound);
    }
}

pub(crate) fn a_second_restrict_is_eacces<P: Platform>(p: &P) {
    let device = p.open();
    device.restrict(DomId::new(5)).unwrap();
    for raw in [5, 6, 0] {
        let again = device.restrict(DomId::new(raw));
        expect_refused::<P, _>(again, Errno::ACCESS, ErrorKind::NotPermitted);
    }
}

pub(crate) fn a_restrict_to_domain_0_or_a_reserved_id_is_einval<P: Platform>(p: &P) {
    let device = p.open();
    for domid in [DomId::DOM0, DomId::SELF, DomId::new(0xffff)] {
        let restricted = device.restrict(domid);
        expect_refused::<P, _>(restricted, Errno::INVAL, ErrorKind::Invalid);
    }
    device.bind_unbound_port(DomId::SELF).unwrap();
}

pub(crate) fn a_restricted_device_binds_to_its_domain_alone<P: Platform>(p: &P) {
    let (device, other) = (p.open(), p.open());
    let remote = other.bind_unbound_port(DomId::SELF).unwrap();
    device.restrict(UNKNOWN_DOMAIN).unwrap();

    let answers = [
        device.bind_unbound_port(UNKNOWN_DOMAIN),
        device.bind_virq(Virq::TBUF),
        device.bind_interdomain(local(remote)),
    ];
    for answer in answers {
        expect_refused::<P, _>(answer, Errno::ACCESS, ErrorKind::NotPermitted);
    }
    let its_domain = RemotePort {
        domid: UNKNOWN_DOMAIN,
        port: remote,
    };
    // Permitted by the restriction, so the next check refuses: there is no such domain.
    let bound = device.bind_interdomain(its_domain);
    expect_refused::<P, _>(bound, Errno::SRCH, ErrorKind::NoSuchDomain);
}

pub(crate) fn a_restricted_device_keeps_the_ports_it_has<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    near.restrict(UNKNOWN_DOMAIN).unwrap();
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    near.unmask(&[port]).unwrap();
    near.notify(port).unwrap();
    near.reset().unwrap();
    near.unbind(port).unwrap();
}
