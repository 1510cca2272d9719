//! The rarer operations, Xen's own ports, physical interrupts, and domains that stop.

use super::*;
use crate::config::Abi;

/// A domain with two vCPUs, physical interrupts, and a port in every state that a guest can make.
struct Every {
    xen: Hypervisor,
    domid: DomId,
    unbound: u32,
    interdomain: u32,
    global: u32,
    per_vcpu: u32,
    ipi: u32,
    pirq: u32,
    xens: u32,
}

impl Every {
    fn new(version: XenVersion) -> Every {
        let mut xen = machine(version);
        let domid = DomId::new(7);
        let mut config = DomainConfig::dom0();
        config.vcpus = 2;
        xen.create(domid, &config).unwrap();
        let theirs = xen.alloc_unbound(DOM1, DomId::SELF, domid).unwrap();
        Every {
            unbound: xen.alloc_unbound(domid, DomId::SELF, DOM1).unwrap(),
            interdomain: xen.bind_interdomain(domid, DOM1, theirs).unwrap(),
            global: xen.bind_virq(domid, 3, 0).unwrap(),
            per_vcpu: xen.bind_virq(domid, 1, 1).unwrap(),
            ipi: xen.bind_ipi(domid, 1).unwrap(),
            pirq: xen.bind_pirq(domid, 9).unwrap(),
            xens: xen.alloc_for_xen(domid, DOM2).unwrap(),
            xen,
            domid,
        }
    }

    fn vcpu(&self, port: u32) -> u32 {
        let channel = self.xen.status(self.domid, DomId::SELF, port);
        channel.unwrap().vcpu
    }
}

fn every() -> Every {
    Every::new(XenVersion(4, 14))
}

#[test]
fn bind_vcpu_checks_the_vcpu_then_the_port_then_its_state() {
    let mut it = every();
    let (unbound, beyond) = (it.unbound, 64);
    let mut bind = |port, vcpu| it.xen.bind_vcpu(it.domid, port, vcpu);
    assert_eq!(bind(beyond, 2), Err(Errno::ENOENT));
    assert_eq!(bind(beyond, 1), Err(Errno::EINVAL));
    assert_eq!(bind(unbound, 2), Err(Errno::ENOENT));
    assert_eq!(bind(unbound, 1), Ok(()));
}

#[test]
fn bind_vcpu_answers_by_state() {
    let mut it = every();
    for port in [it.unbound, it.interdomain, it.global, it.pirq] {
        assert_eq!(it.vcpu(port), 0);
        assert_eq!(it.xen.bind_vcpu(it.domid, port, 1), Ok(()), "port {port}");
        assert_eq!(it.vcpu(port), 1);
    }
    let free = 60;
    for port in [0, free, it.per_vcpu, it.ipi, it.xens] {
        let refused = it.xen.bind_vcpu(it.domid, port, 0);
        assert_eq!(refused, Err(Errno::EINVAL), "port {port}");
    }
    assert_eq!([it.per_vcpu, it.ipi].map(|port| it.vcpu(port)), [1, 1]);
}

#[test]
fn a_closed_port_goes_back_to_vcpu_0() {
    let mut it = every();
    it.xen.bind_vcpu(it.domid, it.unbound, 1).unwrap();
    it.xen.close(it.domid, it.unbound).unwrap();
    assert_eq!(it.vcpu(it.unbound), 0);
    let next = it.xen.alloc_unbound(it.domid, DomId::SELF, DOM1);
    assert_eq!(next, Ok(it.unbound));
    assert_eq!(it.vcpu(it.unbound), 0);
}

#[test]
fn unmask_does_nothing_for_a_free_port_and_is_einval_for_an_invalid_one() {
    let mut it = every();
    it.xen.send(it.domid, it.ipi).unwrap();
    for port in [
        0,
        60,
        it.unbound,
        it.interdomain,
        it.global,
        it.pirq,
        it.xens,
    ] {
        assert_eq!(it.xen.unmask_port(it.domid, port), Ok(()), "port {port}");
    }
    // That of the bind.
    assert_eq!(handled(&mut it.xen), [(7, it.interdomain)]);
    assert_eq!(it.xen.unmask_port(it.domid, it.ipi), Ok(()));
    assert_eq!(handled(&mut it.xen), [(7, it.ipi)]);
    assert_eq!(it.xen.unmask_port(it.domid, 64), Err(Errno::EINVAL));
    assert_eq!(it.xen.unmask_port(UNKNOWN, 1), Err(Errno::ESRCH));
}

#[test]
fn a_port_of_xens_own_is_einval_to_send_close_and_bind_vcpu() {
    let mut it = every();
    assert_eq!(it.xen.send(it.domid, it.xens), Err(Errno::EINVAL));
    assert_eq!(it.xen.close(it.domid, it.xens), Err(Errno::EINVAL));
    let moved = it.xen.bind_vcpu(it.domid, it.xens, 0);
    assert_eq!(moved, Err(Errno::EINVAL));
    assert_eq!(
        state(&it.xen, it.domid, it.xens),
        State::Unbound { remote: DOM2 }
    );
}

#[test]
fn a_send_to_a_port_of_xens_own_calls_xen_and_sets_nothing_pending() {
    let mut it = every();
    let refused = it.xen.bind_interdomain(DOM1, it.domid, it.xens);
    assert_eq!(refused, Err(Errno::EINVAL), "meant for another domain");
    let theirs = it.xen.bind_interdomain(DOM2, it.domid, it.xens).unwrap();
    for _ in 0..3 {
        it.xen.send(DOM2, theirs).unwrap();
    }
    assert_eq!(it.xen.xen_events(it.domid, it.xens), Ok(3));
    assert!(!pending(&it.xen, it.domid, it.xens));
    assert_eq!(it.xen.send(it.domid, it.xens), Err(Errno::EINVAL));
    it.xen.close(DOM2, theirs).unwrap();
    assert_eq!(
        state(&it.xen, it.domid, it.xens),
        State::Unbound { remote: DOM2 }
    );
    assert_eq!(it.xen.xen_events(it.domid, it.xens), Ok(3), "Xen keeps it");
    assert_eq!(it.xen.xen_events(it.domid, it.ipi), Err(Errno::EINVAL));
}

#[test]
fn status_of_a_port_of_xens_own_is_eacces_from_4_15_to_4_18() {
    for (minor, hidden) in [(14, false), (15, true), (18, true), (19, false)] {
        let it = Every::new(XenVersion(4, minor));
        let status = it.xen.status(it.domid, DomId::SELF, it.xens);
        assert_eq!(status.err(), hidden.then_some(Errno::EACCES), "4.{minor}");
        let foreign = it.xen.status(DOM1, it.domid, it.xens);
        assert_eq!(foreign.err(), Some(Errno::EPERM), "checked before");
    }
}

#[test]
fn bind_pirq_checks_the_number_then_the_permission_then_the_owner() {
    let mut it = every();
    assert_eq!(it.xen.bind_pirq(DOM1, 256), Err(Errno::EINVAL));
    assert_eq!(it.xen.bind_pirq(DOM1, 9), Err(Errno::EPERM));
    assert_eq!(it.xen.bind_pirq(it.domid, 9), Err(Errno::EEXIST));
    assert_eq!(it.xen.send(it.domid, it.pirq), Err(Errno::EINVAL));
    it.xen.unmask(it.domid, it.pirq);
    it.xen.raise_pirq(it.domid, 9).unwrap();
    it.xen.raise_pirq(it.domid, 8).unwrap();
    assert_eq!(handled(&mut it.xen), [(7, it.pirq)]);
    it.xen.close(it.domid, it.pirq).unwrap();
    it.xen.raise_pirq(it.domid, 9).unwrap();
    assert_eq!(it.xen.bind_pirq(it.domid, 9), Ok(it.pirq));
    assert_eq!(it.xen.raise_pirq(it.domid, 256), Err(Errno::EINVAL));
}

#[test]
fn reset_of_another_domain_checks_that_it_exists_then_the_right_then_the_pause() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    assert_eq!(xen.reset(DOM2, UNKNOWN), Err(Errno::ESRCH));
    assert_eq!(xen.reset(DOM2, DOM1), Err(Errno::EPERM));
    assert_eq!(xen.reset(DOM0, DOM1), Err(Errno::EINVAL), "it runs");
    xen.pause(DOM0, DOM1).unwrap();
    assert_eq!(xen.reset(DOM2, DOM1), Err(Errno::EPERM));
    assert_eq!(xen.reset(DOM0, DOM1), Ok(()));
    assert_eq!(state(&xen, DOM1, theirs), State::Free);
    assert_eq!(state(&xen, DOM0, ours), State::Unbound { remote: DOM1 });
    assert_eq!(xen.reset(DOM1, DomId::SELF), Ok(()), "itself at any time");
}

#[test]
fn reset_closes_all_but_xens_own_ports_and_frees_virqs() {
    let mut it = every();
    it.xen.reset(it.domid, DomId::SELF).unwrap();
    let left: Vec<u32> = it.xen.ports(it.domid).map(|(port, _)| port).collect();
    assert_eq!(left, [it.xens]);
    assert!(it.xen.bind_virq(it.domid, 1, 1).is_ok());
    assert!(it.xen.bind_pirq(it.domid, 9).is_ok());
}

#[test]
fn reset_goes_back_to_the_two_level_abi_until_the_guest_sets_up_another() {
    let mut xen = xen();
    let highest = |xen: &mut Hypervisor| {
        let alloc = || xen.alloc_unbound(DOM0, DomId::SELF, DOM1).ok();
        std::iter::from_fn(alloc).last()
    };
    assert_eq!(highest(&mut xen), Some(131_071));
    xen.reset(DOM0, DomId::SELF).unwrap();
    assert_eq!(highest(&mut xen), Some(4095));
    xen.switch(DOM0, Abi::Fifo).unwrap();
    assert_eq!(highest(&mut xen), Some(131_071));
}

#[test]
fn reset_drops_undelivered_events_and_frees_their_ports() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    xen.unmask(DOM1, theirs);
    xen.send(DOM0, ours).unwrap();
    assert_eq!(xen.upcalls(), 1);
    xen.reset(DOM1, DomId::SELF).unwrap();
    assert_eq!(xen.upcalls(), 0);
    assert_eq!(xen.alloc_unbound(DOM1, DomId::SELF, DOM0), Ok(theirs));
}

#[test]
fn death_closes_xens_own_ports_too() {
    let mut it = every();
    let theirs = it.xen.bind_interdomain(DOM2, it.domid, it.xens).unwrap();
    it.xen.kill(it.domid).unwrap();
    let unbound = State::Unbound { remote: it.domid };
    assert_eq!(state(&it.xen, DOM2, theirs), unbound);
    assert_eq!(it.xen.ports(it.domid).count(), 0);
}

#[test]
fn a_paused_domain_gets_its_events_once_it_runs_again() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    xen.unmask(DOM1, theirs);
    xen.unmask(DOM0, ours);
    assert_eq!(handled(&mut xen), [(0, ours)]);
    xen.send(DOM0, ours).unwrap();
    xen.pause(DOM0, DOM1).unwrap();
    xen.pause(DOM0, DOM1).unwrap();
    xen.send(DOM0, ours).unwrap();
    assert_eq!(handled(&mut xen), []);
    xen.unpause(DOM1).unwrap();
    assert_eq!(handled(&mut xen), [], "paused twice");
    xen.unpause(DOM1).unwrap();
    assert_eq!(handled(&mut xen), [(1, theirs)]);
    assert_eq!(xen.unpause(DOM1), Err(Errno::EINVAL));
    assert_eq!(xen.pause(DOM0, UNKNOWN), Err(Errno::ESRCH));
}

#[test]
fn a_shutdown_raises_dom_exc_once_and_leaves_every_port_as_it_is() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    let exc = xen.bind_virq(DOM0, 3, 0).unwrap();
    xen.unmask(DOM0, exc);
    xen.unmask(DOM1, theirs);
    assert_eq!(xen.shut_down(DOM1), Ok(()));
    assert_eq!(handled(&mut xen), [(0, exc)]);
    xen.unmask(DOM0, exc);
    assert_eq!(xen.shut_down(DOM1), Ok(()));
    xen.send(DOM0, ours).unwrap();
    assert_eq!(handled(&mut xen), [], "raised once, and no vCPU runs there");
    assert!(pending(&xen, DOM1, theirs));
    let connected = State::Interdomain {
        remote: DOM1,
        port: theirs,
    };
    assert_eq!(state(&xen, DOM0, ours), connected);
    assert_eq!(xen.shut_down(DOM0), Err(Errno::EINVAL));
    assert_eq!(xen.shut_down(UNKNOWN), Err(Errno::ESRCH));
    xen.kill(DOM1).unwrap();
    assert_eq!(xen.shut_down(DOM1), Err(Errno::EINVAL));
    assert_eq!(state(&xen, DOM0, ours), State::Unbound { remote: DOM1 });
}

#[test]
fn alloc_unbound_checks_the_domain_then_the_space_then_the_right() {
    let mut xen = xen();
    let mut config = DomainConfig::guest();
    config.max_port = 0;
    let full = DomId::new(9);
    xen.create(full, &config).unwrap();
    let mut alloc = |dom| xen.alloc_unbound(DOM2, dom, DOM2);
    assert_eq!(alloc(UNKNOWN), Err(Errno::ESRCH));
    assert_eq!(alloc(full), Err(Errno::ENOSPC));
    assert_eq!(alloc(DOM1), Err(Errno::EPERM));
}

#[test]
fn a_domain_may_not_pause_itself() {
    let mut xen = xen();
    assert_eq!(xen.pause(DOM0, DOM0), Err(Errno::EINVAL));
    assert_eq!(xen.unpause(DOM0), Err(Errno::EINVAL), "it was not paused");
    assert_eq!(xen.pause(DOM0, DOM1), Ok(()));
}
