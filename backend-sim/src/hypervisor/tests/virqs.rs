//! Virtual interrupts: which domains may bind them, and which get them.

use super::*;

#[test]
fn bind_virq_checks_in_the_order_of_xen() {
    let mut xen = xen();
    let mut bind = |virq, vcpu| xen.bind_virq(DOM1, virq, vcpu);
    for virq in [24, 1 << 31, u32::MAX] {
        assert_eq!(bind(virq, 99), Err(Errno::EINVAL), "virq {virq}");
    }
    assert_eq!(bind(3, 99), Err(Errno::EINVAL), "global, not on vCPU 0");
    assert_eq!(bind(1, 99), Err(Errno::ENOENT), "no such vCPU");
    assert_eq!(bind(1, 0), Ok(1));
    assert_eq!(bind(1, 0), Err(Errno::EEXIST));
    for unassigned in [5, 14, 15, 17, 23] {
        assert!(bind(unassigned, 0).is_ok(), "virq {unassigned}");
    }
}

#[test]
fn timer_debug_xenoprof_and_xenpmu_are_per_vcpu_and_no_others() {
    for version in [XenVersion(4, 17), XenVersion(4, 21)] {
        let mut xen = machine(version);
        let mut config = DomainConfig::guest();
        config.vcpus = 2;
        let domid = DomId::new(7);
        xen.create(domid, &config).unwrap();
        let on_second = |virq: &u32| xen.bind_virq(domid, *virq, 1).is_ok();
        let per_vcpu: Vec<u32> = (0..24).filter(on_second).collect();
        assert_eq!(per_vcpu, [0, 1, 7, 13]);
    }
}

#[test]
fn a_per_vcpu_virq_has_a_port_on_each_vcpu() {
    let mut xen = xen();
    let mut config = DomainConfig::guest();
    config.vcpus = 2;
    let domid = DomId::new(7);
    xen.create(domid, &config).unwrap();
    let ports = [0, 1].map(|vcpu| xen.bind_virq(domid, 7, vcpu).unwrap());
    xen.unmask(domid, ports[1]);
    xen.raise_virq(domid, 7, 0).unwrap();
    assert_eq!(handled(&mut xen), []);
    xen.raise_virq(domid, 7, 1).unwrap();
    assert_eq!(handled(&mut xen), [(7, ports[1])]);
}

#[test]
fn closing_frees_the_virq_at_once_and_a_raise_before_the_bind_is_lost() {
    let mut xen = xen();
    let port = xen.bind_virq(DOM0, 3, 0).unwrap();
    xen.close(DOM0, port).unwrap();
    xen.raise_virq(DOM0, 3, 0).unwrap();
    let port = xen.bind_virq(DOM0, 3, 0).unwrap();
    assert!(!pending(&xen, DOM0, port));
    xen.raise_virq(DOM0, 3, 0).unwrap();
    assert!(pending(&xen, DOM0, port));
    assert_eq!(xen.raise_virq(DOM0, 24, 0), Err(Errno::EINVAL));
    assert_eq!(xen.raise_virq(UNKNOWN, 3, 0), Err(Errno::ESRCH));
}

#[test]
fn a_global_virq_reaches_only_its_handler() {
    let mut xen = xen();
    let port = xen.bind_virq(DOM1, 8, 0).unwrap();
    xen.raise_virq(DOM1, 8, 0).unwrap();
    assert!(!pending(&xen, DOM1, port), "dom0 handles it");
    xen.set_virq_handler(DOM1, 8).unwrap();
    xen.raise_virq(DOM1, 8, 0).unwrap();
    assert!(pending(&xen, DOM1, port));
    assert_eq!(xen.set_virq_handler(DOM1, 1), Err(Errno::EINVAL));
    assert_eq!(xen.set_virq_handler(UNKNOWN, 8), Err(Errno::ESRCH));
}

#[test]
fn from_4_21_on_a_global_virq_is_refused_to_others_and_not_stolen() {
    let mut xen = machine(XenVersion(4, 21));
    assert_eq!(xen.bind_virq(DOM1, 8, 0), Err(Errno::EBUSY));
    let port = xen.bind_virq(DOM0, 8, 0).unwrap();
    assert_eq!(xen.set_virq_handler(DOM1, 8), Err(Errno::EBUSY));
    xen.close(DOM0, port).unwrap();
    assert_eq!(xen.set_virq_handler(DOM1, 8), Ok(()));
    assert!(xen.bind_virq(DOM1, 8, 0).is_ok());
    assert!(xen.bind_virq(DOM2, 11, 0).is_ok(), "ARGO is per domain");
    let mut old = machine(XenVersion(4, 20));
    assert!(old.bind_virq(DOM0, 8, 0).is_ok());
    assert_eq!(old.set_virq_handler(DOM1, 8), Ok(()), "stolen silently");
}
