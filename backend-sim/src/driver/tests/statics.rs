//! Static ports: channels that were made without a file, and that the driver never closes in Xen.

use super::*;
use crate::platform::Platform;

/// A domain 0 of Linux 6.12 with a file, and a pair of ports that no file has. The first event of
/// the second port is pending.
fn with_pair() -> (Bench, u32, u32) {
    let mut bench = Bench::with(&Platform::LINUX_6_12_ON_XEN_4_20.dom0());
    let world = &mut bench.world;
    let one = world.alloc_unbound(DomId::DOM0, DomId::SELF, DomId::SELF);
    let one = one.unwrap();
    let other = world.bind_interdomain(DomId::DOM0, DomId::SELF, one);
    let other = other.unwrap();
    (bench, one, other)
}

#[test]
fn the_request_is_known_from_linux_6_6_on() {
    for platform in Platform::ALL {
        let mut bench = Bench::with(&platform.dom0());
        let bad = bench.ioctl(abi::BIND_STATIC, Arg::Bad);
        let is_known = platform.linux >= crate::platform::LinuxVersion(6, 6);
        let expected = if is_known {
            Errno::EFAULT
        } else {
            Errno::ENOSYS
        };
        assert_eq!(bad, Err(expected), "{}", platform.name);
    }
}

#[test]
fn a_bind_returns_0_and_what_was_pending_comes_at_once() {
    let (mut bench, one, other) = with_pair();
    assert_eq!(bench.ioctl(abi::BIND_STATIC, one), Ok(0));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    assert_eq!(bench.ioctl(abi::BIND_STATIC, other), Ok(0));
    assert_eq!(bench.read(), Ok(vec![other]));
}

#[test]
fn a_second_bind_of_one_file_is_eisconn() {
    let (mut bench, one, _) = with_pair();
    assert_eq!(bench.ioctl(abi::BIND_STATIC, one), Ok(0));
    assert_eq!(bench.ioctl(abi::BIND_STATIC, one), Err(Errno::EISCONN));
    assert_eq!(bench.world.static_misuses(), 0);
}

#[test]
fn an_unbind_and_a_close_leave_the_channel_open_and_keep_its_events_for_the_next_bind() {
    let (mut bench, one, other) = with_pair();
    let peer = bench.peer;
    let notify = |bench: &mut Bench| bench.world.ioctl(peer, abi::NOTIFY, other);
    let bound = bench.world.ioctl(peer, abi::BIND_STATIC, other);
    assert_eq!(bound, Ok(0));

    assert_eq!(bench.ioctl(abi::BIND_STATIC, one), Ok(0));
    assert_eq!(bench.ioctl(abi::UNBIND, one), Ok(0));
    assert_eq!(bench.status(one), connected(DomId::DOM0, other));
    assert_eq!(notify(&mut bench), Ok(0));
    assert_eq!(bench.ioctl(abi::BIND_STATIC, one), Ok(0));
    assert_eq!(bench.read(), Ok(vec![one]));

    bench.world.close(bench.file).unwrap();
    assert_eq!(bench.status(one), connected(DomId::DOM0, other));
    assert_eq!(notify(&mut bench), Ok(0));
    bench.file = bench.world.open(DomId::DOM0).unwrap();
    assert_eq!(bench.ioctl(abi::BIND_STATIC, one), Ok(0));
    assert_eq!(bench.read(), Ok(vec![one]));
}

#[test]
fn a_static_port_can_be_bound_again_after_its_peer_has_died() {
    let (mut bench, ..) = with_pair();
    let raw = 900;
    let (near, far) = ((DomId::DOM0, raw), (bench.domu, raw));
    bench.world.connect_static(near, far).unwrap();
    assert_eq!(bench.ioctl(abi::BIND_STATIC, raw), Ok(0));
    bench.world.destroy_domain(bench.domu).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    assert_eq!(bench.status(raw), Status::Unbound { remote: bench.domu });
    assert_eq!(bench.ioctl(abi::UNBIND, raw), Ok(0));
    assert_eq!(bench.ioctl(abi::BIND_STATIC, raw), Ok(0));
}

#[test]
fn a_restricted_file_binds_static_ports() {
    let (mut bench, one, _) = with_pair();
    assert_eq!(bench.ioctl(abi::RESTRICT_DOMID, 5), Ok(0));
    assert_eq!(bench.ioctl(abi::BIND_UNBOUND_PORT, 5), Err(Errno::EACCES));
    assert_eq!(bench.ioctl(abi::BIND_VIRQ, 4), Err(Errno::EACCES));
    assert_eq!(bench.ioctl(abi::BIND_STATIC, one), Ok(0));
}

#[test]
fn a_bind_of_a_port_with_another_owner_is_counted() {
    let (mut bench, ..) = with_pair();
    let peer = bench.peer;
    let theirs = bench.world.ioctl(peer, abi::BIND_UNBOUND_PORT, SELF);
    for port in [theirs.unwrap(), 1] {
        assert_eq!(bench.ioctl(abi::BIND_STATIC, port), Err(Errno::EBUSY));
    }
    assert_eq!(bench.world.static_misuses(), 2);
}
