//! Devices whose incarnation and sensor a test decides. The device is a socket: it can be read, and answers each ioctl
//! with an errno of its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use evtchn_core::{DomId, EventChannel, Port, PortBuf};
use evtchn_fork::Process;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};

use super::*;
use crate::Device;

/// An incarnation for each test, so that tests can run beside each other.
macro_rules! incarnation {
    ($name:ident) => {
        static INCARNATION: AtomicU32 = AtomicU32::new(1);
        fn $name() -> Option<u32> {
            Some(INCARNATION.load(Ordering::Relaxed))
        }
    };
}

/// A device, and the other end of its socket.
fn device(now: fn() -> Option<u32>, sensor: Option<Sensor>) -> (Device, UnixStream) {
    let (own, other) = UnixStream::pair().unwrap();
    own.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    let fd = Arc::new(OwnedFd::from(own));
    let watch = Watch::with(&fd, now, || sensor);
    (
        Device::watched(fd, Process::current().unwrap(), watch),
        other,
    )
}

fn sensor() -> (Sensor, OwnedFd) {
    let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    (Sensor::Store(fd.try_clone().unwrap()), fd)
}

fn fire(sensor: &OwnedFd) {
    rustix::io::write(sensor, &1_u64.to_ne_bytes()).unwrap();
}

fn is_readable(device: &Device) -> bool {
    let fd = device.fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents().contains(PollFlags::IN)
}

fn pending(device: &Device) -> Result<Vec<u32>, ErrorKind> {
    let mut fired = PortBuf::with_capacity(8);
    let read = device.pending(&mut fired);
    read.map(|()| fired.words().to_vec())
        .map_err(|it| it.kind())
}

fn is_open(mut other: UnixStream) -> bool {
    other.read(&mut [0]).is_err()
}

#[test]
fn a_device_from_before_a_restore_makes_no_call() {
    incarnation!(now);
    let (device, _other) = device(now, None);
    let port = Port::new(3).unwrap();
    let refused = device.unbind(port).unwrap_err();
    assert_ne!(
        refused.kind(),
        ErrorKind::Resumed,
        "a socket refuses the request"
    );
    assert!(refused.code().is_some());
    INCARNATION.store(2, Ordering::Relaxed);
    for refused in [
        device.unbind(port).unwrap_err(),
        device.bind_unbound_port(DomId::DOM0).unwrap_err(),
        device.bind_static(port).unwrap_err(),
        device.pending(&mut PortBuf::with_capacity(8)).unwrap_err(),
    ] {
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::Resumed, None));
    }
    assert!(device.is_resumed());
}

#[test]
fn a_bind_during_which_the_domain_is_restored_fails() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    // The third to ask is the look after the request.
    fn now() -> Option<u32> {
        Some(1 + ASKED.fetch_add(1, Ordering::Relaxed) / 2)
    }
    let (device, _other) = device(now, None);
    let refused = device.bind_unbound_port(DomId::DOM0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Resumed);
    assert_eq!(ASKED.load(Ordering::Relaxed), 3);
}

#[test]
fn a_file_from_before_a_restore_stays_open_when_its_device_is_dropped() {
    incarnation!(now);
    let (before, other_of_before) = device(now, None);
    INCARNATION.store(2, Ordering::Relaxed);
    let (after, other_of_after) = device(now, None);
    drop((before, after));
    assert!(is_open(other_of_before));
    assert!(!is_open(other_of_after));
}

#[test]
fn a_descriptor_that_is_handed_out_belongs_to_its_new_owner() {
    incarnation!(now);
    let (before, other) = device(now, None);
    INCARNATION.store(2, Ordering::Relaxed);
    drop(OwnedFd::from(before));
    assert!(!is_open(other));
}

#[test]
fn a_restore_ends_a_poll() {
    incarnation!(now);
    let (its, fires) = sensor();
    let (device, _other) = device(now, Some(its));
    assert!(!is_readable(&device));
    INCARNATION.store(2, Ordering::Relaxed);
    fire(&fires);
    assert!(is_readable(&device));
    assert_eq!(pending(&device), Err(ErrorKind::Resumed));
}

#[test]
fn a_sensor_that_fires_without_a_restore_ends_one_poll() {
    incarnation!(now);
    let (its, fires) = sensor();
    let (device, _other) = device(now, Some(its));
    fire(&fires);
    assert!(is_readable(&device));
    assert_eq!(pending(&device), Ok(vec![]));
    assert!(!is_readable(&device));
    assert_eq!(INCARNATION.load(Ordering::Relaxed), 1);
}

#[test]
fn a_poll_sees_events_beside_the_sensor() {
    incarnation!(now);
    let (its, fires) = sensor();
    let (device, mut other) = device(now, Some(its));
    other.write_all(&7_u32.to_ne_bytes()).unwrap();
    fire(&fires);
    assert!(is_readable(&device));
    assert_eq!(pending(&device), Ok(vec![7]));
    assert!(is_readable(&device), "the sensor was not read yet");
    assert_eq!(pending(&device), Ok(vec![]));
    assert!(!is_readable(&device));
    assert_eq!(INCARNATION.load(Ordering::Relaxed), 1);
}

#[test]
fn a_domain_that_is_never_restored_has_no_watch() {
    let (own, _other) = UnixStream::pair().unwrap();
    let fd = Arc::new(OwnedFd::from(own));
    assert!(Watch::with(&fd, || None, || unreachable!("no sensor is opened")).is_none());
}
