//! The callbacks of a context, by channel, and what happens to a callback that is changed while it
//! runs.

use std::mem;

use crate::channel_map::ChannelMap;
use crate::machine::{ChannelId, Wake};

/// Called for each wake of a channel.
pub(in crate::context) type Callback = Box<dyn FnMut(Wake) + Send>;

/// The callbacks of a context, by channel.
///
/// The callback of an earlier binding whose port number has another owner by now stays, because the
/// wake with [`Cause::Gone`](crate::Cause::Gone) may still be queued.
#[derive(Default)]
pub(in crate::context) struct Callbacks {
    callbacks: ChannelMap<Callback>,
    running: Option<ChannelId>,
    /// Whether a thread waits for the running one to return.
    pub(super) awaited: bool,
}

impl Callbacks {
    #[inline]
    pub(in crate::context) fn is_running(&self, id: ChannelId) -> bool {
        self.running == Some(id)
    }

    #[inline]
    pub(in crate::context) fn has(&self, id: ChannelId) -> bool {
        self.callbacks.contains(id)
    }

    /// Sets a callback. Returns the one that it replaces, to be dropped under no lock.
    #[must_use = "a callback is dropped under no lock"]
    pub(super) fn set(&mut self, id: ChannelId, callback: Callback) -> Option<Callback> {
        self.callbacks.insert(id, callback)
    }

    /// Removes a callback. The caller drops it, under no lock.
    #[must_use = "a callback is dropped under no lock"]
    pub(in crate::context) fn remove(&mut self, id: ChannelId) -> Option<Callback> {
        self.callbacks.remove(id)
    }

    /// Takes a callback out to run it.
    #[inline]
    pub(super) fn take(&mut self, id: ChannelId) -> Option<Callback> {
        let callback = self.callbacks.place(id)?.take()?;
        self.running = Some(id);
        Some(callback)
    }

    /// Puts the callback that ran back, unless its place is gone or taken. Returns what else is to
    /// be done.
    #[inline]
    pub(super) fn put_back(&mut self, ran: Callback) -> Option<Rest> {
        if let Some(id) = self.running.take() {
            if let Some(place @ None) = self.callbacks.place(id) {
                *place = Some(ran);
                return self.awaited.then(|| self.rest(None));
            }
        }
        Some(self.rest(Some(ran)))
    }

    /// Whether no callback is running.
    #[cfg(test)]
    pub(super) fn are_all_in_place(&self) -> bool {
        let mut channels = self.callbacks.channels();
        channels.all(|id| self.callbacks.get(id).is_some())
    }

    #[cold]
    fn rest(&mut self, unwanted: Option<Callback>) -> Rest {
        Rest {
            unwanted,
            awaited: mem::take(&mut self.awaited),
        }
    }
}

/// What is left to do, under no lock, for a callback that has returned.
#[must_use = "a callback is dropped under no lock"]
pub(super) struct Rest {
    pub(super) unwanted: Option<Callback>,
    /// A thread waits for it to return.
    pub(super) awaited: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ids::Port;
    use crate::machine::Machine;

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
    fn a_thread_that_waits_for_a_callback_is_woken_once() {
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
}
