//! The state of one port.

use super::id::ChannelId;
use super::owner::Owner;
use super::port::{PortInput, PortState};
use crate::ids::Port;

/// One port. Generation 0 marks a free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(super) generation: u64,
    /// Which waiter gets its wakes.
    pub(crate) owner: Owner,
    pub(crate) state: PortState,
    /// The number of the unmask that `state` anticipates, or of an earlier one. [`NO_EVENT`] until
    /// a wait begins after its first event.
    pub(super) due: u16,
}

/// The state of a slot after the unmask that it anticipates.
const UNMASKED: PortState = PortState::Unmasking.step(PortInput::Unmasked).0;

/// `due` of a port that had no event, or none since its peer was found gone.
pub(super) const NO_EVENT: u16 = 0;

/// `due` of a port that had an event and anticipates no unmask.
pub(super) const HAD_EVENT: u16 = u16::MAX;

impl Slot {
    /// Notes that the port had an event. It anticipates no unmask.
    #[inline]
    pub(super) const fn note_event(&mut self) {
        self.due = HAD_EVENT;
    }

    /// Forgets that the port had an event, because its peer is gone. It anticipates no unmask.
    pub(super) const fn forget(&mut self) {
        self.due = NO_EVENT;
    }

    /// Whether the port had an event since the binding began or its peer was found gone.
    pub(super) const fn had_event(&self) -> bool {
        self.due != NO_EVENT || self.state.has_read_event()
    }

    /// Anticipates the next unmask, after an event: the slot counts as `Unmasking` until that is
    /// done, and as `Waiting` afterwards, without being touched again.
    #[inline]
    pub(crate) const fn anticipate(&mut self, next: UnmaskNumber) {
        self.state = UNMASKED;
        self.due = next.0;
    }

    /// [`anticipate`](Self::anticipate) for a slot that is `Waiting`.
    #[inline]
    pub(crate) const fn go_on(&mut self, next: UnmaskNumber) {
        self.due = next.0;
    }

    /// The binding that has this slot, which is the slot of `port`.
    #[inline]
    pub(crate) const fn channel(&self, port: Port) -> ChannelId {
        ChannelId::of(port, self.generation)
    }

    /// Whether it is waited for, or has a wake that is still to be taken.
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

/// The number of an unmask. It differs between the slots that still wait for their unmask and those
/// that were unmasked. Never [`NO_EVENT`] or [`HAD_EVENT`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnmaskNumber(pub(super) u16);
