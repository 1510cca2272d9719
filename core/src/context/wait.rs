//! How a wait begins, for every kind of waiter, and how it is taken back if it fails.

use super::observed::done;
use super::{Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::link::Link;
use crate::machine::{ChannelId, Owner, Waited};
use crate::observe::Called;
use crate::sync::MutexGuard;

impl State {
    /// Begins a wait, which is then to be [armed](Shared::arm). It fails once the context was
    /// dropped: nothing would end the wait.
    pub(super) fn wait(&mut self, id: ChannelId, owner: Owner) -> Result<Waited, Error> {
        if self.ended || !self.machine.link().is_open() {
            return Err(Error::NotBound(id));
        }
        let waited = self.machine.wait(id, owner)?;
        if waited == Waited::Taken {
            return Err(Error::AlreadyWaited(id));
        }
        Ok(waited)
    }
}

impl<R: Registrar> Shared<R> {
    /// Begins a wait of rounds, for one wake or for each.
    #[inline]
    pub(super) fn wait(&self, id: ChannelId, owner: Owner) -> Result<(), Error> {
        if self.observer.is_some() {
            return self.wait_observed(id, owner);
        }
        self.wait_now(id, owner)
    }

    #[cold]
    #[inline(never)]
    fn wait_observed(&self, id: ChannelId, owner: Owner) -> Result<(), Error> {
        let call = || {
            if owner == Owner::EACH {
                Called::WaitEach(id)
            } else {
                Called::Wait(id)
            }
        };
        self.observed(call, || self.wait_now(id, owner), done)
    }

    #[inline(always)]
    fn wait_now(&self, id: ChannelId, owner: Owner) -> Result<(), Error> {
        self.check_caller()?;
        let mut state = self.lock();
        let is_watching = state.machine.link() == Link::Watching;
        let waits = if owner.is_each() || !is_watching {
            false
        } else if self.in_round.is_current() {
            state.machine.wait_again(id)
        } else {
            // The device is registered, so one more waiter changes nothing for the loop.
            self.is_settled(&state) && state.machine.wait_plainly(id)
        };
        if waits {
            return Ok(());
        }
        self.wait_for_any(state, id, owner)
    }

    /// A wait for a port in any state, after which the device may have to be registered.
    #[inline(never)]
    fn wait_for_any(
        &self,
        mut state: MutexGuard<'_, State>,
        id: ChannelId,
        owner: Owner,
    ) -> Result<(), Error> {
        let waited = state.wait(id, owner)?;
        let in_round = self.in_round.is_current();
        if in_round && state.machine.link() == Link::Watching {
            if waited == Waited::Unmask {
                state.machine.queue_unmask(id.port());
            }
            return Ok(());
        }
        drop(state);
        self.arm(id, waited, || self.take_back(id, waited))?;
        if waited == Waited::Queued && !in_round {
            self.wake_loop();
        }
        Ok(())
    }

    /// Registers the device and unmasks the port, if the wait needs it. If this fails or a hook
    /// panics, `take_back` ends the wait.
    pub(super) fn arm(
        &self,
        id: ChannelId,
        waited: Waited,
        take_back: impl FnMut(),
    ) -> Result<(), Error> {
        let mut begun = Begun {
            take_back,
            stands: false,
        };
        let armed = self.settle().and_then(|()| {
            if waited == Waited::Unmask {
                self.lock().unmask(id)?;
            }
            Ok(())
        });
        begun.stands = armed.is_ok();
        // Before the error is returned, which would leak if a hook panics.
        drop(begun);
        armed
    }

    /// Takes back a wait of rounds that failed. Meanwhile another thread may have ended the wait,
    /// and a task may have the channel; the caller gets the failure all the same.
    fn take_back(&self, id: ChannelId, waited: Waited) {
        if waited == Waited::Already {
            return;
        }
        let mut state = self.lock();
        if waited == Waited::BecameEach {
            state.machine.wait_for_one(id);
        } else {
            state.machine.cancel_in_rounds(id);
        }
        drop(state);
        self.settle_or_count();
    }
}

/// A wait that has begun. Unless `stands` is set, dropping this value takes the wait back, even if a
/// hook panics.
struct Begun<F: FnMut()> {
    take_back: F,
    stands: bool,
}

impl<F: FnMut()> Drop for Begun<F> {
    fn drop(&mut self) {
        if !self.stands {
            (self.take_back)();
        }
    }
}
