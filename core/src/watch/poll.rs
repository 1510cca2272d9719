//! Having the watch: polling, leaving it to another thread, and waiting for it.

use super::post::LoopThread;
use super::{NONE, Parked, Places, Polled, Unpark, Watch};
use crate::sync::AtomicUsize;
use crate::sync::Ordering::{Relaxed, SeqCst};

/// What happened to a thread that found the watch taken.
pub(super) enum ParkOutcome {
    /// There is a wake-up for it.
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
    /// Polls the device, if there is one, until the deadline. `deadline` is called once other
    /// threads see that this one polls; if it returns `None`, the thread does not poll.
    #[inline]
    pub(super) fn poll(
        &self,
        thread: LoopThread,
        deadline: impl FnOnce() -> Option<P::Deadline>,
    ) -> Result<Polled, P::Error> {
        self.post.watch(thread);
        let Some(deadline) = deadline() else {
            return Ok(Polled::default());
        };
        self.polls.fetch_add(1, Relaxed);
        let device = self.begin_to_poll();
        let polling = Polling(self, device.is_some());
        let polled = self.places.poll(device, deadline);
        drop(polling);
        if let Ok(Polled { rung: true, .. }) = polled {
            // Before the watch is left: afterwards a ring could be for the next thread.
            self.places.clear_rings();
        }
        polled
    }

    /// The device to poll. The thread counts as polling it.
    #[inline]
    fn begin_to_poll(&self) -> Option<usize> {
        if self.device.load(SeqCst) == NONE {
            return None;
        }
        self.pollers.fetch_add(1, SeqCst);
        // A deregistration clears the device before it looks at the pollers.
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
        // A deregistration adds to `awaited` before it looks at the pollers.
        if is_last && self.awaited.load(SeqCst) > 0 {
            self.notify_unpolled();
        }
    }

    #[cold]
    fn notify_unpolled(&self) {
        // Locked, so that the waiting thread is not between its look and its sleep.
        let _registrations = self.registrations.lock();
        self.unpolled.notify_all();
    }

    /// Leaves the watch to a parked thread.
    #[inline]
    pub(super) fn vacate(&self) {
        self.post.vacate();
        // A thread counts itself as parked before it tries to take the watch.
        if self.all_parked.load(SeqCst) > 0 {
            self.hand_over();
        }
    }

    /// Wakes a parked thread, so that it takes the watch. Sleepers come first, because they keep
    /// the watch from one event to the next.
    #[cold]
    fn hand_over(&self) {
        let is_taken = |parked: &AtomicUsize| parked.load(SeqCst) > 0;
        // A thread that leaves its place meanwhile looks whether the watch is vacant.
        if let Some(place) = self.parked.iter().rposition(is_taken) {
            self.places.unpark(place, Unpark::One);
        }
    }

    /// Parks the thread once, unless there is a wake-up for it or the watch is vacant.
    pub(super) fn park_once(
        &self,
        thread: LoopThread,
        has_news: &impl Fn() -> bool,
        deadline: P::Deadline,
    ) -> Result<ParkOutcome, P::Error> {
        let place = thread.place(self.parked.len());
        let _parked = ParkedThread::begin(self, place);
        let before = self.places.unparks(place);
        if has_news() {
            return Ok(ParkOutcome::News);
        }
        if self.post.take(thread) {
            return Ok(ParkOutcome::Took);
        }
        self.parks.fetch_add(1, Relaxed);
        Ok(match self.places.park(place, before, deadline)? {
            // A sleeper may be unparked for another wake-up, so it has to look.
            Parked::Unparked if thread == LoopThread::RUNNER && has_news() => ParkOutcome::News,
            // Taken while the thread counts as parked, so that only one is woken for the watch.
            Parked::Unparked => ParkOutcome::Unparked {
                took: self.post.take(thread),
            },
            Parked::Interrupted => ParkOutcome::Interrupted,
            Parked::TimedOut => ParkOutcome::TimedOut,
        })
    }
}

/// Its drop leaves the watch.
pub(super) struct Leaving<'a, P: Places>(pub(super) &'a Watch<P>);

impl<P: Places> Drop for Leaving<'_, P> {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

/// Its drop ends the poll and keeps the watch.
pub(super) struct Holding<'a, P: Places>(pub(super) &'a Watch<P>, pub(super) LoopThread);

impl<P: Places> Drop for Holding<'_, P> {
    fn drop(&mut self) {
        self.0.post.hold(self.1);
    }
}

/// While it lives, its thread polls; if the flag is set, the device.
struct Polling<'a, P: Places>(&'a Watch<P>, bool);

impl<P: Places> Drop for Polling<'_, P> {
    fn drop(&mut self) {
        if self.1 {
            self.0.end_poll();
        }
    }
}

/// While it lives, its thread counts as parked.
struct ParkedThread<'a, P: Places> {
    watch: &'a Watch<P>,
    place: usize,
}

impl<'a, P: Places> ParkedThread<'a, P> {
    fn begin(watch: &'a Watch<P>, place: usize) -> ParkedThread<'a, P> {
        if let Some(parked) = watch.parked.get(place) {
            parked.fetch_add(1, SeqCst);
        }
        watch.all_parked.fetch_add(1, SeqCst);
        ParkedThread { watch, place }
    }
}

impl<P: Places> Drop for ParkedThread<'_, P> {
    fn drop(&mut self) {
        let watch = self.watch;
        if let Some(parked) = watch.parked.get(self.place) {
            parked.fetch_sub(1, SeqCst);
        }
        let others = watch.all_parked.fetch_sub(1, SeqCst) > 1;
        // This thread may have been woken for the watch and not have taken it.
        if others && watch.post.is_vacant() {
            watch.hand_over();
        }
    }
}
