//! Domains that come and go.

use super::*;

#[test]
fn a_destroyed_domain_leaves_its_peers_unbound_and_unsignalled() {
    let mut xen = xen();
    let (ours, _) = connected(&mut xen);
    let waiting = xen.alloc_unbound(DOM0, DomId::SELF, DOM1).unwrap();
    xen.unmask(DOM0, ours);
    handled(&mut xen);
    xen.unmask(DOM0, ours);
    xen.kill(DOM1).unwrap();
    xen.remove(DOM1).unwrap();
    assert_eq!(handled(&mut xen), []);
    let unbound = State::Unbound { remote: DOM1 };
    assert_eq!(state(&xen, DOM0, ours), unbound);
    assert_eq!(state(&xen, DOM0, waiting), unbound, "unchanged");
    assert_eq!(xen.send(DOM0, ours), Ok(()));
    assert_eq!(xen.bind_interdomain(DOM0, DOM1, 1), Err(Errno::ESRCH));
    assert_eq!(xen.close(DOM0, ours), Ok(()));
}

#[test]
fn a_new_domain_with_a_recycled_id_may_bind_to_a_port_left_for_the_dead_one() {
    let mut xen = xen();
    let left = xen.alloc_unbound(DOM0, DomId::SELF, DOM1).unwrap();
    xen.kill(DOM1).unwrap();
    xen.remove(DOM1).unwrap();
    xen.create(DOM1, &DomainConfig::guest()).unwrap();
    assert!(xen.bind_interdomain(DOM1, DOM0, left).is_ok());
}

#[test]
fn unhandled_events_of_a_dead_domain_are_dropped() {
    let mut xen = xen();
    let (ours, theirs) = connected(&mut xen);
    xen.unmask(DOM1, theirs);
    xen.send(DOM0, ours).unwrap();
    assert_eq!(xen.upcalls(), 1);
    xen.kill(DOM1).unwrap();
    xen.remove(DOM1).unwrap();
    assert_eq!(xen.upcalls(), 0);
}

#[test]
fn destroying_a_domain_raises_dom_exc_twice() {
    let mut xen = xen();
    let port = xen.bind_virq(DOM0, 3, 0).unwrap();
    xen.unmask(DOM0, port);
    xen.kill(DOM1).unwrap();
    assert_eq!(handled(&mut xen), [(0, port)]);
    xen.unmask(DOM0, port);
    xen.remove(DOM1).unwrap();
    assert_eq!(handled(&mut xen), [(0, port)]);
}

#[test]
fn a_dying_domain_can_bind_nothing() {
    let mut xen = xen();
    let theirs = xen.alloc_unbound(DOM1, DomId::SELF, DOM0).unwrap();
    xen.kill(DOM1).unwrap();
    assert_eq!(xen.kill(DOM1), Err(Errno::EINVAL));
    let einval = Err(Errno::EINVAL);
    assert_eq!(xen.bind_interdomain(DOM0, DOM1, theirs), einval);
    assert_eq!(xen.alloc_unbound(DOM1, DomId::SELF, DOM0), einval);
    assert_eq!(xen.alloc_unbound(DOM0, DOM1, DOM0), einval);
    assert_eq!(xen.remove(DOM0), Err(Errno::EBUSY), "not killed");
    assert_eq!(
        xen.kill(DOM0),
        Err(Errno::EINVAL),
        "no caller can destroy domain 0"
    );
    assert_eq!(xen.kill(UNKNOWN), Err(Errno::ESRCH));
}

#[test]
fn domain_ids_are_recycled_as_late_as_possible() {
    let mut xen = Hypervisor::new(XenVersion(4, 17), Policy::Dummy);
    xen.create(DOM0, &DomainConfig::dom0()).unwrap();
    let create = |xen: &mut Hypervisor| {
        let domid = xen.unused_domid().unwrap();
        xen.create(domid, &DomainConfig::guest()).unwrap();
        domid.as_raw()
    };
    assert_eq!([create(&mut xen), create(&mut xen)], [1, 2]);
    xen.kill(DOM1).unwrap();
    xen.remove(DOM1).unwrap();
    assert_eq!(create(&mut xen), 3);
    let guest = DomainConfig::guest();
    assert_eq!(xen.create(DOM2, &guest), Err(Errno::EEXIST));
    assert_eq!(xen.create(DomId::SELF, &guest), Err(Errno::EINVAL));
}
