//! Wake-ups of other tasks and threads: a call notes them under the lock, and makes them after it has
//! released the lock.

use std::mem::take;

use super::{Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::Waiter;
use crate::machine::block::ThreadsToWake;
use crate::sync::MutexGuard;
use crate::trace::News;

/// Wake-ups that are due after the lock: [taken](State::after_lock) under the lock, and
/// [carried out](Self::carry_out) once it is free.
#[must_use = "without it the others go on sleeping"]
pub(super) struct AfterLock {
    /// For a subscriber of `tracing`.
    news: News,
    /// Whether tasks are to be woken.
    has_tasks: bool,
    /// Blocked threads to be woken.
    threads: ThreadsToWake,
    /// Whether the event loop is to return and dispatch.
    is_for_loop: bool,
    /// This thread, if it blocks for a channel.
    myself: Option<Waiter>,
}

impl State {
    /// Whether something is due after this lock.
    #[inline]
    pub(super) fn has_due(&self) -> bool {
        self.machine.has_waiters_to_wake() || self.news.is_some()
    }

    /// Takes what is due, except for the thread `myself`. `is_for_loop` says that there is
    /// something for a round, too.
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
    /// Logs the news, then wakes tasks, then threads and the loop. The loop comes last because it
    /// may panic.
    ///
    /// # Errors
    /// [`Error::Inherited`] if a waker forked and this is the child, where the lock may be held for
    /// ever.
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
    /// Releases the lock and [carries out](AfterLock::carry_out) what is due after it.
    ///
    /// # Errors
    /// [`Error::Inherited`] if a waker forked and this is the child.
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
