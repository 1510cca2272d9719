//! What each ioctl refuses, in which order, and what it answers.

use super::*;

#[test]
fn an_unknown_request_is_enosys_before_any_pointer_is_touched() {
    let mut bench = Bench::new();
    for request in [0, 0x0004_4508, 0x5401, 0x541b, 0x0004_4501, u32::MAX] {
        assert_eq!(bench.ioctl(request, Arg::Bad), Err(Errno::ENOSYS));
    }
}

#[test]
fn a_bad_pointer_is_efault_except_where_an_earlier_check_fails() {
    let mut bench = Bench::new();
    let all = [
        abi::BIND_VIRQ,
        abi::BIND_INTERDOMAIN,
        abi::BIND_UNBOUND_PORT,
        abi::UNBIND,
        abi::NOTIFY,
        abi::RESTRICT_DOMID,
    ];
    for request in all {
        assert_eq!(bench.ioctl(request, Arg::Bad), Err(Errno::EFAULT));
    }
    assert_eq!(bench.ioctl(abi::RESET, Arg::Bad), Ok(0));
    assert_eq!(bench.ioctl(abi::RESTRICT_DOMID, 5), Ok(0));
    for request in [abi::BIND_VIRQ, abi::BIND_UNBOUND_PORT, abi::RESTRICT_DOMID] {
        assert_eq!(bench.ioctl(request, Arg::Bad), Err(Errno::EACCES));
    }
    let efault = Err(Errno::EFAULT);
    assert_eq!(bench.ioctl(abi::BIND_INTERDOMAIN, Arg::Bad), efault);
    assert_eq!(bench.ioctl(abi::UNBIND, Arg::Bad), efault);
}

#[test]
fn bind_unbound_is_never_esrch() {
    let mut bench = Bench::new();
    for remote in [1234, 0x7ff1, 0xffff, 0x1_0000] {
        let port = bench.ioctl(abi::BIND_UNBOUND_PORT, remote).unwrap();
        let remote = DomId::new((remote & 0xffff) as u16);
        assert_eq!(bench.status(port), Status::Unbound { remote });
    }
}

#[test]
fn self_is_stored_as_the_callers_own_id() {
    let mut bench = Bench::new();
    for alias in [SELF, 0x1_7ff0] {
        let port = bench.ioctl(abi::BIND_UNBOUND_PORT, alias).unwrap();
        let remote = DomId::DOM0;
        assert_eq!(bench.status(port), Status::Unbound { remote });
        let peer = bench.ioctl(abi::BIND_INTERDOMAIN, [alias, port]).unwrap();
        assert_eq!(bench.status(port), connected(remote, peer));
    }
}

#[test]
fn the_hypercall_sees_16_bits_of_the_domain_and_the_restriction_all_32() {
    let mut bench = Bench::new();
    let first = bench.unbound();
    assert!(
        bench
            .ioctl(abi::BIND_INTERDOMAIN, [0x1_0000, first])
            .is_ok()
    );
    bench.ioctl(abi::RESTRICT_DOMID, 5).unwrap();
    let mut bind = |remote| bench.ioctl(abi::BIND_INTERDOMAIN, [remote, 1]);
    assert_eq!(bind(0x1_0005), Err(Errno::EACCES));
    assert_eq!(bind(DOM0), Err(Errno::EACCES));
    assert_eq!(bind(SELF), Err(Errno::EACCES));
    assert_eq!(bind(5), Err(Errno::ESRCH), "past the restriction");
}

#[test]
fn a_file_is_restricted_once_and_not_to_domain_0_or_a_reserved_id() {
    let mut bench = Bench::new();
    let mut restrict = |domid| bench.ioctl(abi::RESTRICT_DOMID, domid);
    for domid in [0, 0x7ff0, 0x7fff, 0xffff, 0x1_0000] {
        assert_eq!(restrict(domid), Err(Errno::EINVAL), "{domid:#x}");
    }
    assert_eq!(restrict(0x7fef), Ok(0));
    assert_eq!(restrict(0x7fef), Err(Errno::EACCES), "even the same again");
    assert_eq!(restrict(0), Err(Errno::EACCES));
}

#[test]
fn a_restricted_file_keeps_and_uses_the_ports_it_had() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.pair();
    bench.ioctl(abi::RESTRICT_DOMID, 5).unwrap();
    bench.fire(theirs);
    assert_eq!(bench.read(), Ok(vec![ours]));
    assert_eq!(bench.write(&[ours]), Ok(4));
    assert_eq!(bench.ioctl(abi::NOTIFY, ours), Ok(0));
    assert_eq!(bench.ioctl(abi::RESET, 0), Ok(0));
    assert_eq!(bench.ioctl(abi::UNBIND, ours), Ok(0));
    let refused = bench.ioctl(abi::BIND_VIRQ, 3);
    assert_eq!(refused, Err(Errno::EACCES));
    let refused = bench.ioctl(abi::BIND_UNBOUND_PORT, 5);
    assert_eq!(refused, Err(Errno::EACCES));
}

#[test]
fn a_port_of_another_file_or_of_the_kernel_is_enotconn_and_its_write_ignored() {
    let mut bench = Bench::new();
    let (_, theirs) = bench.pair();
    let kernels = 1;
    for port in [0, kernels, theirs, 1000] {
        assert_eq!(bench.ioctl(abi::NOTIFY, port), Err(Errno::ENOTCONN));
        assert_eq!(bench.ioctl(abi::UNBIND, port), Err(Errno::ENOTCONN));
        assert_eq!(bench.write(&[port]), Ok(4));
    }
    assert_eq!(bench.ioctl(abi::NOTIFY, u32::MAX), Err(Errno::ENOTCONN));
}

#[test]
fn unbind_is_einval_beyond_the_channels_the_kernel_has_room_for() {
    let mut bench = Bench::with(&DomainConfig::dom0_two_level());
    assert_eq!(bench.ioctl(abi::UNBIND, 4095), Err(Errno::ENOTCONN));
    assert_eq!(bench.ioctl(abi::UNBIND, 4096), Err(Errno::EINVAL));

    let mut bench = Bench::new();
    assert_eq!(bench.ioctl(abi::UNBIND, 1023), Err(Errno::ENOTCONN));
    assert_eq!(bench.ioctl(abi::UNBIND, 1024), Err(Errno::EINVAL));
    while bench.unbound() < 1024 {}
    assert_eq!(bench.ioctl(abi::UNBIND, 2047), Err(Errno::ENOTCONN));
    assert_eq!(bench.ioctl(abi::UNBIND, 2048), Err(Errno::EINVAL));
    assert_eq!(bench.ioctl(abi::UNBIND, 1024), Ok(0));
    assert_eq!(bench.ioctl(abi::UNBIND, 1024), Err(Errno::ENOTCONN));
}

#[test]
fn virqs_that_the_kernel_of_dom0_holds_are_eexist_and_others_free() {
    let held = [0, 2, 9, 16];
    let free = [1, 3, 4, 6, 7, 8, 10, 11, 12, 13, 5, 14, 15, 17, 23];
    let mut bench = Bench::new();
    for virq in held {
        assert_eq!(bench.ioctl(abi::BIND_VIRQ, virq), Err(Errno::EEXIST));
    }
    for virq in free {
        assert!(bench.ioctl(abi::BIND_VIRQ, virq).is_ok(), "virq {virq}");
    }
    let again = bench.world.ioctl(bench.peer, abi::BIND_VIRQ, 3);
    assert_eq!(again, Err(Errno::EEXIST), "another file has it");
    assert_eq!(bench.ioctl(abi::BIND_VIRQ, 24), Err(Errno::EINVAL));
    assert_eq!(bench.ioctl(abi::BIND_VIRQ, u32::MAX), Err(Errno::EINVAL));
    let mut bench = Bench::with(&DomainConfig::dom0_two_level());
    assert_eq!(bench.ioctl(abi::BIND_VIRQ, 1), Err(Errno::EEXIST));
}

#[test]
fn before_4_21_a_guest_may_bind_a_global_virq_and_later_not() {
    for (xen, expected) in [
        (XenVersion(4, 20), Ok(1)),
        (XenVersion(4, 21), Err(Errno::EBUSY)),
    ] {
        let mut config = Config::seeded(0);
        config.xen = xen;
        let mut world = World::new(config);
        let domu = world.create_domain(None, &DomainConfig::guest()).unwrap();
        let file = world.open(domu).unwrap();
        assert_eq!(world.ioctl(file, abi::BIND_VIRQ, 3), expected);
    }
}

#[test]
fn notify_through_an_unbound_or_a_virq_port_is_silently_nothing() {
    let mut bench = Bench::new();
    let unbound = bench.unbound();
    let virq = bench.ioctl(abi::BIND_VIRQ, 3).unwrap();
    assert_eq!(bench.ioctl(abi::NOTIFY, unbound), Ok(0));
    assert_eq!(bench.ioctl(abi::NOTIFY, virq), Ok(0));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn on_linux_6_1_bind_static_is_enosys() {
    let mut bench = Bench::new();
    assert_eq!(bench.ioctl(abi::BIND_STATIC, 500), Err(Errno::ENOSYS));
    assert_eq!(bench.ioctl(abi::BIND_STATIC, Arg::Bad), Err(Errno::ENOSYS));
}

/// A bench whose dom0 has static port 500, connected to port 70 of its domain 1 and pending.
fn bench_with_static() -> Bench {
    let mut config = DomainConfig::dom0();
    config.bind_static = true;
    let mut bench = Bench::with(&config);
    let (dom0, domu) = ((DomId::DOM0, 500), (bench.domu, 70));
    bench.world.connect_static(domu, dom0).unwrap();
    bench
}

#[test]
fn bind_static_answers_0_is_not_restricted_and_delivers_what_is_pending() {
    let mut bench = bench_with_static();
    bench.ioctl(abi::RESTRICT_DOMID, 5).unwrap();
    assert_eq!(bench.ioctl(abi::BIND_STATIC, Arg::Bad), Err(Errno::EFAULT));
    assert_eq!(bench.ioctl(abi::BIND_STATIC, 500), Ok(0));
    assert_eq!(bench.read(), Ok(vec![500]));
}

#[test]
fn bind_static_of_a_port_bound_here_is_eisconn_and_elsewhere_ebusy() {
    let mut bench = bench_with_static();
    bench.ioctl(abi::BIND_STATIC, 500).unwrap();
    assert_eq!(bench.ioctl(abi::BIND_STATIC, 500), Err(Errno::EISCONN));
    let dynamic = bench.unbound();
    let answer = bench.ioctl(abi::BIND_STATIC, dynamic);
    assert_eq!(answer, Err(Errno::EISCONN));
    let elsewhere = bench.world.ioctl(bench.peer, abi::BIND_STATIC, 500);
    assert_eq!(elsewhere, Err(Errno::EBUSY));
    assert_eq!(bench.ioctl(abi::BIND_STATIC, 131_072), Err(Errno::ENOMEM));
}

#[test]
fn unbind_and_close_leave_a_static_port_open_in_xen_and_what_is_pending_there() {
    let mut bench = bench_with_static();
    let connected = connected(bench.domu, 70);
    bench.ioctl(abi::BIND_STATIC, 500).unwrap();
    assert_eq!(bench.read(), Ok(vec![500]));
    bench.write(&[500]).unwrap();
    assert_eq!(bench.ioctl(abi::UNBIND, 500), Ok(0));
    assert_eq!(bench.status(500), connected);
    bench.world.kernel_send(bench.domu, 70).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN), "no file has bound it");
    bench.ioctl(abi::BIND_STATIC, 500).unwrap();
    assert_eq!(bench.read(), Ok(vec![500]), "it was latched");
    bench.world.close(bench.file).unwrap();
    assert_eq!(bench.status(500), connected);
}

#[test]
fn a_new_port_that_a_file_took_as_static_is_closed_again() {
    let mut config = DomainConfig::dom0();
    config.bind_static = true;
    let mut bench = Bench::with(&config);
    let next = bench.unbound() + 1;
    assert_eq!(
        bench.ioctl(abi::BIND_STATIC, next),
        Ok(0),
        "Xen is not asked"
    );
    let answer = bench.ioctl(abi::BIND_UNBOUND_PORT, SELF);
    assert_eq!(answer, Err(Errno::EBUSY));
    assert_eq!(bench.status(next), Status::Closed);
}

#[test]
fn the_last_close_unbinds_every_port_and_an_earlier_one_none() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.pair();
    let virq = bench.ioctl(abi::BIND_VIRQ, 3).unwrap();
    bench.world.dup(bench.file).unwrap();
    bench.world.close(bench.file).unwrap();
    assert_ne!(bench.status(ours), Status::Closed);
    bench.world.close(bench.file).unwrap();
    assert_eq!(bench.status(ours), Status::Closed);
    assert_eq!(bench.status(virq), Status::Closed);
    let remote = DomId::DOM0;
    assert_eq!(bench.status(theirs), Status::Unbound { remote });
    assert_eq!(bench.ioctl(abi::RESET, 0), Err(Errno::EBADF));
    let again = bench.world.ioctl(bench.peer, abi::BIND_VIRQ, 3);
    assert!(again.is_ok(), "the VIRQ is free at once");
}

#[test]
fn every_call_on_a_file_of_a_destroyed_domain_is_ebadf_even_if_the_id_is_back() {
    let mut bench = Bench::new();
    let domu = bench.domu;
    let file = bench.world.open(domu).unwrap();
    bench.world.destroy_domain(domu).unwrap();
    assert_eq!(bench.world.open(domu), Err(Errno::ENOENT));
    let guest = DomainConfig::guest();
    bench.world.create_domain(Some(domu), &guest).unwrap();
    bench.world.open(domu).unwrap();
    let world = &mut bench.world;
    let ebadf = Errno::EBADF;
    assert_eq!(world.ioctl(file, abi::RESET, 0), Err(ebadf));
    assert_eq!(world.read(file, &mut []), Err(ebadf));
    assert_eq!(world.write(file, &[]), Err(ebadf));
    assert_eq!(world.poll(file), Err(ebadf));
    assert_eq!(world.dup(file), Err(ebadf));
    assert_eq!(world.close(file), Err(ebadf));
}
