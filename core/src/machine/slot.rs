//! What is kept of one port.

use super::id::ChannelId;
use super::owner::Owner;
use super::port::{PortInput, PortState};
use crate::ids::Port;

/// Generation 0 marks a free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(super) generation: u64,
    /// Whose its wakes are, if not those of rounds.
    pub(crate) owner: Owner,
    pub(crate) state: PortState,
    /// With which unmask it is unmasked, if `state` anticipates that; otherwise with which
    /// it was. [`NO_EVENT`] until a wait follows its first event.
    pub(super) due: u16,
}

/// Where a slot is that anticipates its unmask, once that is done.
const UNMASKED: PortState = PortState::Unmasking.step(PortInput::Unmasked).0;

/// No event of the port was heard, or none since its peer was found gone.
pub(super) const NO_EVENT: u16 = 0;

/// An event of the port was heard, whichever unmask followed it.
pub(super) const HAD_EVENT: u16 = u16::MAX;

impl Slot {
    /// An event of the port was heard. It anticipates no unmask.
    #[inline]
    pub(super) const fn note_event(&mut self) {
        self.due = HAD_EVENT;
    }

    /// The peer that was heard is gone. It anticipates no unmask.
    pub(super) const fn forget(&mut self) {
        self.due = NO_EVENT;
    }

    /// Whether an event of the port was heard since the binding began or its peer was found gone.
    pub(super) const fn had_event(&self) -> bool {
        self.due != NO_EVENT || self.state.is_heard()
    }

    /// Anticipates its unmask, after an event: it is `Unmasking`, and `Waiting` once the next one was done,
    /// without being touched again.
    #[inline]
    pub(crate) const fn anticipate(&mut self, next: UnmaskNumber) {
        self.state = UNMASKED;
        self.due = next.0;
    }

    /// [`anticipate`](Self::anticipate), where it is `Waiting` already.
    #[inline]
    pub(crate) const fn go_on(&mut self, next: UnmaskNumber) {
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
        self.state.is_waited() || self.owner.waiter().is_some_and(|it| it.task_id().is_some())
    }
}

pub(super) const FREE: Slot = Slot {
    generation: 0,
    owner: Owner::NEXT,
    state: PortState::Live,
    due: NO_EVENT,
};

impl Default for Slot {
    fn default() -> Slot {
        FREE
    }
}

/// The number of an unmask, by which the slots that wait for it are told from those whose
/// own is done. Never [`NO_EVENT`] or [`HAD_EVENT`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnmaskNumber(pub(super) u16);
