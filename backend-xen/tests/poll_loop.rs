//! The poll loop, with eventfds and pipes in the place of the device.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::io::Write;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use evtchn_core::{Device, LoopError, Registrar, Sleep, Sleeper, Slept, Trigger, WakeTargets};
use evtchn_xen::{Counters, PollLoop, Readiness, RegistrationError};
use rustix::event::{EventfdFlags, eventfd};

use crate::fd_device;

mod sleepers;

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
fn device(count: u32) -> Device {
    fd_device::device(eventfd(count, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap())
}

/// Why the loop refused a registration.
#[track_caller]
fn refusal(refused: Result<(), LoopError>) -> RegistrationError {
    *refused.unwrap_err().get_ref().downcast_ref().unwrap()
}

/// How long real threads may take before a test counts as hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits in another thread, and returns when that thread polls or sleeps, or is about to.
fn waiting_thread(poll_loop: &PollLoop) -> thread::JoinHandle<Readiness> {
    let waiting = poll_loop.clone();
    until_asleep(poll_loop, move || waiting.wait(None).unwrap())
}

/// Runs something in another thread, and returns when that thread polls or sleeps, or is about to.
fn until_asleep<T: Send + 'static>(
    poll_loop: &PollLoop,
    sleeps: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let before = sleeps_begun(poll_loop);
    let thread = thread::spawn(sleeps);
    until("a thread sleeps", || sleeps_begun(poll_loop) > before);
    thread
}

fn sleeps_begun(poll_loop: &PollLoop) -> u64 {
    let counters = poll_loop.counters();
    counters.polls + counters.sleeps
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within 10 seconds: {what}");
        thread::yield_now();
    }
}

/// Returns the result of another thread, which must not take long.
#[track_caller]
fn finish<T>(thread: thread::JoinHandle<T>) -> T {
    until("a thread ends", || thread.is_finished());
    thread.join().unwrap()
}

fn sleeper(number: u32) -> Sleeper {
    Sleeper::new(NonZeroU32::new(number).unwrap())
}

fn ticket(poll_loop: &PollLoop) -> u64 {
    Sleep::ticket(poll_loop)
}

/// Sleeps as a thread that blocks does.
fn sleep_as(poll_loop: &PollLoop, number: u32, ticket: u64) -> Slept {
    Sleep::sleep_as(poll_loop, sleeper(number), ticket, None).unwrap()
}

fn leave(poll_loop: &PollLoop, number: u32) {
    Sleep::leave(poll_loop, sleeper(number));
}

/// Sleeps in another thread until it is ready or notified, once.
fn sleeping_thread(poll_loop: &PollLoop, number: u32) -> thread::JoinHandle<Slept> {
    let sleeping = poll_loop.clone();
    until_asleep(poll_loop, move || {
        let slept = sleep_as(&sleeping, number, ticket(&sleeping));
        leave(&sleeping, number);
        slept
    })
}

fn notify(poll_loop: &PollLoop, numbers: &[u32]) {
    let sleepers: Vec<_> = numbers.iter().map(|it| sleeper(*it)).collect();
    let targets = WakeTargets {
        runners: false,
        sleepers: &sleepers,
    };
    Registrar::wake_only(poll_loop, targets);
}

fn make_readable(device: &Device) {
    rustix::io::write(device.fd().unwrap(), &1_u64.to_ne_bytes()).unwrap();
}

#[test]
fn a_readable_device_is_ready_again_and_again() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(1);
    poll_loop.register(&device).unwrap();
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
    assert_eq!(Registrar::trigger(&poll_loop), Trigger::Level);
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
    poll_loop.register(&fd_device::device(writer)).unwrap();
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
        refusal(poll_loop.deregister(&ready)),
        RegistrationError::NotRegistered
    );
    poll_loop.register(&ready).unwrap();
    for other in [&ready, &quiet] {
        assert_eq!(
            refusal(poll_loop.register(other)),
            RegistrationError::AlreadyRegistered
        );
    }
    assert_eq!(
        refusal(poll_loop.deregister(&quiet)),
        RegistrationError::NotRegistered
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
    assert_eq!(finish(thread), WOKEN);
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
        assert_eq!(finish(thread), WOKEN);
    }
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
}

#[test]
fn registering_while_a_thread_waits_sends_it_back_to_poll_the_device() {
    let poll_loop = PollLoop::new().unwrap();
    let thread = waiting_thread(&poll_loop);
    let device = device(1);
    poll_loop.register(&device).unwrap();
    assert_eq!(finish(thread), WOKEN);
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
}

#[test]
fn registering_between_waits_does_not_end_the_next_wait() {
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
    let reader = fd_device::device(reader);
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
        assert_eq!(finish(thread), WOKEN);
    }
}

/// The code that registers a device may drop it: the loop keeps it open as long as it polls it.
#[test]
fn a_registered_device_stays_open_as_long_as_the_loop_polls_it() {
    let poll_loop = PollLoop::new().unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    poll_loop.register(&fd_device::device(reader)).unwrap();
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
    assert_eq!(rustix::io::write(&writer, &[0]), Ok(1));
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
    drop(poll_loop);
    let written = rustix::io::write(&writer, &[0]);
    assert_eq!(written, Err(rustix::io::Errno::PIPE));
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
