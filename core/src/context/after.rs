//! What a call did for others under the lock, which they learn once it is free.

use std::mem::take;

use super::{Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::Waiter;
use crate::machine::block::ThreadsToWake;
use crate::sync::MutexGuard;
use crate::trace::News;

/// What is to be done for others: [taken](State::after_lock) under the lock, and
/// [carried out](Self::carry_out) when that is free.
#[must_use = "without it others sleep on"]
pub(super) struct AfterLock {
    /// For a subscriber of `tracing`.
    news: News,
    /// Whether there are tasks to wake.
    has_tasks: bool,
    /// Threads that block to wake.
    threads: ThreadsToWake,
    /// Whether the event loop is to come back and dispatch.
    is_for_loop: bool,
    /// The thread that blocks and does this.
    myself: Option<Waiter>,
}

impl State {
    /// Whether something was done for others under this lock.
    #[inline]
    pub(super) fn has_due(&self) -> bool {
        self.machine.has_somebody_to_tell() || self.news.is_some()
    }

    /// Takes what was done for others, but for the thread that is `myself`. `is_for_loop` says whether
    /// there is something for a round, too.
    pub(super) fn after_lock(&mut self, is_for_loop: bool, myself: Option<Waiter>) -> AfterLock {
        AfterLock {
            news: take(&mut self.news),
            has_tasks: self.machine.has_due(),
            threads: self.machine.take_threads_to_wake(myself),
            is_for_loop,
            myself,
        }
    }
}

impl AfterLock {
    /// Says the news, wakes tasks, then threads and the loop. The last may panic, so it is last.
    ///
    /// # Errors
    /// [`Error::Inherited`] where a waker forked, which is code of the program: in the child the lock
    /// may be held for ever.
    pub(super) fn carry_out<R: Registrar>(self, shared: &Shared<R>) -> Result<(), Error> {
        self.news.log();
        if self.has_tasks {
            shared.wake_tasks();
            if shared.is_inherited() {
                return Err(Error::Inherited);
            }
        }
        shared.wake_in_loop(self.is_for_loop, self.threads, self.myself);
        Ok(())
    }
}

impl<R: Registrar> Shared<R> {
    /// Lets go of the lock and [carries out](AfterLock::carry_out) what is due after it.
    ///
    /// # Errors
    /// [`Error::Inherited`] where a waker forked.
    #[inline]
    pub(super) fn unlock(
        &self,
        state: MutexGuard<'_, State>,
        is_for_loop: bool,
        myself: Option<Waiter>,
    ) -> Result<(), Error> {
        if is_for_loop || state.has_due() {
            return self.unlock_for_others(state, is_for_loop, myself);
        }
        Ok(())
    }

    #[cold]
    fn unlock_for_others(
        &self,
        mut state: MutexGuard<'_, State>,
        is_for_loop: bool,
        myself: Option<Waiter>,
    ) -> Result<(), Error> {
        let after = state.after_lock(is_for_loop, myself);
        drop(state);
        after.carry_out(self)
    }
}
