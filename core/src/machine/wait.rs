//! How a wait begins and how it is cancelled, and taking the cancel back.

use super::port::{Cause, PortEffect, PortInput, PortState};
use super::step::{self, advance, seize};
use super::tidy::leaves_an_entry;
use super::{ChannelId, Machine, NotBound, Wake};

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// An event was latched, and is queued for a round now.
    Queued,
    /// An event was latched: nothing is waited for.
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

impl Machine {
    #[inline]
    pub(crate) fn wait(&mut self, id: ChannelId) -> Result<Waited, NotBound> {
        let slot = self.ports.by_id(id)?;
        if slot.blocker.is_some() {
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

    /// A wait for an event of a port that is enabled. Says whether it was that; otherwise nothing
    /// was done.
    #[inline]
    pub(crate) fn wait_plainly(&mut self, id: ChannelId) -> bool {
        let slot = self.ports.by_id(id);
        slot.is_ok_and(|slot| step::wait_plainly(slot, &mut self.count))
    }

    /// Ends a wait and returns the state that was left, for [`restore`](Self::restore). What a
    /// thread that blocks is told cannot be taken back.
    #[inline]
    pub(crate) fn cancel(&mut self, id: ChannelId) -> Result<Option<PortState>, NotBound> {
        let slot = self.ports.by_id(id)?;
        if step::cancel_plainly(slot, &mut self.count) {
            return Ok(Some(PortState::Waiting));
        }
        self.cancel_any(id)
    }

    fn cancel_any(&mut self, id: ChannelId) -> Result<Option<PortState>, NotBound> {
        let slot = self.ports.by_id(id)?;
        let (blocker, before) = (slot.blocker, slot.state);
        let leaves_an_entry = leaves_an_entry(slot);
        seize(slot, None, &mut self.count);
        advance(id, slot, PortInput::Cancel, &mut self.count);
        if let Some(blocker) = blocker {
            self.count.tell(id, blocker);
            if let Some(seat) = blocker.seat() {
                self.tidy_task(seat);
            }
        }
        if leaves_an_entry {
            self.tidy();
        }
        Ok(blocker.is_none().then_some(before))
    }

    /// Ends a wait whose wake is taken in rounds. One of a task or of a thread that blocks goes on.
    pub(crate) fn cancel_in_rounds(&mut self, id: ChannelId) {
        let slot = self.ports.by_id(id);
        if slot.is_ok_and(|slot| slot.blocker.is_none()) {
            let _was_bound = self.cancel(id);
        }
    }

    /// Takes a cancel back, unless something else happened to the port since.
    pub(crate) fn restore(&mut self, id: ChannelId, before: PortState) {
        let Ok(slot) = self.ports.by_id(id) else {
            return;
        };
        let is_as_left = slot.state == before.step(PortInput::Cancel).0;
        // A task may have taken over what is latched.
        if is_as_left && before.is_waited() && slot.blocker.is_none() {
            slot.state = before;
            self.count.enter(slot);
            match before {
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
