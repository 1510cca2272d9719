//! The end of a context, asked for or by a drop.

use super::observed::done;
use super::{Context, Shared, State};
use crate::error::{Error, StillInUse};
use crate::hal::{Opened, Registrar};
use crate::machine::link::LinkInput;
use crate::observe::{Called, Came};
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
        let teardown = || self.shared.teardown();
        self.shared.observed(|| Called::Teardown, teardown, done)
    }
}

impl<R: Registrar> Shared<R> {
    fn teardown(&self) -> Result<(), Error> {
        self.check_caller()?;
        self.pay_error()?;
        let settling = self.settling.lock();
        self.close_failed(&settling);
        let state = self.lock();
        if let Some(leftover) = state.leftover() {
            return Err(Error::StillInUse(Box::new(leftover)));
        }
        self.carry_out(state, LinkInput::Close, false, &settling)?;
        self.lock().machine.cancel_all();
        Ok(())
    }

    /// The last handle of the context is gone.
    fn end(&self) {
        let mut state = self.lock();
        state.machine.cancel_all();
        state.ended = true;
        // They may hold what holds the context's channels.
        let callbacks = std::mem::take(&mut state.callbacks);
        drop(state);
        // It wakes threads that block first: they must not sleep in the loop while that lets go of
        // the device.
        self.settle_or_count();
        drop(callbacks);
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
        let end = || self.shared.end();
        self.shared
            .observed(|| Called::DropContext, end, |()| Came::Done);
    }
}
