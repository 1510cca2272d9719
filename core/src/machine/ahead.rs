//! Events that a round takes ahead, before it yields them, and that are taken back if it does not.

use alloc::boxed::Box;

use super::step::fire;
use super::{ChannelId, Machine};
use crate::ids::Port;

/// The channels that a round took ahead, all with a wait for each wake.
pub(crate) type Room = [ChannelId; Ahead::MOST];

/// What a round took ahead.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// How many channels.
    count: u8,
    /// What `due` in the slot of each channel was before.
    dues: [u16; Ahead::MOST],
    /// Room for the channels, while no round has it.
    pub(crate) room: Option<Box<Room>>,
}

impl Ahead {
    pub(crate) const MOST: usize = 64;

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The room for the channels of a round.
    pub(crate) fn take_room(&mut self) -> Box<Room> {
        let room = self.room.take();
        room.unwrap_or_else(|| Box::new([ChannelId::NEVER; Ahead::MOST]))
    }
}

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead {
            count: 0,
            dues: [0; Ahead::MOST],
            room: None,
        }
    }
}

impl Machine {
    /// Whether the next wake is a word of the inbox, so that it may be taken ahead.
    #[inline]
    pub(crate) fn has_next_word(&self) -> bool {
        self.ready.is_empty() && self.unread() > 0
    }

    /// Hands out the events of the next words into `room`, at most `most`, up to the first port
    /// without a wait for each wake. Returns how many. The next call under the lock must be
    /// [`take_back`](Self::take_back).
    #[inline(never)]
    pub(crate) fn take_ahead(&mut self, room: &mut Room, most: usize) -> u8 {
        let words = self.inbox.words().get(self.taken..).unwrap_or_default();
        let places = room.iter_mut().zip(&mut self.ahead.dues).take(most);
        let next = self.ports.next();
        let before = self.to_unmask.len();
        // Room for all of them, so that each is written without a look at the length.
        self.to_unmask.resize(before + Ahead::MOST, Port::MAX);
        let ports = &mut self.to_unmask[before..];
        let mut count = 0_u8;
        for ((word, (place, due)), port) in words.iter().zip(places).zip(ports) {
            let Some((channel, slot)) = self.ports.plain(*word) else {
                break;
            };
            if !slot.owner.is_each() {
                break;
            }
            (*place, *due, *port) = (channel, slot.due, channel.port());
            let _goes_on = fire(slot, next);
            count += 1;
        }
        self.to_unmask.truncate(before + usize::from(count));
        self.ahead.count = count;
        self.taken += usize::from(count);
        self.stats.wakes += u64::from(count);
        count
    }

    /// Takes back what was taken ahead, except for the first `yielded`. Those words are unread
    /// again, and their ports are as before.
    pub(crate) fn take_back(&mut self, yielded: usize) {
        let count = usize::from(core::mem::take(&mut self.ahead.count));
        let left = count.saturating_sub(yielded);
        self.taken -= left;
        self.stats.wakes -= left as u64;
        self.to_unmask.truncate(self.to_unmask.len() - left);
        let words = self.inbox.words().get(self.taken..).unwrap_or_default();
        let dues = &self.ahead.dues[count - left..count];
        for (word, due) in words.iter().zip(dues) {
            self.ports.take_back(*word, *due);
        }
    }
}
