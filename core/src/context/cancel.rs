//! Cancelling a wait: `cancel` waits for a running callback, `try_cancel` does not.

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
    /// Returns whether it ended a wait. It may still have to wait for a hook of the event loop,
    /// which calls no code of the program.
    ///
    /// # Errors
    /// The wait goes on. [`Error::CallbackRuns`] if that callback is running on another thread;
    /// [`Error::NotBound`] if the channel is not bound; [`Error::Deregister`] if the event loop
    /// cannot deregister the device; [`Error::Reentrant`] from inside a hook; [`Error::Inherited`]
    /// in a forked child.
    pub fn try_cancel(&self, id: ChannelId) -> Result<bool, Error> {
        self.shared.try_cancel(id)
    }
}

impl<R: Registrar> Channel<R> {
    /// Ends the wait for this channel unless its callback is running on another thread, and returns
    /// whether there was one: [`Context::try_cancel`].
    ///
    /// # Errors
    /// Those of [`Context::try_cancel`].
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

    /// A cancel of any wait, also one after which the device has to be deregistered.
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

    /// Settles the link after a cancel. If that fails, takes the cancel of a wait of rounds back.
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
