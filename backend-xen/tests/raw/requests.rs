//! Requests by number, with any argument.

use evtchn_sim::abi::{self, Access, Arg};
use rustix::io::Errno;

use crate::side::{
    FIEMAP, FIFREEZE, FIGETBSZ, FIONREAD, FIOQSIZE, FITHAW, IN_OUT, OUT, Pair, SELF, Side, TCGETS,
};

/// Those that read an argument.
const READING: [u32; 6] = [
    abi::BIND_VIRQ,
    abi::BIND_INTERDOMAIN,
    abi::BIND_UNBOUND_PORT,
    abi::UNBIND,
    abi::NOTIFY,
    abi::RESTRICT_DOMID,
];

pub(crate) fn an_unknown_request_is_enosys_before_any_pointer_is_touched<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    // The last three have a wrong size or direction.
    let wrong = [0x0004_4508, TCGETS, FIONREAD];
    let newer = (!s.knows_static()).then_some(abi::BIND_STATIC);
    for request in wrong
        .into_iter()
        .chain(newer)
        .chain([0x0004_4501, 0x0000_4502, 0x4004_4503])
    {
        for arg in [Arg::Bad, Arg::from(0)] {
            let answer = s.ioctl(file, request, arg);
            assert_eq!(answer, Err(Errno::NOSYS), "{request:#x}");
        }
    }
}

pub(crate) fn a_bad_pointer_is_efault_to_every_request<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    let newer = s.knows_static().then_some(abi::BIND_STATIC);
    for request in READING.into_iter().chain(newer) {
        let answer = s.ioctl(file, request, Arg::Bad);
        assert_eq!(answer, Err(Errno::FAULT), "{request:#x}");
    }
    // None of them did anything.
    assert_eq!(s.ioctl(file, abi::RESTRICT_DOMID, 5.into()), Ok(0));
}

pub(crate) fn a_restriction_comes_before_the_pointer_except_for_an_interdomain_bind<S: Side>(
    s: &S,
) {
    let file = s.open_nonblocking();
    s.ioctl(file, abi::RESTRICT_DOMID, 5.into()).unwrap();
    for request in [abi::BIND_VIRQ, abi::BIND_UNBOUND_PORT, abi::RESTRICT_DOMID] {
        let answer = s.ioctl(file, request, Arg::Bad);
        assert_eq!(answer, Err(Errno::ACCESS), "{request:#x}");
    }
    for request in [abi::BIND_INTERDOMAIN, abi::UNBIND, abi::NOTIFY] {
        let answer = s.ioctl(file, request, Arg::Bad);
        assert_eq!(answer, Err(Errno::FAULT), "{request:#x}");
    }
}

pub(crate) fn reset_ignores_its_argument<S: Side>(s: &S) {
    let pair = Pair::new(s, s.open_nonblocking());
    for arg in [Arg::Bad, Arg::from(0), Arg::from(u32::MAX)] {
        pair.fire(s);
        assert_eq!(s.poll(pair.near), IN_OUT);
        assert_eq!(s.ioctl(pair.near, abi::RESET, arg), Ok(0));
        assert_eq!(s.poll(pair.near), OUT);
        pair.enable(s).unwrap();
    }
}

pub(crate) fn requests_for_every_file_are_answered_before_the_driver_is_asked<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    for request in [abi::FIONBIO, abi::FIOASYNC] {
        assert_eq!(s.ioctl(file, request, Arg::Bad), Err(Errno::FAULT));
        assert_eq!(s.ioctl(file, request, 1.into()), Ok(0));
    }
    assert_eq!(s.ioctl(file, FIOQSIZE, 0.into()), Err(Errno::NOTTY));
    assert_eq!(s.ioctl(file, FIGETBSZ, 0.into()), Ok(0));
    assert_eq!(s.ioctl(file, FIGETBSZ, Arg::Bad), Err(Errno::FAULT));
    for (request, errno) in [
        (FIFREEZE, Errno::OPNOTSUPP),
        (FITHAW, Errno::INVAL),
        (FIEMAP, Errno::OPNOTSUPP),
    ] {
        assert_eq!(s.ioctl(file, request, Arg::Bad), Err(errno), "{request:#x}");
    }
}

pub(crate) fn the_hypercall_sees_16_bits_of_the_domain<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    let own = 0x1_0000 | s.domid();
    for (owner, binder) in [(own, SELF), (SELF, own), (0x1_7ff0, 0xffff_7ff0)] {
        let port = s.ioctl(file, abi::BIND_UNBOUND_PORT, owner.into()).unwrap();
        let bound = s.ioctl(file, abi::BIND_INTERDOMAIN, [binder, port].into());
        assert!(bound.is_ok(), "{owner:#x} {binder:#x}: {bound:?}");
    }
}

pub(crate) fn the_restriction_compares_all_32_bits<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    s.ioctl(file, abi::RESTRICT_DOMID, 1234.into()).unwrap();
    let bind = |remote: u32| s.ioctl(file, abi::BIND_INTERDOMAIN, [remote, 1].into());
    assert_eq!(bind(0x1_0000 + 1234), Err(Errno::ACCESS));
    assert_eq!(bind(SELF), Err(Errno::ACCESS));
    assert_eq!(bind(1234), Err(Errno::SRCH), "past the restriction");
}

pub(crate) fn restrict_reads_16_bits<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    // On a machine that has the low half first.
    let zero = s.ioctl(file, abi::RESTRICT_DOMID, 0x1_0000.into());
    assert_eq!(zero, Err(Errno::INVAL));
    assert_eq!(s.ioctl(file, abi::RESTRICT_DOMID, 0x1_0005.into()), Ok(0));
    let bound = s.ioctl(file, abi::BIND_INTERDOMAIN, [5, 1].into());
    assert_eq!(bound, Err(Errno::SRCH));
}

pub(crate) fn port_0_is_never_bound<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    assert_eq!(s.ioctl(file, abi::NOTIFY, 0.into()), Err(Errno::NOTCONN));
    assert_eq!(s.ioctl(file, abi::UNBIND, 0.into()), Err(Errno::NOTCONN));
    let bound = s.ioctl(file, abi::BIND_INTERDOMAIN, [SELF, 0].into());
    assert_eq!(bound, Err(Errno::INVAL));
}

pub(crate) fn numbers_of_32_bits_are_einval_to_unbind_and_enotconn_to_notify<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    for port in [131_072, 1 << 31, u32::MAX] {
        let refused = s.ioctl(file, abi::UNBIND, port.into());
        assert_eq!(refused, Err(Errno::INVAL));
        let refused = s.ioctl(file, abi::NOTIFY, port.into());
        assert_eq!(refused, Err(Errno::NOTCONN));
        let refused = s.ioctl(file, abi::BIND_INTERDOMAIN, [SELF, port].into());
        assert_eq!(refused, Err(Errno::INVAL));
        let refused = s.ioctl(file, abi::BIND_VIRQ, port.into());
        assert_eq!(refused, Err(Errno::INVAL));
    }
}

pub(crate) fn every_request_and_poll_work_in_every_access_mode<S: Side>(s: &S) {
    for access in [Access::ReadOnly, Access::WriteOnly, Access::ReadWrite] {
        let file = s.open(access, true);
        let pair = Pair::new(s, file);
        assert_eq!(s.poll(file), OUT);
        pair.fire(s);
        assert_eq!(s.poll(file), IN_OUT, "{access:?}");
        assert_eq!(s.ioctl(file, abi::RESET, 0.into()), Ok(0));
        assert_eq!(s.ioctl(file, abi::NOTIFY, pair.port.into()), Ok(0));
        assert_eq!(s.ioctl(file, abi::RESTRICT_DOMID, 5.into()), Ok(0));
        assert_eq!(s.ioctl(file, abi::UNBIND, pair.port.into()), Ok(0));
    }
}
