//! Calls: who is woken by whom. And the registration, which ends in one.

use super::post::Who;
use super::{NONE, Places, Unpark, Watch};
use crate::hal::Whom;
use crate::sync::Ordering::SeqCst;

impl<P: Places> Watch<P> {
    /// [`Registrar::wake`](crate::Registrar::wake): every thread that waits or sleeps comes back.
    pub fn wake(&self) {
        self.calls.fetch_add(1, SeqCst);
        self.rings.fetch_add(1, SeqCst);
        // Who watches looks at these after it said so.
        if self.post.is_watched() {
            self.places.ring();
        }
        if self.followers.load(SeqCst) > 0 {
            for place in 0..self.parked.len() {
                self.unpark(place);
            }
        }
    }

    /// [`Registrar::wake_only`](crate::Registrar::wake_only): those threads come back, and
    /// hardly any other.
    pub fn wake_only(&self, whom: Whom<'_>) {
        self.calls.fetch_add(1, SeqCst);
        if whom.runners {
            self.rings.fetch_add(1, SeqCst);
            self.reach(Who::RUNNER);
        }
        for sleeper in whom.sleepers {
            self.reach(Who::sleeper(*sleeper));
        }
    }

    fn reach(&self, who: Who) {
        if self.post.is_watched_by(who) {
            self.places.ring();
        }
        self.unpark(who.place(self.parked.len()));
    }

    fn unpark(&self, place: usize) {
        // Who is parked counts itself before it looks for calls.
        if self.parked.get(place).is_some_and(|it| it.load(SeqCst) > 0) {
            self.places.unpark(place, Unpark::All);
        }
    }

    /// Watches a device, whose number is not `usize::MAX`. Threads in [`wait`](Self::wait) are
    /// sent back. Says whether it was done: it is not where a device is watched already.
    pub fn register(&self, device: usize) -> bool {
        let mut registrations = self.registrations.lock();
        if self.device.load(SeqCst) != NONE || device == NONE {
            return false;
        }
        self.device.store(device, SeqCst);
        registrations.registers += 1;
        self.send_back();
        true
    }

    /// Watches the device no more, and returns once no thread polls it. Threads in
    /// [`wait`](Self::wait) are sent back. Says whether it was done: it is not where another
    /// device is watched, or none.
    pub fn deregister(&self, device: usize) -> bool {
        let mut registrations = self.registrations.lock();
        if self.device.load(SeqCst) != device || device == NONE {
            return false;
        }
        self.device.store(NONE, SeqCst);
        registrations.deregisters += 1;
        self.send_back();
        self.awaited.fetch_add(1, SeqCst);
        while self.pollers.load(SeqCst) > 0 {
            registrations = self.unpolled.wait(registrations);
        }
        self.awaited.fetch_sub(1, SeqCst);
        true
    }

    /// Makes the thread that polls look at what is registered now, and those who run the loop
    /// come back. Sleepers that are parked poll nothing.
    fn send_back(&self) {
        self.changes.fetch_add(1, SeqCst);
        if self.post.is_watched() {
            self.places.ring();
        }
        self.unpark(0);
    }
}
