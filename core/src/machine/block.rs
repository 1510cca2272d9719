//! Threads that block for the wake of one channel. Tasks look for theirs in the same way.
//!
//! A round does not hand such a wake out: it is latched, and the thread is woken to take it.

use super::owner::Waiter;
use super::port::{Cause, PortInput, PortState};
use super::step::{advance, set_owner};
use super::{ChannelId, Machine, Owner};
use crate::hal::Sleeper;

/// What a blocked thread or a task finds when it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing yet.
    Nothing,
    /// A wake, which it takes.
    Woken(Cause),
    /// Its wait was ended.
    Cancelled,
}

impl Machine {
    /// A number for a thread that begins to block.
    pub(crate) fn waiter(&mut self) -> Waiter {
        self.blocks = self.blocks.next();
        self.blocks
    }

    /// What a blocked thread finds. If it is not `Nothing`, its wait is over.
    pub(crate) fn look(&mut self, id: ChannelId, waiter: Waiter) -> Look {
        let look = self.look_at(id, waiter);
        if look != Look::Nothing {
            self.end_block(id, waiter);
        }
        look
    }

    /// What the owner of the channel finds. A wake is taken; the owner keeps the channel.
    pub(super) fn look_at(&mut self, id: ChannelId, waiter: Waiter) -> Look {
        let Ok(slot) = self.ports.by_id(id) else {
            return Look::Woken(self.why_unbound(id));
        };
        if slot.owner != Owner::of(waiter) {
            return Look::Cancelled;
        }
        let PortState::Latched(cause) = slot.state else {
            return Look::Nothing;
        };
        advance(id, slot, PortInput::Wait, &mut self.count);
        self.stats.wakes += 1;
        Look::Woken(cause)
    }

    /// Ends the wait of a thread that blocks, if it has not ended already.
    pub(crate) fn end_block(&mut self, id: ChannelId, waiter: Waiter) {
        if let Ok(slot) = self.ports.by_id(id) {
            if slot.owner == Owner::of(waiter) {
                set_owner(slot, Owner::NEXT, &mut self.count);
                advance(id, slot, PortInput::Cancel, &mut self.count);
            }
        }
    }

    /// Whether a blocked thread or a task is to be woken.
    #[inline]
    pub(crate) fn has_waiters_to_wake(&self) -> bool {
        !self.count.threads_to_wake.is_empty() || self.has_due()
    }

    /// Takes the blocked threads that are to be woken, except `myself`. The caller wakes them. If
    /// there are more than [`ThreadsToWake::MOST`], these are the first.
    #[inline]
    pub(crate) fn take_threads_to_wake(&mut self, myself: Option<Waiter>) -> ThreadsToWake {
        let mut threads = ThreadsToWake::NONE;
        while !threads.is_full() {
            let Some(waiter) = self.count.threads_to_wake.pop_front() else {
                break;
            };
            if Some(waiter) != myself {
                threads.add(waiter);
            }
        }
        threads
    }

    /// Puts back threads that were taken and could not be woken.
    #[cold]
    pub(crate) fn keep_threads_to_wake(&mut self, threads: &ThreadsToWake) {
        let waiters = threads.as_slice().iter().copied();
        self.count
            .threads_to_wake
            .extend(waiters.map(Waiter::thread));
    }
}

/// Blocked threads that are to be woken, as many as one call of the loop names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThreadsToWake {
    sleepers: [Sleeper; ThreadsToWake::MOST],
    count: usize,
}

impl ThreadsToWake {
    const MOST: usize = 8;
    pub(crate) const NONE: ThreadsToWake = ThreadsToWake {
        sleepers: [Waiter::FIRST.sleeper(); ThreadsToWake::MOST],
        count: 0,
    };

    fn add(&mut self, waiter: Waiter) {
        if let Some(free) = self.sleepers.get_mut(self.count) {
            *free = waiter.sleeper();
            self.count += 1;
        }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there may be more.
    #[inline]
    pub(crate) const fn is_full(&self) -> bool {
        self.count == ThreadsToWake::MOST
    }

    pub(crate) fn as_slice(&self) -> &[Sleeper] {
        self.sleepers.get(..self.count).unwrap_or_default()
    }
}
