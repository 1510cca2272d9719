//! Where the callbacks of a context are, by channel, and what becomes of one that runs meanwhile.

use std::collections::BTreeMap;
use std::mem;

use crate::machine::pages::Pages;
use crate::machine::{ChannelId, Wake};

/// What is called for each wake of a channel.
pub(in crate::context) type Callback = Box<dyn FnMut(Wake) + Send>;

/// The callbacks of a context, by channel.
#[derive(Default)]
pub(in crate::context) struct Callbacks {
    places: Pages<Place>,
    /// Those of earlier bindings whose number has another owner by now, by generation: a wake that
    /// says so may still be queued for them.
    displaced: BTreeMap<u64, Option<Callback>>,
    running: Option<ChannelId>,
    /// Whether a thread waits for the running one to return.
    pub(super) awaited: bool,
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
    pub(in crate::context) fn is_running(&self, id: ChannelId) -> bool {
        self.running == Some(id)
    }

    #[inline]
    pub(in crate::context) fn has(&self, id: ChannelId) -> bool {
        let place = self.places.get(id.port().as_raw());
        place.is_some_and(|place| place.generation == id.generation())
            || self.displaced.contains_key(&id.generation())
    }

    /// Sets a callback, and returns what it replaces, to be dropped under no lock.
    #[must_use = "a callback is dropped under no lock"]
    pub(super) fn set(&mut self, id: ChannelId, callback: Callback) -> Option<Callback> {
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
    pub(in crate::context) fn remove(&mut self, id: ChannelId) -> Option<Callback> {
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
    pub(super) fn take(&mut self, id: ChannelId) -> Option<Callback> {
        let callback = self.place(id)?.take()?;
        self.running = Some(id);
        Some(callback)
    }

    /// Puts the callback back that ran, unless its place is gone or taken, and says what else
    /// there is to do.
    #[inline]
    pub(super) fn put_back(&mut self, ran: Callback) -> Option<Rest> {
        if let Some(id) = self.running.take()
            && let Some(place @ None) = self.place(id)
        {
            *place = Some(ran);
            return self.awaited.then(|| self.rest(None));
        }
        Some(self.rest(Some(ran)))
    }

    /// Whether none is out to run.
    #[cfg(test)]
    pub(super) fn are_all_in_place(&self) -> bool {
        let mut owned = self
            .places
            .iter()
            .filter(|(_, place)| place.generation != 0);
        owned.all(|(_, place)| place.callback.is_some())
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
pub(super) struct Rest {
    pub(super) unwanted: Option<Callback>,
    /// Somebody waited for it to return.
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
}
