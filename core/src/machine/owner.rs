//! Who has the wakes of a channel to itself, in one word.

use core::fmt;
use core::num::NonZeroU32;

use super::task::TaskId;
use crate::hal::Sleeper;

/// Who has the wakes of a channel to itself: a thread that blocks, which goes by a number, or a
/// task, which goes by its task_id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter(NonZeroU32);

/// The bit that tells a task_id from the number of a thread.
const TASK: u32 = 1 << 31;

impl Waiter {
    /// The first thread.
    pub(crate) const FIRST: Waiter = Waiter(NonZeroU32::MIN);

    /// The thread after this one.
    pub(crate) fn next(self) -> Waiter {
        let next = self.0.checked_add(1).filter(|next| next.get() < TASK);
        next.map_or(Waiter::FIRST, Waiter)
    }

    /// What the loop calls a thread that blocks.
    pub(crate) const fn sleeper(self) -> Sleeper {
        Sleeper::new(self.0)
    }

    /// The thread that the loop calls so.
    pub(crate) const fn thread(sleeper: Sleeper) -> Waiter {
        Waiter(sleeper.number())
    }

    /// A task.
    pub(crate) fn task(task_id: TaskId) -> Waiter {
        Waiter(NonZeroU32::MIN | TASK | (task_id.0 << 1))
    }

    /// The task_id, where it is a task.
    #[inline]
    pub(crate) const fn task_id(self) -> Option<TaskId> {
        let word = self.0.get();
        if word & TASK == 0 {
            return None;
        }
        Some(TaskId((word & !TASK) >> 1))
    }
}

/// Whose the wakes of a channel are, and how many of them are waited for, in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// Those of rounds. A wait is for one wake.
    pub(crate) const NEXT: Owner = Owner(0);
    /// Those of rounds. The wait is for each wake, until it is cancelled.
    pub(crate) const EACH: Owner = Owner(u32::MAX);

    /// A thread that blocks or a task has them to itself.
    pub(crate) const fn of(waiter: Waiter) -> Owner {
        Owner(waiter.0.get())
    }

    /// A task has them to itself.
    pub(crate) fn task(task_id: TaskId) -> Owner {
        Owner::of(Waiter::task(task_id))
    }

    #[inline]
    pub(crate) const fn is_rounds(self) -> bool {
        // One comparison for both.
        self.0.wrapping_add(1) < 2
    }

    #[inline]
    pub(crate) const fn is_each(self) -> bool {
        self.0 == Owner::EACH.0
    }

    #[inline]
    pub(crate) const fn waiter(self) -> Option<Waiter> {
        match NonZeroU32::new(self.0) {
            Some(number) if self.0 != Owner::EACH.0 => Some(Waiter(number)),
            Some(_) | None => None,
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.waiter() {
            Some(waiter) => waiter.fmt(f),
            None if self.is_each() => f.write_str("Each"),
            None => f.write_str("Next"),
        }
    }
}
