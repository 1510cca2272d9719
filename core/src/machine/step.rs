//! Moving one slot of the table on, with the counts that hang on its state.

use core::num::NonZeroU32;

use super::port::{PortEffect, PortInput, PortState};
use super::stats::Stats;
use super::table::{ChannelId, Slot, Table};

/// How many ports are waited for, and how many wakes are queued.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) waited: usize,
    pub(super) queued: usize,
    pub(super) rouse: Rouse,
}

/// For which threads that block there is something that they were not told of yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rouse {
    #[default]
    Nobody,
    One(NonZeroU32),
    Several,
}

impl Rouse {
    pub(super) fn add(&mut self, blocker: NonZeroU32) {
        *self = match *self {
            Rouse::Nobody => Rouse::One(blocker),
            Rouse::One(_) | Rouse::Several => Rouse::Several,
        };
    }
}

impl Count {
    pub(super) fn enter(&mut self, state: PortState) {
        self.waited += usize::from(state.is_waited());
        self.queued += usize::from(matches!(state, PortState::Ready(_)));
    }

    pub(super) fn leave(&mut self, state: PortState) {
        self.waited -= usize::from(state.is_waited());
        self.queued -= usize::from(matches!(state, PortState::Ready(_)));
    }
}

/// Moves a slot on and keeps the counts. What fires for a thread that blocks is kept for it.
pub(super) fn advance(slot: &mut Slot, input: PortInput, count: &mut Count) -> PortEffect {
    let (mut next, mut effect) = slot.state.step(input);
    if effect == PortEffect::Fire
        && let Some(blocker) = slot.blocker
    {
        (next, effect) = next.step(PortInput::Keep);
        count.rouse.add(blocker);
    }
    count.leave(slot.state);
    count.enter(next);
    slot.state = next;
    effect
}

/// Takes one word that the driver gave; returns its slot if a waiter's wake came of it.
pub(super) fn take_event<'a>(
    ports: &'a mut Table,
    word: u32,
    count: &mut Count,
    stats: &mut Stats,
) -> Option<(ChannelId, &'a mut Slot)> {
    let Some((id, slot)) = ports.by_word(word) else {
        stats.foreign += 1;
        return None;
    };
    let effect = advance(slot, PortInput::Event, count);
    stats.latched += u64::from(effect == PortEffect::Latch);
    stats.spurious += u64::from(effect == PortEffect::Spurious);
    (effect == PortEffect::Fire).then_some((id, slot))
}
