//! Cancels: the one that waits for a callback, and the one that never does.

use super::observed::ok;
use super::{Channel, Context, Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::{Before, ChannelId};
use crate::observe::{Called, Came};
use crate::sync::MutexGuard;

impl<R: Registrar> Context<R> {
    /// [`cancel`](Self::cancel) for a thread that must not wait for the channel's callback, such as
    /// one that holds a lock which the callback takes.
    ///
    /// It says whether it ended a wait. Where that callback runs on another thread, the answer is
    /// [`Error::CallbackRuns`], and nothing was done. It may still wait for a hook of the event loop, which calls no code of
    /// the program.
    ///
    /// # Errors
    /// The wait goes on: [`Error::CallbackRuns`]; [`Error::NotBound`]; [`Error::Deregister`] where the
    /// event loop does not let go of the device; [`Error::Reentrant`]; [`Error::Inherited`].
    pub fn try_cancel(&self, id: ChannelId) -> Result<bool, Error> {
        self.shared.try_cancel(id)
    }
}

impl<R: Registrar> Channel<R> {
    /// Ends a wait unless the callback runs on another thread, and says whether there was one:
    /// [`Context::try_cancel`] for this channel.
    ///
    /// # Errors
    /// The wait goes on: [`Error::CallbackRuns`]; [`Error::NotBound`]; [`Error::Deregister`] where the
    /// event loop does not let go of the device; [`Error::Reentrant`]; [`Error::Inherited`].
    pub fn try_cancel(&self) -> Result<bool, Error> {
        self.shared.try_cancel(self.id())
    }
}

impl<R: Registrar> Shared<R> {
    pub(super) fn cancel(&self, id: ChannelId) -> Result<bool, Error> {
        if self.observer.is_some() {
            return self.cancel_observed(id);
        }
        self.cancel_now(id)
    }

    #[cold]
    #[inline(never)]
    fn cancel_observed(&self, id: ChannelId) -> Result<bool, Error> {
        self.observed(|| Called::Cancel(id), || self.cancel_now(id), cancelled)
    }

    #[inline(always)]
    fn cancel_now(&self, id: ChannelId) -> Result<bool, Error> {
        self.check_caller()?;
        let mut state = self.lock_returned(id);
        let plain = state.machine.cancel_plainly(id);
        if plain.is_some() && self.is_settled(&state) {
            return Ok(true);
        }
        self.cancel_any(state, id, plain)
    }

    /// A cancel that finds more than a wait for an event, or after which the link has to follow.
    #[inline(never)]
    fn cancel_any(
        &self,
        mut state: MutexGuard<'_, State>,
        id: ChannelId,
        plain: Option<Before>,
    ) -> Result<bool, Error> {
        let before = match plain {
            Some(before) => before,
            None => state.machine.cancel(id)?,
        };
        if plain.is_none() && self.is_settled(&state) {
            return Ok(before.is_waited());
        }
        drop(state);
        self.settle_cancel(id, before)
    }

    /// The link follows a cancel, or the cancel is taken back.
    pub(super) fn settle_cancel(&self, id: ChannelId, before: Before) -> Result<bool, Error> {
        match (self.settle(), before) {
            (Ok(()), before) => Ok(before.is_waited()),
            (Err(error), before) if before.is_rounds() => {
                self.lock().machine.restore(id, before);
                Err(error)
            }
            (Err(_), _) => {
                self.count_unreported();
                Ok(true)
            }
        }
    }

    fn try_cancel(&self, id: ChannelId) -> Result<bool, Error> {
        let call = || Called::Other("try_cancel");
        self.observed(call, || self.try_cancel_now(id), cancelled)
    }

    fn try_cancel_now(&self, id: ChannelId) -> Result<bool, Error> {
        self.check_caller()?;
        let mut state = self.lock();
        if state.callbacks.is_running(id) && !self.is_inside() {
            return Err(Error::CallbackRuns(id));
        }
        let before = state.machine.cancel(id)?;
        drop(state);
        self.settle_cancel(id, before)
    }
}

fn cancelled(cancelled: &Result<bool, Error>) -> Came<'_> {
    ok(cancelled, |ended| Came::Cancelled(*ended))
}
