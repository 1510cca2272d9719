//! How a wait begins and how it is cancelled, and taking the cancel back.

use super::port::{Cause, PortEffect, PortInput, PortState};
use super::step::{self, advance, seize};
use super::tidy::leaves_an_entry;
use super::{ChannelId, Machine, NotBound, Owner, Wake};

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// An event was latched, and is queued for a round now. Of a wait in rounds alone.
    Queued,
    /// An event was latched: nothing is waited for. Of a task or a thread that blocks alone.
    Ready(Cause),
    /// Somebody waited already.
    Already,
    /// A thread blocks for the wake.
    Blocked,
    /// The port is enabled.
    Armed,
    /// The port must be written back.
    Rearm,
}

/// What a cancel found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    state: PortState,
    owner: Owner,
}

impl Before {
    /// Whether it was a wait of rounds, which can be taken up again.
    pub(crate) const fn is_rounds(self) -> bool {
        self.owner.is_rounds()
    }

    /// Whether there was a wait.
    pub(crate) const fn is_waited(self) -> bool {
        !self.is_rounds() || self.state.is_waited()
    }
}

impl Machine {
    /// A wait that takes what is latched. One in rounds queues that first:
    /// [`wait_in_rounds`](Self::wait_in_rounds).
    #[inline]
    pub(crate) fn wait(&mut self, id: ChannelId) -> Result<Waited, NotBound> {
        let slot = self.ports.by_id(id)?;
        if !slot.owner.is_rounds() {
            return Ok(Waited::Blocked);
        }
        let before = slot.state;
        let effect = advance(id, slot, PortInput::Wait, &mut self.count);
        Ok(match effect {
            PortEffect::ReadyNow(cause) => {
                self.stats.wakes += 1;
                Waited::Ready(cause)
            }
            PortEffect::Rearm => Waited::Rearm,
            PortEffect::Nothing
            | PortEffect::Latch
            | PortEffect::Fire
            | PortEffect::Deliver(_)
            | PortEffect::Spurious => {
                if before.is_waited() {
                    Waited::Already
                } else {
                    Waited::Armed
                }
            }
        })
    }

    /// A wait that has begun is for each wake, until it is cancelled. Says whether it was for one.
    pub(crate) fn stand(&mut self, id: ChannelId) -> bool {
        self.change_owner(id, Owner::NEXT, Owner::EACH)
    }

    /// A wait is for one wake again.
    pub(crate) fn wait_for_one(&mut self, id: ChannelId) {
        self.change_owner(id, Owner::EACH, Owner::NEXT);
    }

    fn change_owner(&mut self, id: ChannelId, before: Owner, after: Owner) -> bool {
        let Ok(slot) = self.ports.by_id(id) else {
            return false;
        };
        let changes = slot.owner == before && slot.state.is_waited();
        if changes {
            slot.owner = after;
        }
        changes
    }

    /// A wait for an event of a port that is enabled. Says whether it was that; otherwise nothing
    /// was done.
    #[inline]
    pub(crate) fn wait_plainly(&mut self, id: ChannelId) -> bool {
        let slot = self.ports.by_id(id);
        slot.is_ok_and(|slot| step::wait_plainly(slot, &mut self.count))
    }

    /// Ends a wait of rounds for an event of a port that is enabled. Where it is not that, nothing is
    /// done.
    #[inline]
    pub(crate) fn cancel_plainly(&mut self, id: ChannelId) -> Option<Before> {
        let slot = self.ports.by_id(id).ok()?;
        let owner = slot.owner;
        step::cancel_plainly(slot, &mut self.count).then_some(Before {
            state: PortState::Waiting,
            owner,
        })
    }

    /// Ends a wait and returns the state that was left, for [`restore`](Self::restore). What a
    /// thread that blocks is told cannot be taken back.
    pub(crate) fn cancel(&mut self, id: ChannelId) -> Result<Before, NotBound> {
        let slot = self.ports.by_id(id)?;
        let before = Before {
            state: slot.state,
            owner: slot.owner,
        };
        let leaves_an_entry = leaves_an_entry(slot);
        seize(slot, Owner::NEXT, &mut self.count);
        advance(id, slot, PortInput::Cancel, &mut self.count);
        if let Some(blocker) = before.owner.blocker() {
            self.count.tell(id, blocker);
            if let Some(seat) = blocker.seat() {
                self.tidy_task(seat);
            }
        }
        if leaves_an_entry {
            self.tidy();
        }
        Ok(before)
    }

    /// Ends a wait whose wake is taken in rounds. One of a task or of a thread that blocks goes on.
    pub(crate) fn cancel_in_rounds(&mut self, id: ChannelId) {
        let slot = self.ports.by_id(id);
        if slot.is_ok_and(|slot| slot.owner.is_rounds()) {
            let _was_bound = self.cancel(id);
        }
    }

    /// Takes a cancel back, unless something else happened to the port since.
    pub(crate) fn restore(&mut self, id: ChannelId, before: Before) {
        let Ok(slot) = self.ports.by_id(id) else {
            return;
        };
        let Before { state, owner } = before;
        let is_as_left = slot.state == state.step(PortInput::Cancel).0;
        // A task may have taken over what is latched.
        if is_as_left && state.is_waited() && slot.owner.is_rounds() {
            (slot.state, slot.owner) = (state, owner);
            self.count.enter(slot);
            match state {
                PortState::Ready(cause) => self.ready.push_back(Wake { channel: id, cause }),
                PortState::Rearming => self.gather(id.port()),
                PortState::Live
                | PortState::Waiting
                | PortState::Heard
                | PortState::Held
                | PortState::Latched(_) => {}
            }
        }
    }
}
