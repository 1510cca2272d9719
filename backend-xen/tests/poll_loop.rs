//! The poll loop, with eventfds and pipes in the place of the device.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::io::Write;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use evtchn_core::{Device, LoopError, Registrar, Sleep, Sleeper, Slept, Trigger, Whom};
use evtchn_xen::{Counters, PollLoop, Readiness, RegistrationError};
use rustix::event::{EventfdFlags, eventfd};

use crate::fd_device;

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

/// Waits in another thread, and returns when that polls or sleeps, or is about to.
fn waiting_thread(poll_loop: &PollLoop) -> thread::JoinHandle<Readiness> {
    let waiting = poll_loop.clone();
    until_asleep(poll_loop, move || waiting.wait(None).unwrap())
}

/// Runs something in another thread, and returns when that polls or sleeps, or is about to.
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

/// Comes back with what another thread does, which must not take long.
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

/// Sleeps in another thread until it is ready or roused, once.
fn sleeping_thread(poll_loop: &PollLoop, number: u32) -> thread::JoinHandle<Slept> {
    let sleeping = poll_loop.clone();
    until_asleep(poll_loop, move || {
        let slept = sleep_as(&sleeping, number, ticket(&sleeping));
        leave(&sleeping, number);
        slept
    })
}

fn rouse(poll_loop: &PollLoop, numbers: &[u32]) {
    let sleepers: Vec<_> = numbers.iter().map(|it| sleeper(*it)).collect();
    let whom = Whom {
        runners: false,
        sleepers: &sleepers,
    };
    Registrar::wake_only(poll_loop, whom);
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

/// Who registers it may let go of it: the loop keeps it open for as long as it polls it.
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

#[test]
fn a_wake_that_threads_slept_through_is_heard_once_by_each_and_then_nothing_polls() {
    const THREADS: usize = 3;
    let poll_loop = PollLoop::new().unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (waiting, heard, stop) = (poll_loop.clone(), Arc::clone(&heard), Arc::clone(&stop));
            until_asleep(&poll_loop, move || {
                while !stop.load(SeqCst) {
                    assert_eq!(waiting.wait(None).unwrap(), WOKEN);
                    heard.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let before = poll_loop.counters();
    poll_loop.wake();
    until("each has heard it", || heard.load(SeqCst) >= THREADS);
    let asleep = || {
        let begun = sleeps_begun(&poll_loop);
        begun >= before.polls + before.sleeps + THREADS as u64
    };
    until("each sleeps again", asleep);
    // Whoever spins would do so now.
    (0..1_000).for_each(|_| thread::yield_now());
    let polls = poll_loop.counters().polls - before.polls;
    assert_eq!(heard.load(SeqCst), THREADS);
    // Each may have had the watch in its turn.
    assert!(polls <= 2 * THREADS as u64, "{polls} polls");
    stop.store(true, SeqCst);
    poll_loop.wake();
    threads.into_iter().for_each(finish);
}

#[test]
fn one_thread_polls_and_the_others_sleep() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let threads = [1, 2, 3].map(|number| sleeping_thread(&poll_loop, number));
    let counters = poll_loop.counters();
    assert_eq!((counters.polls, counters.sleeps), (1, 2));
    poll_loop.wake();
    for thread in threads {
        assert_eq!(finish(thread), Slept::Roused);
    }
}

#[test]
fn a_call_for_one_sleeper_leaves_the_others_asleep() {
    let poll_loop = PollLoop::new().unwrap();
    let [one, two, three] = [1, 2, 3].map(|number| sleeping_thread(&poll_loop, number));
    rouse(&poll_loop, &[3]);
    assert_eq!(finish(three), Slept::Roused);
    assert!(!one.is_finished() && !two.is_finished());
    rouse(&poll_loop, &[2, 1]);
    assert_eq!(finish(two), Slept::Roused);
    assert_eq!(finish(one), Slept::Roused);
    assert_eq!(
        poll_loop.wait(NOW).unwrap(),
        NOTHING,
        "it was for nobody who waits"
    );
}

#[test]
fn a_call_for_those_who_run_the_loop_leaves_sleepers_asleep() {
    let poll_loop = PollLoop::new().unwrap();
    // The first one polls, and need not come back for this either.
    let sleepers = [1, 2].map(|number| sleeping_thread(&poll_loop, number));
    let waits = waiting_thread(&poll_loop);
    let whom = Whom {
        runners: true,
        sleepers: &[],
    };
    let before = sleeps_begun(&poll_loop);
    Registrar::wake_only(&poll_loop, whom);
    assert_eq!(finish(waits), WOKEN);
    assert!(sleepers.iter().all(|it| !it.is_finished()));
    assert_eq!(sleeps_begun(&poll_loop), before);
    poll_loop.wake();
    for thread in sleepers {
        assert_eq!(finish(thread), Slept::Roused);
    }
}

#[test]
fn a_call_for_those_who_run_the_loop_ends_the_next_wait_where_none_does() {
    let poll_loop = PollLoop::new().unwrap();
    let whom = Whom {
        runners: true,
        sleepers: &[],
    };
    Registrar::wake_only(&poll_loop, whom);
    assert_eq!(poll_loop.wait(None).unwrap(), WOKEN);
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
}

#[test]
fn a_watcher_that_is_woken_leaves_the_watch_to_a_sleeper() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let watcher = waiting_thread(&poll_loop);
    let sleeping = poll_loop.clone();
    let sleeps = until_asleep(&poll_loop, move || {
        while sleep_as(&sleeping, 1, ticket(&sleeping)) != Slept::Ready {}
        leave(&sleeping, 1);
    });
    poll_loop.wake();
    assert_eq!(finish(watcher), WOKEN);
    make_readable(&device);
    finish(sleeps);
}

#[test]
fn a_sleeper_that_leaves_hands_the_watch_to_a_thread_that_waits() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let sleeps = sleeping_thread(&poll_loop, 1);
    let waits = waiting_thread(&poll_loop);
    rouse(&poll_loop, &[1]);
    assert_eq!(finish(sleeps), Slept::Roused);
    make_readable(&device);
    assert_eq!(finish(waits), READY);
}

#[test]
fn a_thread_that_blocks_takes_the_watch_over_before_one_that_waits() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let watcher = waiting_thread(&poll_loop);
    let waits = waiting_thread(&poll_loop);
    let (sleeping, (stop, stopped)) = (poll_loop.clone(), mpsc::channel());
    let (tell, told) = mpsc::channel();
    let sleeps = until_asleep(&poll_loop, move || {
        while sleep_as(&sleeping, 1, ticket(&sleeping)) != Slept::Ready {}
        tell.send(sleeping.counters().polls).unwrap();
        stopped.recv().unwrap();
        leave(&sleeping, 1);
    });
    make_readable(&device);
    assert_eq!(finish(watcher), READY);
    // Nobody polled between the two.
    assert_eq!(told.recv_timeout(PATIENCE), Ok(2));
    stop.send(()).unwrap();
    finish(sleeps);
    assert_eq!(finish(waits), READY);
}

#[test]
fn a_sleep_on_a_ticket_of_before_a_call_ends_at_once() {
    let poll_loop = PollLoop::new().unwrap();
    let calls: [fn(&PollLoop); 2] = [PollLoop::wake, |it| rouse(it, &[1])];
    for call in calls {
        for kind in [0, 1] {
            let old = ticket(&poll_loop);
            call(&poll_loop);
            let sleeping = poll_loop.clone();
            let thread = thread::spawn(move || {
                let slept = if kind == 0 {
                    Sleep::sleep(&sleeping, old, None).unwrap()
                } else {
                    sleep_as(&sleeping, 1, old)
                };
                leave(&sleeping, 1);
                slept
            });
            assert_eq!(finish(thread), Slept::Roused);
        }
    }
}

#[test]
fn a_sleeper_keeps_the_watch_from_one_sleep_to_the_next() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(1);
    poll_loop.register(&device).unwrap();
    for _ in 0..2 {
        assert_eq!(sleep_as(&poll_loop, 1, ticket(&poll_loop)), Slept::Ready);
    }
    // Another thread does not poll meanwhile, whatever number it goes by.
    for number in [1, 2] {
        let deadline = Some(Instant::now() + Duration::from_millis(1));
        let other = poll_loop.clone();
        let sleep = move || {
            let ticket = ticket(&other);
            Sleep::sleep_as(&other, sleeper(number), ticket, deadline).unwrap()
        };
        assert_eq!(finish(thread::spawn(sleep)), Slept::TimedOut);
    }
    leave(&poll_loop, 1);
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
}

#[test]
fn a_sleep_whose_deadline_has_passed_takes_no_watch() {
    let poll_loop = PollLoop::new().unwrap();
    let passed = Some(Instant::now());
    let ticket = ticket(&poll_loop);
    let slept = Sleep::sleep_as(&poll_loop, sleeper(1), ticket, passed);
    assert_eq!(slept.unwrap(), Slept::TimedOut);
    assert_eq!(poll_loop.counters(), Counters::default());
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
}

#[test]
fn a_wait_that_sleeps_beside_a_watcher_ends_at_its_deadline() {
    let poll_loop = PollLoop::new().unwrap();
    let watcher = waiting_thread(&poll_loop);
    let before = poll_loop.counters();
    let readiness = poll_loop.wait(Some(Duration::from_millis(1))).unwrap();
    assert!(readiness.timed_out());
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
    let counters = poll_loop.counters();
    assert_eq!(counters.polls, before.polls);
    assert_eq!(counters.sleeps, before.sleeps + 2);
    poll_loop.wake();
    assert_eq!(finish(watcher), WOKEN);
}

#[test]
fn a_call_that_comes_after_a_watcher_left_does_not_end_the_next_wait_twice() {
    let poll_loop = PollLoop::new().unwrap();
    for _ in 0..200 {
        let other = poll_loop.clone();
        let wakes = thread::spawn(move || other.wake());
        assert_eq!(poll_loop.wait(None).unwrap(), WOKEN);
        wakes.join().unwrap();
        assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
    }
}
