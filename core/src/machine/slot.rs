//! What is kept of one port.

use super::blocker::Owner;
use super::id::ChannelId;
use super::port::{PortInput, PortState};
use crate::ids::Port;

/// Generation 0 marks a free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(super) generation: u64,
    /// Whose its wakes are, if not those of rounds.
    pub(crate) owner: Owner,
    pub(crate) state: PortState,
    /// With which write-back it is enabled again, if `state` anticipates that; otherwise with which
    /// it was. [`UNHEARD`] until a wait follows its first event.
    pub(super) due: u16,
}

/// Where a slot is that anticipates its write-back, once that is done.
const WRITTEN: PortState = PortState::Rearming.step(PortInput::Written).0;

/// No event of the port was heard, or none since its peer was found gone.
pub(super) const UNHEARD: u16 = 0;

/// An event of the port was heard, whichever write-back followed it.
pub(super) const HEARD: u16 = u16::MAX;

impl Slot {
    /// An event of the port was heard. It anticipates no write-back.
    #[inline]
    pub(super) const fn hear(&mut self) {
        self.due = HEARD;
    }

    /// The peer that was heard is gone. It anticipates no write-back.
    pub(super) const fn forget(&mut self) {
        self.due = UNHEARD;
    }

    /// Whether an event of the port was heard since the binding began or its peer was found gone.
    pub(super) const fn has_heard(&self) -> bool {
        self.due != UNHEARD || self.state.is_heard()
    }

    /// Anticipates its write-back, after an event: it is `Rearming`, and `Waiting` once the next one was done,
    /// without being touched again.
    #[inline]
    pub(crate) const fn anticipate(&mut self, next: WriteBack) {
        self.state = WRITTEN;
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
        self.state.is_waited() || self.owner.blocker().is_some_and(|it| it.seat().is_some())
    }
}

pub(super) const FREE: Slot = Slot {
    generation: 0,
    owner: Owner::NEXT,
    state: PortState::Live,
    due: UNHEARD,
};

impl Default for Slot {
    fn default() -> Slot {
        FREE
    }
}

/// The number of a write-back, by which the slots that wait for it are told from those whose
/// own is done. Never [`UNHEARD`] or [`HEARD`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteBack(pub(super) u16);
