//! The pure part: who is bound, who waits, what is ready, and where the link stands.
//!
//! Plain data behind `&mut self`. It calls no device and no event loop; the context does, and
//! tells the machine what came of it.

pub(crate) mod block;
pub mod cells;
mod deliver;
mod handover;
pub mod link;
pub(crate) mod pages;
mod peers;
pub mod port;
mod stats;
mod step;
mod table;
pub(crate) mod task;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::hal::PortBuf;
use crate::ids::Port;
use link::{Link, LinkEffect, LinkInput};
use port::{Cause, PortEffect, PortInput, PortState};
pub use stats::Stats;
use step::{Count, advance, seize, take_event};
pub(crate) use table::Blocker;
pub use table::{ChannelId, NotBound};
use table::{Slot, Table};

/// A wake: the channel that fired, and why.
///
/// ```
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn_core::Cause;
///
/// let _pending = channel.wait()?;
/// guest.send(theirs)?;
/// let wake = ctx.dispatch()?.next().expect("it was sent to");
/// assert_eq!((wake.channel, wake.cause), (channel.id(), Cause::Event));
/// assert_eq!(wake.port(), channel.port());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wake {
    /// The channel, to wait on again or to look up.
    pub channel: ChannelId,
    /// Why it woke.
    pub cause: Cause,
}

impl Wake {
    /// What stands where there is no wake yet.
    pub(crate) const BLANK: Wake = Wake {
        channel: ChannelId::NEVER,
        cause: Cause::Gone,
    };

    /// The local port that fired.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.channel.port()
    }
}

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// An event was latched, and is queued for a round now.
    Queued,
    /// An event was latched: nothing is waited for.
    Ready(Cause),
    /// Somebody waited already.
    Already,
    /// A thread blocks for the wake.
    Blocked,
    /// The port is enabled.
    Armed,
    /// The port must be written back.
    Rearm,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Machine {
    ports: Table,
    link: Link,
    /// The device failed; the next settle closes it.
    broken: bool,
    /// An unbind may have left an entry in the driver's ring.
    dirty: bool,
    /// An edge-triggered loop said ready and the device was not yet read empty.
    may_have_more: bool,
    count: Count,
    /// Wakes in the order they are delivered; one whose port is no longer `Ready` is skipped.
    ready: VecDeque<Wake>,
    rearm: Vec<Port>,
    inbox: PortBuf,
    /// How many words of the inbox were taken; the rest is unread.
    taken: usize,
    /// Tells the threads that block from one another.
    blocks: Blocker,
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
            rearm: Vec::new(),
            inbox: PortBuf::default(),
            taken: 0,
            blocks: Blocker::FIRST,
            stats: Stats::default(),
        }
    }

    // ---- The link.

    #[inline]
    pub(crate) const fn link(&self) -> Link {
        self.link
    }

    /// The link is now `link`, since `effects` were carried out.
    pub(crate) fn follow(&mut self, link: Link, effects: &[LinkEffect]) {
        self.link = link;
        for effect in effects {
            match effect {
                LinkEffect::Open => self.stats.opens += 1,
                LinkEffect::Register => self.stats.registers += 1,
                LinkEffect::Deregister => {
                    self.stats.deregisters += 1;
                    // Registering again reports it again.
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

    /// What the waiters ask of the link right now.
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

    /// Whether there is something to do that no readiness of the device will announce.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.has_ready() || !self.rearm.is_empty() || self.may_have_more
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
            self.tell_gone(old, slot);
        }
        let room = self.ports.bound().next_power_of_two().max(64);
        self.inbox.grow(room.min(PortBuf::MAX));
        id
    }

    pub(crate) fn unbind(&mut self, id: ChannelId) -> Result<(), NotBound> {
        let slot = self.ports.unbind(id)?;
        self.count.leave(&slot);
        if let Some(blocker) = slot.blocker {
            self.count.tell(id, blocker);
        }
        self.dirty = true;
        Ok(())
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

    /// The device failed: every channel is dead and every waiter is told once.
    pub(crate) fn fault(&mut self) {
        self.stats.faults += 1;
        let dead: Vec<_> = self.ports.iter().collect();
        self.ports.clear();
        self.rearm.clear();
        self.ready.retain(|wake| wake.cause == Cause::Gone);
        self.count.waited = 0;
        self.count.queued = self.ready.len();
        for (id, slot) in dead {
            self.tell_gone(id, slot);
        }
        self.broken = true;
    }

    /// Ends every wait without telling anybody but tasks and the threads that block, and frees what is only
    /// needed for waiting.
    pub(crate) fn silence(&mut self) {
        let bound: Vec<_> = self.ports.iter().collect();
        for (id, _) in &bound {
            let _was_bound = self.cancel(*id);
        }
        if bound.is_empty() {
            self.ports.clear();
        }
        self.rearm = Vec::new();
        self.ready = VecDeque::new();
        self.count.queued = 0;
        self.count.tasks.free();
    }

    fn tell_gone(&mut self, id: ChannelId, slot: Slot) {
        if let Some(blocker) = slot.blocker {
            self.count.tell(id, blocker);
        } else if slot.state.is_waited() {
            self.count.queued += 1;
            self.ready.push_back(Wake {
                channel: id,
                cause: Cause::Gone,
            });
        }
    }

    // ---- Waiters.

    #[inline]
    pub(crate) fn wait(&mut self, id: ChannelId) -> Result<Waited, NotBound> {
        let slot = self.ports.by_id(id)?;
        if slot.blocker.is_some() {
            return Ok(Waited::Blocked);
        }
        let before = slot.state;
        let effect = advance(id, slot, PortInput::Wait, &mut self.count);
        Ok(match effect {
            PortEffect::ReadyNow(cause) => {
                self.stats.wakes += 1;
                Waited::Ready(cause)
            }
            PortEffect::Rearm => Waited::Rearm,
            PortEffect::Nothing
            | PortEffect::Latch
            | PortEffect::Fire
            | PortEffect::Deliver(_)
            | PortEffect::Spurious => {
                if before.is_waited() {
                    Waited::Already
                } else {
                    Waited::Armed
                }
            }
        })
    }

    /// A wait for an event of a port that is enabled. Says whether it was that; otherwise nothing
    /// was done.
    #[inline]
    pub(crate) fn wait_plainly(&mut self, id: ChannelId) -> bool {
        let slot = self.ports.by_id(id);
        slot.is_ok_and(|slot| step::wait_plainly(slot, &mut self.count))
    }

    /// Ends a wait and returns the state that was left, for [`restore`](Self::restore). What a
    /// thread that blocks is told cannot be taken back.
    #[inline]
    pub(crate) fn cancel(&mut self, id: ChannelId) -> Result<Option<PortState>, NotBound> {
        let slot = self.ports.by_id(id)?;
        if step::cancel_plainly(slot, &mut self.count) {
            return Ok(Some(PortState::Waiting));
        }
        self.cancel_any(id)
    }

    fn cancel_any(&mut self, id: ChannelId) -> Result<Option<PortState>, NotBound> {
        let slot = self.ports.by_id(id)?;
        let (blocker, before) = (slot.blocker, slot.state);
        seize(slot, None, &mut self.count);
        advance(id, slot, PortInput::Cancel, &mut self.count);
        if let Some(blocker) = blocker {
            self.count.tell(id, blocker);
        }
        if self.count.queued == 0 {
            self.ready.clear();
        }
        Ok(blocker.is_none().then_some(before))
    }

    /// Takes a cancel back, unless something else happened to the port since.
    pub(crate) fn restore(&mut self, id: ChannelId, before: PortState) {
        let Ok(slot) = self.ports.by_id(id) else {
            return;
        };
        let is_as_left = slot.state == before.step(PortInput::Cancel).0;
        // A task may have taken over what is latched.
        if is_as_left && before.is_waited() && slot.blocker.is_none() {
            slot.state = before;
            self.count.enter(slot);
            match before {
                PortState::Ready(cause) => self.ready.push_back(Wake { channel: id, cause }),
                PortState::Rearming => self.gather(id.port()),
                PortState::Live | PortState::Waiting | PortState::Held | PortState::Latched(_) => {}
            }
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

    // ---- Write-backs.

    /// Gathers a port for the write-back at the end of the round.
    #[inline]
    pub(crate) fn gather(&mut self, port: Port) {
        let next = self.ports.next();
        if let Some(slot) = self.ports.slot(port.as_raw())
            && slot.state == PortState::Rearming
        {
            slot.anticipate(next);
            self.rearm.push(port);
        }
    }

    /// The write-back of one port was done.
    pub(crate) fn written(&mut self, port: Port) {
        if let Some((id, slot)) = self.ports.by_word(port.as_raw()) {
            advance(id, slot, PortInput::Written, &mut self.count);
        }
    }

    /// The gathered ports that are still to be written, each once, now counted as written. What
    /// came of it is told to [`flushed`](Self::flushed).
    #[inline]
    pub(crate) fn rearms(&mut self) -> &[Port] {
        if self.ports.was_early() {
            self.sift();
        }
        if !self.rearm.is_empty() {
            cells::port(PortState::Rearming, PortInput::Written);
        }
        &self.rearm
    }

    /// Looks at every gathered port, since some of them may have gone, or may be there twice.
    #[cold]
    fn sift(&mut self) {
        self.rearm
            .retain(|port| match self.ports.slot(port.as_raw()) {
                Some(slot) if slot.state == PortState::Rearming => {
                    // Waited for before and after.
                    slot.state = PortState::Waiting;
                    true
                }
                Some(_) | None => false,
            });
    }

    /// Of the list that [`rearms`](Self::rearms) gave, the last `left` were not written.
    #[inline]
    pub(crate) fn flushed(&mut self, left: usize) {
        if self.rearm.is_empty() {
            return;
        }
        self.ports.written();
        if left == 0 {
            self.rearm.clear();
        } else {
            self.gather_again(left);
        }
    }

    #[cold]
    fn gather_again(&mut self, left: usize) {
        let written = self.rearm.len().saturating_sub(left);
        self.rearm.drain(..written);
        let next = self.ports.next();
        for port in &self.rearm {
            if let Some(slot) = self.ports.slot(port.as_raw()) {
                slot.anticipate(next);
            }
        }
    }

    // ---- Events.

    /// Room for the next read, once every word of the last one was taken.
    pub(crate) fn inbox(&mut self) -> &mut PortBuf {
        debug_assert_eq!(self.unread(), 0, "the read would lose them");
        self.taken = 0;
        &mut self.inbox
    }

    /// The inbox was read into: how many ports came, and whether there was room for more.
    #[inline]
    pub(crate) fn received(&self) -> (usize, bool) {
        let count = self.inbox.count();
        (count, count < self.inbox.capacity())
    }

    /// How many words were read and not yet taken.
    #[inline]
    const fn unread(&self) -> usize {
        self.inbox.count().saturating_sub(self.taken)
    }

    /// Takes the next word.
    #[inline]
    fn take_word(&mut self) -> Option<u32> {
        let word = *self.inbox.words().get(self.taken)?;
        self.taken += 1;
        Some(word)
    }

    /// Puts what was read and not yet taken through the table and into the ready queue.
    #[inline]
    pub(crate) fn absorb(&mut self) {
        if self.unread() > 0 {
            self.queue_unread();
        }
    }

    #[cold]
    fn queue_unread(&mut self) {
        while let Some(word) = self.take_word() {
            let taken = take_event(&mut self.ports, word, &mut self.count, &mut self.stats);
            if let Some((id, _)) = taken {
                self.ready.push_back(Wake {
                    channel: id,
                    cause: Cause::Event,
                });
            }
        }
    }

    /// The driver's ring overflowed and was reset.
    pub(crate) fn overflow(&mut self) {
        self.stats.overflows += 1;
        let bound: Vec<ChannelId> = self.ports.iter().map(|(id, _)| id).collect();
        for id in bound {
            match self.step(id, PortInput::Overflow) {
                Ok((_, PortEffect::Fire)) => self.ready.push_back(Wake {
                    channel: id,
                    cause: Cause::Overflow,
                }),
                Ok((_, PortEffect::Latch)) => self.stats.latched += 1,
                Ok(_) | Err(NotBound(_)) => {}
            }
        }
    }
}
