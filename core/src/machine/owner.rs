//! Which waiter gets the wakes of a channel, in one word.

use core::fmt;
use core::num::NonZeroU32;

use super::task::TaskId;
use crate::hal::Sleeper;

/// A waiter that gets all wakes of a channel: a thread that blocks, by its number, or a task, by
/// its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter(NonZeroU32);

/// The bit that is set for a task and clear for a thread.
const TASK: u32 = 1 << 31;

impl Waiter {
    /// The first thread.
    pub(crate) const FIRST: Waiter = Waiter(NonZeroU32::MIN);

    /// The number of the next thread.
    pub(crate) fn next(self) -> Waiter {
        let next = self.0.checked_add(1).filter(|next| next.get() < TASK);
        next.map_or(Waiter::FIRST, Waiter)
    }

    /// The number by which the event loop knows this thread.
    pub(crate) const fn sleeper(self) -> Sleeper {
        Sleeper::new(self.0)
    }

    /// The thread that the event loop knows by this number.
    pub(crate) const fn thread(sleeper: Sleeper) -> Waiter {
        Waiter(sleeper.number())
    }

    /// A task.
    pub(crate) fn task(task_id: TaskId) -> Waiter {
        Waiter(NonZeroU32::MIN | TASK | (task_id.0 << 1))
    }

    /// The id, if it is a task.
    #[inline]
    pub(crate) const fn task_id(self) -> Option<TaskId> {
        task_id(self.0.get())
    }
}

#[inline]
const fn task_id(word: u32) -> Option<TaskId> {
    if word & TASK == 0 {
        return None;
    }
    Some(TaskId((word & !TASK) >> 1))
}

/// Which waiter gets the wakes of a channel, and whether it waits for one or for each, in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// Rounds. A wait is for one wake.
    pub(crate) const NEXT: Owner = Owner(0);
    /// Rounds. The wait is for each wake, until it is cancelled.
    pub(crate) const EACH: Owner = Owner(u32::MAX);

    /// A blocked thread or a task.
    pub(crate) const fn of(waiter: Waiter) -> Owner {
        Owner(waiter.0.get())
    }

    /// A task.
    pub(crate) fn task(task_id: TaskId) -> Owner {
        Owner::of(Waiter::task(task_id))
    }

    #[inline]
    pub(crate) const fn is_rounds(self) -> bool {
        // One comparison for `NEXT` and `EACH`.
        self.0.wrapping_add(1) < 2
    }

    #[inline]
    pub(crate) const fn is_each(self) -> bool {
        self.0 == Owner::EACH.0
    }

    /// The id of the task, if it is one.
    #[inline]
    pub(crate) const fn task_id(self) -> Option<TaskId> {
        if self.is_each() {
            return None;
        }
        task_id(self.0)
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
