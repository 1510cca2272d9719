//! Callbacks: a thin layer over the wakes of a round.
//!
//! A channel has at most one callback. It stays until it is replaced or removed, or until its
//! channel is gone; each wait is still for one wake, after which a round may begin the next. While
//! a callback runs it is out of its place, no lock is held, and whatever was done to its place
//! meanwhile holds afterwards.

mod places;
mod run;

use super::observed::{done, ok};
use super::round::over;
use super::{Channel, Context, Outcome, Round, Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::{ChannelId, Wake};
use crate::observe::{Called, Came};
use crate::sync::MutexGuard;

pub(super) use places::Callbacks;

impl<R: Registrar> Shared<R> {
    /// The state, once the callback of this channel is not running on another thread.
    ///
    /// A hook must not wait for it: the callback may be waiting for the end of that hook.
    #[inline]
    pub(super) fn lock_returned(&self, id: ChannelId) -> MutexGuard<'_, State> {
        let state = self.lock();
        if state.callbacks.is_running(id) {
            return self.wait_until_returned(state, id);
        }
        state
    }

    #[cold]
    #[inline(never)]
    fn wait_until_returned<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: ChannelId,
    ) -> MutexGuard<'a, State> {
        while state.callbacks.is_running(id) && !self.is_inside() {
            state.callbacks.awaited = true;
            state = self.returned.wait(state);
            self.stop_if_ahead(&mut state);
        }
        state
    }

    /// Whether this thread runs the callback, or a hook.
    pub(super) fn is_inside(&self) -> bool {
        self.in_round.is_current() || self.is_in_hook()
    }
}

impl<R: Registrar> Channel<R> {
    /// Sets what [`Context::dispatch_callbacks`] calls for each wake of this channel, in the
    /// place of what was set before. Waits stay as they are: each is for one wake.
    ///
    /// No callback runs inside a wait: an event that was kept is queued for the next round, and the
    /// event loop is woken.
    ///
    /// The callback may do anything with the context but dispatch it: wait, cancel, bind, unbind,
    /// replace or remove callbacks, tear down, for its own channel or another. It is dropped
    /// under no lock, when it is replaced or removed or its channel is dropped or unbound; a
    /// running one, after it returned.
    ///
    /// # Errors
    /// The callback is dropped: [`Error::Reentrant`], [`Error::Inherited`].
    pub fn set_callback(&self, callback: impl FnMut(Wake) + Send + 'static) -> Result<(), Error> {
        let id = self.id();
        let set = || {
            self.shared.check_caller()?;
            let replaced = {
                let mut state = self.shared.lock();
                state.callbacks.set(id, Box::new(callback))
            };
            drop(replaced);
            Ok(())
        };
        self.shared.observed(|| Called::SetCallback(id), set, done)
    }

    /// Takes the callback away. A wait stays, for a round of values. Says whether there was one.
    ///
    /// After it returned, the callback is not running on another thread, and is not called again;
    /// so it must not be called while holding a lock that the callback takes.
    ///
    /// # Errors
    /// The callback stays: [`Error::Reentrant`], [`Error::Inherited`].
    pub fn remove_callback(&self) -> Result<bool, Error> {
        let id = self.id();
        let remove = || {
            self.shared.check_caller()?;
            let (had_one, removed) = {
                let mut state = self.shared.lock_returned(id);
                (state.callbacks.has(id), state.callbacks.remove(id))
            };
            drop(removed);
            Ok(had_one)
        };
        let call = || Called::RemoveCallback(id);
        self.shared.observed(call, remove, |removed| {
            ok(removed, |had_one| Came::Removed(*had_one))
        })
    }
}

impl<R: Registrar> Round<'_, R> {
    /// Runs the round: calls the callback of each channel that fired, one after the other and
    /// with no lock held, and ends it as [`finish`](Self::finish) does.
    ///
    /// A wake of a channel without a callback is kept for the next wait on it. (One that says
    /// [`Gone`](crate::Cause::Gone) is not: that wait says so itself.)
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    ///
    /// # Panics
    /// Where a callback does, once the rest of the round is queued and its waits are written
    /// back. The callback keeps its place.
    pub fn call(self) -> Result<Outcome, Error> {
        let shared = self.shared;
        shared.observed(|| Called::Call, || self.call_all(), over)
    }
}

impl<R: Registrar> Context<R> {
    /// A round of callbacks: [`dispatch`](Self::dispatch), then [`Round::call`].
    ///
    /// # Errors
    /// Those of [`dispatch`](Self::dispatch) and of [`Round::finish`].
    ///
    /// # Panics
    /// Where [`Round::call`] does.
    pub fn dispatch_callbacks(&self) -> Result<Outcome, Error> {
        if self.shared.observer.is_some() {
            return self.dispatch_callbacks_observed();
        }
        Round::begin(&self.shared, Round::<R>::BUDGET)?.call_all()
    }

    #[cold]
    #[inline(never)]
    fn dispatch_callbacks_observed(&self) -> Result<Outcome, Error> {
        let shared = &*self.shared;
        let dispatch = || Round::begin(shared, Round::<R>::BUDGET)?.call_all();
        shared.observed(
            || Called::DispatchCallbacks,
            dispatch,
            |done| ok(done, |outcome| Came::Dispatched(*outcome)),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Trigger;
    use crate::ids::{DomId, Port};
    use crate::mock::{MockDevice, MockOpen, MockRegistrar, brings};

    fn port() -> Port {
        Port::new(5).unwrap()
    }

    #[test]
    fn a_thread_is_inside_in_a_round_and_in_a_hook() {
        let opener = MockOpen::of_this_process();
        let event_loop = MockRegistrar::with_trigger(Trigger::Level);
        let ctx = Context::with_registrar(opener, event_loop);
        let shared = &ctx.shared;
        assert!(!shared.is_inside());
        shared.in_round.acquire();
        assert!(shared.is_inside());
        shared.in_round.release();
        shared.in_hook.acquire();
        assert!(shared.is_inside());
        assert!(matches!(shared.check_caller(), Err(Error::Reentrant)));
        shared.in_hook.release();
        assert!(!shared.is_inside());
        shared.check_caller().unwrap();
    }

    #[test]
    fn a_callback_that_returned_is_not_running() {
        let mut device = MockDevice::of_this_process();
        device.expect_bind_unbound_port().return_const(Ok(port()));
        device.expect_pending().returning(brings([port()]));
        device.expect_unmask().returning(|ports| Ok(ports.len()));
        let mut opener = MockOpen::of_this_process();
        opener.expect_open().return_once(|| Ok(device));
        let mut event_loop = MockRegistrar::with_trigger(Trigger::Level);
        event_loop.expect_register().return_const(Ok(()));
        event_loop.expect_deregister().return_const(Ok(()));
        let ctx = Context::with_registrar(opener, event_loop);
        // Its drop would wait for a callback that never returns.
        let channel = ManuallyDrop::new(ctx.bind_unbound_port(DomId::DOM0).unwrap());
        let calls = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&calls);
        let count = move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        channel.set_callback(count).unwrap();
        for round in 1..4 {
            channel.wait().unwrap();
            ctx.dispatch_callbacks().unwrap();
            assert_eq!(calls.load(Ordering::Relaxed), round);
            let state = ctx.shared.lock();
            assert!(!state.callbacks.is_running(channel.id()));
            assert!(state.callbacks.are_all_in_place());
        }
    }
}
