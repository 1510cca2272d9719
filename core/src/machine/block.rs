//! Threads that block for the wake of one channel; tasks look in the same way.
//!
//! A round does not hand such a wake out: it is latched, and the thread is roused to take it.

use super::blocker::Blocker;
use super::port::{Cause, PortInput, PortState};
use super::step::{Rouse, advance, seize};
use super::{ChannelId, Machine, NotBound, Waited};

/// What a thread that blocks finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing yet.
    Nothing,
    /// The wake, which it takes.
    Woken(Cause),
    /// Somebody ended its wait.
    Cancelled,
}

impl Machine {
    /// A wait of a thread that will block for the wake, and the number that it goes by from now
    /// on. It begins only where the answer is that the port is, or must be, enabled.
    pub(crate) fn block(&mut self, id: ChannelId) -> Result<(Waited, Blocker), NotBound> {
        let waited = self.wait(id)?;
        self.blocks = self.blocks.next();
        if matches!(waited, Waited::Armed | Waited::Rearm) {
            self.ports.by_id(id)?.blocker = Some(self.blocks);
        }
        Ok((waited, self.blocks))
    }

    /// What there is for a thread that blocks. It ends with anything but nothing.
    pub(crate) fn look(&mut self, id: ChannelId, blocker: Blocker) -> Look {
        let look = self.look_at(id, blocker);
        if look != Look::Nothing {
            self.end_block(id, blocker);
        }
        look
    }

    /// What there is for whoever has the channel. A wake is taken; the channel stays its own.
    pub(super) fn look_at(&mut self, id: ChannelId, blocker: Blocker) -> Look {
        let Ok(slot) = self.ports.by_id(id) else {
            return Look::Woken(Cause::Gone);
        };
        if slot.blocker != Some(blocker) {
            return Look::Cancelled;
        }
        let PortState::Latched(cause) = slot.state else {
            return Look::Nothing;
        };
        advance(id, slot, PortInput::Wait, &mut self.count);
        self.stats.wakes += 1;
        Look::Woken(cause)
    }

    /// The thread blocks no longer, whatever became of its wait.
    pub(crate) fn end_block(&mut self, id: ChannelId, blocker: Blocker) {
        if let Ok(slot) = self.ports.by_id(id)
            && slot.blocker == Some(blocker)
        {
            seize(slot, None, &mut self.count);
            advance(id, slot, PortInput::Cancel, &mut self.count);
        }
    }

    /// Whether a thread that blocks, or a task, is to be told something.
    #[inline]
    pub(crate) fn has_somebody_to_tell(&self) -> bool {
        self.count.rouse != Rouse::Nobody || self.has_due()
    }

    /// Whether there is something for a thread that blocks, other than this one; whoever asks
    /// rouses it.
    #[inline]
    pub(crate) fn take_rouse(&mut self, myself: Option<Blocker>) -> bool {
        match core::mem::take(&mut self.count.rouse) {
            Rouse::Nobody => false,
            Rouse::One(blocker) => Some(blocker) != myself,
            Rouse::Several => true,
        }
    }
}
