//! Transitions of one slot of the table, and of the counts that depend on its state.

use alloc::collections::VecDeque;

use super::cells;
use super::id::ChannelId;
use super::owner::{Owner, Waiter};
use super::port::{PortEffect, PortInput, PortState};
use super::slot::{Slot, UnmaskNumber};
use super::stats::Stats;
use super::table::Table;
use super::task::Tasks;

/// How many ports are waited for, how many wakes are queued, and which waiters are to be woken.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) waited: usize,
    pub(super) queued: usize,
    /// Blocked threads that are still to be woken.
    pub(super) threads_to_wake: VecDeque<Waiter>,
    pub(super) tasks: Tasks,
}

impl Count {
    #[inline]
    pub(super) fn enter(&mut self, slot: &Slot) {
        self.waited += usize::from(slot.is_waited());
        self.queued += usize::from(matches!(slot.state, PortState::Ready(_)));
    }

    #[inline]
    pub(super) fn leave(&mut self, slot: &Slot) {
        self.waited -= usize::from(slot.is_waited());
        self.queued -= usize::from(matches!(slot.state, PortState::Ready(_)));
    }

    /// Has the owner of a channel woken, to look at it.
    pub(super) fn wake_owner(&mut self, id: ChannelId, waiter: Waiter) {
        match waiter.task_id() {
            Some(task_id) => self.tasks.fire(task_id, id),
            None => self.threads_to_wake.push_back(waiter),
        }
    }
}

/// Takes a slot through the table and adjusts the counts. A wake for a blocked thread or a task is
/// latched, and the waiter is to be woken.
#[inline]
pub(super) fn advance(
    id: ChannelId,
    slot: &mut Slot,
    input: PortInput,
    count: &mut Count,
) -> PortEffect {
    cells::port(slot.state, input);
    if slot.state == PortState::Delivered && matches!(input, PortInput::Wait) {
        slot.note_event();
    }
    let (mut next, mut effect) = slot.state.step(input);
    if effect == PortEffect::Fire {
        if let Some(waiter) = slot.owner.waiter() {
            cells::port(next, PortInput::Keep);
            (next, effect) = next.step(PortInput::Keep);
            count.wake_owner(id, waiter);
        }
    }
    if matches!(input, PortInput::Keep) {
        // The next wait sets its own owner.
        slot.owner = Owner::NEXT;
    }
    count.leave(slot);
    slot.state = next;
    count.enter(slot);
    effect
}

/// Sets the owner of a slot and adjusts the counts.
pub(super) fn set_owner(slot: &mut Slot, owner: Owner, count: &mut Count) {
    count.leave(slot);
    slot.owner = owner;
    count.enter(slot);
}

/// The states to which the shortcuts below lead, derived from the table.
const WAITED_FOR: PortState = PortState::Live.step(PortInput::Wait).0;
const CANCELLED: PortState = PortState::Waiting.step(PortInput::Cancel).0;
const FIRED: PortState = PortState::Waiting.step(PortInput::Event).0;
const HANDED_OUT: PortState = FIRED.step(PortInput::Deliver).0;
const KEPT: PortState = FIRED.step(PortInput::Keep).0;
const LEFT: PortState = HANDED_OUT.step(PortInput::Cancel).0;

/// Hands out an event of a port that rounds wait for. Returns whether the wait goes on because it
/// is for each wake: then the port is to be unmasked with the `next` ones. It does what the single
/// steps do, except for the counts.
#[inline]
pub(super) fn fire(slot: &mut Slot, next: UnmaskNumber) -> bool {
    let goes_on = slot.owner.is_each();
    if goes_on {
        fire_each(slot, next);
    } else {
        cells::port(PortState::Waiting, PortInput::Event);
        cells::port(FIRED, PortInput::Deliver);
        slot.state = HANDED_OUT;
    }
    goes_on
}

/// [`fire`] where the wait is for each wake.
#[inline]
pub(super) fn fire_each(slot: &mut Slot, next: UnmaskNumber) {
    cells::port(PortState::Waiting, PortInput::Event);
    cells::port(FIRED, PortInput::Deliver);
    cells::port(HANDED_OUT, PortInput::Wait);
    slot.go_on(next);
}

/// A wait of rounds for a port that is `Live`, as a shortcut through the table. Returns whether the
/// slot was in that state; otherwise nothing was done.
#[inline]
pub(super) fn wait_plainly(slot: &mut Slot, count: &mut Count) -> bool {
    let is_live = slot.state == PortState::Live && slot.owner.is_rounds();
    if is_live {
        cells::port(slot.state, PortInput::Wait);
        slot.state = WAITED_FOR;
        count.waited += 1;
    }
    is_live
}

/// A cancel of a wait of rounds that is `Waiting`, as a shortcut through the table. Returns whether
/// the slot was in that state; otherwise nothing was done.
#[inline]
pub(super) fn cancel_plainly(slot: &mut Slot, count: &mut Count) -> bool {
    let is_waiting = slot.state == PortState::Waiting && slot.owner.is_rounds();
    if is_waiting {
        cells::port(slot.state, PortInput::Cancel);
        (slot.state, slot.owner) = (CANCELLED, Owner::NEXT);
        count.waited -= 1;
    }
    is_waiting
}

/// Keeps an event for the task that waits for the port, as a shortcut through the table. The slot is
/// `Waiting`. The counts stay: the channel of a task counts as waited for all the time.
#[inline]
pub(super) fn keep(slot: &mut Slot) {
    cells::port(slot.state, PortInput::Event);
    cells::port(FIRED, PortInput::Keep);
    slot.state = KEPT;
}

/// A task takes the event that was kept for it, and waits again, as a shortcut through the table:
/// the port is to be unmasked with the `next` ones. Returns whether the slot was in that state;
/// otherwise nothing was done. The counts stay.
#[inline]
pub(super) fn take_kept(slot: &mut Slot, owner: Owner, next: UnmaskNumber) -> bool {
    let takes = slot.state == KEPT && slot.owner == owner;
    if takes {
        cells::port(slot.state, PortInput::Wait);
        cells::port(HANDED_OUT, PortInput::Wait);
        slot.anticipate(next);
    }
    takes
}

/// A task takes the event that was kept for it, and leaves the channel, as a shortcut through the
/// table. Returns whether the slot was in that state; otherwise nothing was done.
#[inline]
pub(super) fn take_last(slot: &mut Slot, owner: Owner, count: &mut Count) -> bool {
    let takes = slot.state == KEPT && slot.owner == owner;
    if takes {
        cells::port(slot.state, PortInput::Wait);
        cells::port(HANDED_OUT, PortInput::Cancel);
        (slot.state, slot.owner) = (LEFT, Owner::NEXT);
        count.waited -= 1;
    }
    takes
}

/// A wait after the event was handed out, as a shortcut through the table: the port is to be
/// unmasked with the `next` ones. It is a wait of rounds, until the caller sets another owner.
/// Returns whether the slot was in that state; otherwise nothing was done.
#[inline]
pub(super) fn wait_again(slot: &mut Slot, next: UnmaskNumber, count: &mut Count) -> bool {
    let is_delivered = slot.state == HANDED_OUT && slot.owner.is_rounds();
    if is_delivered {
        cells::port(slot.state, PortInput::Wait);
        slot.anticipate(next);
        count.waited += 1;
    }
    is_delivered
}

/// Takes one word that was read. Returns its slot if it is a wake for rounds.
#[inline]
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
    let effect = advance(id, slot, PortInput::Event, count);
    stats.latched += u64::from(effect == PortEffect::Latch);
    if effect == PortEffect::Spurious {
        stats.spurious += 1;
        slot.note_event();
    }
    (effect == PortEffect::Fire).then_some((id, slot))
}
