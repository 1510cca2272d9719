//! Tasks that wait for channels, each in a task_id of its own.
//!
//! Like a thread that blocks, a task has the wakes of its channels to itself: they are latched,
//! and it takes them by looking. A channel that a task has counts as waited for until the task
//! lets go of it, so one that waits again in the same breath leaves the link alone.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem::{replace, take};
use core::task::Waker;

use super::block::Look;
use super::owner::Waiter;
use super::port::PortState;
use super::tidy::SPARE;
use super::{ChannelId, Machine};

/// Where one task sits, for as long as it has a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId(pub(super) u32);

/// What is kept of one task.
#[derive(Debug, Default)]
struct Task {
    waker: Option<Waker>,
    /// Channels about which it was not told yet. One that was cancelled and added again may stand
    /// there twice.
    fired: VecDeque<ChannelId>,
    /// How many channels there were when those that stood there twice were taken out last.
    tidied: usize,
    /// It stands in the line of those to be woken.
    is_due: bool,
    /// It left while it stood there: the task_id is free once the line comes to it.
    is_left: bool,
}

/// How many channels a free task_id keeps room for.
const ROOM: usize = 16;

/// The entries, and the line of those to be woken.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    entries: Vec<Task>,
    free: Vec<TaskId>,
    due: VecDeque<TaskId>,
    /// How many entries in the line are left.
    left: usize,
}

impl Tasks {
    fn at(&mut self, task_id: TaskId) -> Option<&mut Task> {
        self.entries.get_mut(task_id.0 as usize)
    }

    /// There is something about a channel for the task.
    pub(super) fn fire(&mut self, task_id: TaskId, id: ChannelId) {
        let Some(task) = self.at(task_id) else {
            return;
        };
        task.fired.push_back(id);
        if !replace(&mut task.is_due, true) {
            self.due.push_back(task_id);
        }
    }

    /// After a cancel of a channel of the task: takes out what stands there twice, once that may
    /// be half of all.
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

    /// A task_id is left that stands in the line. Takes the entries that are left out of the line and
    /// frees them, once they are half of all.
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

    /// Frees the entries where nobody sits.
    pub(super) fn free(&mut self) {
        if self.free.len() == self.entries.len() {
            *self = Tasks::default();
        }
    }
}

impl Machine {
    /// A task_id for another task.
    pub(crate) fn add_task(&mut self) -> TaskId {
        let tasks = &mut self.count.tasks;
        tasks.free.pop().unwrap_or_else(|| {
            let task_id = u32::try_from(tasks.entries.len()).unwrap_or(u32::MAX);
            tasks.entries.push(Task::default());
            TaskId(task_id)
        })
    }

    /// The task needs its task_id no more. Its waker is dropped by the caller, under no lock.
    #[must_use = "a waker is dropped under no lock"]
    pub(crate) fn remove_task(&mut self, task_id: TaskId) -> Option<Waker> {
        let tasks = &mut self.count.tasks;
        let task = tasks.at(task_id)?;
        task.fired.clear();
        task.fired.shrink_to(ROOM);
        task.tidied = 0;
        let waker = task.waker.take();
        if task.is_due {
            // Out of the line it would have to be looked for.
            task.is_left = true;
            tasks.tidy_line();
        } else {
            tasks.free.push(task_id);
        }
        waker
    }

    /// Sets whom to wake, and returns who was set before.
    #[must_use = "a waker is dropped under no lock"]
    pub(crate) fn set_waker(&mut self, task_id: TaskId, waker: Waker) -> Option<Waker> {
        self.count.tasks.at(task_id)?.waker.replace(waker)
    }

    /// The next channel about which there is something for the task. One that woke is still its
    /// own, and not waited for.
    pub(crate) fn next_fired(&mut self, task_id: TaskId) -> Option<(ChannelId, Look)> {
        let id = self.count.tasks.at(task_id)?.fired.pop_front()?;
        let waiter = Waiter::task(task_id);
        let look = self.look_at(id, waiter);
        Some((id, look))
    }

    /// The task lets go of a channel. A wake that it did not take is kept for the next wait.
    /// Says whether the channel was to be unmasked.
    pub(crate) fn leave(&mut self, id: ChannelId, task_id: TaskId) -> bool {
        let was_due = self.state(id) == Ok(PortState::Unmasking);
        self.end_block(id, Waiter::task(task_id));
        was_due
    }

    /// What the task was not told of this channel yet, it need not know.
    pub(crate) fn forget(&mut self, id: ChannelId, task_id: TaskId) {
        if let Some(task) = self.count.tasks.at(task_id) {
            task.fired.retain(|fired| *fired != id);
        }
    }

    /// Forgets the queued ports that are not to be written any more.
    pub(crate) fn sweep(&mut self) {
        let ports = &mut self.ports;
        self.to_unmask.retain(|port| {
            let slot = ports.slot(port.as_raw());
            slot.is_some_and(|slot| slot.state == PortState::Unmasking)
        });
    }

    /// Whether somebody is to be woken: see [`next_due`](Self::next_due).
    pub(crate) fn has_due(&self) -> bool {
        !self.count.tasks.due.is_empty()
    }

    /// Has every task woken, to look for itself.
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
                return Some(waker);
            }
        }
        None
    }
}
