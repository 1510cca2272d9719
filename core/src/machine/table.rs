//! Which ports are bound, by number, in O(1).
//!
//! A few ports cost one page of slots, and 131,072 ports (the FIFO ABI's limit) cost 2 MiB.

use super::id::{ChannelId, NotBound};
use super::owner::Owner;
use super::pages::Pages;
use super::port::PortState;
use super::slot::{FREE, HAD_EVENT, NO_EVENT, Slot, UnmaskNumber};
use super::task::TaskId;
use crate::ids::{Port, RemotePort};

#[derive(Debug)]
pub(crate) struct Table {
    slots: Pages<Slot>,
    bound: usize,
    /// The peer to which each port was seen connected, unless it was found gone since.
    peers: Pages<Option<RemotePort>>,
    next: UnmaskNumber,
    /// Whether a slot that anticipated the next unmask was looked at since the last one.
    was_early: bool,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            slots: Pages::default(),
            bound: 0,
            peers: Pages::default(),
            next: UnmaskNumber(1),
            was_early: false,
        }
    }
}

impl Table {
    pub(crate) const fn bound(&self) -> usize {
        self.bound
    }

    // ---- Unmasks.

    /// The next unmask, for [`Slot::anticipate`].
    #[inline]
    pub(crate) const fn next(&self) -> UnmaskNumber {
        self.next
    }

    /// Whether a slot that anticipated the next unmask may have moved on since.
    #[inline]
    pub(crate) const fn was_early(&self) -> bool {
        self.was_early
    }

    /// The next unmask was done, so the states of the slots that anticipated it are true now.
    #[inline]
    pub(crate) fn unmasked(&mut self) {
        self.was_early = false;
        self.next.0 += 1;
        if self.next.0 == HAD_EVENT {
            self.begin_again();
        }
    }

    /// Begins again with the first number, after forgetting those that were used.
    #[cold]
    fn begin_again(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.due != NO_EVENT) {
            slot.note_event();
        }
        self.next.0 = 1;
    }

    /// Has the slot of a port that is `Unmasking` anticipate the next unmask. Returns whether the
    /// port is to be unmasked with it. A slot without an event does not anticipate it, because its
    /// `due` would then say that it had one.
    #[inline]
    pub(crate) fn await_next(&mut self, port: Port) -> bool {
        let next = self.next;
        let Some(slot) = self.slot(port.as_raw()) else {
            return false;
        };
        if slot.state != PortState::Unmasking {
            return false;
        }
        if slot.due == NO_EVENT {
            self.was_early = true;
        } else {
            slot.anticipate(next);
        }
        true
    }

    // ---- Bindings.

    /// Enters a binding. If the number is still bound, that binding is replaced and returned as it
    /// was.
    pub(crate) fn bind(&mut self, port: Port) -> (ChannelId, Option<(ChannelId, Slot)>) {
        let _old = self.slot(port.as_raw());
        self.disconnect(port);
        let slot = self.slots.enter(port.as_raw());
        let id = ChannelId::begin(port);
        let generation = id.generation();
        let old = core::mem::replace(slot, Slot { generation, ..FREE });
        self.bound += usize::from(old.generation == 0);
        let replaced = (old.generation != 0).then_some((old.channel(port), old));
        (id, replaced)
    }

    pub(crate) fn unbind(&mut self, id: ChannelId) -> Result<Slot, NotBound> {
        let slot = self.by_id(id)?;
        let unbound = core::mem::replace(slot, FREE);
        self.bound -= 1;
        Ok(unbound)
    }

    #[inline]
    pub(crate) fn is_bound(&self, id: ChannelId) -> bool {
        let slot = self.slots.get(id.port().as_raw());
        slot.is_some_and(|slot| slot.generation == id.generation())
    }

    #[inline]
    pub(crate) fn by_id(&mut self, id: ChannelId) -> Result<&mut Slot, NotBound> {
        match self.by_word(id.port().as_raw()) {
            Some((found, slot)) if found == id => Ok(slot),
            Some(_) | None => Err(NotBound(id)),
        }
    }

    /// The slot of a number, which may be free. If it anticipated the next unmask, it is
    /// `Unmasking` again.
    #[inline]
    pub(crate) fn slot(&mut self, raw: u32) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(raw)?;
        if slot.due == self.next.0 {
            slot.note_event();
            slot.state = PortState::Unmasking;
            self.was_early = true;
        }
        Some(slot)
    }

    /// The slot of a word that was read, if rounds wait for the port and it is enabled, as with
    /// nearly every word.
    #[inline]
    pub(crate) fn plain(&mut self, raw: u32) -> Option<(ChannelId, &mut Slot)> {
        self.waiting(raw, Owner::is_rounds)
    }

    /// [`plain`](Self::plain), if the wait is for each wake.
    #[inline]
    pub(crate) fn plain_each(&mut self, raw: u32) -> Option<(ChannelId, &mut Slot)> {
        self.waiting(raw, Owner::is_each)
    }

    /// [`plain`](Self::plain), for a port that a task waits for in the place of rounds.
    #[inline]
    pub(crate) fn plain_of_task(&mut self, raw: u32) -> Option<(ChannelId, TaskId, &mut Slot)> {
        let (id, slot) = self.waiting(raw, |owner| owner.task_id().is_some())?;
        Some((id, slot.owner.task_id()?, slot))
    }

    #[inline(always)]
    fn waiting(
        &mut self,
        raw: u32,
        is_one: impl FnOnce(Owner) -> bool,
    ) -> Option<(ChannelId, &mut Slot)> {
        let slot = self.slots.get_mut(raw)?;
        let is_plain =
            slot.state == PortState::Waiting && slot.due != self.next.0 && is_one(slot.owner);
        // A free slot is `Live`.
        let port = Port::new(raw).filter(|_| is_plain)?;
        Some((slot.channel(port), slot))
    }

    /// Takes back that the event of a [plain](Self::plain) word was handed out to a wait for each
    /// wake.
    pub(crate) fn take_back(&mut self, raw: u32, due: u16) {
        if let Some(slot) = self.slots.get_mut(raw) {
            slot.due = due;
        }
    }

    /// The slot of a word that was read, which may be any number.
    #[inline]
    pub(crate) fn by_word(&mut self, raw: u32) -> Option<(ChannelId, &mut Slot)> {
        let slot = self.slot(raw)?;
        let port = Port::new(raw).filter(|_| slot.generation != 0)?;
        Some((slot.channel(port), slot))
    }

    /// The peer to which a bound port was seen connected, unless it was found gone since.
    pub(crate) fn peer(&self, port: Port) -> Option<RemotePort> {
        self.peers.get(port.as_raw()).copied().flatten()
    }

    /// Notes the peer of a port.
    pub(crate) fn connect(&mut self, port: Port, peer: RemotePort) {
        *self.peers.enter(port.as_raw()) = Some(peer);
    }

    /// Forgets the peer of a port.
    pub(crate) fn disconnect(&mut self, port: Port) {
        if let Some(peer) = self.peers.get_mut(port.as_raw()) {
            *peer = None;
        }
    }

    /// Every binding, in the order of the numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ChannelId, Slot)> {
        let bound = self.slots.iter().filter_map(|(raw, slot)| {
            let port = Port::new(raw).filter(|_| slot.generation != 0)?;
            let mut slot = *slot;
            if slot.due == self.next.0 {
                slot.state = PortState::Unmasking;
            }
            Some((slot.channel(port), slot))
        });
        // The rest has none.
        bound.take(self.bound)
    }

    /// Forgets every binding and frees the pages.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.peers.clear();
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
    fn a_slot_anticipates_its_own_unmask_alone() {
        let mut table = Table::default();
        let (id, _) = table.bind(port(7));
        let next = table.next();
        table.by_id(id).unwrap().anticipate(next);
        let state = |table: &Table| table.iter().map(|(_, slot)| slot.state).next();
        assert_eq!(state(&table), Some(PortState::Unmasking));
        assert!(table.plain(7).is_none() && !table.was_early());
        // Every number is used, and the first of them again.
        for _ in 0..=u16::MAX {
            table.unmasked();
            assert_eq!(state(&table), Some(PortState::Waiting));
            assert!(table.plain(7).is_some());
        }
    }

    #[test]
    fn a_slot_that_had_an_event_keeps_it_and_stays_enabled_whatever_is_unmasked() {
        let mut table = Table::default();
        let [in_round, alone] = [7, 8].map(|raw| table.bind(port(raw)).0);
        let next = table.next();
        table.by_id(in_round).unwrap().anticipate(next);
        let slot = table.by_id(alone).unwrap();
        slot.state = PortState::Waiting;
        slot.note_event();
        // Every number is used, and the first of them again.
        for _ in 0..=u16::MAX {
            table.unmasked();
            for (_, slot) in table.iter() {
                assert_eq!((slot.state, slot.had_event()), (PortState::Waiting, true));
            }
        }
    }

    #[test]
    fn a_slot_that_is_looked_at_anticipates_nothing() {
        let mut table = Table::default();
        let (id, _) = table.bind(port(7));
        let next = table.next();
        table.by_id(id).unwrap().anticipate(next);
        assert_eq!(table.by_id(id).unwrap().state, PortState::Unmasking);
        assert!(table.was_early());
        table.unmasked();
        assert!(!table.was_early());
        assert_eq!(table.by_id(id).unwrap().state, PortState::Unmasking);
    }

    #[test]
    fn a_binding_that_is_replaced_was_early() {
        let mut table = Table::default();
        let (id, _) = table.bind(port(7));
        let next = table.next();
        table.by_id(id).unwrap().anticipate(next);
        let (_, replaced) = table.bind(port(7));
        let replaced = replaced.map(|(id, slot)| (id, slot.state));
        assert_eq!(replaced, Some((id, PortState::Unmasking)));
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
