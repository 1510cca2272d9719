//! The adapter for the `mio` crate, with pipes in the place of the device.
#![cfg(feature = "mio")]
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use evtchn_core::Registrar;
use evtchn_loops::MioRegistrar;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::fd_device;

const WAKES: Token = Token(0);
const DEVICE: Token = Token(1);
const OTHER: Token = Token(2);

fn poll_and_registrar() -> (Poll, MioRegistrar) {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), WAKES).unwrap());
    let registrar = MioRegistrar::new(poll.registry(), DEVICE, waker).unwrap();
    (poll, registrar)
}

#[test]
fn events_of_other_tokens_are_not_the_device() {
    let (mut poll, registrar) = poll_and_registrar();
    let [(device, mut peer), (other, mut others)] = [(); 2].map(|()| std::io::pipe().unwrap());
    let device = fd_device::device(device);
    registrar.register(&device).unwrap();
    let fd = other.as_raw_fd();
    let source = &mut SourceFd(&fd);
    poll.registry()
        .register(source, OTHER, Interest::READABLE)
        .unwrap();
    let mut events = Events::with_capacity(4);
    others.write_all(&[0]).unwrap();
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert_eq!(events.iter().count(), 1);
    assert!(!registrar.is_ready(&events));

    peer.write_all(&[0]).unwrap();
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(registrar.is_ready(&events));
    registrar.deregister(&device).unwrap();
}

#[test]
fn a_wake_from_another_thread_ends_a_poll_and_is_not_the_device() {
    let (mut poll, registrar) = poll_and_registrar();
    thread::scope(|scope| {
        scope.spawn(|| Registrar::wake(&registrar));
        let mut events = Events::with_capacity(4);
        // Guards against a test that hangs.
        poll.poll(&mut events, Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(
            events.iter().next().map(mio::event::Event::token),
            Some(WAKES)
        );
        assert!(!registrar.is_ready(&events));
    });
}
