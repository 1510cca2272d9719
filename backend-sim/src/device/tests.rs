//! The device as a context uses it.

use std::error::Error as _;
use std::os::fd::AsRawFd;

use evtchn_core::{ErrorKind, Status};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;
use crate::error::Error;

fn port(raw: u32) -> Port {
    Port::new(raw).unwrap()
}

fn read(device: &SimDevice) -> Vec<u32> {
    let mut buf = PortBuf::with_capacity(PortBuf::MAX);
    device.pending(&mut buf).unwrap();
    buf.words().to_vec()
}

/// A device of domain 0 with a port that a guest is bound to, and the guest's way to fire it.
fn connected(sim: &Sim) -> (SimOpen, SimDevice, Port, impl Fn()) {
    let domu = sim.create_domain().unwrap();
    let open = sim.open(DomId::DOM0);
    let device = open.open().unwrap();
    let ours = device.bind_unbound_port(domu).unwrap();
    let guest = sim.guest(domu);
    let theirs = guest.bind_interdomain(DomId::DOM0, ours).unwrap();
    let fire = move || guest.send(theirs).unwrap();
    (open, device, ours, fire)
}

fn revents(device: &SimDevice) -> PollFlags {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let fd = device.fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&now)).unwrap();
    fds[0].revents()
}

#[test]
fn reading_an_empty_ring_empties_the_buffer() {
    let sim = Sim::new(0);
    let (_, device, ours, fire) = connected(&sim);
    assert!(read(&device).is_empty());
    fire();
    assert_eq!(read(&device), [ours.as_raw()]);
    assert!(read(&device).is_empty());
    let mut none = PortBuf::with_capacity(0);
    fire();
    device.unmask(&[ours]).unwrap();
    device.pending(&mut none).unwrap();
    assert_eq!(read(&device), [ours.as_raw()], "no room, nothing read");
}

#[test]
fn unmask_returns_how_many_ports_were_written_at_most_1024() {
    let sim = Sim::new(0);
    let device = sim.open(DomId::DOM0).open().unwrap();
    assert_eq!(device.unmask(&[]), Ok(0));
    assert_eq!(device.unmask(&[port(9); 3]), Ok(3));
    assert_eq!(device.unmask(&[port(9); 1030]), Ok(1024));
}

#[test]
fn errors_name_call_port_and_errno() {
    let sim = Sim::new(0);
    let device = sim.open(DomId::DOM0).open().unwrap();
    let remote = |domid, raw| RemotePort {
        domid: DomId::new(domid),
        port: port(raw),
    };
    let table = [
        (
            device.notify(port(7)).unwrap_err(),
            (
                Call::Notify,
                Some(port(7)),
                Errno::ENOTCONN,
                ErrorKind::NotBound,
            ),
        ),
        (
            device.unbind(Port::MAX).unwrap_err(),
            (
                Call::Unbind,
                Some(Port::MAX),
                Errno::EINVAL,
                ErrorKind::Invalid,
            ),
        ),
        (
            device.bind_interdomain(remote(55, 3)).unwrap_err(),
            (
                Call::BindInterdomain,
                Some(port(3)),
                Errno::ESRCH,
                ErrorKind::NoSuchDomain,
            ),
        ),
        (
            device.bind_virq(Virq::TIMER).unwrap_err(),
            (Call::BindVirq, None, Errno::EEXIST, ErrorKind::InUse),
        ),
        (
            device.bind_virq(Virq::new(u32::MAX)).unwrap_err(),
            (Call::BindVirq, None, Errno::EINVAL, ErrorKind::Invalid),
        ),
        (
            device.bind_static(port(3)).unwrap_err(),
            (
                Call::BindStatic,
                Some(port(3)),
                Errno::ENOSYS,
                ErrorKind::Unsupported,
            ),
        ),
        (
            device.restrict(DomId::DOM0).unwrap_err(),
            (Call::Restrict, None, Errno::EINVAL, ErrorKind::Invalid),
        ),
        (
            sim.open(DomId::new(9)).open().unwrap_err(),
            (Call::Open, None, Errno::ENOENT, ErrorKind::NoDevice),
        ),
    ];
    for (error, (call, port, errno, kind)) in table {
        let own = error.source().unwrap().downcast_ref();
        assert_eq!(own, Some(&Error { call, port, errno }));
        let theirs = port.filter(|_| call == Call::BindInterdomain);
        assert_eq!(error.port().or(theirs), port);
        assert_eq!(Call::of(error.call()), call);
        assert_eq!((error.kind(), error.code()), (kind, Some(errno.raw())));
    }
}

#[test]
fn faults_hit_the_calls_they_are_set_for_and_leave_no_effect() {
    let sim = Sim::new(0);
    let (open, device, ours, fire) = connected(&sim);
    fire();
    let mut buf = PortBuf::with_capacity(4);
    open.fail_next(Call::Pending, Errno::EINTR);
    let error = device.pending(&mut buf).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(read(&device), [ours.as_raw()]);
    fire();
    open.fail_next(Call::Unmask, Errno::ENOMEM);
    let refused = device.unmask(&[ours]).unwrap_err();
    assert_eq!(Errno::of(&refused), Some(Errno::ENOMEM));
    assert!(read(&device).is_empty());
    open.fail_nth(Call::Open, 2, Errno::EACCES);
    let second = open.open().unwrap();
    let refused = open.open().unwrap_err();
    assert_eq!(Errno::of(&refused), Some(Errno::EACCES));
    assert_eq!((open.opens(), open.faults_left()), (2, 0));
    open.clone().fail_next(Call::BindVirq, Errno::ENOMEM);
    assert!(second.bind_virq(Virq::DOM_EXC).is_err());
    let port = second.bind_virq(Virq::DOM_EXC);
    assert!(port.is_ok(), "the failed call did not reach Xen");
}

#[test]
fn a_shortened_call_moves_fewer_ports() {
    let sim = Sim::new(0);
    let (open, device, ours, fire) = connected(&sim);
    let virq = device.bind_virq(Virq::DOM_EXC).unwrap();
    fire();
    sim.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
    open.shorten_next(Call::Pending, 1);
    assert_eq!(read(&device), [ours.as_raw()]);
    assert_eq!(read(&device), [virq.as_raw()]);
    open.shorten_next(Call::Unmask, 1);
    assert_eq!(device.unmask(&[ours, virq]), Ok(1));
    fire();
    sim.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
    assert_eq!(
        read(&device),
        [ours.as_raw()],
        "the other is still disabled"
    );
}

#[test]
fn the_last_descriptor_closes_the_ports() {
    let sim = Sim::new(0);
    let (open, device, ours, fire) = connected(&sim);
    let second = device.dup().unwrap();
    let third = open.dup().unwrap();
    assert_eq!((sim.open_files(), open.opens()), (1, 1));
    drop(device);
    drop(second);
    fire();
    assert_eq!(read(&third), [ours.as_raw()]);
    drop(third);
    let status = sim.status(DomId::DOM0, ours).unwrap();
    assert_eq!(status.state, Status::Closed);
    assert_eq!(sim.open_files(), 0);
    let refused = open.dup().unwrap_err();
    assert_eq!(Errno::of(&refused), Some(Errno::EBADF));
}

#[test]
fn the_descriptor_shows_empty_readable_overflow_and_reset() {
    let sim = Sim::new(0);
    let (open, device, ours, fire) = connected(&sim);
    assert_eq!(revents(&device), PollFlags::empty());
    fire();
    assert_eq!(revents(&device), PollFlags::IN);
    assert_eq!(read(&device), [ours.as_raw()]);
    assert_eq!(revents(&device), PollFlags::empty());
    device.unmask(&[ours]).unwrap();
    fire();
    assert_eq!(revents(&device), PollFlags::IN);
    open.overflow().unwrap();
    assert_eq!(revents(&device), PollFlags::ERR);
    let mut buf = PortBuf::with_capacity(4);
    let error = device.pending(&mut buf).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow);
    device.reset().unwrap();
    assert_eq!(revents(&device), PollFlags::empty());
    device.unmask(&[ours]).unwrap();
    fire();
    assert_eq!(revents(&device), PollFlags::IN);
}

#[test]
fn a_descriptor_that_is_made_late_shows_the_present_state() {
    let sim = Sim::new(0);
    let (open, device, _, fire) = connected(&sim);
    fire();
    assert_eq!(revents(&device), PollFlags::IN);
    open.overflow().unwrap();
    let late = device.dup().unwrap();
    assert_eq!(revents(&late), PollFlags::ERR);
    let number = |device: &SimDevice| device.fd().unwrap().as_raw_fd();
    assert_ne!(number(&late), number(&device));
    assert_eq!(number(&device), number(&device));
}

#[test]
fn a_device_of_a_destroyed_domain_is_gone() {
    let sim = Sim::new(0);
    let domu = sim.create_domain().unwrap();
    let device = sim.open(domu).open().unwrap();
    sim.destroy_domain(domu).unwrap();
    let error = device.reset().unwrap_err();
    assert_eq!(Errno::of(&error), Some(Errno::EBADF));
    assert_eq!(error.kind(), ErrorKind::Gone);
    assert!(device.try_fd().is_err() && device.fd().is_err() && device.dup().is_err());
    assert_eq!(device.poll(), Err(Errno::EBADF));
}

#[test]
fn a_device_is_used_from_many_threads() {
    let sim = Sim::new(0);
    let (_, device, ours, fire) = connected(&sim);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| device.notify(ours).unwrap()));
        }
        (0..100).for_each(|_| fire());
    });
    assert_eq!(read(&device), [ours.as_raw()]);
}
