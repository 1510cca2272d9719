//! The words that were read from the driver and not yet taken, and the overflow of its ring.

use alloc::vec::Vec;

use super::port::{Cause, PortEffect, PortInput};
use super::step::{self, take_event};
use super::{ChannelId, Machine, NotBound, Wake};
use crate::hal::PortBuf;

impl Machine {
    /// The buffer for the next read. Every word of the last read must be taken.
    pub(crate) fn inbox(&mut self) -> &mut PortBuf {
        debug_assert_eq!(self.unread(), 0, "the read would lose them");
        self.taken = 0;
        &mut self.inbox
    }

    /// After a read into the inbox: how many ports came, and whether there was room for more.
    #[inline]
    pub(crate) fn received(&self) -> (usize, bool) {
        let count = self.inbox.count();
        (count, count < self.inbox.capacity())
    }

    /// How many words were read and not yet taken.
    #[inline]
    pub(super) const fn unread(&self) -> usize {
        self.inbox.count().saturating_sub(self.taken)
    }

    /// Takes the next word.
    #[inline]
    pub(super) fn take_word(&mut self) -> Option<u32> {
        let word = *self.inbox.words().get(self.taken)?;
        self.taken += 1;
        Some(word)
    }

    /// Takes every word that is left, and queues its wake.
    #[inline]
    pub(crate) fn queue_unread(&mut self) {
        if self.unread() > 0 {
            self.queue_words();
        }
    }

    #[cold]
    fn queue_words(&mut self) {
        while let Some(word) = self.take_word() {
            if self.keep_for_task(word) {
                continue;
            }
            let taken = take_event(&mut self.ports, word, &mut self.count, &mut self.stats);
            if let Some((id, _)) = taken {
                self.ready.push_back(Wake {
                    channel: id,
                    cause: Cause::Event,
                });
            }
        }
    }

    /// Keeps the event of a word for the task that waits for its port. Returns whether one does;
    /// otherwise nothing was done.
    #[inline]
    fn keep_for_task(&mut self, word: u32) -> bool {
        let Some((id, task_id, slot)) = self.ports.plain_of_task(word) else {
            return false;
        };
        step::keep(slot);
        self.count.tasks.fire(task_id, id);
        self.stats.latched += 1;
        true
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
