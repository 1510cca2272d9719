//! What SILO forbids (xen/xsm/silo.c).

use super::*;

fn silo() -> Hypervisor {
    let mut xen = Hypervisor::new(XenVersion(4, 20), Policy::Silo);
    xen.create(DOM0, &DomainConfig::dom0()).unwrap();
    xen.create(DOM1, &DomainConfig::guest()).unwrap();
    xen.create(DOM2, &DomainConfig::guest()).unwrap();
    xen
}

#[test]
fn a_port_for_a_domain_that_is_not_there_is_esrch() {
    let mut xen = silo();
    for caller in [DOM0, DOM1] {
        let refused = xen.alloc_unbound(caller, DomId::SELF, UNKNOWN);
        assert_eq!(refused, Err(Errno::ESRCH), "{caller}");
    }
    assert_eq!(xen.alloc_for_xen(DOM1, UNKNOWN), Err(Errno::ESRCH));
    assert!(xen.alloc_for_xen(DOM1, DOM2).is_ok());
}

#[test]
fn two_domains_of_which_none_is_a_control_domain_cannot_connect() {
    let mut xen = silo();
    let refused = xen.alloc_unbound(DOM1, DomId::SELF, DOM2);
    assert_eq!(refused, Err(Errno::EPERM));
    // A control domain may make the port, which does not help them.
    let offered = xen.alloc_unbound(DOM0, DOM2, DOM1).unwrap();
    let refused = xen.bind_interdomain(DOM1, DOM2, offered);
    assert_eq!(refused, Err(Errno::EPERM));
    assert_eq!(state(&xen, DOM2, offered), State::Unbound { remote: DOM1 });
}

#[test]
fn a_port_that_does_not_wait_for_the_caller_is_einval_before_eperm() {
    let mut xen = silo();
    let offered = xen.alloc_unbound(DOM2, DomId::SELF, DOM0).unwrap();
    let refused = xen.bind_interdomain(DOM1, DOM2, offered);
    assert_eq!(refused, Err(Errno::EINVAL));
}

#[test]
fn a_control_domain_connects_with_all_and_each_domain_with_itself() {
    let mut xen = silo();
    connected(&mut xen);
    let offered = xen.alloc_unbound(DOM0, DomId::SELF, DOM1).unwrap();
    xen.bind_interdomain(DOM1, DOM0, offered).unwrap();
    let own = xen.alloc_unbound(DOM1, DomId::SELF, DomId::SELF).unwrap();
    xen.bind_interdomain(DOM1, DomId::SELF, own).unwrap();
}
