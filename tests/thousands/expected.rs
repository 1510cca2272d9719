//! The channels of a script as they would be if nothing failed.

use evtchn_checks::model::Channel;
use evtchn_checks::{Each, Source};
use evtchn_core::Cause;

use super::SLOTS;

/// The channels as they would be if nothing failed. Every channel that waits is marked as waiting;
/// a channel that is marked as due is certainly due.
#[derive(Clone)]
pub(super) struct Expected {
    slots: Vec<Option<Channel>>,
    pub(super) bound: usize,
    pub(super) waiting: usize,
    pub(super) in_round: bool,
    /// A failure was scripted, so nothing is certain.
    pub(super) may_fail: bool,
}

impl std::fmt::Debug for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bound, {} waiting", self.bound, self.waiting)
    }
}

impl Expected {
    pub(super) fn new() -> Expected {
        Expected {
            slots: vec![None; usize::from(SLOTS)],
            bound: 0,
            waiting: 0,
            in_round: false,
            may_fail: false,
        }
    }

    fn edit(&mut self, slot: u16, act: impl FnOnce(&mut Option<Channel>)) {
        let slot = &mut self.slots[usize::from(slot % SLOTS)];
        let is_waiting = |slot: &Option<Channel>| slot.is_some_and(|channel| channel.waiting);
        self.bound -= usize::from(slot.is_some());
        self.waiting -= usize::from(is_waiting(slot));
        act(slot);
        self.bound += usize::from(slot.is_some());
        self.waiting += usize::from(is_waiting(slot));
    }

    pub(super) fn each(&mut self, each: Each, slot: u16) {
        self.edit(slot, |slot| match (each, slot) {
            (Each::Binds(source), slot @ None) => {
                *slot = Some(Channel::bound(source == Source::Interdomain));
            }
            (Each::Unbinds | Each::Drops, slot) => *slot = None,
            (Each::Waits, Some(channel)) => {
                channel.waiting = true;
                // An earlier event may already be the wake.
                channel.must = false;
            }
            (Each::Cancels, Some(channel)) => {
                (channel.waiting, channel.stands) = (false, false);
            }
            (Each::Signals, Some(channel)) => channel.signal(),
            (Each::Binds(_) | Each::Notifies, _)
            | (Each::Waits | Each::Cancels | Each::Signals, None) => {}
        });
    }

    /// Its wait is for each wake.
    pub(super) fn stands(&mut self, slot: u16) {
        self.edit(slot, |slot| {
            if let Some(channel) = slot {
                channel.stands = true;
            }
        });
    }

    /// It takes its own wake, unless the channel already has a waiter.
    pub(super) fn blocks(&mut self, slot: u16) {
        self.edit(slot, |slot| {
            if let Some(channel) = slot.as_mut().filter(|channel| !channel.waiting) {
                channel.must = false;
            }
        });
    }

    pub(super) fn many(&mut self, each: Each, first: u16, count: u16) {
        for slot in first..first.saturating_add(count.min(SLOTS)) {
            self.each(each, slot);
        }
    }

    /// Every channel that is due wakes, and waits `again`.
    pub(super) fn turn(&mut self, again: bool) {
        for slot in 0..SLOTS {
            self.edit(slot, |slot| {
                let due = |channel: &&mut Channel| channel.must && channel.waiting;
                if let Some(channel) = slot.as_mut().filter(due) {
                    let wrong = channel.woken(Cause::Event).is_err();
                    channel.waiting = wrong || again || channel.stands;
                }
            });
        }
    }

    /// Some wakes were taken; no channel is certainly due.
    pub(super) fn some_woke(&mut self) {
        for slot in 0..SLOTS {
            self.edit(slot, |slot| {
                if let Some(channel) = slot {
                    channel.must = false;
                }
            });
        }
    }
}
