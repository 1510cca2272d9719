//! Callbacks: a thin layer over the wakes of a round.
//!
//! A channel has at most one callback. It stays until it is replaced or removed, or until its
//! channel is gone; each wait is still for one wake, after which a round may begin the next. While
//! a callback runs it is out of its place, no lock is held, and whatever was done to its place
//! meanwhile holds afterwards.

use std::collections::BTreeMap;
use std::mem;

use super::error::LinkError;
use super::{Channel, Context, DispatchResult, LoopError, Outcome, Round, Shared, State};
use crate::hal::{EventChannel, Open, Registrar};
use crate::machine::pages::Pages;
use crate::machine::port::Cause;
use crate::machine::{ChannelId, Wake};
use crate::sync::MutexGuard;
use crate::trace;

/// What is called for each wake of a channel.
pub(super) type Callback = Box<dyn FnMut(Wake) + Send>;

/// The callbacks of a context, by channel.
#[derive(Default)]
pub(super) struct Callbacks {
    places: Pages<Place>,
    /// Those of earlier bindings whose number has another owner by now, by generation: a wake that
    /// says so may still be queued for them.
    displaced: BTreeMap<u64, Option<Callback>>,
    running: Option<ChannelId>,
    /// Whether a thread waits for the running one to return.
    awaited: bool,
}

/// Where the callback of a port number is.
#[derive(Default)]
struct Place {
    /// Of which binding of the number; 0 where there is none.
    generation: u64,
    /// Not there while it runs.
    callback: Option<Callback>,
}

impl Callbacks {
    #[inline]
    fn place(&mut self, id: ChannelId) -> Option<&mut Option<Callback>> {
        match self.places.get_mut(id.port().as_raw()) {
            Some(place) if place.generation == id.generation() => Some(&mut place.callback),
            Some(_) | None => self.displaced.get_mut(&id.generation()),
        }
    }

    #[inline]
    pub(super) fn is_running(&self, id: ChannelId) -> bool {
        self.running == Some(id)
    }

    #[inline]
    pub(super) fn has(&self, id: ChannelId) -> bool {
        let place = self.places.get(id.port().as_raw());
        place.is_some_and(|place| place.generation == id.generation())
            || self.displaced.contains_key(&id.generation())
    }

    /// Sets a callback, and returns what it replaces, to be dropped under no lock.
    #[must_use = "a callback is dropped under no lock"]
    fn set(&mut self, id: ChannelId, callback: Callback) -> Option<Callback> {
        if let Some(place) = self.place(id) {
            return place.replace(callback);
        }
        let place = self.places.enter(id.port().as_raw());
        let earlier = mem::replace(&mut place.generation, id.generation());
        let displaced = place.callback.replace(callback);
        if earlier != 0 {
            self.displaced.insert(earlier, displaced);
        }
        None
    }

    /// Takes a callback away, for good. The caller drops it, under no lock.
    #[must_use = "a callback is dropped under no lock"]
    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Callback> {
        if let Some(displaced) = self.displaced.remove(&id.generation()) {
            return displaced;
        }
        let place = self.places.get_mut(id.port().as_raw())?;
        if place.generation != id.generation() {
            return None;
        }
        place.generation = 0;
        place.callback.take()
    }

    /// Takes a callback out to run it.
    #[inline]
    fn take(&mut self, id: ChannelId) -> Option<Callback> {
        let callback = self.place(id)?.take()?;
        self.running = Some(id);
        Some(callback)
    }

    /// Puts the callback back that ran, unless its place is gone or taken, and says what else
    /// there is to do.
    #[inline]
    fn put_back(&mut self, ran: Callback) -> Option<Rest> {
        if let Some(id) = self.running.take()
            && let Some(place @ None) = self.place(id)
        {
            *place = Some(ran);
            return self.awaited.then(|| self.rest(None));
        }
        Some(self.rest(Some(ran)))
    }

    #[cold]
    fn rest(&mut self, unwanted: Option<Callback>) -> Rest {
        Rest {
            unwanted,
            awaited: mem::take(&mut self.awaited),
        }
    }
}

/// What is left to do about a callback that came back, under no lock.
#[must_use = "a callback is dropped under no lock"]
struct Rest {
    unwanted: Option<Callback>,
    /// Somebody waited for it to return.
    awaited: bool,
}

/// A callback that runs. If it panics it comes back where this is dropped.
struct Running<'a, O: Open, R: Registrar<O::Device>> {
    shared: &'a Shared<O, R>,
    callback: Option<Callback>,
}

impl<O: Open, R: Registrar<O::Device>> Drop for Running<'_, O, R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(callback) = self.callback.take() {
            self.shared.put_back(callback);
        }
    }
}

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    /// Calls, and returns the callback, which is still out of its place.
    #[inline]
    fn run(&self, callback: Callback, channel: ChannelId, cause: Cause) -> Option<Callback> {
        let mut running = Running {
            shared: self,
            callback: Some(callback),
        };
        if let Some(callback) = &mut running.callback {
            callback(Wake { channel, cause });
        }
        running.callback.take()
    }

    #[cold]
    fn put_back(&self, ran: Callback) {
        // A callback that forked returns in the child too, where the lock may be held for ever.
        if self.is_inherited() {
            return;
        }
        let rest = self.lock().callbacks.put_back(ran);
        if let Some(rest) = rest {
            self.settle_rest(rest);
        }
    }

    #[cold]
    fn settle_rest(&self, rest: Rest) {
        if rest.awaited {
            self.returned.notify_all();
        }
        drop(rest.unwanted);
    }
}

impl<D: EventChannel> State<D> {
    /// The next wake of a channel that has a callback, which is taken out, if it is an event as
    /// nearly all are.
    #[inline(always)]
    fn next_plain_call(&mut self, again: bool) -> Option<(Callback, ChannelId)> {
        let State {
            machine, callbacks, ..
        } = self;
        machine.next_event(again, |id| callbacks.take(id))
    }

    /// [`next_plain_call`](Self::next_plain_call), whatever it is. The wakes of channels without a callback
    /// are kept.
    #[cold]
    fn next_call_of_any(&mut self, again: bool) -> Option<(Callback, Wake)> {
        let State {
            machine, callbacks, ..
        } = self;
        let wake = machine.next_wake_of_any(|id| callbacks.has(id))?;
        if again {
            let _unless_gone = machine.wait_again(wake.channel);
        }
        // One round at a time: what has a callback has it in its place.
        Some((callbacks.take(wake.channel)?, wake))
    }
}

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    /// The state, once the callback of this channel is not running on another thread.
    ///
    /// A hook must not wait for it: the callback may be waiting for the end of that hook.
    pub(super) fn lock_returned(&self, id: ChannelId) -> MutexGuard<'_, State<O::Device>> {
        let mut state = self.lock();
        while state.callbacks.is_running(id) && !self.is_inside() {
            state.callbacks.awaited = true;
            state = self.returned.wait(state);
        }
        state
    }

    /// Whether this thread runs the callback, or a hook.
    pub(super) fn is_inside(&self) -> bool {
        self.in_round.is_me() || self.is_in_hook()
    }
}

impl<O: Open, R: Registrar<O::Device>> Channel<O, R> {
    /// Sets what [`Context::dispatch_callbacks`] calls for each wake of this channel, in the
    /// place of what was set before. Waits stay as they are: each is for one wake.
    ///
    /// With a callback a wait never returns [`Wait::Ready`](crate::Wait::Ready): an event that
    /// was kept goes to the next round, and the event loop is told. No callback runs inside a
    /// wait.
    ///
    /// The callback may do anything with the context but dispatch it: wait, cancel, bind, unbind,
    /// replace or remove callbacks, tear down, for its own channel or another. It is dropped
    /// under no lock, when it is replaced or removed or its channel is dropped or unbound; a
    /// running one, after it returned.
    ///
    /// # Errors
    /// [`LinkError`] in a hook of the registrar or in a forked child; the callback is dropped.
    pub fn set_callback(
        &self,
        callback: impl FnMut(Wake) + Send + 'static,
    ) -> Result<(), LinkError<LoopError<O, R>>> {
        self.shared.admit()?;
        let id = self.id();
        let replaced = {
            let mut state = self.shared.lock();
            state.callbacks.set(id, Box::new(callback))
        };
        drop(replaced);
        Ok(())
    }

    /// Takes the callback away. A wait stays, for a round of values. Says whether there was one.
    ///
    /// After it returned, the callback is not running on another thread, and is not called again;
    /// so it must not be called while holding a lock that the callback takes.
    ///
    /// # Errors
    /// [`LinkError`] in a hook of the registrar or in a forked child; the callback stays.
    pub fn remove_callback(&self) -> Result<bool, LinkError<LoopError<O, R>>> {
        self.shared.admit()?;
        let id = self.id();
        let (had_one, removed) = {
            let mut state = self.shared.lock_returned(id);
            (state.callbacks.has(id), state.callbacks.remove(id))
        };
        drop(removed);
        Ok(had_one)
    }
}

impl<O: Open, R: Registrar<O::Device>> Round<'_, O, R> {
    /// Runs the round: calls the callback of each channel that fired, one after the other and
    /// with no lock held, and ends it as [`finish`](Self::finish) does.
    ///
    /// A wake of a channel without a callback is kept for the next wait on it. (One that says
    /// [`Gone`](crate::Cause::Gone) is not: that wait says so itself.)
    ///
    /// # Errors
    /// [`DispatchError`](crate::DispatchError), the first that came up.
    ///
    /// # Panics
    /// Where a callback does, once the rest of the round is queued and its waits are written
    /// back. The callback keeps its place.
    pub fn call(self) -> DispatchResult<O, R, Outcome> {
        self.call_with::<false>()
    }

    /// [`call`](Self::call), and each channel whose callback is called is waited for again, unless
    /// it is [gone](crate::Cause::Gone). A callback that wants no more cancels.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn call_again(self) -> DispatchResult<O, R, Outcome> {
        self.call_with::<true>()
    }

    /// The next call where it is no plain event, or where first something has to be read.
    #[cold]
    fn next_call(&mut self, state: &mut State<O::Device>, again: bool) -> Option<(Callback, Wake)> {
        loop {
            if let Some((callback, channel)) = state.next_plain_call(again) {
                let cause = Cause::Event;
                return Some((callback, Wake { channel, cause }));
            }
            let next = state.next_call_of_any(again);
            if next.is_some() || !self.read(state) {
                return next;
            }
        }
    }

    fn call_with<const AGAIN: bool>(mut self) -> DispatchResult<O, R, Outcome> {
        let shared = self.shared;
        // It comes back under the lock under which the next one is taken out.
        let mut ran = None;
        loop {
            if !self.may_pick() {
                break;
            }
            let mut state = shared.lock();
            if let Some(ran) = ran.take()
                && let Some(rest) = state.callbacks.put_back(ran)
            {
                drop(state);
                shared.settle_rest(rest);
                continue;
            }
            let (callback, channel, cause) = match state.next_plain_call(AGAIN) {
                Some((callback, channel)) => (callback, channel, Cause::Event),
                None if self.is_dry(&state) => break self.unlock(state),
                None => match self.next_call(&mut state, AGAIN) {
                    Some((callback, wake)) => (callback, wake.channel, wake.cause),
                    None => break self.unlock(state),
                },
            };
            self.unlock(state);
            self.wakes_left -= 1;
            trace::wake(channel, cause);
            ran = shared.run(callback, channel, cause);
        }
        if let Some(ran) = ran {
            shared.put_back(ran);
        }
        self.finish()
    }
}

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// A round of callbacks: [`dispatch`](Self::dispatch), then [`Round::call`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn dispatch_callbacks(&self) -> DispatchResult<O, R, Outcome> {
        self.dispatch()?.call()
    }

    /// A round of callbacks that goes on waiting: [`dispatch`](Self::dispatch), then
    /// [`Round::call_again`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn dispatch_callbacks_again(&self) -> DispatchResult<O, R, Outcome> {
        self.dispatch()?.call_again()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ids::{DomId, Port};
    use crate::machine::Machine;
    use crate::mock::{MockDevice, MockOpen, MockRegistrar, brings};
    use crate::{Trigger, Wait};

    fn port() -> Port {
        Port::new(5).unwrap()
    }

    fn callback(calls: &Arc<AtomicUsize>) -> Callback {
        let calls = Arc::clone(calls);
        Box::new(move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn callbacks() -> (Callbacks, ChannelId, Arc<AtomicUsize>) {
        let id = Machine::new().bind(port());
        (Callbacks::default(), id, Arc::default())
    }

    #[test]
    fn a_callback_is_out_of_its_place_while_it_runs() {
        let (mut callbacks, id, calls) = callbacks();
        assert!(callbacks.take(id).is_none() && !callbacks.is_running(id));
        assert!(callbacks.set(id, callback(&calls)).is_none());
        let running = callbacks.take(id).unwrap();
        assert!(callbacks.has(id) && callbacks.take(id).is_none());
        assert!(callbacks.is_running(id));
        assert!(!callbacks.is_running(Machine::new().bind(port())));
        assert!(callbacks.put_back(running).is_none());
        assert!(!callbacks.is_running(id));
        assert!(callbacks.remove(id).is_some() && !callbacks.has(id));
    }

    #[test]
    fn a_callback_whose_place_is_gone_or_taken_comes_back() {
        let (mut callbacks, id, calls) = callbacks();
        assert!(callbacks.set(id, callback(&calls)).is_none());
        let running = callbacks.take(id).unwrap();
        assert!(callbacks.set(id, callback(&calls)).is_none());
        let taken = callbacks.put_back(running).unwrap();
        assert!(!taken.awaited);
        let _other = callbacks.take(id);
        assert!(callbacks.remove(id).is_none());
        let gone = callbacks.put_back(taken.unwanted.unwrap()).unwrap();
        assert!(gone.unwanted.is_some());
    }

    #[test]
    fn who_waits_for_a_callback_is_told_once() {
        let (mut callbacks, id, calls) = callbacks();
        assert!(callbacks.set(id, callback(&calls)).is_none());
        for awaited in [true, false] {
            let running = callbacks.take(id).unwrap();
            callbacks.awaited = awaited;
            let rest = callbacks.put_back(running);
            assert_eq!(rest.is_some_and(|rest| rest.awaited), awaited);
            assert!(callbacks.has(id) && !callbacks.awaited);
        }
    }

    #[test]
    fn a_thread_is_inside_in_a_round_and_in_a_hook() {
        let opener = MockOpen::of_this_process();
        let event_loop = MockRegistrar::with_trigger(Trigger::Level);
        let ctx = Context::new(opener, event_loop);
        let shared = &ctx.shared;
        assert!(!shared.is_inside());
        shared.in_round.enter();
        assert!(shared.is_inside());
        shared.in_round.leave();
        shared.in_hook.enter();
        assert!(shared.is_inside());
        assert!(matches!(shared.admit(), Err(LinkError::Reentrant)));
        shared.in_hook.leave();
        assert!(!shared.is_inside());
        shared.admit().unwrap();
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
        let ctx = Context::new(opener, event_loop);
        // Its drop would wait for a callback that never returns.
        let channel = ManuallyDrop::new(ctx.bind_unbound_port(DomId::DOM0).unwrap());
        let calls = Arc::default();
        channel.set_callback(callback(&calls)).unwrap();
        for round in 1..4 {
            assert_eq!(channel.wait().unwrap(), Wait::Pending);
            ctx.dispatch_callbacks().unwrap();
            assert_eq!(calls.load(Ordering::Relaxed), round);
            let state = ctx.shared.lock();
            assert!(!state.callbacks.is_running(channel.id()));
            let places = state.callbacks.places.iter();
            let mut owned = places.filter(|(_, place)| place.generation != 0);
            assert!(owned.all(|(_, place)| place.callback.is_some()));
        }
    }
}
