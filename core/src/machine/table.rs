//! Which ports are bound, by number, in O(1).
//!
//! A handful of ports costs one page of slots, and 131,072 ports (the FIFO ABI's limit) cost
//! 2 MiB.

use core::fmt;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU64, Ordering};

use super::pages::Pages;
use super::port::PortState;
use super::task::Seat;
use crate::ids::Port;

/// One binding of a port: the number and the generation that tells it from earlier and later
/// bindings of the same number.
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
/// use std::collections::BTreeMap;
///
/// // The key for what a program knows of its channels.
/// let mut names = BTreeMap::from([(channel.id(), "console")]);
/// let _pending = channel.wait()?;
/// guest.send(theirs)?;
/// let wake = ctx.dispatch()?.next().expect("it was sent to");
/// assert_eq!(names.remove(&wake.channel), Some("console"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    port: Port,
    generation: u64,
}

impl ChannelId {
    /// That of no channel.
    pub(crate) const NEVER: ChannelId = ChannelId {
        port: Port::MAX,
        generation: 0,
    };

    /// The local port.
    #[must_use]
    pub const fn port(self) -> Port {
        self.port
    }

    /// Counts the bindings of this process; no two of them share one.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.generation
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} (binding {})", self.port, self.generation)
    }
}

/// The id names no binding of this context, or one that was unbound.
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
/// use evtchn_core::{NotBound, WaitError};
///
/// let id = channel.id();
/// channel.unbind()?;
/// let Err(WaitError::NotBound(error)) = ctx.wait(id) else {
///     panic!("it is unbound");
/// };
/// assert_eq!(error, NotBound(id));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not bound here")]
pub struct NotBound(pub ChannelId);

/// One count for all contexts, so that the id of one is never taken for that of another.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

/// Who has the wakes of a channel to itself: a thread that blocks, which goes by a number, or a
/// task, which goes by its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocker(NonZeroU32);

/// The bit that tells a seat from the number of a thread.
const TASK: u32 = 1 << 31;

impl Blocker {
    /// The first thread.
    pub(crate) const FIRST: Blocker = Blocker(NonZeroU32::MIN);

    /// The thread after this one.
    pub(crate) fn next(self) -> Blocker {
        let next = self.0.checked_add(1).filter(|next| next.get() < TASK);
        next.map_or(Blocker::FIRST, Blocker)
    }

    /// A task.
    pub(crate) fn task(seat: Seat) -> Blocker {
        Blocker(NonZeroU32::MIN | TASK | (seat.0 << 1))
    }

    /// The seat, where it is a task.
    #[inline]
    pub(crate) const fn seat(self) -> Option<Seat> {
        let word = self.0.get();
        if word & TASK == 0 {
            return None;
        }
        Some(Seat((word & !TASK) >> 1))
    }
}

/// Generation 0 marks a free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    generation: u64,
    /// Whose its wakes are, if not those of rounds.
    pub(crate) blocker: Option<Blocker>,
    pub(crate) state: PortState,
    /// With which write-back it is enabled again, if `state` anticipates that.
    due: u16,
}

impl Slot {
    /// Anticipates its write-back: it is `Rearming`, and `Waiting` once the next one was done,
    /// without being touched again.
    #[inline]
    pub(crate) const fn anticipate(&mut self, next: WriteBack) {
        self.state = PortState::Waiting;
        self.due = next.0;
    }

    /// [`anticipate`](Self::anticipate), where it is `Waiting` already.
    #[inline]
    pub(crate) const fn go_on(&mut self, next: WriteBack) {
        self.due = next.0;
    }

    /// The binding that has this slot, which is that of a port.
    #[inline]
    pub(crate) const fn channel(&self, port: Port) -> ChannelId {
        ChannelId {
            port,
            generation: self.generation,
        }
    }

    /// Whether somebody waits for it, or has a wake of it to take.
    #[inline]
    pub(crate) fn is_waited(&self) -> bool {
        self.state.is_waited() || self.blocker.is_some_and(|it| it.seat().is_some())
    }
}

const FREE: Slot = Slot {
    generation: 0,
    blocker: None,
    state: PortState::Live,
    due: 0,
};

/// The number of a write-back, by which the slots that wait for it are told from those whose
/// own is done. Never 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteBack(u16);

impl Default for Slot {
    fn default() -> Slot {
        FREE
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    slots: Pages<Slot>,
    bound: usize,
    /// Who was seen connected to a peer that was not found gone since.
    connected: Pages<bool>,
    next: WriteBack,
    /// A slot that anticipated the next write-back was looked at since the last one.
    was_early: bool,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            slots: Pages::default(),
            bound: 0,
            connected: Pages::default(),
            next: WriteBack(1),
            was_early: false,
        }
    }
}

impl Table {
    pub(crate) const fn bound(&self) -> usize {
        self.bound
    }

    // ---- Write-backs.

    /// The next write-back, for [`Slot::anticipate`].
    #[inline]
    pub(crate) const fn next(&self) -> WriteBack {
        self.next
    }

    /// Whether a slot that anticipated the next write-back may have moved on since.
    #[inline]
    pub(crate) const fn was_early(&self) -> bool {
        self.was_early
    }

    /// The next write-back was done, so what anticipated it is as it says.
    #[inline]
    pub(crate) fn written(&mut self) {
        self.was_early = false;
        match self.next.0.checked_add(1) {
            Some(next) => self.next.0 = next,
            None => self.begin_again(),
        }
    }

    /// Forgets the numbers that were used.
    #[cold]
    fn begin_again(&mut self) {
        for slot in self.slots.iter_mut() {
            slot.due = 0;
        }
        self.next.0 = 1;
    }

    // ---- Bindings.

    /// Enters a binding. A binding of the same number that is still here is replaced, and
    /// returned as it was.
    pub(crate) fn bind(&mut self, port: Port) -> (ChannelId, Option<(ChannelId, Slot)>) {
        let _old = self.slot(port.as_raw());
        self.disconnect(port);
        let slot = self.slots.enter(port.as_raw());
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        let old = core::mem::replace(slot, Slot { generation, ..FREE });
        self.bound += usize::from(old.generation == 0);
        let replaced = (old.generation != 0).then_some((
            ChannelId {
                port,
                generation: old.generation,
            },
            old,
        ));
        (ChannelId { port, generation }, replaced)
    }

    pub(crate) fn unbind(&mut self, id: ChannelId) -> Result<Slot, NotBound> {
        let slot = self.by_id(id)?;
        let unbound = core::mem::replace(slot, FREE);
        self.bound -= 1;
        Ok(unbound)
    }

    #[inline]
    pub(crate) fn by_id(&mut self, id: ChannelId) -> Result<&mut Slot, NotBound> {
        match self.by_word(id.port.as_raw()) {
            Some((found, slot)) if found == id => Ok(slot),
            Some(_) | None => Err(NotBound(id)),
        }
    }

    /// The slot of a number, which may be free. Where it anticipated its write-back, it is again
    /// what it was before.
    #[inline]
    pub(crate) fn slot(&mut self, raw: u32) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(raw)?;
        if slot.due == self.next.0 {
            slot.due = 0;
            slot.state = PortState::Rearming;
            self.was_early = true;
        }
        Some(slot)
    }

    /// The slot of a word as the driver gave it, where a round waits for the port and the port is
    /// enabled. It is so with nearly every word.
    #[inline]
    pub(crate) fn plain(&mut self, raw: u32) -> Option<(ChannelId, &mut Slot)> {
        let slot = self.slots.get_mut(raw)?;
        let is_plain =
            slot.state == PortState::Waiting && slot.due != self.next.0 && slot.blocker.is_none();
        // A free slot is `Live`.
        let port = Port::new(raw).filter(|_| is_plain)?;
        Some((slot.channel(port), slot))
    }

    /// Looks up a word as the driver gave it, which may be any number.
    #[inline]
    pub(crate) fn by_word(&mut self, raw: u32) -> Option<(ChannelId, &mut Slot)> {
        let slot = self.slot(raw)?;
        let port = Port::new(raw).filter(|_| slot.generation != 0)?;
        Some((slot.channel(port), slot))
    }

    /// Whether a bound port was seen connected to a peer that was not found gone since.
    pub(crate) fn is_connected(&self, port: Port) -> bool {
        self.connected.get(port.as_raw()).is_some_and(|it| *it)
    }

    /// The port is connected from now on.
    pub(crate) fn connect(&mut self, port: Port) {
        *self.connected.enter(port.as_raw()) = true;
    }

    /// The port waits for a peer from now on.
    pub(crate) fn disconnect(&mut self, port: Port) {
        if let Some(connected) = self.connected.get_mut(port.as_raw()) {
            *connected = false;
        }
    }

    /// Every binding, in the order of the numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ChannelId, Slot)> {
        self.slots.iter().filter_map(|(raw, slot)| {
            let port = Port::new(raw).filter(|_| slot.generation != 0)?;
            let mut slot = *slot;
            if slot.due == self.next.0 {
                slot.state = PortState::Rearming;
            }
            Some((slot.channel(port), slot))
        })
    }

    /// Forgets every binding and frees the pages.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.connected.clear();
        self.bound = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(raw: u32) -> Port {
        Port::new(raw).unwrap()
    }

    #[test]
    fn a_number_bound_again_is_another_channel() {
        let mut table = Table::default();
        let (first, _) = table.bind(port(7));
        table.unbind(first).unwrap();
        let (second, _) = table.bind(port(7));
        assert_ne!(first, second);
        assert_eq!(table.by_id(first).unwrap_err(), NotBound(first));
        assert!(table.by_id(second).is_ok());
        assert_eq!(table.bound(), 1);
    }

    #[test]
    fn the_same_number_in_another_context_is_another_channel() {
        let (mut one, mut other) = (Table::default(), Table::default());
        let (here, _) = one.bind(port(7));
        let (there, _) = other.bind(port(7));
        assert_ne!(here, there);
        assert_eq!(other.by_id(here).unwrap_err(), NotBound(here));
    }

    #[test]
    fn a_binding_taken_over_is_handed_back() {
        let mut table = Table::default();
        let (first, none) = table.bind(port(7));
        assert_eq!(none, None);
        table.by_id(first).unwrap().state = PortState::Waiting;
        let (_, replaced) = table.bind(port(7));
        let replaced = replaced.map(|(id, slot)| (id, slot.state));
        assert_eq!(replaced, Some((first, PortState::Waiting)));
        assert_eq!(table.bound(), 1);
    }

    #[test]
    fn a_slot_anticipates_its_own_write_back_alone() {
        let mut table = Table::default();
        let (id, _) = table.bind(port(7));
        let next = table.next();
        table.by_id(id).unwrap().anticipate(next);
        let state = |table: &Table| table.iter().map(|(_, slot)| slot.state).next();
        assert_eq!(state(&table), Some(PortState::Rearming));
        assert!(table.plain(7).is_none() && !table.was_early());
        // Every number is used, and the first of them again.
        for _ in 0..=u16::MAX {
            table.written();
            assert_eq!(state(&table), Some(PortState::Waiting));
            assert!(table.plain(7).is_some());
        }
    }

    #[test]
    fn a_slot_that_is_looked_at_anticipates_nothing() {
        let mut table = Table::default();
        let (id, _) = table.bind(port(7));
        let next = table.next();
        table.by_id(id).unwrap().anticipate(next);
        assert_eq!(table.by_id(id).unwrap().state, PortState::Rearming);
        assert!(table.was_early());
        table.written();
        assert!(!table.was_early());
        assert_eq!(table.by_id(id).unwrap().state, PortState::Rearming);
    }

    #[test]
    fn a_binding_that_is_replaced_was_early() {
        let mut table = Table::default();
        let (id, _) = table.bind(port(7));
        let next = table.next();
        table.by_id(id).unwrap().anticipate(next);
        let (_, replaced) = table.bind(port(7));
        let replaced = replaced.map(|(id, slot)| (id, slot.state));
        assert_eq!(replaced, Some((id, PortState::Rearming)));
        assert!(table.was_early());
    }

    #[test]
    fn any_word_can_be_looked_up() {
        let mut table = Table::default();
        table.bind(port(1));
        for word in [0, 2, 255, 256, 131_071, u32::MAX] {
            assert!(table.by_word(word).is_none(), "{word}");
        }
        assert!(table.by_word(1).is_some());
    }

    #[test]
    fn the_largest_port_has_room() {
        let mut table = Table::default();
        let (id, _) = table.bind(Port::MAX);
        assert_eq!(table.iter().map(|(id, _)| id).next(), Some(id));
    }

    #[test]
    fn iteration_is_in_the_order_of_the_numbers() {
        let mut table = Table::default();
        for raw in [600, 3, 256, 255] {
            table.bind(port(raw));
        }
        let numbers: Vec<u32> = table.iter().map(|(id, _)| id.port().as_raw()).collect();
        assert_eq!(numbers, [3, 255, 256, 600]);
    }
}
