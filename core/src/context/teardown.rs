//! The end of a context: by teardown, or by dropping its last handle.

use super::observed::done;
use super::{Context, Shared, State};
use crate::error::{Error, StillInUse};
use crate::hal::{Opened, Registrar};
use crate::machine::link::LinkInput;
use crate::observe::{Called, Came};
use crate::sync::Ordering;

impl<R: Registrar> Context<R> {
    /// Closes the device if no channel and no notifier is left. The next bind opens a new one.
    ///
    /// # Errors
    /// Everything stays usable. [`Error::StillInUse`] lists the channels and notifiers that are
    /// left; [`Error::Deregister`] if the event loop cannot deregister the device;
    /// [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a forked child. If a
    /// [round](super::Round) was dropped with an error, that error comes first, once; then call
    /// this again.
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

    /// Ends a context whose last handle was dropped.
    fn end(&self) {
        let mut state = self.lock();
        state.machine.cancel_all();
        state.ended = true;
        // A callback may hold channels of the context.
        let callbacks = std::mem::take(&mut state.callbacks);
        drop(state);
        // This wakes blocked threads first: they must not sleep in the loop while the device is
        // deregistered.
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
    /// Dropping the last handle deregisters the device and delivers no wake. Channels that outlive
    /// their context can still notify and unbind. The device is closed once no channel and no
    /// notifier is left either. In a forked child the event loop is not called.
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) > 1 || self.shared.is_inherited() {
            return;
        }
        let end = || self.shared.end();
        self.shared
            .observed(|| Called::DropContext, end, |()| Came::Done);
    }
}
