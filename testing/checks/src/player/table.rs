//! The slots of a script, with counts, so that no step has to look at all slots.

use evtchn_core::{ChannelId, Port, Virq};

use super::SimChannel;
use crate::model;

/// One place for a channel.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) channel: Option<SimChannel>,
    /// Its device failed.
    pub(super) dead: bool,
    pub(super) model: model::Channel,
    pub(super) has_callback: bool,
    /// The id of the last channel here.
    pub(super) id: Option<ChannelId>,
    pub(super) signal: Option<Signal>,
}

/// How the other end is made to notify.
#[derive(Clone, Copy)]
pub(super) enum Signal {
    Send(Port),
    Raise(Virq),
}

impl Slot {
    pub(super) const fn is_bound(&self) -> bool {
        self.channel.is_some() && !self.dead
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.is_bound() && self.model.waiting
    }

    /// It has a wait, and something happened that ends it.
    pub(super) const fn is_due(&self) -> bool {
        self.is_waiting() && self.model.must
    }

    /// It has a wait, and its wake was read and kept.
    pub(super) const fn is_owed(&self) -> bool {
        self.is_waiting() && self.model.kept
    }

    const fn is_dead(&self) -> bool {
        self.channel.is_some() && self.dead
    }
}

/// How many slots are in each of these states.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) bound: usize,
    pub(super) waiting: usize,
    pub(super) due: usize,
    pub(super) owed: usize,
    pub(super) dead: usize,
}

impl Counts {
    fn enter(&mut self, slot: &Slot) {
        self.bound += usize::from(slot.is_bound());
        self.waiting += usize::from(slot.is_waiting());
        self.due += usize::from(slot.is_due());
        self.owed += usize::from(slot.is_owed());
        self.dead += usize::from(slot.is_dead());
    }

    fn leave(&mut self, slot: &Slot) {
        self.bound -= usize::from(slot.is_bound());
        self.waiting -= usize::from(slot.is_waiting());
        self.due -= usize::from(slot.is_due());
        self.owed -= usize::from(slot.is_owed());
        self.dead -= usize::from(slot.is_dead());
    }
}

/// All slots.
pub(super) struct Table {
    slots: Vec<Slot>,
    counts: Counts,
    /// The slot that had a port last, by port.
    by_port: Vec<usize>,
}

impl Table {
    /// At least one slot.
    pub(super) fn new(slots: u16) -> Table {
        let slots = usize::from(slots.max(1));
        Table {
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            counts: Counts::default(),
            by_port: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    pub(super) fn get(&self, place: usize) -> &Slot {
        &self.slots[place]
    }

    /// The slot of the channel with this id, also if it was dropped.
    pub(super) fn find(&self, id: ChannelId) -> Option<usize> {
        let place = *self.by_port.get(id.port().as_raw() as usize)?;
        self.slots
            .get(place)
            .is_some_and(|slot| slot.id == Some(id))
            .then_some(place)
    }

    /// Changes a slot, and the counts with it.
    pub(super) fn edit<T>(&mut self, place: usize, act: impl FnOnce(&mut Slot) -> T) -> T {
        let slot = &mut self.slots[place];
        self.counts.leave(slot);
        let answer = act(slot);
        self.counts.enter(slot);
        answer
    }

    /// Changes every slot.
    pub(super) fn edit_all(&mut self, mut act: impl FnMut(&mut Slot)) {
        for place in 0..self.slots.len() {
            self.edit(place, &mut act);
        }
    }

    /// A new channel in an empty slot.
    pub(super) fn bound(
        &mut self,
        place: usize,
        channel: SimChannel,
        signal: Signal,
        signalled: bool,
    ) {
        let port = channel.port().as_raw() as usize;
        if port >= self.by_port.len() {
            self.by_port.resize(port + 1, usize::MAX);
        }
        self.by_port[port] = place;
        self.edit(place, |slot| {
            *slot = Slot {
                dead: false,
                has_callback: false,
                model: model::Channel::bound(signalled),
                id: Some(channel.id()),
                channel: Some(channel),
                signal: Some(signal),
            };
        });
    }
}
