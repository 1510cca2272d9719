//! The adapter for the `polling` crate, with pipes in the place of the device.
#![cfg(feature = "polling")]
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::fs;
use std::io::{PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use evtchn_core::{Device, Registrar, Trigger};
use evtchn_loops::PollingRegistrar;
use polling::{Events, Poller};

use crate::fd_device::device;

const KEY: usize = 7;

fn poller_and_registrar() -> (Arc<Poller>, PollingRegistrar) {
    let poller = Arc::new(Poller::new().unwrap());
    let registrar = PollingRegistrar::new(Arc::clone(&poller), KEY).unwrap();
    (poller, registrar)
}

/// A device with something to read, and the other end of its pipe.
fn readable() -> (Device, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[0]).unwrap();
    (device(reader), writer)
}

/// Whether the device is ready now.
fn is_ready(poller: &Poller, registrar: &PollingRegistrar) -> bool {
    let mut events = Events::new();
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    registrar.is_ready(&events)
}

/// Whether the epoll instance of `poller` has `device`, as the kernel reports it.
fn is_watched(poller: &Poller, device: &Device) -> bool {
    let path = format!("/proc/self/fdinfo/{}", poller.as_raw_fd());
    let device = device.fd().unwrap().as_raw_fd();
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("tfd:"))
        .filter_map(|entry| entry.split_whitespace().next())
        .any(|watched| watched.parse() == Ok(device))
}

#[test]
fn a_readable_device_is_ready_until_it_is_read() {
    let (poller, registrar) = poller_and_registrar();
    let (reader, _writer) = readable();
    registrar.register(&reader).unwrap();
    assert!(is_ready(&poller, &registrar));
    assert!(is_ready(&poller, &registrar));

    rustix::io::read(reader.fd().unwrap(), &mut [0]).unwrap();
    assert!(!is_ready(&poller, &registrar));
    registrar.deregister(&reader).unwrap();
}

#[test]
fn the_adapter_is_level_triggered() {
    let (_, registrar) = poller_and_registrar();
    assert_eq!(Registrar::trigger(&registrar), Trigger::Level);
}

#[test]
fn the_error_bit_alone_is_ready() {
    let (poller, registrar) = poller_and_registrar();
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = device(writer);
    registrar.register(&writer).unwrap();
    assert!(!is_ready(&poller, &registrar));
    drop(reader);
    assert!(is_ready(&poller, &registrar));
    registrar.deregister(&writer).unwrap();
}

#[test]
fn a_deregistered_device_is_not_in_the_epoll_instance() {
    let (poller, registrar) = poller_and_registrar();
    let (reader, _writer) = readable();
    assert!(!is_watched(&poller, &reader));
    registrar.register(&reader).unwrap();
    assert!(is_watched(&poller, &reader));
    registrar.deregister(&reader).unwrap();
    assert!(!is_watched(&poller, &reader));
    assert!(!is_ready(&poller, &registrar));
}

#[test]
fn a_registration_that_does_not_fit_is_refused_and_changes_nothing() {
    let (poller, registrar) = poller_and_registrar();
    let (reader, writer) = readable();
    let writer = device(writer);
    registrar.register(&reader).unwrap();
    assert!(registrar.register(&reader).is_err());
    assert!(registrar.deregister(&writer).is_err());
    assert!(is_ready(&poller, &registrar));
    registrar.deregister(&reader).unwrap();
    assert!(registrar.deregister(&reader).is_err());
}

#[test]
fn another_key_is_not_the_device() {
    let (poller, registrar) = poller_and_registrar();
    let other = PollingRegistrar::new(Arc::clone(&poller), KEY + 1).unwrap();
    let (reader, _writer) = readable();
    other.register(&reader).unwrap();
    assert!(!is_ready(&poller, &registrar));
    assert!(is_ready(&poller, &other));
    other.deregister(&reader).unwrap();
}

#[test]
fn a_device_registered_while_the_loop_waits_ends_the_wait() {
    let (poller, registrar) = poller_and_registrar();
    let (reader, _writer) = readable();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut events = Events::new();
            poller.wait(&mut events, None).unwrap();
            events.iter().any(|event| event.key == KEY)
        });
        registrar.register(&reader).unwrap();
        assert!(waiting.join().unwrap());
    });
    registrar.deregister(&reader).unwrap();
}

#[test]
fn a_wake_from_another_thread_ends_a_wait_without_an_event() {
    let (poller, registrar) = poller_and_registrar();
    thread::scope(|scope| {
        scope.spawn(|| Registrar::wake(&registrar));
        let mut events = Events::new();
        assert_eq!(poller.wait(&mut events, None).unwrap(), 0);
    });
}
