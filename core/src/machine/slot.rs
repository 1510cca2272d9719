//! What is kept of one port.

use super::blocker::Blocker;
use super::id::ChannelId;
use super::port::PortState;
use crate::ids::Port;

/// Generation 0 marks a free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(super) generation: u64,
    /// Whose its wakes are, if not those of rounds.
    pub(crate) blocker: Option<Blocker>,
    pub(crate) state: PortState,
    /// With which write-back it is enabled again, if `state` anticipates that.
    pub(super) due: u16,
}

impl Slot {
    /// Anticipates its write-back: it is `Rearming`, and `Waiting` once the next one was done,
    /// without being touched again.
    #[inline]
    pub(crate) const fn anticipate(&mut self, next: WriteBack) {
        self.state = PortState::Waiting;
        self.due = next.0;
    }

    /// [`anticipate`](Self::anticipate), where it is `Waiting` already.
    #[inline]
    pub(crate) const fn go_on(&mut self, next: WriteBack) {
        self.due = next.0;
    }

    /// The binding that has this slot, which is that of a port.
    #[inline]
    pub(crate) const fn channel(&self, port: Port) -> ChannelId {
        ChannelId::of(port, self.generation)
    }

    /// Whether somebody waits for it, or has a wake of it to take.
    #[inline]
    pub(crate) fn is_waited(&self) -> bool {
        self.state.is_waited() || self.blocker.is_some_and(|it| it.seat().is_some())
    }
}

pub(super) const FREE: Slot = Slot {
    generation: 0,
    blocker: None,
    state: PortState::Live,
    due: 0,
};

impl Default for Slot {
    fn default() -> Slot {
        FREE
    }
}

/// The number of a write-back, by which the slots that wait for it are told from those whose
/// own is done. Never 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteBack(pub(super) u16);
