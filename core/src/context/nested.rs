//! Code of the program that the context calls and that calls the context again, on the same thread.
//!
//! A waker may poll its task at once, and the wake-up of a loop may dispatch at once. If such an
//! inner call finds something to do, it leaves that to the outer call on the same thread, which
//! looks again when the program's code returns. So the stack does not grow with the number of
//! wake-ups. A call on another thread does what it finds itself, so no thread waits for another.

use std::mem::{forget, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::panicking;

use super::{Outcome, Shared};
use crate::hal::{Registrar, WakeTargets};
use crate::machine::Waiter;
use crate::machine::block::ThreadsToWake;
use crate::observe::Hook;
use crate::sync::this_thread;

/// The kinds of calls that may lead back here.
#[derive(Debug, Default)]
pub(super) struct Nested {
    /// Waking the tasks that are due.
    pub(super) waking: Inside,
    /// Driving because a hook asked for it.
    pub(super) driving: Inside,
    /// Waking the event loop.
    pub(super) waking_loop: Inside,
}

/// The threads that are inside a call of one kind.
#[derive(Debug, Default)]
pub(super) struct Inside(Vec<Occupied>);

#[derive(Debug)]
struct Occupied {
    thread: usize,
    /// The thread called again from inside.
    again: bool,
}

impl Inside {
    /// Enters, unless this thread is inside already. Then the outer call has to look again.
    pub(super) fn enter(&mut self) -> bool {
        let thread = this_thread();
        match self.0.iter_mut().find(|inside| inside.thread == thread) {
            Some(inside) => {
                inside.again = true;
                false
            }
            None => {
                let again = false;
                self.0.push(Occupied { thread, again });
                true
            }
        }
    }

    /// Whether there was an inner call on this thread since this function was called last, or since
    /// the outer call began.
    pub(super) fn take_again(&mut self) -> bool {
        let thread = this_thread();
        let inside = self.0.iter_mut().find(|inside| inside.thread == thread);
        inside.is_some_and(|inside| take(&mut inside.again))
    }

    pub(super) fn leave(&mut self) {
        let thread = this_thread();
        self.0.retain(|inside| inside.thread != thread);
    }
}

/// Calls code of the program. If that panics, the panic ends here, and the result is `false`.
pub(super) fn without_panic(call: impl FnOnce()) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else {
        return true;
    };
    // The drop of the payload is code of the program, too.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        #[expect(clippy::mem_forget, reason = "its drop panics as well")]
        forget(again);
    }
    false
}

/// Its drop leaves, also if the code inside panics.
struct Leaves<'a, R: Registrar>(&'a Shared<R>, fn(&mut Nested) -> &mut Inside);

impl<R: Registrar> Drop for Leaves<'_, R> {
    fn drop(&mut self) {
        // In a forked child the lock may be held for ever.
        if !self.0.is_inherited() {
            (self.1)(&mut self.0.lock().nested).leave();
        }
    }
}

impl<R: Registrar> Shared<R> {
    /// Wakes the tasks that are due, each once. Called from inside a waker, it leaves them to the
    /// call on this thread that called the waker.
    ///
    /// A panicking waker affects neither other tasks nor the caller; it is counted. A waker may
    /// fork, too.
    pub(super) fn wake_tasks(&self) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        if !state.machine.has_due() || !state.nested.waking.enter() {
            return;
        }
        while let Some(waker) = state.machine.next_due() {
            // The lock is not held over the wake.
            drop(state);
            self.wake_task(|| waker.wake());
            if self.is_inherited() {
                return;
            }
            state = self.lock();
        }
        state.nested.waking.leave();
    }

    /// Wakes a task. Returns false if its waker panics, which is counted.
    pub(super) fn wake_task(&self, wake: impl FnOnce()) -> bool {
        let is_woken = without_panic(wake);
        if !is_woken {
            self.count_unreported();
        }
        is_woken
    }

    /// Drives if [`Context::drive`](super::Context::drive) was called from inside a hook, where it
    /// returned without reading.
    pub(super) fn drive_after_hook(&self) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        if !state.drive_after_hook || !state.nested.driving.enter() {
            return;
        }
        drop(state);
        let _inside = Leaves(self, |nested| &mut nested.driving);
        loop {
            self.lock().drive_after_hook = false;
            let Ok(outcome) = self.drive() else {
                self.count_unreported();
                return;
            };
            if outcome == Outcome::Done && !self.lock().drive_after_hook {
                return;
            }
        }
    }

    /// Makes the event loop return and dispatch. Safe to call while a panic unwinds.
    pub(super) fn wake_loop(&self) {
        self.wake_in_loop(true, ThreadsToWake::NONE, None);
    }

    /// Wakes threads that wait in the event loop: those that run it, if `runners`, and the blocked
    /// `threads`, except `myself`. Safe to call while a panic unwinds. Called from inside a
    /// wake-up, it leaves them to the outer call on this thread.
    pub(super) fn wake_in_loop(
        &self,
        runners: bool,
        threads: ThreadsToWake,
        myself: Option<Waiter>,
    ) {
        if !runners && threads.is_empty() {
            return;
        }
        let mut state = self.lock();
        if !state.nested.waking_loop.enter() {
            state.machine.keep_threads_to_wake(&threads);
            return;
        }
        drop(state);
        let _inside = Leaves(self, |nested| &mut nested.waking_loop);
        let (mut runners, mut threads) = (runners, threads);
        loop {
            let targets = WakeTargets {
                runners,
                sleepers: threads.as_slice(),
            };
            if !panicking() {
                self.registrar.wake_only(targets);
                self.observe_hook(|| Hook::Wake);
            } else if !without_panic(|| self.registrar.wake_only(targets)) {
                self.count_unreported();
            } else {
                self.observe_hook(|| Hook::Wake);
            }
            if self.is_inherited() {
                return;
            }
            let mut state = self.lock();
            runners = state.nested.waking_loop.take_again();
            if !runners && !threads.is_full() {
                return;
            }
            threads = state.machine.take_threads_to_wake(myself);
        }
    }
}

#[cfg(all(test, not(feature = "only-under-shuttle")))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_calls_from_inside_is_asked_to_look_again_once() {
        let mut inside = Inside::default();
        assert!(inside.enter() && !inside.take_again());
        assert!(!inside.enter() && !inside.enter());
        assert!(inside.take_again() && !inside.take_again());
        inside.leave();
        assert!(inside.enter() && !inside.take_again());
    }

    #[test]
    fn another_thread_is_not_inside() {
        let mut inside = Inside::default();
        assert!(inside.enter());
        thread::scope(|scope| {
            let other = scope.spawn(|| inside.enter() && !inside.take_again() && !inside.enter());
            assert!(other.join().unwrap());
        });
        assert!(!inside.take_again(), "that was the other one");
        inside.leave();
        assert_eq!(inside.0.len(), 1, "the other one is still inside");
    }

    struct PanicsAgain;

    impl Drop for PanicsAgain {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("in the drop"));
        }
    }

    #[test]
    fn what_a_waker_panics_with_may_panic_as_it_is_dropped() {
        assert!(without_panic(|| {}));
        assert!(!without_panic(|| std::panic::resume_unwind(Box::new(
            "as planned"
        ))));
        assert!(!without_panic(|| std::panic::resume_unwind(Box::new(
            PanicsAgain
        ))));
    }
}
