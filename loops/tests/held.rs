//! While an event loop has the descriptor of a device, the device stays open, whatever the code
//! does that registered it: its number does not go to another file.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::fs;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use evtchn_core::{Device, Registrar};
use evtchn_loops::{
    AsyncIoRegistrar, CalloopRegistrar, Cookie, HookRegistrar, Hooks, Interest, MioRegistrar,
    PollArray, PollingRegistrar, TokioRegistrar,
};
use mio::unix::SourceFd;
use polling::Poller;
use tokio::runtime::{Builder, Runtime};

use crate::fd_device;

/// Where to look for a device of which the test has no handle any more.
struct Trace {
    number: RawFd,
    /// The other end of its pipe.
    writer: PipeWriter,
}

impl Trace {
    /// Whether the number is still that of the device.
    fn is_open(&self) -> bool {
        let pipe = |fd: RawFd| fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        pipe(self.number) == pipe(self.writer.as_raw_fd())
    }
}

fn device() -> (Device, Trace) {
    let (reader, writer) = io::pipe().unwrap();
    let number = reader.as_raw_fd();
    (fd_device::device(reader), Trace { number, writer })
}

/// Registers a device of which nothing else has a handle.
fn registered(registrar: &impl Registrar) -> Trace {
    let (device, trace) = device();
    registrar.register(&device).unwrap();
    drop(device);
    assert!(trace.is_open(), "closed under the loop");
    trace
}

fn stays_open_until_it_is_deregistered(registrar: &impl Registrar) {
    for _ in 0..2 {
        let (device, trace) = device();
        registrar.register(&device).unwrap();
        registrar.deregister(&device).unwrap();
        assert!(trace.is_open());
        drop(device);
        assert!(!trace.is_open(), "the adapter still has it");
    }
    let trace = registered(registrar);
    // That its number is free now makes no difference.
    let _others = [(); 4].map(|()| io::pipe().unwrap());
    assert!(trace.is_open());
}

/// The loop keeps it: `deregister` fails, and then the adapter is dropped.
fn is_leaked<R: Registrar>(registrar: R, hinder: impl FnOnce(&R, &Device)) {
    let (device, trace) = device();
    registrar.register(&device).unwrap();
    hinder(&registrar, &device);
    registrar.deregister(&device).unwrap_err();
    drop(device);
    assert!(trace.is_open());
    drop(registrar);
    assert!(trace.is_open(), "its number could go to another file");
}

fn polling() -> (Arc<Poller>, PollingRegistrar) {
    let poller = Arc::new(Poller::new().unwrap());
    let registrar = PollingRegistrar::new(Arc::clone(&poller), 7).unwrap();
    (poller, registrar)
}

fn mio() -> (mio::Poll, MioRegistrar) {
    let poll = mio::Poll::new().unwrap();
    let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
    let registrar = MioRegistrar::new(poll.registry(), mio::Token(1), waker).unwrap();
    (poll, registrar)
}

fn tokio() -> (Runtime, TokioRegistrar) {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let registrar = TokioRegistrar::with_handle(runtime.handle().clone());
    (runtime, registrar)
}

/// A loop that accepts everything, and refuses to deregister where it is stubborn.
struct Foreign {
    is_stubborn: bool,
}

impl Hooks for Foreign {
    fn register(&self, _: RawFd, _: Interest, _: Cookie) -> io::Result<()> {
        Ok(())
    }

    fn modify(&self, _: RawFd, _: Interest, _: Cookie) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&self, _: RawFd, _: Cookie) -> io::Result<()> {
        match self.is_stubborn {
            true => Err(io::ErrorKind::Other.into()),
            false => Ok(()),
        }
    }

    fn wake(&self) {}
}

fn hooks(is_stubborn: bool) -> HookRegistrar {
    HookRegistrar::new(Arc::new(Foreign { is_stubborn }))
}

#[test]
fn polling_keeps_a_device_open_until_it_is_deregistered() {
    stays_open_until_it_is_deregistered(&polling().1);
}

#[test]
fn mio_keeps_a_device_open_until_it_is_deregistered() {
    stays_open_until_it_is_deregistered(&mio().1);
}

#[test]
fn calloop_keeps_a_device_open_until_it_is_deregistered() {
    stays_open_until_it_is_deregistered(&CalloopRegistrar::new().unwrap());
}

#[test]
fn hooks_keep_a_device_open_until_it_is_deregistered() {
    stays_open_until_it_is_deregistered(&hooks(false));
}

#[test]
fn a_poll_array_keeps_a_device_open_until_it_is_deregistered() {
    stays_open_until_it_is_deregistered(&PollArray::new().unwrap());
}

#[test]
fn tokio_keeps_a_device_open_until_it_is_deregistered() {
    let (_runtime, registrar) = tokio();
    stays_open_until_it_is_deregistered(&registrar);
}

#[test]
fn async_io_keeps_a_device_open_until_it_is_deregistered() {
    stays_open_until_it_is_deregistered(&AsyncIoRegistrar::new());
}

#[test]
fn a_device_that_polling_could_not_deregister_is_leaked() {
    let (poller, registrar) = polling();
    // The second time the poller does not know it.
    is_leaked(registrar, |_, device| {
        poller.delete(device.fd().unwrap()).unwrap();
    });
}

#[test]
fn a_device_that_mio_could_not_deregister_is_leaked() {
    let (poll, registrar) = mio();
    is_leaked(registrar, |_, device| {
        let fd = device.fd().unwrap().as_raw_fd();
        poll.registry().deregister(&mut SourceFd(&fd)).unwrap();
    });
}

#[test]
fn a_device_that_calloop_could_not_deregister_is_leaked() {
    is_leaked(CalloopRegistrar::new().unwrap(), |registrar, device| {
        rustix::event::epoll::delete(registrar.as_fd(), device.fd().unwrap()).unwrap();
    });
}

#[test]
fn a_device_that_hooks_could_not_deregister_is_leaked() {
    is_leaked(hooks(true), |_, _| ());
}

/// The program may still have it in an array.
#[test]
fn a_device_that_is_in_a_poll_array_as_that_is_dropped_is_leaked() {
    let array = PollArray::new().unwrap();
    let trace = registered(&array);
    drop(array);
    assert!(trace.is_open());
}

/// Their reactors deregister what is dropped.
#[test]
fn a_device_that_a_runtime_has_as_its_adapter_is_dropped_is_closed() {
    let (_runtime, registrar) = tokio();
    let trace = registered(&registrar);
    drop(registrar);
    assert!(!trace.is_open());
    let registrar = AsyncIoRegistrar::new();
    let trace = registered(&registrar);
    drop(registrar);
    assert!(!trace.is_open());
}

#[test]
fn a_device_that_is_registered_twice_with_hooks_is_closed_after_one_deregistration() {
    let registrar = hooks(false);
    let (device, trace) = device();
    registrar.register(&device).unwrap();
    registrar.register(&device).unwrap();
    registrar.deregister(&device).unwrap();
    drop(device);
    assert!(!trace.is_open());
}

#[test]
fn hooks_that_get_another_device_close_the_old_one_once_it_is_deregistered() {
    for is_stubborn in [false, true] {
        let registrar = hooks(is_stubborn);
        let before = registered(&registrar);
        let now = registered(&registrar);
        assert_eq!(before.is_open(), is_stubborn);
        drop(registrar);
        assert_eq!(before.is_open(), is_stubborn);
        assert!(now.is_open(), "it was not deregistered");
    }
}
