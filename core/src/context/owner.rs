//! The thread that has the round, even if that was forgotten.

use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, ThreadLife};

/// The number of a round, which no other round of the context has.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundNumber(usize);

impl RoundNumber {
    /// The number of no round.
    pub(super) const NONE: RoundNumber = RoundNumber(0);
}

/// The thread that has the round, and which of its rounds it is.
///
/// A round that was forgotten (`std::mem::forget`) is never released. It looks like a round that is
/// still used, but it can be [claimed](Self::claim) and ended: by its own thread, or by any thread
/// once its own has ended.
#[derive(Debug, Default)]
pub(super) struct RoundOwner {
    /// [`ThreadLife::id`] of the thread, or 0.
    thread: AtomicUsize,
    /// The number of the last round that began. Only its thread writes it.
    number: AtomicUsize,
    /// The round runs callbacks, and ends when they have returned.
    is_held: AtomicBool,
    /// The thread of the last round, and its id, which can be compared without the lock.
    life: Mutex<Option<ThreadLife>>,
    last: AtomicUsize,
}

/// While this lives, the round cannot be claimed. A callback that panics drops it, too.
pub(super) struct Held<'a>(&'a AtomicBool);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl RoundOwner {
    /// Begins a round on this thread if none is under way.
    #[inline]
    pub(super) fn acquire(&self) -> Option<RoundNumber> {
        let me = ThreadLife::id();
        self.thread
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        if self.last.load(Ordering::Relaxed) != me {
            self.note_life(me);
        }
        let number = self.number.load(Ordering::Relaxed).wrapping_add(1);
        self.number.store(number, Ordering::Relaxed);
        Some(RoundNumber(number))
    }

    #[cold]
    fn note_life(&self, me: usize) {
        *self.life.lock() = ThreadLife::of_this_thread();
        self.last.store(me, Ordering::Relaxed);
    }

    /// Whether this is the round that began last. To be asked by the thread of that round.
    #[inline]
    pub(super) fn is_last(&self, number: RoundNumber) -> bool {
        self.number.load(Ordering::Relaxed) == number.0
    }

    /// Keeps the round from being claimed while it runs callbacks, until the result is dropped.
    pub(super) fn hold(&self) -> Held<'_> {
        self.is_held.store(true, Ordering::Relaxed);
        Held(&self.is_held)
    }

    /// Ends the round.
    #[inline]
    pub(super) fn release(&self) {
        self.thread.store(0, Ordering::Release);
    }

    /// Whether this thread is in the round.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        thread != 0 && thread == ThreadLife::known_id()
    }

    /// Whether a round is under way.
    #[inline]
    pub(super) fn is_taken(&self) -> bool {
        self.thread.load(Ordering::Relaxed) != 0
    }

    /// Takes over a round that may have been forgotten, to end it. Returns whether it could.
    pub(super) fn claim(&self) -> bool {
        if self.is_current() {
            return !self.is_held.load(Ordering::Relaxed);
        }
        let ended = self.life.lock().as_ref().and_then(ThreadLife::ended);
        ended.is_some_and(|thread| {
            let me = ThreadLife::id();
            self.thread
                .compare_exchange(thread, me, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })
    }
}
