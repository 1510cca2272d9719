//! A signal that comes while the poll loop waits, or while a thread blocks in it.
//!
//! A signal for the process may go to any of its threads, so these go to the main thread, where the
//! tests run: this file has its own `main`.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use evtchn_core::{Context, DomId, Link};
use evtchn_sim::Sim;
use evtchn_xen::PollLoop;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = vec![
        Trial::test(
            "a_signal_during_a_wait_is_reported",
            a_signal_during_a_wait_is_reported,
        ),
        Trial::test(
            "a_signal_does_not_end_a_block_but_rechecks_its_condition",
            a_signal_does_not_end_a_block_but_rechecks_its_condition,
        ),
        Trial::test(
            "a_signal_during_a_wait_beside_a_thread_that_watches_is_reported",
            a_signal_during_a_wait_beside_a_thread_that_watches_is_reported,
        ),
        Trial::test(
            "a_signal_during_a_block_beside_a_thread_that_watches_rechecks_its_condition",
            a_signal_during_a_block_beside_a_thread_that_watches_rechecks_its_condition,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn a_signal_during_a_wait_is_reported() -> Result<(), Failed> {
    let handled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&handled))?;
    let poll_loop = PollLoop::new()?;
    let readiness = under_signals(&poll_loop, || poll_loop.wait(None))?;
    assert!(handled.load(Ordering::Relaxed));
    assert!(readiness.interrupted);
    assert!(!readiness.ready && !readiness.woken && !readiness.timed_out());
    Ok(())
}

fn a_signal_does_not_end_a_block_but_rechecks_its_condition() -> Result<(), Failed> {
    // Asked once before it sleeps; from then on nothing but a signal makes it look.
    const ASKED: usize = 20;
    let handled = Arc::new(AtomicBool::new(false));
    let handler = signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&handled))?;
    let sim = Sim::new(1);
    let poll_loop = PollLoop::new()?;
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), poll_loop.clone());
    let channel = ctx.bind_unbound_port(DomId::SELF)?;
    let asked = Cell::new(0_usize);
    let blocked = under_signals(&poll_loop, || {
        channel.block_while(None, || {
            asked.set(asked.get() + 1);
            asked.get() < ASKED
        })
    })?;
    signal_hook::low_level::unregister(handler);
    assert_eq!(blocked, None);
    assert!(handled.load(Ordering::Relaxed));
    assert_eq!(asked.get(), ASKED);
    assert_eq!(ctx.link(), Link::Idle);
    Ok(())
}

/// Runs something on this thread while another one watches the device of the loop.
fn beside_a_watcher<T>(poll_loop: &PollLoop, run: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let watcher = scope.spawn(|| poll_loop.wait(None).unwrap());
        while poll_loop.counters().polls == 0 {
            thread::yield_now();
        }
        let result = run();
        assert!(
            !watcher.is_finished(),
            "the signal went to the other thread"
        );
        poll_loop.wake();
        assert!(watcher.join().unwrap().woken);
        result
    })
}

fn a_signal_during_a_wait_beside_a_thread_that_watches_is_reported() -> Result<(), Failed> {
    let handled = Arc::new(AtomicBool::new(false));
    let handler = signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&handled))?;
    let poll_loop = PollLoop::new()?;
    let readiness = beside_a_watcher(&poll_loop, || {
        under_signals(&poll_loop, || poll_loop.wait(None))
    })?;
    signal_hook::low_level::unregister(handler);
    assert!(handled.load(Ordering::Relaxed));
    assert!(readiness.interrupted);
    assert!(!readiness.ready && !readiness.woken && !readiness.timed_out());
    Ok(())
}

fn a_signal_during_a_block_beside_a_thread_that_watches_rechecks_its_condition()
-> Result<(), Failed> {
    const ASKED: usize = 20;
    let handled = Arc::new(AtomicBool::new(false));
    let handler = signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&handled))?;
    let sim = Sim::new(1);
    let poll_loop = PollLoop::new()?;
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), poll_loop.clone());
    let [ours, other] = [0; 2].map(|_| ctx.bind_unbound_port(DomId::SELF).unwrap());
    // The device is registered before, and so nothing sends the other thread back.
    other.wait()?;
    let asked = Cell::new(0_usize);
    let blocked = beside_a_watcher(&poll_loop, || {
        under_signals(&poll_loop, || {
            ours.block_while(None, || {
                asked.set(asked.get() + 1);
                asked.get() < ASKED
            })
        })
    })?;
    signal_hook::low_level::unregister(handler);
    assert_eq!(blocked, None);
    assert!(handled.load(Ordering::Relaxed));
    assert_eq!(asked.get(), ASKED);
    Ok(())
}

/// How long signals come before a test counts as hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs something on this thread while signals come, again and again, because one may come
/// before it blocks. Where none ends it, the loop is woken in the end, and the test fails.
fn under_signals<T>(poll_loop: &PollLoop, blocks: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    // SAFETY: it has no condition.
    let here = unsafe { libc::pthread_self() };
    thread::scope(|scope| {
        let signals = scope.spawn(|| {
            let begun = Instant::now();
            let is_patient = || begun.elapsed() < PATIENCE;
            while !done.load(Ordering::Relaxed) {
                // SAFETY: the thread that is signalled waits for this one, so that one lives.
                let sent = unsafe { libc::pthread_kill(here, libc::SIGUSR1) };
                assert_eq!(sent, 0);
                if !is_patient() {
                    poll_loop.wake();
                }
                thread::yield_now();
            }
            is_patient()
        });
        let result = blocks();
        done.store(true, Ordering::Relaxed);
        assert!(signals.join().unwrap(), "no signal ended it in 10 seconds");
        result
    })
}
