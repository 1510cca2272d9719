//! A signal that comes while the poll loop waits.
//!
//! The kernel hands a signal for the process to its main thread first, so the wait has to run
//! there: this file has its own `main`.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use evtchn_xen::PollLoop;
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Signal, getpid, kill_process};

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = vec![Trial::test(
        "a_signal_during_a_wait_is_reported",
        a_signal_during_a_wait_is_reported,
    )];
    libtest_mimic::run(&arguments, trials).exit();
}

fn a_signal_during_a_wait_is_reported() -> Result<(), Failed> {
    let handled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&handled))?;
    let poll_loop = PollLoop::new()?;

    let done = AtomicBool::new(false);
    let readiness = thread::scope(|scope| {
        // Again and again, because one signal may come before the wait blocks.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                kill_process(getpid(), Signal::USR1).unwrap();
                thread::yield_now();
            }
        });
        let readiness = poll_loop.wait(None);
        done.store(true, Ordering::Relaxed);
        readiness
    })?;

    assert!(handled.load(Ordering::Relaxed));
    assert!(readiness.interrupted);
    assert!(!readiness.ready && !readiness.woken && !readiness.timed_out());
    Ok(())
}
