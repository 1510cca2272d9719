//! Events that a round takes ahead, before it yields them, and that are taken back if it does not.

use super::step::fire_each;
use super::{ChannelId, Machine};
use crate::ids::Port;

/// What a round took ahead.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// How many channels.
    count: usize,
    /// What `due` in the slot of each channel was before.
    dues: [u16; Ahead::MOST],
}

impl Ahead {
    pub(crate) const MOST: usize = 64;

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead {
            count: 0,
            dues: [0; Ahead::MOST],
        }
    }
}

impl Machine {
    /// Whether the next wake is a word of the inbox, so that it may be taken ahead.
    #[inline]
    pub(crate) fn has_next_word(&self) -> bool {
        self.ready.is_empty() && self.unread() > 0
    }

    /// Hands out the events of the next words, at most `most`, up to the first port without a wait
    /// for each wake. `put` gets each channel with its place. Returns how many there are. The next
    /// call under the lock must be [`take_back`](Self::take_back).
    #[inline(never)]
    pub(crate) fn take_ahead(
        &mut self,
        most: usize,
        mut put: impl FnMut(usize, ChannelId),
    ) -> usize {
        let words = self.inbox.words().get(self.taken..).unwrap_or_default();
        let dues = self.ahead.dues.iter_mut().take(most);
        let next = self.ports.next();
        let before = self.to_unmask.len();
        // Room for all of them, so that each is written without a look at the length.
        self.to_unmask.resize(before + Ahead::MOST, Port::MAX);
        let ports = &mut self.to_unmask[before..];
        let mut count = 0;
        for ((word, due), port) in words.iter().zip(dues).zip(ports) {
            let Some((channel, slot)) = self.ports.plain_each(*word) else {
                break;
            };
            put(count, channel);
            (*due, *port) = (slot.due, channel.port());
            fire_each(slot, next);
            count += 1;
        }
        self.to_unmask.truncate(before + count);
        self.ahead.count = count;
        self.taken += count;
        self.stats.wakes += count as u64;
        count
    }

    /// Takes back the last `left` of what was taken ahead. Those words are unread again, and their
    /// ports are as before.
    pub(crate) fn take_back(&mut self, left: usize) {
        let count = core::mem::take(&mut self.ahead.count);
        let left = left.min(count);
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
