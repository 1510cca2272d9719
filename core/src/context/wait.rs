//! The beginning of a wait, and its end where it fails.

use super::error::WaitError;
use super::{DeviceError, LoopError, Shared, State, Wait};
use crate::hal::{EventChannel, Open, Registrar};
use crate::machine::link::Link;
use crate::machine::{ChannelId, NotBound, Waited};
use crate::sync::MutexGuard;
use crate::trace;

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    #[inline]
    pub(super) fn wait(
        &self,
        id: ChannelId,
    ) -> Result<Wait, WaitError<DeviceError<O>, LoopError<O, R>>> {
        self.admit()?;
        let mut state = self.lock();
        let is_watching = state.machine.link() == Link::Watching;
        let gathers = is_watching && self.in_round.is_me();
        let waits = if gathers {
            state.machine.wait_again(id)
        } else {
            // One more waiter changes nothing for the loop.
            is_watching && self.is_settled(&state) && state.machine.wait_plainly(id)
        };
        if waits {
            return Ok(Wait::Pending);
        }
        self.wait_anywhere(state, id, gathers)
    }

    /// A wait of which there is more to do than to count it, or that is not yet known to be of
    /// another kind.
    #[inline(never)]
    fn wait_anywhere(
        &self,
        mut state: MutexGuard<'_, State<O::Device>>,
        id: ChannelId,
        gathers: bool,
    ) -> Result<Wait, WaitError<DeviceError<O>, LoopError<O, R>>> {
        if !state.takes_waits() {
            return Err(NotBound(id).into());
        }
        let waited = if state.callbacks.has(id) {
            state.machine.wait_in_rounds(id)?
        } else {
            state.machine.wait(id)?
        };
        match waited {
            Waited::Ready(cause) => {
                drop(state);
                trace::wake(id, cause);
                return Ok(Wait::Ready(cause));
            }
            Waited::Blocked => return Err(WaitError::AlreadyWaited(id)),
            Waited::Queued | Waited::Already | Waited::Armed | Waited::Rearm => {}
        }
        if gathers {
            if waited == Waited::Rearm {
                state.machine.gather(id.port());
            }
            return Ok(Wait::Pending);
        }
        drop(state);
        let mut begun = Begun {
            shared: self,
            id,
            stands: waited == Waited::Already,
        };
        self.arm(id, waited)?;
        begun.stands = true;
        if waited == Waited::Queued && !self.in_round.is_me() {
            self.tell_loop();
        }
        Ok(Wait::Pending)
    }

    /// Registers the device and enables the port, where a wait asks for it.
    pub(super) fn arm(
        &self,
        id: ChannelId,
        waited: Waited,
    ) -> Result<(), WaitError<DeviceError<O>, LoopError<O, R>>> {
        self.settle()?;
        if waited == Waited::Rearm {
            self.lock().write_back(id)?;
        }
        Ok(())
    }
}

/// A wait that has begun. Where it fails or a hook panics, it did not.
pub(super) struct Begun<'a, O: Open, R: Registrar<O::Device>> {
    pub(super) shared: &'a Shared<O, R>,
    pub(super) id: ChannelId,
    pub(super) stands: bool,
}

impl<O: Open, R: Registrar<O::Device>> Drop for Begun<'_, O, R> {
    fn drop(&mut self) {
        if self.stands {
            return;
        }
        // What the first failure was is the answer, whatever became of the channel since.
        // Another thread may have ended it, and a task have the channel.
        self.shared.lock().machine.cancel_in_rounds(self.id);
        if self.shared.settle().is_err() {
            self.shared.count_unreported();
        }
    }
}

impl<D: EventChannel> State<D> {
    /// Whether a wait can begin. What begins once the context is gone, nobody would end.
    pub(super) fn takes_waits(&self) -> bool {
        !self.ended && self.machine.link().is_open()
    }
}
