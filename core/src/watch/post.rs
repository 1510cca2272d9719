//! Which thread has the watch, in one word.

use crate::hal::Sleeper;
use crate::sync::{AtomicU64, Ordering::SeqCst, OwnerThread};

/// A thread that waits in the loop: one that runs the loop, or a [`Sleeper`], which is woken only
/// by wake-ups that name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoopThread(u64);

impl LoopThread {
    /// A thread that runs the loop.
    pub(super) const RUNNER: LoopThread = LoopThread(0);

    pub(super) fn sleeper(sleeper: Sleeper) -> LoopThread {
        LoopThread(sleeper.number().get().into())
    }

    /// The place in which it sleeps while another thread watches. Place 0 is for all threads that
    /// run the loop. Two sleepers may share one of the others, and are then woken together.
    pub(super) fn place(self, places: usize) -> usize {
        let shared = places.saturating_sub(1).max(1) as u64;
        match self {
            LoopThread::RUNNER => 0,
            LoopThread(number) => usize::try_from(number % shared).map_or(0, |it| it + 1),
        }
    }
}

/// | state | the watch | from it to |
/// | --- | --- | --- |
/// | `VACANT` | no thread has it | `HELD` |
/// | `HELD` | a thread has it and does not poll, but looks again before it sleeps | `WATCHED`, `VACANT` |
/// | `WATCHED` | a thread polls: waking it takes a ring | `HELD`, `VACANT` |
///
/// Only the thread that took the watch writes the word until it is vacant again.
#[derive(Debug, Default)]
pub(super) struct Post {
    word: AtomicU64,
    /// The thread of the sleeper that has the watch while it is `HELD`. The number of the sleeper
    /// is not enough, because a caller may use a number twice.
    holder: OwnerThread,
}

const VACANT: u64 = 0;
const HELD: u64 = 1;
const WATCHED: u64 = 2;
/// How many bits a state takes.
const STATE_BITS: u32 = 2;

const fn word(thread: LoopThread, state: u64) -> u64 {
    thread.0 << STATE_BITS | state
}

impl Post {
    /// Takes the watch if it is vacant.
    #[inline]
    pub(super) fn take(&self, thread: LoopThread) -> bool {
        let taken = self
            .word
            .compare_exchange(VACANT, word(thread, HELD), SeqCst, SeqCst);
        taken.is_ok()
    }

    /// The holder is about to poll. From now on, waking it takes a ring.
    #[inline]
    pub(super) fn watch(&self, thread: LoopThread) {
        self.word.store(word(thread, WATCHED), SeqCst);
    }

    /// A sleeper that has the watch keeps it while it does something else.
    pub(super) fn hold(&self, thread: LoopThread) {
        self.holder.acquire();
        self.word.store(word(thread, HELD), SeqCst);
    }

    /// A sleeper goes on with the watch that it kept. Returns whether it had kept it.
    pub(super) fn resume(&self, thread: LoopThread) -> bool {
        let is_mine = self.word.load(SeqCst) == word(thread, HELD) && self.holder.is_current();
        if is_mine {
            self.holder.release();
        }
        is_mine
    }

    /// The holder leaves the watch.
    #[inline]
    pub(super) fn vacate(&self) {
        self.word.store(VACANT, SeqCst);
    }

    #[inline]
    pub(super) fn is_vacant(&self) -> bool {
        self.word.load(SeqCst) == VACANT
    }

    /// Whether a thread polls.
    pub(super) fn is_watched(&self) -> bool {
        self.word.load(SeqCst) & WATCHED != 0
    }

    /// Whether the thread that polls is this sleeper, or one that runs the loop if this is
    /// `RUNNER`.
    pub(super) fn is_watched_by(&self, thread: LoopThread) -> bool {
        self.word.load(SeqCst) == word(thread, WATCHED)
    }
}
