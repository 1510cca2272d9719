//! The end of a context, asked for or by a drop.

use super::{Context, State};
use crate::error::{Error, StillInUse};
use crate::hal::{Opened, Registrar};
use crate::machine::link::LinkInput;
use crate::sync::Ordering;

impl<R: Registrar> Context<R> {
    /// Closes the device once nobody uses it. The next bind opens a new one.
    ///
    /// # Errors
    /// Everything stays usable: [`Error::StillInUse`] lists what is still in use; [`Error::Deregister`]
    /// where the event loop does not let go of the device; [`Error::Reentrant`];
    /// [`Error::Inherited`]. The error of a [round](super::Round) that was dropped comes first, once;
    /// then call it again.
    pub fn teardown(&self) -> Result<(), Error> {
        self.shared.admit()?;
        self.shared.pay_error()?;
        let settling = self.shared.settling.lock();
        self.shared.close_failed(&settling);
        let state = self.shared.lock();
        if let Some(leftover) = state.leftover() {
            return Err(Error::StillInUse(Box::new(leftover)));
        }
        self.shared
            .carry_out(state, LinkInput::Close, false, &settling)?;
        self.shared.lock().machine.silence();
        Ok(())
    }
}

impl State {
    pub(super) fn leftover(&self) -> Option<StillInUse> {
        let bound = || self.machine.bound();
        let holders = self.device.as_ref().map_or(0, Opened::holders);
        let leftover = StillInUse {
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

impl<R: Registrar> Drop for Context<R> {
    /// The last handle deregisters and lets go of the device, whatever is left; no wake is
    /// delivered. Channels that outlive their context can still notify and unbind. In a forked child
    /// the event loop is not called.
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) > 1 || self.shared.is_inherited() {
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
