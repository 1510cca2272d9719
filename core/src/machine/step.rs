//! Moving one slot of the table on, with the counts that hang on its state.

use alloc::collections::VecDeque;

use super::cells;
use super::id::ChannelId;
use super::owner::{Owner, Waiter};
use super::port::{PortEffect, PortInput, PortState};
use super::slot::{Slot, UnmaskNumber};
use super::stats::Stats;
use super::table::Table;
use super::task::Tasks;

/// How many ports are waited for, how many wakes are queued, and who is to be told.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) waited: usize,
    pub(super) queued: usize,
    /// Threads that block and were not told yet that there is something for them.
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

    /// There is something about a channel for the one who has it.
    pub(super) fn wake_owner(&mut self, id: ChannelId, waiter: Waiter) {
        match waiter.task_id() {
            Some(task_id) => self.tasks.fire(task_id, id),
            None => self.threads_to_wake.push_back(waiter),
        }
    }
}

/// Moves a slot on and keeps the counts. What fires for a thread that blocks or for a task is
/// kept for it.
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
    if effect == PortEffect::Fire
        && let Some(waiter) = slot.owner.waiter()
    {
        cells::port(next, PortInput::Keep);
        (next, effect) = next.step(PortInput::Keep);
        count.wake_owner(id, waiter);
    }
    if matches!(input, PortInput::Keep) {
        // Whoever gets the wake begins a wait of its own.
        slot.owner = Owner::NEXT;
    }
    count.leave(slot);
    slot.state = next;
    count.enter(slot);
    effect
}

/// Gives the wakes of a slot to somebody, or back to the rounds, and keeps the counts.
pub(super) fn set_owner(slot: &mut Slot, owner: Owner, count: &mut Count) {
    count.leave(slot);
    slot.owner = owner;
    count.enter(slot);
}

/// Where the steps lead that the shortcuts below take at once.
const WAITED_FOR: PortState = PortState::Live.step(PortInput::Wait).0;
const CANCELLED: PortState = PortState::Waiting.step(PortInput::Cancel).0;
const FIRED: PortState = PortState::Waiting.step(PortInput::Event).0;
const HANDED_OUT: PortState = FIRED.step(PortInput::Deliver).0;

/// Hands out an event of a port that a round waits for. Says whether the wait goes on, which is so
/// where it is for each wake: then the port is to be unmasked with the `next` ones. It does what
/// the steps one by one do, but for the counts.
#[inline]
pub(super) fn fire(slot: &mut Slot, next: UnmaskNumber) -> bool {
    cells::port(PortState::Waiting, PortInput::Event);
    cells::port(FIRED, PortInput::Deliver);
    let goes_on = slot.owner.is_each();
    if goes_on {
        cells::port(HANDED_OUT, PortInput::Wait);
        slot.go_on(next);
    } else {
        slot.state = HANDED_OUT;
    }
    goes_on
}

/// A wait for an event of a port that is enabled. Says whether it was that; it does what a wait
/// does.
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

/// The end of such a wait before its event. Says whether it was that; it does what a cancel does.
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

/// A wait in the round that handed the event out. Says whether it was that; it does what a wait
/// does, after which the port is unmasked with the next ones.
#[inline]
pub(super) fn wait_again(slot: &mut Slot, next: UnmaskNumber, count: &mut Count) -> bool {
    let is_heard = slot.state == HANDED_OUT && slot.owner.is_rounds();
    if is_heard {
        cells::port(slot.state, PortInput::Wait);
        slot.anticipate(next);
        count.waited += 1;
    }
    is_heard
}

/// Takes one word that the driver gave; returns its slot if a waiter's wake came of it.
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
