//! Having the watch: polling, leaving it to another thread, and waiting for it.

use super::post::Who;
use super::{NONE, Parked, Places, Polled, Unpark, Watch};
use crate::sync::AtomicUsize;
use crate::sync::Ordering::{Relaxed, SeqCst};

/// What became of a thread that found the watch taken.
pub(super) enum Followed {
    /// There is news for it.
    News,
    /// It has the watch now, and was not parked.
    Took,
    /// Its place was unparked. It has the watch, if that was vacant.
    Unparked {
        took: bool,
    },
    Interrupted,
    TimedOut,
}

impl<P: Places> Watch<P> {
    /// Polls the device, if there is one, until the deadline that is asked for once this thread
    /// is known to watch. Without one it does not poll.
    #[inline]
    pub(super) fn poll(
        &self,
        who: Who,
        deadline: impl FnOnce() -> Option<P::Deadline>,
    ) -> Result<Polled, P::Error> {
        self.post.watch(who);
        let Some(deadline) = deadline() else {
            return Ok(Polled::default());
        };
        self.polls.fetch_add(1, Relaxed);
        let device = self.begin_to_poll();
        let polling = Polling(self, device.is_some());
        let polled = self.places.poll(device, deadline);
        drop(polling);
        if let Ok(Polled { rung: true, .. }) = polled {
            // Before the watch is left: later it could be a ring for the next thread.
            self.places.silence();
        }
        polled
    }

    /// The device to poll; whoever polls it is counted.
    #[inline]
    fn begin_to_poll(&self) -> Option<usize> {
        if self.device.load(SeqCst) == NONE {
            return None;
        }
        self.pollers.fetch_add(1, SeqCst);
        // Who deregisters it takes it away before looking at the pollers.
        match self.device.load(SeqCst) {
            NONE => {
                self.end_poll();
                None
            }
            device => Some(device),
        }
    }

    #[inline]
    fn end_poll(&self) {
        let is_last = self.pollers.fetch_sub(1, SeqCst) == 1;
        // Who waits for it says so before looking at the pollers.
        if is_last && self.awaited.load(SeqCst) > 0 {
            self.tell_unpolled();
        }
    }

    #[cold]
    fn tell_unpolled(&self) {
        // Locked, so that who waits is not about to fall asleep.
        let _registrations = self.registrations.lock();
        self.unpolled.notify_all();
    }

    /// Leaves the watch to one of those who follow.
    #[inline]
    pub(super) fn vacate(&self) {
        self.post.vacate();
        // Who follows counts itself before it tries to take the watch.
        if self.followers.load(SeqCst) > 0 {
            self.hand_over();
        }
    }

    /// Wakes one of those who follow, so that it takes the watch. Threads that sleep for calls of
    /// their own come first: they keep the watch from one event to the next.
    #[cold]
    fn hand_over(&self) {
        let is_taken = |parked: &AtomicUsize| parked.load(SeqCst) > 0;
        // Who leaves its place meanwhile looks whether the watch is vacant.
        if let Some(place) = self.parked.iter().rposition(is_taken) {
            self.places.unpark(place, Unpark::One);
        }
    }

    /// Is parked once, unless there is news or the watch is vacant.
    pub(super) fn follow(
        &self,
        who: Who,
        has_news: &impl Fn() -> bool,
        deadline: P::Deadline,
    ) -> Result<Followed, P::Error> {
        let place = who.place(self.parked.len());
        let _following = Following::begin(self, place);
        let before = self.places.unparks(place);
        if has_news() {
            return Ok(Followed::News);
        }
        if self.post.take(who) {
            return Ok(Followed::Took);
        }
        self.parks.fetch_add(1, Relaxed);
        Ok(match self.places.park(place, before, deadline)? {
            // For a sleeper each call is news, also one that is not for it; then it has to look.
            Parked::Unparked if who == Who::RUNNER && has_news() => Followed::News,
            // Taken before it counts as gone, so that one thread alone is woken for the watch.
            Parked::Unparked => Followed::Unparked {
                took: self.post.take(who),
            },
            Parked::Interrupted => Followed::Interrupted,
            Parked::TimedOut => Followed::TimedOut,
        })
    }
}

/// While it lives, its thread has the watch, and leaves it with this.
pub(super) struct Leaving<'a, P: Places>(pub(super) &'a Watch<P>);

impl<P: Places> Drop for Leaving<'_, P> {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

/// While it lives, its thread watches, and keeps the watch afterwards.
pub(super) struct Holding<'a, P: Places>(pub(super) &'a Watch<P>, pub(super) Who);

impl<P: Places> Drop for Holding<'_, P> {
    fn drop(&mut self) {
        self.0.post.hold(self.1);
    }
}

/// While it lives, its thread polls; the device, where it says so.
struct Polling<'a, P: Places>(&'a Watch<P>, bool);

impl<P: Places> Drop for Polling<'_, P> {
    fn drop(&mut self) {
        if self.1 {
            self.0.end_poll();
        }
    }
}

/// While it lives, its thread counts as one that follows.
struct Following<'a, P: Places> {
    watch: &'a Watch<P>,
    place: usize,
}

impl<'a, P: Places> Following<'a, P> {
    fn begin(watch: &'a Watch<P>, place: usize) -> Following<'a, P> {
        if let Some(parked) = watch.parked.get(place) {
            parked.fetch_add(1, SeqCst);
        }
        watch.followers.fetch_add(1, SeqCst);
        Following { watch, place }
    }
}

impl<P: Places> Drop for Following<'_, P> {
    fn drop(&mut self) {
        let watch = self.watch;
        if let Some(parked) = watch.parked.get(self.place) {
            parked.fetch_sub(1, SeqCst);
        }
        let others = watch.followers.fetch_sub(1, SeqCst) > 1;
        // It may have been woken for the watch, and not have taken it.
        if others && watch.post.is_vacant() {
            watch.hand_over();
        }
    }
}
