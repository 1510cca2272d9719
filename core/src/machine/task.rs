//! Tasks that wait for channels.
//!
//! Like a blocked thread, a task gets all wakes of its channels: they are latched, and it takes
//! them by looking. The channel of a task counts as waited for until the task leaves it. So a task
//! that takes a wake and waits again at once does not change the link.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem::{replace, take};
use core::task::Waker;

use super::block::Look;
use super::owner::Waiter;
use super::port::PortState;
use super::tidy::SPARE;
use super::{ChannelId, Machine, Owner, step};

/// The id of a task, for as long as it waits: the index of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId(pub(super) u32);

/// The entry of one task.
#[derive(Debug, Default)]
struct Task {
    waker: Option<Waker>,
    /// Channels that it has still to look at. A channel that was cancelled and added again may be
    /// there twice.
    fired: VecDeque<ChannelId>,
    /// How many channels were in `fired` when duplicates were last removed.
    tidied: usize,
    /// Whether it is in the queue of tasks to be woken.
    is_due: bool,
    /// Whether it was removed while it was in that queue: its id is free once it leaves the queue.
    is_left: bool,
    /// Whether it was woken and has not been polled since.
    is_woken: bool,
}

/// What a task is polled for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Polled {
    /// It has a channel to look at.
    pub(crate) has_fired: bool,
    /// The waker of this poll is set already.
    pub(crate) is_set: bool,
}

/// For how many channels a free entry keeps room.
const ROOM: usize = 16;

/// The entries, and the queue of tasks to be woken.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    entries: Vec<Task>,
    free: Vec<TaskId>,
    due: VecDeque<TaskId>,
    /// How many tasks in the queue were removed.
    left: usize,
    /// How many tasks were woken and have not been polled since.
    woken: usize,
}

impl Tasks {
    fn at(&mut self, task_id: TaskId) -> Option<&mut Task> {
        self.entries.get_mut(task_id.0 as usize)
    }

    /// A task is polled, or ends.
    fn polled(&mut self, task_id: TaskId) {
        let was_woken = self
            .at(task_id)
            .is_some_and(|task| take(&mut task.is_woken));
        self.woken -= usize::from(was_woken);
    }

    /// Has a task woken, to look at a channel.
    pub(super) fn fire(&mut self, task_id: TaskId, id: ChannelId) {
        let Some(task) = self.at(task_id) else {
            return;
        };
        task.fired.push_back(id);
        if !replace(&mut task.is_due, true) {
            self.due.push_back(task_id);
        }
    }

    /// After a cancel of a channel of the task: removes duplicates from `fired`, once they may be
    /// half of it.
    pub(super) fn tidy_fired(&mut self, task_id: TaskId) {
        let Some(task) = self.at(task_id) else {
            return;
        };
        if task.fired.len() > 2 * task.tidied + SPARE {
            task.fired.make_contiguous().sort_unstable();
            let mut last = None;
            task.fired.retain(|id| last.replace(*id) != Some(*id));
            task.tidied = task.fired.len();
        }
    }

    /// After a task was removed while it was in the queue: takes removed tasks out of the queue and
    /// frees their ids, once they are half of the queue.
    fn tidy_line(&mut self) {
        self.left += 1;
        if 2 * self.left <= self.due.len() + SPARE {
            return;
        }
        let Tasks {
            entries, free, due, ..
        } = self;
        due.retain(|task_id| {
            let Some(task) = entries
                .get_mut(task_id.0 as usize)
                .filter(|task| task.is_left)
            else {
                return true;
            };
            (task.is_due, task.is_left) = (false, false);
            free.push(*task_id);
            false
        });
        self.left = 0;
    }

    /// Frees the memory, if there is no task.
    pub(super) fn free(&mut self) {
        if self.free.len() == self.entries.len() {
            *self = Tasks::default();
        }
    }
}

impl Machine {
    /// Adds a task.
    pub(crate) fn add_task(&mut self) -> TaskId {
        let tasks = &mut self.count.tasks;
        tasks.free.pop().unwrap_or_else(|| {
            let task_id = u32::try_from(tasks.entries.len()).unwrap_or(u32::MAX);
            tasks.entries.push(Task::default());
            TaskId(task_id)
        })
    }

    /// Removes a task. The caller drops its waker, under no lock.
    #[must_use = "a waker is dropped under no lock"]
    pub(crate) fn remove_task(&mut self, task_id: TaskId) -> Option<Waker> {
        let tasks = &mut self.count.tasks;
        tasks.polled(task_id);
        let task = tasks.at(task_id)?;
        task.fired.clear();
        task.fired.shrink_to(ROOM);
        task.tidied = 0;
        let waker = task.waker.take();
        if task.is_due {
            // Finding it in the queue would cost time.
            task.is_left = true;
            tasks.tidy_line();
        } else {
            tasks.free.push(task_id);
        }
        waker
    }

    /// A task is polled with this waker.
    #[inline]
    pub(crate) fn polled(&mut self, task_id: TaskId, waker: &Waker) -> Polled {
        let tasks = &mut self.count.tasks;
        let Some(task) = tasks.entries.get_mut(task_id.0 as usize) else {
            return Polled::default();
        };
        tasks.woken -= usize::from(take(&mut task.is_woken));
        let set = task.waker.as_ref();
        Polled {
            has_fired: !task.fired.is_empty(),
            is_set: set.is_some_and(|set| set.will_wake(waker)),
        }
    }

    /// Whether the task has a channel to look at.
    pub(crate) fn has_fired(&mut self, task_id: TaskId) -> bool {
        let task = self.count.tasks.at(task_id);
        task.is_some_and(|task| !task.fired.is_empty())
    }

    /// Whether tasks will be polled: they were woken and not polled since, or are to be woken.
    pub(crate) fn will_poll_tasks(&self) -> bool {
        let tasks = &self.count.tasks;
        tasks.woken > 0 || !tasks.due.is_empty()
    }

    /// Sets the waker of a task, and returns the one that was set before.
    #[must_use = "a waker is dropped under no lock"]
    pub(crate) fn set_waker(&mut self, task_id: TaskId, waker: Waker) -> Option<Waker> {
        self.count.tasks.at(task_id)?.waker.replace(waker)
    }

    /// Hands the task the event of the next channel that it has to look at, for which it waits again.
    /// Returns `None` if that is anything but an event; then nothing was done.
    #[inline]
    pub(crate) fn next_event_of(&mut self, task_id: TaskId) -> Option<ChannelId> {
        let next = self.ports.next();
        let fired = &mut self.count.tasks.at(task_id)?.fired;
        let id = *fired.front()?;
        let slot = self.ports.by_id(id).ok()?;
        if !step::take_kept(slot, Owner::task(task_id), next) {
            return None;
        }
        fired.pop_front();
        self.to_unmask.push(id.port());
        self.stats.wakes += 1;
        Some(id)
    }

    /// Hands a task with one channel its event, after which the task is to be removed. Returns whether
    /// there was one; otherwise nothing was done.
    #[inline]
    pub(crate) fn take_last_event(&mut self, id: ChannelId, task_id: TaskId) -> bool {
        let task = self.count.tasks.at(task_id);
        if task.and_then(|task| task.fired.front()) != Some(&id) {
            return false;
        }
        let slot = self.ports.by_id(id);
        let owner = Owner::task(task_id);
        let takes = slot.is_ok_and(|slot| step::take_last(slot, owner, &mut self.count));
        self.stats.wakes += u64::from(takes);
        takes
    }

    /// The next channel that the task has to look at, and what it finds. After a wake the task
    /// still owns the channel, but does not wait for it.
    pub(crate) fn next_fired(&mut self, task_id: TaskId) -> Option<(ChannelId, Look)> {
        let id = self.count.tasks.at(task_id)?.fired.pop_front()?;
        let waiter = Waiter::task(task_id);
        let look = self.look_at(id, waiter);
        Some((id, look))
    }

    /// The task leaves a channel. A wake that it did not take is kept for the next wait. Returns
    /// whether the channel was to be unmasked.
    pub(crate) fn leave(&mut self, id: ChannelId, task_id: TaskId) -> bool {
        let was_due = self.state(id) == Ok(PortState::Unmasking);
        self.end_block(id, Waiter::task(task_id));
        was_due
    }

    /// The task need not look at this channel any more.
    pub(crate) fn forget(&mut self, id: ChannelId, task_id: TaskId) {
        if let Some(task) = self.count.tasks.at(task_id) {
            task.fired.retain(|fired| *fired != id);
        }
    }

    /// Forgets the queued ports that are not to be unmasked any more.
    pub(crate) fn sweep(&mut self) {
        let ports = &mut self.ports;
        self.to_unmask.retain(|port| {
            let slot = ports.slot(port.as_raw());
            slot.is_some_and(|slot| slot.state == PortState::Unmasking)
        });
    }

    /// Whether a task is to be woken: see [`next_due`](Self::next_due).
    pub(crate) fn has_due(&self) -> bool {
        !self.count.tasks.due.is_empty()
    }

    /// Has every task woken, to look.
    pub(crate) fn queue_all_tasks(&mut self) {
        let Tasks { entries, due, .. } = &mut self.count.tasks;
        for (task_id, task) in (0..).zip(entries) {
            if task.waker.is_some() && !replace(&mut task.is_due, true) {
                due.push_back(TaskId(task_id));
            }
        }
    }

    /// The next task to be woken, by the caller and under no lock.
    pub(crate) fn next_due(&mut self) -> Option<Waker> {
        let tasks = &mut self.count.tasks;
        while let Some(task_id) = tasks.due.pop_front() {
            let task = tasks.at(task_id)?;
            task.is_due = false;
            if take(&mut task.is_left) {
                tasks.left -= 1;
                tasks.free.push(task_id);
            } else if let Some(waker) = take(&mut task.waker) {
                let was_woken = replace(&mut task.is_woken, true);
                tasks.woken += usize::from(!was_woken);
                return Some(waker);
            }
        }
        None
    }
}
