//! What is left to do after the calls of handlers: the waits that are to be made, and when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::mem;
use std::time::Duration;

use super::Slot;
use super::call::{Complete, Eoi, PendingEois, Turn};
use crate::channel_map::ChannelMap;
use crate::context::{Context, Round, WeakContext};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::ChannelId;
use crate::policy::Unmask;
use crate::sync::{Arc, Mutex};

/// How many deferred turns may be void beside those that count.
const SPARE: usize = 16;

/// How the channel of a handler is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For one wake, after which a turn says when the next wait is made.
    ForOne,
    /// For each wake, because the policy last let the end of the round unmask the port. So nothing
    /// is left to do when the handler has returned.
    ForEach,
}

/// The turns of the handlers of a context.
pub(super) struct Turns<R: Registrar> {
    /// The number of the last turn.
    last: u64,
    /// Turns whose channels are to be waited for now; a wait that failed stays here.
    due: VecDeque<Turn>,
    /// Turns whose channels are to be waited for later, the first on top.
    deferred: BinaryHeap<Reverse<(Duration, Turn)>>,
    eois: Arc<PendingEois<R>>,
}

impl<R: Registrar> Turns<R> {
    pub(super) fn new(context: WeakContext<R>) -> Turns<R> {
        Turns {
            last: 0,
            due: VecDeque::new(),
            deferred: BinaryHeap::new(),
            eois: Arc::new(PendingEois {
                turns: Mutex::default(),
                context,
            }),
        }
    }

    /// The number of the next turn.
    #[inline]
    pub(super) const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Forgets the turns of a channel.
    pub(super) fn remove(&mut self, id: ChannelId) {
        self.deferred
            .retain(|Reverse((_, turn))| turn.channel != id);
        self.due.retain(|turn| turn.channel != id);
    }

    /// Whether a round has waits to make.
    pub(super) fn has_due(&self, context: &Context<R>) -> bool {
        // In a forked child the lock may be held for ever.
        !context.is_inherited() && (!self.due.is_empty() || !self.eois.turns.lock().is_empty())
    }

    /// When the first deferred turn is due.
    pub(super) fn first_deferred(&self) -> Option<Duration> {
        let Reverse((due, _)) = self.deferred.peek()?;
        Some(*due)
    }

    /// What was deferred until now is due.
    pub(super) fn take_deferred(&mut self, now: Duration) {
        while let Some(Reverse((due, turn))) = self.deferred.peek() {
            if *due > now {
                break;
            }
            self.due.push_back(*turn);
            self.deferred.pop();
        }
    }

    /// Forgets deferred turns that are void, if they are many. At most one for each channel counts.
    pub(super) fn tidy(&mut self, slots: &ChannelMap<Slot>) {
        if self.deferred.len() > 2 * slots.len() + SPARE {
            self.deferred
                .retain(|Reverse((_, turn))| turn.counts(slots));
        }
    }

    /// Waits for every channel that is due, including those whose [`Eoi`] was completed. A channel
    /// whose wait fails stays due.
    pub(super) fn wait(
        &mut self,
        slots: &mut ChannelMap<Slot>,
        context: &Context<R>,
        fail: &mut impl FnMut(Error),
    ) {
        self.due.extend(self.eois.turns.lock().drain(..));
        for _ in 0..self.due.len() {
            let Some(turn) = self.due.pop_front() else {
                return;
            };
            let id = turn.channel;
            let Some(slot) = slots.get(id).filter(|slot| slot.turn == turn.number) else {
                continue;
            };
            let waited = match slot.wait {
                Wait::ForOne => context.wait(id),
                Wait::ForEach => context.wait_each(id),
            };
            match waited {
                Ok(()) => {}
                Err(Error::NotBound(_)) => drop(slots.remove(id)),
                Err(error) => {
                    self.due.push_back(turn);
                    fail(error);
                }
            }
        }
    }

    /// Begins the turn of a channel that fired: asks the policy when to unmask the port. Returns
    /// what the handler gets to keep.
    #[inline]
    pub(super) fn begin(
        &mut self,
        slot: &mut Slot,
        id: ChannelId,
        now: Duration,
        context: &Context<R>,
        round: &mut Round<'_, R>,
    ) -> Option<Eoi> {
        let number = self.next();
        slot.turn = number;
        let turn = Turn {
            channel: id,
            number,
        };
        if slot.wait == Wait::ForOne {
            // Queued before code of the program runs, because that may panic.
            self.due.push_back(turn);
        }
        match (slot.policy.woke(now), slot.wait) {
            (Unmask::AfterHandler, Wait::ForEach) => None,
            (Unmask::AfterHandler, Wait::ForOne) => {
                slot.wait = Wait::ForEach;
                None
            }
            (Unmask::NotBefore(due), _) if due <= now => {
                slot.wait = Wait::ForEach;
                None
            }
            (Unmask::NotBefore(due), _) => {
                self.wait_later(slot, id, context);
                self.deferred.push(Reverse((due, turn)));
                None
            }
            (Unmask::OnEoi, _) => {
                self.wait_later(slot, id, context);
                let pending: Arc<dyn Complete> = Arc::<PendingEois<R>>::clone(&self.eois);
                Some(Eoi { pending, turn })
            }
            (Unmask::BeforeHandler, wait) => {
                if wait == Wait::ForOne && context.wait_each(id).is_ok() {
                    self.due.pop_back();
                }
                slot.wait = Wait::ForEach;
                // If it fails, the end of the round unmasks the port.
                let _unmasked = round.unmask();
                None
            }
        }
    }

    /// The round that is under way does not wait for the channel.
    #[cold]
    fn wait_later(&mut self, slot: &mut Slot, id: ChannelId, context: &Context<R>) {
        match mem::replace(&mut slot.wait, Wait::ForOne) {
            Wait::ForOne => drop(self.due.pop_back()),
            // It fails for a channel that is gone, which nothing waits for.
            Wait::ForEach => drop(context.cancel(id)),
        }
    }
}

impl Turn {
    /// Whether it is the last one of the handler that its channel has.
    fn counts(self, slots: &ChannelMap<Slot>) -> bool {
        let slot = slots.get(self.channel);
        slot.is_some_and(|slot| slot.turn == self.number)
    }
}

impl<R: Registrar> fmt::Debug for Turns<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("due", &self.due)
            .field("deferred", &self.deferred.len())
            .finish_non_exhaustive()
    }
}
