//! The end of a context, asked for or by a drop.

use super::error::{Leftover, TeardownError};
use super::{Context, LoopError, State};
use crate::hal::{EventChannel, Open, Registrar};
use crate::machine::link::LinkInput;
use crate::sync::Arc;

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// Closes the device once nobody uses it. The next bind opens a new one.
    ///
    /// # Errors
    /// [`TeardownError::Leftover`] lists what is still in use; everything stays usable.
    pub fn teardown(&self) -> Result<(), TeardownError<LoopError<O, R>>> {
        self.shared.admit()?;
        let settling = self.shared.settling.lock();
        self.shared.close_failed(&settling);
        let state = self.shared.lock();
        if let Some(leftover) = state.leftover() {
            return Err(TeardownError::Leftover(leftover));
        }
        self.shared
            .carry_out(state, LinkInput::Close, false, &settling)?;
        self.shared.lock().machine.silence();
        Ok(())
    }
}

impl<D: EventChannel> State<D> {
    pub(super) fn leftover(&self) -> Option<Leftover> {
        let bound = || self.machine.bound();
        let holders = self.device.as_ref().map_or(0, Arc::strong_count);
        let leftover = Leftover {
            channels: bound().map(|(id, _)| id.port()).collect(),
            waiting: bound()
                .filter(|(_, state)| state.is_waited())
                .map(|(id, _)| id.port())
                .collect(),
            held: holders.saturating_sub(1 + bound().count()),
        };
        (!leftover.channels.is_empty() || leftover.held > 0).then_some(leftover)
    }
}

impl<O: Open, R: Registrar<O::Device>> Drop for Context<O, R> {
    /// Deregisters and lets go of the device, whatever is left; no wake is delivered. Channels
    /// that outlive their context can still notify and unbind. In a forked child the event loop
    /// is not called.
    fn drop(&mut self) {
        if self.shared.is_inherited() {
            return;
        }
        let mut state = self.shared.lock();
        state.machine.silence();
        state.ended = true;
        // They may hold what holds the context's channels.
        let callbacks = std::mem::take(&mut state.callbacks);
        drop(state);
        // Inside a hook the settle that called it looks again. What blocks is roused first: it
        // must not sleep in the loop while that lets go of the device.
        if !self.shared.is_in_hook() && self.shared.settle().is_err() {
            self.shared.count_unreported();
        }
        drop(callbacks);
    }
}
