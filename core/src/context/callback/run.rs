//! A round of callbacks: taking one out, calling it with no lock held, and putting it back.

use super::places::{Callback, Rest};
use crate::context::{Outcome, Round, Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::port::Cause;
use crate::machine::{ChannelId, Wake};
use crate::trace;

/// A callback that runs. If it panics, dropping this puts it back.
struct Running<'a, R: Registrar> {
    shared: &'a Shared<R>,
    callback: Option<Callback>,
}

impl<R: Registrar> Drop for Running<'_, R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(callback) = self.callback.take() {
            self.shared.put_back(callback);
        }
    }
}

impl<R: Registrar> Shared<R> {
    /// Calls the callback and returns it, still out of its place.
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

impl State {
    /// Takes the next wake and the callback of its channel. Only for the usual case: the cause is an
    /// event, and there is a callback. Otherwise `None`.
    #[inline(always)]
    fn next_plain_call(&mut self) -> Option<(Callback, ChannelId)> {
        let State {
            machine, callbacks, ..
        } = self;
        machine.next_event(|id| callbacks.take(id))
    }

    /// [`next_plain_call`](Self::next_plain_call) for a wake with any cause. The wakes of channels
    /// without a callback are kept.
    #[cold]
    fn next_call_of_any(&mut self) -> Option<(Callback, Wake)> {
        let State {
            machine, callbacks, ..
        } = self;
        let wake = machine.next_wake_of_any(|id| callbacks.has(id))?;
        // No other callback is running, so this one is in its place.
        Some((callbacks.take(wake.channel)?, wake))
    }
}

impl<R: Registrar> Round<'_, R> {
    /// The next call, if it is not a plain event or if the device has to be read first.
    #[cold]
    fn next_call(&mut self, state: &mut State) -> Option<(Callback, Wake)> {
        loop {
            if state.machine.most_wakes() == 0 && !self.read(state) {
                return None;
            }
            if let Some((callback, channel)) = state.next_plain_call() {
                let cause = Cause::Event;
                return Some((callback, Wake { channel, cause }));
            }
            let next = state.next_call_of_any();
            if next.is_some() {
                return next;
            }
        }
    }

    pub(super) fn call_all(mut self) -> Result<Outcome, Error> {
        let shared = self.shared;
        self.is_handed_out = false;
        if !self.is_current() {
            return self.finish_now(false);
        }
        let held = shared.in_round.hold();
        // It is put back under the same lock under which the next one is taken out.
        let mut ran = None;
        let mut left = self.wakes_left;
        while left > 0 && !shared.is_inherited() {
            let mut state = shared.lock();
            if let Some(ran) = ran.take() {
                if let Some(rest) = state.callbacks.put_back(ran) {
                    drop(state);
                    shared.settle_rest(rest);
                    continue;
                }
            }
            let (callback, channel, cause) = match state.next_plain_call() {
                Some((callback, channel)) => (callback, channel, Cause::Event),
                None if self.is_dry(&state) => {
                    self.unlock(state);
                    break;
                }
                None => match self.next_call(&mut state) {
                    Some((callback, wake)) => (callback, wake.channel, wake.cause),
                    None => {
                        self.unlock(state);
                        break;
                    }
                },
            };
            self.unlock(state);
            left -= 1;
            trace::wake(channel, cause);
            ran = shared.run(callback, channel, cause);
        }
        if let Some(ran) = ran {
            shared.put_back(ran);
        }
        drop(held);
        self.finish_now(true)
    }
}
