//! What was read of the driver and is not yet taken, and what its overflow means.

use alloc::vec::Vec;

use super::port::{Cause, PortEffect, PortInput};
use super::step::take_event;
use super::{ChannelId, Machine, NotBound, Wake};
use crate::hal::PortBuf;

impl Machine {
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

    /// Puts what was read and not yet taken through the table and into the ready queue.
    #[inline]
    pub(crate) fn queue_unread(&mut self) {
        if self.unread() > 0 {
            self.queue_words();
        }
    }

    #[cold]
    fn queue_words(&mut self) {
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
