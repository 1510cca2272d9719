//! Facts of xen/common/event_channel.c, by name.

mod domains;
mod operations;
mod policy;
mod virqs;

use evtchn_core::DomId;

use super::*;

const DOM0: DomId = DomId::DOM0;
const DOM1: DomId = DomId::new(1);
const DOM2: DomId = DomId::new(2);
/// Names no domain in any test.
const UNKNOWN: DomId = DomId::new(1234);

fn machine(version: XenVersion) -> Hypervisor {
    let mut xen = Hypervisor::new(version, Policy::Dummy);
    xen.create(DOM0, &DomainConfig::dom0()).unwrap();
    xen.create(DOM1, &DomainConfig::guest()).unwrap();
    xen.create(DOM2, &DomainConfig::guest()).unwrap();
    xen
}

fn xen() -> Hypervisor {
    machine(XenVersion(4, 17))
}

/// Connects a new port of DOM0 (first) with a new one of DOM1.
fn connected(xen: &mut Hypervisor) -> (u32, u32) {
    let theirs = xen.alloc_unbound(DOM1, DomId::SELF, DOM0).unwrap();
    let ours = xen.bind_interdomain(DOM0, DOM1, theirs).unwrap();
    (ours, theirs)
}

fn state(xen: &Hypervisor, domid: DomId, port: u32) -> State {
    xen.status(domid, DomId::SELF, port).unwrap().state
}

fn pending(xen: &Hypervisor, domid: DomId, port: u32) -> bool {
    xen.status(domid, DomId::SELF, port).unwrap().pending
}

/// Everything that became deliverable, as (domain, port), taken and handled.
fn handled(xen: &mut Hypervisor) -> Vec<(u16, u32)> {
    let mut all = Vec::new();
    while let Some(upcall) = xen.take_upcall(0) {
        if xen.handle(upcall) {
            all.push((upcall.domid.as_raw(), upcall.port));
        }
    }
    all
}

#[test]
fn the_first_port_of_a_fresh_domain_is_1_and_the_lowest_free_follows() {
    let mut xen = xen();
    let mut alloc = || xen.alloc_unbound(DOM1, DomId::SELF, DOM0).unwrap();
    assert_eq!([alloc(), alloc(), alloc()], [1, 2, 3]);
    xen.close(DOM1, 2).unwrap();
    xen.close(DOM1, 1).unwrap();
    let mut alloc = || xen.alloc_unbound(DOM1, DomId::SELF, DOM0).unwrap();
    assert_eq!([alloc(), alloc(), alloc()], [1, 2, 4]);
}

#[test]
fn the_highest_permitted_port_is_inclusive_and_0_permits_none() {
    let mut xen = xen();
    for (domid, max_port) in [(10, 3), (11, 0)] {
        let mut config = DomainConfig::guest();
        config.max_port = max_port;
        xen.create(DomId::new(domid), &config).unwrap();
    }
    let mut alloc = |domid| xen.alloc_unbound(DomId::new(domid), DomId::SELF, DOM0);
    assert_eq!([alloc(10), alloc(10), alloc(10)], [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(alloc(10), Err(Errno::ENOSPC));
    assert_eq!(alloc(11), Err(Errno::ENOSPC));
}

#[test]
fn the_abi_limits_a_domain_without_other_limit() {
    for (config, highest) in [
        (DomainConfig::dom0(), 131_071),
        (DomainConfig::dom0_two_level(), 4095),
    ] {
        let mut xen = Hypervisor::new(XenVersion(4, 17), Policy::Dummy);
        xen.create(DOM0, &config).unwrap();
        let alloc = || xen.alloc_unbound(DOM0, DomId::SELF, DOM1).ok();
        let all: Vec<u32> = std::iter::from_fn(alloc).collect();
        assert_eq!(all.last(), Some(&highest));
        assert_eq!(all.len(), highest as usize);
        let one_more = xen.alloc_unbound(DOM0, DomId::SELF, DOM1);
        assert_eq!(one_more, Err(Errno::ENOSPC));
    }
}

#[test]
fn alloc_unbound_stores_any_remote_domain_unchecked() {
    let mut xen = xen();
    for raw in [1234, 0x7ff1, 0x8000, 0xffff] {
        let remote = DomId::new(raw);
        let port = xen.alloc_unbound(DOM1, DomId::SELF, remote).unwrap();
        assert_eq!(state(&xen, DOM1, port), State::Unbound { remote });
    }
}

#[test]
fn alloc_unbound_for_self_waits_for_the_caller_even_in_another_domain() {
    let mut xen = xen();
    let port = xen.alloc_unbound(DOM0, DOM1, DomId::SELF).unwrap();
    assert_eq!(state(&xen, DOM1, port), State::Unbound { remote: DOM0 });
}

#[test]
fn only_a_control_domain_or_the_device_model_acts_on_another_domain() {
    let mut xen = xen();
    let mut config = DomainConfig::guest();
    config.device_model_of = Some(DOM1);
    let stub = DomId::new(3);
    xen.create(stub, &config).unwrap();
    assert_eq!(xen.alloc_unbound(DOM0, DOM1, DOM0), Ok(1));
    assert_eq!(xen.alloc_unbound(stub, DOM1, stub), Ok(2));
    let alloc = xen.alloc_unbound(stub, DOM2, stub);
    assert_eq!(alloc, Err(Errno::EPERM));
    let alloc = xen.alloc_unbound(DOM2, DOM1, DOM2);
    assert_eq!(alloc, Err(Errno::EPERM));
    assert!(xen.status(DOM0, DOM1, 1).is_ok());
    assert_eq!(xen.status(DOM2, DOM1, 1).unwrap_err(), Errno::EPERM);
    assert_eq!(xen.status(DOM2, DOM1, 64).unwrap_err(), Errno::EINVAL);
    assert_eq!(xen.status(DOM2, UNKNOWN, 1).unwrap_err(), Errno::ESRCH);
    let alloc = xen.alloc_unbound(DOM2, UNKNOWN, DOM2);
    assert_eq!(alloc, Err(Errno::ESRCH));
}

#[test]
fn bind_interdomain_to_a_port_in_any_other_state_than_unbound_for_the_caller_is_einval() {
    let mut xen = xen();
    let bound = connected(&mut xen).1;
    let virq = xen.bind_virq(DOM1, 1, 0).unwrap();
    let ipi = xen.bind_ipi(DOM1, 0).unwrap();
    let for_dom2 = xen.alloc_unbound(DOM1, DomId::SELF, DOM2).unwrap();
    let free = 60;
    let beyond_valid = 64;
    for port in [0, bound, virq, ipi, for_dom2, free, beyond_valid, u32::MAX] {
        let answer = xen.bind_interdomain(DOM0, DOM1, port);
        assert_eq!(answer, Err(Errno::EINVAL), "port {port}");
    }
    assert!(xen.bind_interdomain(DOM2, DOM1, for_dom2).is_ok());
}

#[test]
fn bind_interdomain_checks_the_domain_then_the_local_space_then_the_remote_port() {
    let mut xen = xen();
    let mut config = DomainConfig::guest();
    config.max_port = 0;
    let full = DomId::new(9);
    xen.create(full, &config).unwrap();
    let mut bind = |remote, port| xen.bind_interdomain(full, remote, port);
    assert_eq!(bind(UNKNOWN, 0), Err(Errno::ESRCH));
    assert_eq!(bind(DOM1, u32::MAX), Err(Errno::ENOSPC));
    for reserved in [0x7ff1, 0x7ff2, 0x7ff4, 0x7fff] {
        let answer = xen.bind_interdomain(DOM1, DomId::new(reserved), 1);
        assert_eq!(answer, Err(Errno::ESRCH), "{reserved:#x}");
    }
}

#[test]
fn a_failed_bind_takes_no_port() {
    let mut xen = xen();
    assert!(xen.bind_interdomain(DOM1, DOM0, 5).is_err());
    assert!(xen.bind_virq(DOM1, 24, 0).is_err());
    assert_eq!(xen.alloc_unbound(DOM1, DomId::SELF, DOM0), Ok(1));
}

#[test]
fn bind_interdomain_sets_the_local_port_pending_and_not_the_remote_one() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    assert!(pending(&xen, DOM0, ours));
    assert!(!pending(&xen, DOM1, theirs));
    assert_eq!(handled(&mut xen), [], "both are masked");
    xen.unmask(DOM0, ours);
    assert_eq!(handled(&mut xen), [(0, ours)]);
}

#[test]
fn loopback_is_legal_and_both_ends_are_ports_of_one_domain() {
    for remote in [DOM1, DomId::SELF] {
        let mut xen = xen();
        let first = xen.alloc_unbound(DOM1, DomId::SELF, remote).unwrap();
        let second = xen.bind_interdomain(DOM1, remote, first).unwrap();
        let of = |port| State::Interdomain { remote: DOM1, port };
        assert_eq!(state(&xen, DOM1, first), of(second));
        assert_eq!(state(&xen, DOM1, second), of(first));
        xen.close(DOM1, second).unwrap();
        assert_eq!(state(&xen, DOM1, first), State::Unbound { remote: DOM1 });
    }
}

#[test]
fn send_answers_by_state() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    let unbound = xen.alloc_unbound(DOM0, DomId::SELF, DOM1).unwrap();
    let virq = xen.bind_virq(DOM0, 1, 0).unwrap();
    let ipi = xen.bind_ipi(DOM0, 0).unwrap();
    assert_eq!(xen.send(DOM0, ours), Ok(()));
    assert!(pending(&xen, DOM1, theirs));
    assert_eq!(xen.send(DOM0, unbound), Ok(()));
    assert!(!pending(&xen, DOM0, unbound));
    assert_eq!(xen.send(DOM0, ipi), Ok(()));
    assert!(pending(&xen, DOM0, ipi));
    for port in [0, virq, 60, 64, u32::MAX] {
        assert_eq!(xen.send(DOM0, port), Err(Errno::EINVAL), "port {port}");
    }
}

#[test]
fn sends_coalesce_until_the_guest_handles_and_again_until_it_unmasks() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    xen.unmask(DOM1, theirs);
    for _ in 0..3 {
        xen.send(DOM0, ours).unwrap();
    }
    assert_eq!(handled(&mut xen), [(1, theirs)]);
    for _ in 0..3 {
        xen.send(DOM0, ours).unwrap();
    }
    assert_eq!(handled(&mut xen), [], "masked");
    xen.unmask(DOM1, theirs);
    assert_eq!(handled(&mut xen), [(1, theirs)]);
    xen.unmask(DOM1, theirs);
    assert_eq!(handled(&mut xen), []);
}

#[test]
fn close_puts_the_peer_back_to_unbound_and_sends_it_no_event() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    xen.unmask(DOM1, theirs);
    xen.close(DOM0, ours).unwrap();
    assert_eq!(state(&xen, DOM0, ours), State::Free);
    assert_eq!(state(&xen, DOM1, theirs), State::Unbound { remote: DOM0 });
    assert_eq!(handled(&mut xen), []);
    assert_eq!(xen.send(DOM1, theirs), Ok(()), "silently nothing");
    assert!(xen.bind_interdomain(DOM0, DOM1, theirs).is_ok(), "again");
}

#[test]
fn close_keeps_what_is_pending_at_the_peer_and_clears_its_own() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    xen.send(DOM0, ours).unwrap();
    assert!(pending(&xen, DOM0, ours));
    xen.close(DOM0, ours).unwrap();
    assert!(pending(&xen, DOM1, theirs));
    assert!(!pending(&xen, DOM0, ours));
    let next = xen.alloc_unbound(DOM0, DomId::SELF, DOM1).unwrap();
    assert_eq!(next, ours);
    xen.unmask(DOM0, next);
    assert_eq!(handled(&mut xen), []);
}

#[test]
fn close_of_a_free_a_reserved_or_an_invalid_port_is_einval() {
    let mut xen = xen();
    for port in [0, 1, 63, 64, u32::MAX] {
        assert_eq!(xen.close(DOM1, port), Err(Errno::EINVAL), "port {port}");
    }
}

#[test]
fn status_of_port_63_of_a_fresh_domain_is_closed_and_of_64_einval() {
    let xen = xen();
    assert_eq!(state(&xen, DOM1, 63), State::Free);
    assert_eq!(state(&xen, DOM1, 0), State::Reserved);
    let beyond = xen.status(DOM1, DomId::SELF, 64);
    assert_eq!(beyond.unwrap_err(), Errno::EINVAL);
}

#[test]
fn static_ports_are_sparse_and_the_second_side_is_pending() {
    let mut xen = xen();
    xen.connect_static((DOM0, 500), (DOM1, 70)).unwrap();
    assert!(pending(&xen, DOM1, 70) && !pending(&xen, DOM0, 500));
    xen.send(DOM1, 70).unwrap();
    assert!(pending(&xen, DOM0, 500));
    assert_eq!(xen.alloc_unbound(DOM1, DomId::SELF, DOM0), Ok(1));
    let busy = xen.connect_static((DOM0, 501), (DOM1, 70));
    assert_eq!(busy, Err(Errno::EBUSY));
    assert_eq!(state(&xen, DOM0, 501), State::Free, "given back");
    let loopback = xen.connect_static((DOM0, 9), (DOM0, 9));
    assert_eq!(loopback, Err(Errno::EBUSY));
    let beyond = xen.connect_static((DOM0, 501), (DOM1, 1024));
    assert_eq!(beyond, Err(Errno::ENOSPC));
}
