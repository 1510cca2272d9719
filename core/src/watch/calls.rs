//! Waking threads, and the registration, which wakes them too.

use super::post::LoopThread;
use super::{NONE, Places, Unpark, Watch};
use crate::hal::WakeTargets;
use crate::sync::Ordering::SeqCst;

impl<P: Places> Watch<P> {
    /// [`Registrar::wake`](crate::Registrar::wake): every thread that waits or sleeps returns.
    pub fn wake(&self) {
        self.calls.fetch_add(1, SeqCst);
        self.rings.fetch_add(1, SeqCst);
        // A thread that begins to poll marks that first and then reads these counts.
        if self.post.is_watched() {
            self.places.ring();
        }
        if self.all_parked.load(SeqCst) > 0 {
            for place in 0..self.parked.len() {
                self.unpark(place);
            }
        }
    }

    /// [`Registrar::wake_only`](crate::Registrar::wake_only): these threads return, and
    /// hardly any other.
    pub fn wake_only(&self, targets: WakeTargets<'_>) {
        self.calls.fetch_add(1, SeqCst);
        if targets.runners {
            self.rings.fetch_add(1, SeqCst);
            self.reach(LoopThread::RUNNER);
        }
        for sleeper in targets.sleepers {
            self.reach(LoopThread::sleeper(*sleeper));
        }
    }

    fn reach(&self, thread: LoopThread) {
        if self.post.is_watched_by(thread) {
            self.places.ring();
        }
        self.unpark(thread.place(self.parked.len()));
    }

    fn unpark(&self, place: usize) {
        // A thread counts itself as parked before it looks for wake-ups.
        if self.parked.get(place).is_some_and(|it| it.load(SeqCst) > 0) {
            self.places.unpark(place, Unpark::All);
        }
    }

    /// Watches a device, whose number must not be `usize::MAX`. Threads in [`wait`](Self::wait)
    /// return. Returns whether it did: it does not if a device is watched already.
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

    /// Stops watching the device, and returns once no thread polls it. Threads in
    /// [`wait`](Self::wait) return. Returns whether it did: it does not if another device or none
    /// is watched.
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

    /// Makes the thread that polls, and the threads that run the loop, return and see the new
    /// registration. Parked sleepers need not.
    fn send_back(&self) {
        self.changes.fetch_add(1, SeqCst);
        if self.post.is_watched() {
            self.places.ring();
        }
        self.unpark(0);
    }
}
