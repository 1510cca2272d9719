//! Cancels: the one that waits for a callback, and the one that never does.

use super::error::{CancelError, TryCancelError};
use super::{Channel, Context, LoopError, Shared};
use crate::hal::{Open, Registrar};
use crate::machine::ChannelId;
use crate::machine::port::PortState;

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// [`cancel`](Self::cancel) for a thread that must not wait for the channel's callback, such as
    /// one that holds a lock which the callback takes.
    ///
    /// Where that callback runs on another thread, the answer is [`TryCancelError::Running`], and
    /// nothing was done. It may still wait for a hook of the event loop, which calls no code of
    /// the program.
    ///
    /// # Errors
    /// [`TryCancelError`]; the wait goes on.
    pub fn try_cancel(&self, id: ChannelId) -> Result<(), TryCancelError<LoopError<O, R>>> {
        self.shared.try_cancel(id)
    }
}

impl<O: Open, R: Registrar<O::Device>> Channel<O, R> {
    /// Ends a wait unless the callback runs on another thread: [`Context::try_cancel`] for this
    /// channel.
    ///
    /// # Errors
    /// As there.
    pub fn try_cancel(&self) -> Result<(), TryCancelError<LoopError<O, R>>> {
        self.shared.try_cancel(self.id())
    }
}

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    pub(super) fn cancel(&self, id: ChannelId) -> Result<(), CancelError<LoopError<O, R>>> {
        self.admit()?;
        let mut state = self.lock_returned(id);
        let before = state.machine.cancel(id)?;
        if self.is_settled(&state) {
            return Ok(());
        }
        drop(state);
        self.settle_cancel(id, before)
    }

    /// The link follows a cancel, or the cancel is taken back.
    pub(super) fn settle_cancel(
        &self,
        id: ChannelId,
        before: Option<PortState>,
    ) -> Result<(), CancelError<LoopError<O, R>>> {
        match (self.settle(), before) {
            (Ok(()), _) => Ok(()),
            (Err(error), Some(before)) => {
                self.lock().machine.restore(id, before);
                Err(error.into())
            }
            (Err(_), None) => {
                self.count_unreported();
                Ok(())
            }
        }
    }

    fn try_cancel(&self, id: ChannelId) -> Result<(), TryCancelError<LoopError<O, R>>> {
        self.admit()?;
        let mut state = self.lock();
        if state.callbacks.is_running(id) && !self.is_inside() {
            return Err(TryCancelError::Running(id));
        }
        let before = state.machine.cancel(id)?;
        drop(state);
        Ok(self.settle_cancel(id, before)?)
    }
}
