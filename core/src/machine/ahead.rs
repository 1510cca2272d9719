//! Events that a round takes ahead, before it yields them, and that are taken back if it does not.

use super::step::fire;
use super::{ChannelId, Machine};
use crate::ids::Port;

/// What a round took ahead.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// How many channels.
    count: u8,
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
    pub(crate) fn take_ahead(&mut self, most: usize, mut put: impl FnMut(usize, ChannelId)) -> u8 {
        let words = self.inbox.words().get(self.taken..).unwrap_or_default();
        let dues = self.ahead.dues.iter_mut().take(most);
        let next = self.ports.next();
        let before = self.to_unmask.len();
        // Room for all of them, so that each is written without a look at the length.
        self.to_unmask.resize(before + Ahead::MOST, Port::MAX);
        let ports = &mut self.to_unmask[before..];
        let mut count = 0_u8;
        for ((word, due), port) in words.iter().zip(dues).zip(ports) {
            let Some((channel, slot)) = self.ports.plain(*word) else {
                break;
            };
            if !slot.owner.is_each() {
                break;
            }
            put(usize::from(count), channel);
            (*due, *port) = (slot.due, channel.port());
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
