//! Keeping what calls can grow within what is bound.
//!
//! A cancel leaves its wake in the ready queue and its port among the write-backs, because looking
//! for them would cost time in every call. What is left over is skipped where it is met. Here it is
//! taken out once it is more than what counts, so a call is still O(1) on average.

use super::port::{Cause, PortInput, PortState};
use super::step::advance;
use super::task::Seat;
use super::{Machine, Slot, Wake};

/// How many entries may be left over beside those that count.
pub(super) const SPARE: usize = 16;

/// Whether a cancel or an unbind in this state leaves an entry over.
#[inline]
pub(super) const fn leaves_an_entry(slot: &Slot) -> bool {
    matches!(slot.state, PortState::Ready(_) | PortState::Rearming)
}

impl Machine {
    /// After a cancel or an unbind that [left an entry over](leaves_an_entry).
    pub(super) fn tidy(&mut self) {
        if self.count.queued == 0 {
            self.ready.clear();
        } else if self.ready.len() > 2 * self.count.queued + SPARE {
            self.tidy_ready();
        }
        if self.rearm.len() > 2 * self.ports.bound() + SPARE {
            self.tidy_rearm();
        }
    }

    /// After a cancel of a channel that the task has.
    pub(super) fn tidy_task(&mut self, seat: Seat) {
        self.count.tasks.tidy_fired(seat);
    }

    /// Leaves one wake of each port that is `Ready`, in the place of its first one.
    #[cold]
    fn tidy_ready(&mut self) {
        let Machine {
            ready,
            ports,
            count,
            ..
        } = self;
        // Its port is gone, and it is queued once.
        let is_gone = |wake: &Wake| wake.cause == Cause::Gone;
        // A port that its first wake takes out of `Ready` is not found there by the second one.
        ready.retain(|wake| {
            is_gone(wake)
                || ports.by_id(wake.channel).is_ok_and(|slot| {
                    let is_ready = matches!(slot.state, PortState::Ready(_));
                    if is_ready {
                        advance(wake.channel, slot, PortInput::Cancel, count);
                    }
                    is_ready
                })
        });
        for wake in ready.iter().filter(|wake| !is_gone(wake)) {
            if let Ok(slot) = ports.by_id(wake.channel) {
                advance(wake.channel, slot, PortInput::Queue, count);
            }
        }
    }
}
