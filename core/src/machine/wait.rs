//! How a wait begins, how it is cancelled, and how the cancel is taken back.

use super::port::{Cause, PortEffect, PortInput, PortState};
use super::step::{self, advance, set_owner};
use super::task::TaskId;
use super::tidy::leaves_an_entry;
use super::{ChannelId, Machine, NotBound, Owner, Wake, cells};

/// How a wait began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Only for a wait of rounds: a wake was latched, and is queued for a round now.
    Queued,
    /// Only for a blocked thread or a task: a wake was latched. The thread has it by this and does
    /// not wait; the task finds it when it looks.
    Ready(Cause),
    /// Only for a wait of rounds: rounds waited already.
    Already,
    /// Only for a wait of rounds: they waited for one wake, and wait for each now.
    BecameEach,
    /// Another waiter has the channel.
    Taken,
    /// The port is enabled.
    Armed,
    /// The port must be unmasked.
    Unmask,
}

/// What a cancel found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    state: PortState,
    owner: Owner,
}

impl Before {
    /// Whether it was a wait of rounds, which can be restored.
    pub(crate) const fn is_rounds(self) -> bool {
        self.owner.is_rounds()
    }

    /// Whether there was a wait.
    pub(crate) const fn is_waited(self) -> bool {
        !self.is_rounds() || self.state.is_waited()
    }
}

impl Machine {
    /// Begins a wait of rounds, or of a task or a thread, which then owns the channel.
    #[inline]
    pub(crate) fn wait(&mut self, id: ChannelId, owner: Owner) -> Result<Waited, NotBound> {
        let slot = self.ports.by_id(id)?;
        let was_waited = slot.state.is_waited();
        if !slot.owner.is_rounds() || was_waited && !owner.is_rounds() {
            return Ok(Waited::Taken);
        }
        if let PortState::Latched(cause) = slot.state {
            return self.wait_for_latched(id, cause, owner);
        }
        if owner.is_rounds() {
            // As nothing is latched, the input changes nothing.
            cells::port(slot.state, PortInput::Queue);
        }
        let effect = advance(id, slot, PortInput::Wait, &mut self.count);
        let becomes_each = owner.is_each() && !slot.owner.is_each();
        if was_waited && !becomes_each {
            return Ok(Waited::Already);
        }
        set_owner(slot, owner, &mut self.count);
        Ok(if was_waited {
            Waited::BecameEach
        } else if effect == PortEffect::Unmask {
            Waited::Unmask
        } else {
            Waited::Armed
        })
    }

    #[cold]
    fn wait_for_latched(
        &mut self,
        id: ChannelId,
        cause: Cause,
        owner: Owner,
    ) -> Result<Waited, NotBound> {
        let slot = self.ports.by_id(id)?;
        let Some(waiter) = owner.waiter() else {
            slot.owner = owner;
            advance(id, slot, PortInput::Queue, &mut self.count);
            self.ready.push_back(Wake { channel: id, cause });
            return Ok(Waited::Queued);
        };
        if waiter.task_id().is_some() {
            set_owner(slot, owner, &mut self.count);
            self.count.wake_owner(id, waiter);
        } else {
            advance(id, slot, PortInput::Wait, &mut self.count);
            self.stats.wakes += 1;
        }
        Ok(Waited::Ready(cause))
    }

    /// Turns a wait of rounds for each wake into one for the next.
    pub(crate) fn wait_for_one(&mut self, id: ChannelId) {
        if let Ok(slot) = self.ports.by_id(id) {
            if slot.owner.is_each() && slot.state.is_waited() {
                slot.owner = Owner::NEXT;
            }
        }
    }

    /// Begins a wait of rounds for the next event of a port that is enabled. Returns whether that
    /// was the case; otherwise nothing was done.
    #[inline]
    pub(crate) fn wait_plainly(&mut self, id: ChannelId) -> bool {
        let slot = self.ports.by_id(id);
        slot.is_ok_and(|slot| step::wait_plainly(slot, &mut self.count))
    }

    /// Begins a wait in a round for a channel whose event was handed out: the port is queued to be
    /// unmasked. Returns whether that was the case; otherwise nothing was done.
    #[inline]
    pub(crate) fn wait_again(&mut self, id: ChannelId) -> bool {
        let next = self.ports.next();
        let slot = self.ports.by_id(id);
        let waits = slot.is_ok_and(|slot| step::wait_again(slot, next, &mut self.count));
        if waits {
            self.to_unmask.push(id.port());
        }
        waits
    }

    /// [`wait_again`](Self::wait_again), for a task.
    pub(crate) fn wait_again_as(&mut self, id: ChannelId, task_id: TaskId) -> bool {
        let next = self.ports.next();
        let Ok(slot) = self.ports.by_id(id) else {
            return false;
        };
        let waits = step::wait_again(slot, next, &mut self.count);
        if waits {
            slot.owner = Owner::task(task_id);
            self.to_unmask.push(id.port());
        }
        waits
    }

    /// After a wake, the owner of the channel waits for the next one. The port is queued to be
    /// unmasked.
    pub(crate) fn go_on(&mut self, id: ChannelId) {
        if let Ok(slot) = self.ports.by_id(id) {
            if advance(id, slot, PortInput::Wait, &mut self.count) == PortEffect::Unmask {
                self.queue_unmask(id.port());
            }
        }
    }

    /// Ends a wait of rounds for a port that is enabled. In any other state nothing is done.
    #[inline]
    pub(crate) fn cancel_plainly(&mut self, id: ChannelId) -> Option<Before> {
        let slot = self.ports.by_id(id).ok()?;
        let owner = slot.owner;
        step::cancel_plainly(slot, &mut self.count).then_some(Before {
            state: PortState::Waiting,
            owner,
        })
    }

    /// Ends a wait and returns the state before, for [`restore`](Self::restore). Waking a blocked
    /// thread or a task cannot be taken back.
    pub(crate) fn cancel(&mut self, id: ChannelId) -> Result<Before, NotBound> {
        let slot = self.ports.by_id(id)?;
        let before = Before {
            state: slot.state,
            owner: slot.owner,
        };
        let leaves_an_entry = leaves_an_entry(slot);
        set_owner(slot, Owner::NEXT, &mut self.count);
        advance(id, slot, PortInput::Cancel, &mut self.count);
        if let Some(waiter) = before.owner.waiter() {
            self.count.wake_owner(id, waiter);
            if let Some(task_id) = waiter.task_id() {
                self.tidy_task(task_id);
            }
        }
        if leaves_an_entry {
            self.tidy();
        }
        Ok(before)
    }

    /// Ends a wait of rounds. The wait of a task or of a blocked thread goes on.
    pub(crate) fn cancel_in_rounds(&mut self, id: ChannelId) {
        let slot = self.ports.by_id(id);
        if slot.is_ok_and(|slot| slot.owner.is_rounds()) {
            let _was_bound = self.cancel(id);
        }
    }

    /// Takes a cancel back, unless the port changed since.
    pub(crate) fn restore(&mut self, id: ChannelId, before: Before) {
        let Ok(slot) = self.ports.by_id(id) else {
            return;
        };
        let Before { state, owner } = before;
        let is_as_left = slot.state == state.step(PortInput::Cancel).0;
        // A task may have taken what is latched.
        if is_as_left && state.is_waited() && slot.owner.is_rounds() {
            (slot.state, slot.owner) = (state, owner);
            self.count.enter(slot);
            match state {
                PortState::Ready(cause) => self.ready.push_back(Wake { channel: id, cause }),
                PortState::Unmasking => self.queue_unmask(id.port()),
                PortState::Live
                | PortState::Waiting
                | PortState::Delivered
                | PortState::Masked
                | PortState::Latched(_) => {}
            }
        }
    }
}
