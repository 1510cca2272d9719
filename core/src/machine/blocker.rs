//! Who has the wakes of a channel to itself, in one word.

use core::num::NonZeroU32;

use super::task::Seat;
use crate::hal::Sleeper;

/// Who has the wakes of a channel to itself: a thread that blocks, which goes by a number, or a
/// task, which goes by its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocker(NonZeroU32);

/// The bit that tells a seat from the number of a thread.
const TASK: u32 = 1 << 31;

impl Blocker {
    /// The first thread.
    pub(crate) const FIRST: Blocker = Blocker(NonZeroU32::MIN);

    /// The thread after this one.
    pub(crate) fn next(self) -> Blocker {
        let next = self.0.checked_add(1).filter(|next| next.get() < TASK);
        next.map_or(Blocker::FIRST, Blocker)
    }

    /// What the loop calls a thread that blocks.
    pub(crate) const fn sleeper(self) -> Sleeper {
        Sleeper::new(self.0)
    }

    /// The thread that the loop calls so.
    pub(crate) const fn thread(sleeper: Sleeper) -> Blocker {
        Blocker(sleeper.number())
    }

    /// A task.
    pub(crate) fn task(seat: Seat) -> Blocker {
        Blocker(NonZeroU32::MIN | TASK | (seat.0 << 1))
    }

    /// The seat, where it is a task.
    #[inline]
    pub(crate) const fn seat(self) -> Option<Seat> {
        let word = self.0.get();
        if word & TASK == 0 {
            return None;
        }
        Some(Seat((word & !TASK) >> 1))
    }
}
