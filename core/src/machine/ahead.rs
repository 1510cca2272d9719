//! Events handed out ahead of the round that yields them, and taken back where it does not.

use alloc::vec::Vec;

use super::step::fire;
use super::{ChannelId, Machine};

/// What a round took ahead. At most [`MOST`](Self::MOST) channels, all with a wait for each wake.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// What `due` of each slot was before.
    dues: Vec<u16>,
    /// Room for the channels, while no round has it.
    pub(crate) room: Vec<ChannelId>,
}

impl Ahead {
    pub(crate) const MOST: usize = 64;

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.dues.is_empty()
    }
}

impl Machine {
    /// Whether the next wake is that of a word, so that it may be taken ahead.
    #[inline]
    pub(crate) fn has_next_word(&self) -> bool {
        self.ready.is_empty() && self.unread() > 0
    }

    /// Hands out the events of the next words, as long as they are of ports with a wait for each: at
    /// most `most`, into `room`. [`take_back`](Self::take_back) follows before anything else.
    #[inline(never)]
    pub(crate) fn take_ahead(&mut self, room: &mut Vec<ChannelId>, most: usize) {
        room.clear();
        let next = self.ports.next();
        let words = self.inbox.words().get(self.taken..).unwrap_or_default();
        for word in words.iter().take(most) {
            let Some((channel, slot)) = self.ports.plain(*word) else {
                break;
            };
            if !slot.owner.is_each() {
                break;
            }
            self.ahead.dues.push(slot.due);
            let _goes_on = fire(slot, next);
            self.to_unmask.push(channel.port());
            room.push(channel);
        }
        self.taken += room.len();
        self.stats.wakes += room.len() as u64;
    }

    /// Of what was taken ahead, the first `yielded` were yielded. The rest is unread again, and each
    /// of its ports is as it was.
    pub(crate) fn take_back(&mut self, yielded: usize) {
        let left = self.ahead.dues.len().saturating_sub(yielded);
        self.taken -= left;
        self.stats.wakes -= left as u64;
        self.to_unmask.truncate(self.to_unmask.len() - left);
        let words = self.inbox.words().get(self.taken..).unwrap_or_default();
        let dues = self.ahead.dues.drain(..).skip(yielded);
        for (word, due) in words.iter().zip(dues) {
            self.ports.take_back(*word, due);
        }
    }
}
