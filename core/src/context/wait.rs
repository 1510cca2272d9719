//! The beginning of a wait, and its end where it fails.

use super::{Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::link::Link;
use crate::machine::{ChannelId, NotBound, Waited};
use crate::sync::MutexGuard;

impl<R: Registrar> Shared<R> {
    #[inline]
    pub(super) fn wait(&self, id: ChannelId) -> Result<(), Error> {
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
            return Ok(());
        }
        self.wait_anywhere(state, id, false)
    }

    /// A wait for each wake, until it is cancelled.
    pub(super) fn wait_each(&self, id: ChannelId) -> Result<(), Error> {
        self.admit()?;
        self.wait_anywhere(self.lock(), id, true)
    }

    /// A wait of which there is more to do than to count it, or that is not yet known to be of
    /// another kind.
    #[inline(never)]
    fn wait_anywhere(
        &self,
        mut state: MutexGuard<'_, State>,
        id: ChannelId,
        is_for_each: bool,
    ) -> Result<(), Error> {
        if !state.takes_waits() {
            return Err(NotBound(id).into());
        }
        let waited = state.machine.wait_in_rounds(id)?;
        if waited == Waited::Blocked {
            return Err(Error::AlreadyWaited(id));
        }
        let became_each = is_for_each && state.machine.stand(id);
        let is_watching = state.machine.link() == Link::Watching;
        if is_watching && self.in_round.is_me() {
            if waited == Waited::Rearm {
                state.machine.gather(id.port());
            }
            return Ok(());
        }
        drop(state);
        let mut begun = Begun::new(self, id, waited);
        if waited == Waited::Already && became_each {
            begun.undo = Undo::Each;
        }
        begun.end(self.arm(id, waited))?;
        if waited == Waited::Queued && !self.in_round.is_me() {
            self.tell_loop();
        }
        Ok(())
    }

    /// Registers the device and enables the port, where a wait asks for it.
    pub(super) fn arm(&self, id: ChannelId, waited: Waited) -> Result<(), Error> {
        self.settle()?;
        if waited == Waited::Rearm {
            self.lock().write_back(id)?;
        }
        Ok(())
    }
}

/// A wait that has begun. Where it fails or a hook panics, it did not.
pub(super) struct Begun<'a, R: Registrar> {
    pub(super) shared: &'a Shared<R>,
    pub(super) id: ChannelId,
    pub(super) undo: Undo,
}

/// What a wait that fails takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undo {
    /// The wait stands.
    Nothing,
    /// There was a wait before, for one wake.
    Each,
    /// There was no wait before.
    Wait,
}

impl<'a, R: Registrar> Begun<'a, R> {
    pub(super) fn new(shared: &'a Shared<R>, id: ChannelId, waited: Waited) -> Begun<'a, R> {
        let undo = match waited {
            Waited::Already => Undo::Nothing,
            Waited::Queued | Waited::Ready(_) | Waited::Blocked | Waited::Armed | Waited::Rearm => {
                Undo::Wait
            }
        };
        Begun { shared, id, undo }
    }

    /// The wait stands, or is taken back. A hook that panics then leaks no error.
    pub(super) fn end(mut self, armed: Result<(), Error>) -> Result<(), Error> {
        if armed.is_ok() {
            self.undo = Undo::Nothing;
        }
        drop(self);
        armed
    }
}

impl<R: Registrar> Drop for Begun<'_, R> {
    fn drop(&mut self) {
        // What the first failure was is the answer, whatever became of the channel since.
        // Another thread may have ended it, and a task have the channel.
        match self.undo {
            Undo::Nothing => return,
            Undo::Each => self.shared.lock().machine.wait_for_one(self.id),
            Undo::Wait => self.shared.lock().machine.cancel_in_rounds(self.id),
        }
        if self.shared.settle().is_err() {
            self.shared.count_unreported();
        }
    }
}

impl State {
    /// Whether a wait can begin. What begins once the context is gone, nobody would end.
    pub(super) fn takes_waits(&self) -> bool {
        !self.ended && self.machine.link().is_open()
    }
}
