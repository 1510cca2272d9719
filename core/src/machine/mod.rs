//! The pure part: which ports are bound, which are waited for, what is ready, and the state of the
//! link.
//!
//! Plain data behind `&mut self`. It calls no device and no event loop. The context does that, and
//! passes the results to the machine.

mod ahead;
pub(crate) mod block;
pub mod cells;
mod deliver;
mod handover;
mod id;
mod inbox;
pub mod link;
mod owner;
pub(crate) mod pages;
pub(crate) mod peers;
pub mod port;
mod slot;
mod stats;
mod step;
mod table;
pub(crate) mod task;
#[cfg(test)]
mod tests;
mod tidy;
mod unmask;
mod wait;
mod wake;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::hal::PortBuf;
use crate::ids::Port;
pub(crate) use ahead::Ahead;
pub use id::ChannelId;
pub(crate) use id::NotBound;
use link::{Link, LinkEffect, LinkInput};
pub(crate) use owner::{Owner, Waiter};
use port::{Cause, PortEffect, PortInput, PortState};
use slot::Slot;
pub use stats::Stats;
use step::{Count, advance};
use table::Table;
use tidy::leaves_an_entry;
#[cfg(feature = "std")]
pub(crate) use wait::Before;
#[cfg(any(feature = "std", test))]
pub(crate) use wait::Waited;
pub use wake::Wake;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Machine {
    ports: Table,
    link: Link,
    /// Whether the device failed; the next settle closes it.
    broken: bool,
    /// Whether an unbind may have left an entry in the driver's ring.
    dirty: bool,
    /// Whether an edge-triggered loop reported the device and it was not yet read until empty.
    may_have_more: bool,
    count: Count,
    /// Wakes in the order in which they are delivered. A wake whose port is no longer `Ready` is
    /// skipped; `tidy.rs` keeps these few.
    ready: VecDeque<Wake>,
    /// Ports to be unmasked at the end of the round.
    to_unmask: Vec<Port>,
    inbox: PortBuf,
    /// How many words of the inbox were taken; the rest is unread.
    taken: usize,
    pub(crate) ahead: Ahead,
    /// The number of the last thread that blocked.
    blocks: Waiter,
    /// Channels whose port was found closed, until they are dropped.
    closed: BTreeSet<ChannelId>,
    /// Bindings of a lower generation ended when this domain was restored.
    resumed_before: u64,
    pub(crate) stats: Stats,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        Machine {
            ports: Table::default(),
            link: Link::Closed,
            broken: false,
            dirty: false,
            may_have_more: false,
            count: Count::default(),
            ready: VecDeque::new(),
            to_unmask: Vec::new(),
            inbox: PortBuf::default(),
            taken: 0,
            ahead: Ahead::default(),
            blocks: Waiter::FIRST,
            closed: BTreeSet::new(),
            resumed_before: 0,
            stats: Stats::default(),
        }
    }

    // ---- The link.

    #[inline]
    pub(crate) const fn link(&self) -> Link {
        self.link
    }

    /// Sets the link to `link`, after `effects` were carried out.
    pub(crate) fn set_link(&mut self, link: Link, effects: &[LinkEffect]) {
        self.link = link;
        for effect in effects {
            match effect {
                LinkEffect::Open => self.stats.opens += 1,
                LinkEffect::Register => self.stats.registers += 1,
                LinkEffect::Deregister => {
                    self.stats.deregisters += 1;
                    // After registering again the loop reports it again.
                    self.may_have_more = false;
                }
                LinkEffect::Close => {}
            }
        }
        if !link.is_open() {
            self.broken = false;
            self.dirty = false;
            self.may_have_more = false;
            self.inbox = PortBuf::default();
            self.taken = 0;
        }
    }

    /// Whether the device failed and is not closed yet.
    #[inline]
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// What the link has to become for the waiters.
    #[inline]
    pub(crate) fn wanted(&self) -> LinkInput {
        if self.broken {
            LinkInput::Fault
        } else if self.count.waited > 0 {
            LinkInput::Wanted
        } else {
            LinkInput::Unwanted
        }
    }

    /// Whether there is something to do that the event loop will not report.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.has_ready() || !self.to_unmask.is_empty() || self.may_have_more
    }

    /// Whether a wake is queued.
    #[inline]
    pub(crate) const fn has_ready(&self) -> bool {
        self.count.queued > 0
    }

    pub(crate) fn set_may_have_more(&mut self, may_have_more: bool) {
        self.may_have_more = may_have_more;
    }

    // ---- Bindings.

    pub(crate) fn bind(&mut self, port: Port) -> ChannelId {
        let (id, replaced) = self.ports.bind(port);
        if let Some((old, slot)) = replaced {
            self.count.leave(&slot);
            self.wake_unbound(old, slot, Cause::Gone);
        }
        let room = self.ports.bound().next_power_of_two().max(64);
        self.inbox.grow(room.min(PortBuf::MAX));
        id
    }

    pub(crate) fn unbind(&mut self, id: ChannelId) -> Result<(), NotBound> {
        let slot = self.ports.unbind(id)?;
        self.count.leave(&slot);
        if let Some(waiter) = slot.owner.waiter() {
            self.count.wake_owner(id, waiter);
        }
        if leaves_an_entry(&slot) {
            self.tidy();
        }
        self.dirty = true;
        Ok(())
    }

    /// Whether the channel is bound. It changes nothing.
    #[inline]
    pub(crate) fn is_bound(&self, id: ChannelId) -> bool {
        self.ports.is_bound(id)
    }

    /// Whether a channel has this port.
    pub(crate) fn has_bound(&mut self, port: Port) -> bool {
        self.ports.by_word(port.as_raw()).is_some()
    }

    pub(crate) fn state(&mut self, id: ChannelId) -> Result<PortState, NotBound> {
        self.ports.by_id(id).map(|slot| slot.state)
    }

    pub(crate) fn bound(&self) -> impl Iterator<Item = (ChannelId, PortState)> {
        self.ports.iter().map(|(id, slot)| (id, slot.state))
    }

    pub(crate) const fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(crate) fn set_clean(&mut self) {
        self.dirty = false;
    }

    /// The device failed: every channel is dead and every waiter is woken once.
    pub(crate) fn fault(&mut self) {
        self.stats.faults += 1;
        self.end_all(Cause::Gone);
    }

    /// The device is from before a restore of this domain: as if it had failed, with a cause of its
    /// own.
    pub(crate) fn resumed(&mut self) {
        self.stats.resumes += 1;
        self.resumed_before = ChannelId::next_generation();
        self.end_all(Cause::Resumed);
    }

    /// Why a channel is no longer bound that was not unbound.
    pub(crate) const fn why_unbound(&self, id: ChannelId) -> Cause {
        if id.generation() < self.resumed_before {
            Cause::Resumed
        } else {
            Cause::Gone
        }
    }

    fn end_all(&mut self, cause: Cause) {
        let dead: Vec<_> = self.ports.iter().collect();
        self.ports.clear();
        self.to_unmask.clear();
        self.ready.retain(|wake| wake.cause.is_unbound());
        self.count.waited = 0;
        self.count.queued = self.ready.len();
        for (id, slot) in dead {
            self.wake_unbound(id, slot, cause);
        }
        self.broken = true;
    }

    /// Ends every wait and frees what is only needed for waiting. Only tasks and blocked threads
    /// are woken; rounds get no wake.
    pub(crate) fn cancel_all(&mut self) {
        let bound: Vec<_> = self.ports.iter().collect();
        for (id, _) in &bound {
            let _was_bound = self.cancel(*id);
        }
        if bound.is_empty() {
            self.ports.clear();
        }
        self.to_unmask = Vec::new();
        self.ready = VecDeque::new();
        self.count.queued = 0;
        self.count.tasks.free();
    }

    fn wake_unbound(&mut self, id: ChannelId, slot: Slot, cause: Cause) {
        if let Some(waiter) = slot.owner.waiter() {
            self.count.wake_owner(id, waiter);
        } else if slot.state.is_waited() {
            self.count.queued += 1;
            let channel = id;
            self.ready.push_back(Wake { channel, cause });
        }
    }

    fn step(
        &mut self,
        id: ChannelId,
        input: PortInput,
    ) -> Result<(PortState, PortEffect), NotBound> {
        let slot = self.ports.by_id(id)?;
        let before = slot.state;
        let effect = advance(id, slot, input, &mut self.count);
        Ok((before, effect))
    }
}
