//! Callbacks: a thin layer over the wakes of a round.
//!
//! A channel has at most one callback. It stays until it is replaced or removed, or until its
//! channel is gone. A callback changes nothing about the waits: `wait` is for one wake, `wait_each` for
//! every wake. While a callback runs it is out of its place and no lock is held. If it is replaced or
//! removed while it runs, it is not put back.

mod places;
mod run;

use super::observed::{done, observe_callback, ok};
use super::round::over;
use super::{Channel, Context, Outcome, Round, Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::{ChannelId, Wake};
use crate::observe::{Called, Came};
use crate::sync::MutexGuard;

pub(super) use places::Callbacks;

impl<R: Registrar> Shared<R> {
    /// Locks the state once the callback of this channel is not running on another thread.
    ///
    /// A hook does not wait for that, because the callback may be waiting for the end of the hook.
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
    /// Sets the callback that [`Context::dispatch_callbacks`] calls for each wake of this channel.
    /// It replaces the one that was set before. It begins no wait: [`wait`](Self::wait) or
    /// [`wait_each`](Self::wait_each) does.
    ///
    /// A wait never calls the callback. If an event was kept, its wake is queued for the next
    /// round, and the event loop is woken.
    ///
    /// The callback may call anything of the context except its dispatch: wait, cancel, bind,
    /// unbind, replace or remove callbacks, tear down, for its own channel or another. It is
    /// dropped, with no lock held, when it is replaced or removed or its channel is dropped or
    /// unbound; if it is running then, after it has returned.
    ///
    /// # Errors
    /// The new callback is dropped. [`Error::Reentrant`] from inside a hook; [`Error::Inherited`]
    /// in a forked child.
    pub fn set_callback(&self, callback: impl FnMut(Wake) + Send + 'static) -> Result<(), Error> {
        let id = self.id();
        let set = || {
            self.shared.check_caller()?;
            let callback = observe_callback(self.shared.observer.clone(), callback);
            let replaced = {
                let mut state = self.shared.lock();
                state.callbacks.set(id, callback)
            };
            drop(replaced);
            Ok(())
        };
        self.shared.observed(|| Called::SetCallback(id), set, done)
    }

    /// Removes the callback. Returns whether there was one. A wait goes on, and
    /// [`dispatch`](Context::dispatch) hands its wake out.
    ///
    /// When it returns, the callback is not running on another thread, and is not called again. So
    /// do not call it while holding a lock that the callback takes.
    ///
    /// # Errors
    /// The callback stays. [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a
    /// forked child.
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
    /// Runs the round: calls the callback of each channel that fired, one after the other and with
    /// no lock held, and then ends the round as [`finish`](Self::finish) does.
    ///
    /// The wake of a channel without a callback is kept for the next wait on it, except a wake with
    /// [`Gone`](crate::Cause::Gone): the next wait fails by itself.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    ///
    /// # Panics
    /// If a callback panics, after the rest of the round was queued and the ports of its waits were
    /// unmasked. The callback stays set.
    pub fn call(self) -> Result<Outcome, Error> {
        let shared = self.shared;
        shared.observed(|| Called::Call, || self.call_all(), over)
    }
}

impl<R: Registrar> Context<R> {
    /// Runs a round of callbacks: [`dispatch`](Self::dispatch), then [`Round::call`].
    ///
    /// # Errors
    /// Those of [`dispatch`](Self::dispatch) and of [`Round::finish`].
    ///
    /// # Panics
    /// If a callback panics, as [`Round::call`].
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
