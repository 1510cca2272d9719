//! Calls of a program's code that lead back here on the same thread.
//!
//! A waker may poll its task at once, and the wake-up of a loop may dispatch at once. What such a
//! call finds to be done, it leaves to the call on this thread that it is inside of, which looks
//! again when the program's code returns. So the stack does not grow with what is due. Another
//! thread does for itself what it finds, so it waits for nobody.

use std::mem::{forget, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::panicking;

use super::{Outcome, Shared};
use crate::hal::{Registrar, Whom};
use crate::machine::Waiter;
use crate::machine::block::ThreadsToWake;
use crate::observe::Hook;
use crate::sync::this_thread;

/// What may lead back here.
#[derive(Debug, Default)]
pub(super) struct Nested {
    /// Waking the tasks that are due.
    pub(super) waking: Inside,
    /// Reading because a hook asked for it.
    pub(super) driving: Inside,
    /// Telling the loop.
    pub(super) waking_loop: Inside,
}

/// The threads that are inside a call of one kind.
#[derive(Debug, Default)]
pub(super) struct Inside(Vec<Occupied>);

#[derive(Debug)]
struct Occupied {
    thread: usize,
    /// Called again from inside.
    again: bool,
}

impl Inside {
    /// Enters, unless this thread is inside. Then its outer call is to look again.
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

    /// Whether this thread called from inside since it last asked, or entered.
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

/// Calls code of the program. Where that panics, the panic ends here, and the answer is `false`.
pub(super) fn calmly(call: impl FnOnce()) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else {
        return true;
    };
    // What it panicked with is the program's too.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        #[expect(clippy::mem_forget, reason = "its drop panics as well")]
        forget(again);
    }
    false
}

/// While it lives, this thread is inside; also when that panics.
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
    /// A waker that panics is counted: it belongs to a task that the caller has nothing to do with,
    /// and the others are to be woken. One may fork, too.
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
            if !calmly(|| waker.wake()) {
                self.count_unreported();
            }
            if self.is_inherited() {
                return;
            }
            state = self.lock();
        }
        state.nested.waking.leave();
    }

    /// Drives if somebody asked for it from inside a hook, and who did was told that all is done.
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

    /// Makes the event loop come back and dispatch. Safe to call while a panic unwinds.
    pub(super) fn wake_loop(&self) {
        self.wake_in_loop(true, ThreadsToWake::NONE, None);
    }

    /// Wakes threads that wait in the event loop: those who run it where it says so, and the ones
    /// that block and for which there is something, but for this one. Safe to call while a panic
    /// unwinds. Called from inside of a wake-up, it leaves them to the call on this thread that
    /// called the loop.
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
            let whom = Whom {
                runners,
                sleepers: threads.as_slice(),
            };
            if !panicking() {
                self.registrar.wake_only(whom);
                self.observe_hook(|| Hook::Wake);
            } else if !calmly(|| self.registrar.wake_only(whom)) {
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
        assert!(calmly(|| {}));
        assert!(!calmly(|| std::panic::resume_unwind(Box::new(
            "as planned"
        ))));
        assert!(!calmly(|| std::panic::resume_unwind(Box::new(PanicsAgain))));
    }
}
