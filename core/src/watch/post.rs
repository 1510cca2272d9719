//! Who has the watch, in one word.

use crate::hal::Sleeper;
use crate::sync::{AtomicU64, Ordering::SeqCst, OwnerThread};

/// A thread that wants the watch: one that hears every call of the loop, or a [`Sleeper`], which
/// hears only those for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Who(u64);

impl Who {
    /// A thread that hears every call.
    pub(super) const RUNNER: Who = Who(0);

    pub(super) fn sleeper(sleeper: Sleeper) -> Who {
        Who(sleeper.number().get().into())
    }

    /// The place in which it sleeps while another thread watches. Place 0 is that of all who note_event
    /// every call; two sleepers may share one of the others, and then wake together.
    pub(super) fn place(self, places: usize) -> usize {
        let shared = places.saturating_sub(1).max(1) as u64;
        match self {
            Who::RUNNER => 0,
            Who(number) => usize::try_from(number % shared).map_or(0, |it| it + 1),
        }
    }
}

/// | state | the watch | from it to |
/// | --- | --- | --- |
/// | `VACANT` | no thread has it | `HELD` |
/// | `HELD` | a thread has it and does not poll, but looks again before it sleeps | `WATCHED`, `VACANT` |
/// | `WATCHED` | a thread polls: who calls it has to ring | `HELD`, `VACANT` |
///
/// Only the thread that took the watch writes the word until it is vacant again.
#[derive(Debug, Default)]
pub(super) struct Post {
    word: AtomicU64,
    /// The thread for which a sleeper's number stands while it is `HELD`. A number alone would
    /// not do: nothing keeps a caller from using it twice.
    holder: OwnerThread,
}

const VACANT: u64 = 0;
const HELD: u64 = 1;
const WATCHED: u64 = 2;
/// How many bits a state takes.
const STATE_BITS: u32 = 2;

const fn word(who: Who, state: u64) -> u64 {
    who.0 << STATE_BITS | state
}

impl Post {
    /// Takes the watch if it is vacant.
    #[inline]
    pub(super) fn take(&self, who: Who) -> bool {
        let taken = self
            .word
            .compare_exchange(VACANT, word(who, HELD), SeqCst, SeqCst);
        taken.is_ok()
    }

    /// The holder is about to poll. Whoever calls from now on rings.
    #[inline]
    pub(super) fn watch(&self, who: Who) {
        self.word.store(word(who, WATCHED), SeqCst);
    }

    /// A sleeper that took the watch goes away for a moment and keeps it.
    pub(super) fn hold(&self, who: Who) {
        self.holder.acquire();
        self.word.store(word(who, HELD), SeqCst);
    }

    /// A sleeper comes back to the watch that it kept. Says whether it did keep it.
    pub(super) fn resume(&self, who: Who) -> bool {
        let is_mine = self.word.load(SeqCst) == word(who, HELD) && self.holder.is_current();
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

    /// Whether the thread that polls is this one, or one of those.
    pub(super) fn is_watched_by(&self, who: Who) -> bool {
        self.word.load(SeqCst) == word(who, WATCHED)
    }
}
