//! The poll loop, with eventfds and pipes in the place of the device.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use evtchn_core::{Registrar, Trigger};
use evtchn_xen::{PollLoop, Readiness, RegistrationError};
use rustix::event::{EventfdFlags, eventfd};

const NOW: Option<Duration> = Some(Duration::ZERO);

const NOTHING: Readiness = Readiness {
    ready: false,
    woken: false,
    interrupted: false,
};
const READY: Readiness = Readiness {
    ready: true,
    ..NOTHING
};
const WOKEN: Readiness = Readiness {
    woken: true,
    ..NOTHING
};

/// An eventfd: readable if and only if `count` is not 0.
fn device(count: u32) -> OwnedFd {
    eventfd(count, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

/// Waits in another thread, and returns when it does.
fn waiting_thread(poll_loop: &PollLoop) -> thread::JoinHandle<Readiness> {
    let before = poll_loop.counters().polls;
    let waiting = poll_loop.clone();
    let thread = thread::spawn(move || waiting.wait(None).unwrap());
    while poll_loop.counters().polls == before {
        thread::yield_now();
    }
    thread
}

#[test]
fn a_readable_device_is_ready_again_and_again() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(1);
    poll_loop.register(&device).unwrap();
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
    assert_eq!(Registrar::<OwnedFd>::trigger(&poll_loop), Trigger::Level);
}

#[test]
fn a_quiet_device_times_out() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let readiness = poll_loop.wait(NOW).unwrap();
    assert_eq!(readiness, NOTHING);
    assert!(readiness.timed_out());
}

#[test]
fn the_error_bit_alone_is_ready() {
    let poll_loop = PollLoop::new().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[0]).unwrap();
    drop(reader);
    poll_loop.register(&writer).unwrap();
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
}

#[test]
fn a_deregistered_device_is_not_polled() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(1);
    poll_loop.register(&device).unwrap();
    poll_loop.deregister(&device).unwrap();
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
    poll_loop.register(&device).unwrap();
    assert_eq!(poll_loop.wait(NOW).unwrap(), READY);
}

#[test]
fn a_registration_that_does_not_fit_is_refused_and_changes_nothing() {
    let poll_loop = PollLoop::new().unwrap();
    let (ready, quiet) = (device(1), device(0));
    assert_eq!(
        poll_loop.deregister(&ready),
        Err(RegistrationError::NotRegistered)
    );
    poll_loop.register(&ready).unwrap();
    for other in [&ready, &quiet] {
        assert_eq!(
            poll_loop.register(other),
            Err(RegistrationError::AlreadyRegistered)
        );
    }
    assert_eq!(
        poll_loop.deregister(&quiet),
        Err(RegistrationError::NotRegistered)
    );
    assert_eq!(poll_loop.wait(NOW).unwrap(), READY);
    let counters = poll_loop.counters();
    assert_eq!((counters.registers, counters.deregisters), (1, 0));
}

#[test]
fn wakes_before_a_wait_are_one_wake() {
    let poll_loop = PollLoop::new().unwrap();
    poll_loop.wake();
    poll_loop.wake();
    assert_eq!(poll_loop.wait(None).unwrap(), WOKEN);
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
}

#[test]
fn readiness_and_a_wake_are_reported_together() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(1);
    poll_loop.register(&device).unwrap();
    poll_loop.wake();
    let both = Readiness {
        woken: true,
        ..READY
    };
    assert_eq!(poll_loop.wait(None).unwrap(), both);
}

#[test]
fn a_wake_from_another_thread_ends_a_blocked_wait() {
    let poll_loop = PollLoop::new().unwrap();
    let thread = waiting_thread(&poll_loop);
    poll_loop.wake();
    assert_eq!(thread.join().unwrap(), WOKEN);
}

#[test]
fn a_wake_reaches_every_waiting_thread() {
    let poll_loop = PollLoop::new().unwrap();
    let threads = [
        waiting_thread(&poll_loop),
        waiting_thread(&poll_loop),
        waiting_thread(&poll_loop),
    ];
    poll_loop.wake();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), WOKEN);
    }
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
}

#[test]
fn registering_while_a_thread_waits_sends_it_back_to_poll_the_device() {
    let poll_loop = PollLoop::new().unwrap();
    let thread = waiting_thread(&poll_loop);
    let device = device(1);
    poll_loop.register(&device).unwrap();
    assert_eq!(thread.join().unwrap(), WOKEN);
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
}

#[test]
fn registering_between_waits_wakes_nobody() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    poll_loop.deregister(&device).unwrap();
    poll_loop.register(&device).unwrap();
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
}

#[test]
fn deregistering_returns_when_no_thread_polls_the_device() {
    let poll_loop = PollLoop::new().unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    poll_loop.register(&reader).unwrap();
    let threads = [waiting_thread(&poll_loop), waiting_thread(&poll_loop)];
    poll_loop.deregister(&reader).unwrap();
    drop(reader);
    // A poll that went on would keep the read end open, and this write would succeed.
    assert_eq!(
        rustix::io::write(&writer, &[0]),
        Err(rustix::io::Errno::PIPE)
    );
    for thread in threads {
        assert_eq!(thread.join().unwrap(), WOKEN);
    }
}

#[test]
fn counters_count() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    for _ in 0..3 {
        poll_loop.register(&device).unwrap();
        poll_loop.wait(NOW).unwrap();
        poll_loop.deregister(&device).unwrap();
        poll_loop.wait(NOW).unwrap();
    }
    let counters = poll_loop.counters();
    assert_eq!((counters.registers, counters.deregisters), (3, 3));
    assert_eq!(counters.polls, 6);
}
