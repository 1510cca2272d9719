//! Handing out wakes, to whoever takes them in a round.

use alloc::vec::Vec;

use super::port::{Cause, PortEffect, PortInput, PortState};
use super::step::{advance, fire_now, is_plain, note_fired, take_event, wait_again};
use super::{ChannelId, Machine, NotBound, Waited, Wake};

impl Machine {
    /// A wait whose wake is taken in a round: what is latched goes to the ready queue.
    #[inline]
    pub(crate) fn wait_in_rounds(&mut self, id: ChannelId) -> Result<Waited, NotBound> {
        let (PortState::Latched(cause), PortEffect::Fire) = self.step(id, PortInput::Queue)? else {
            return self.wait(id);
        };
        self.ready.push_back(Wake { channel: id, cause });
        Ok(Waited::Queued)
    }

    /// A wait in a round, of a channel whose wake was handed out: it is written back at the end of
    /// the round. Says whether it was that; otherwise nothing was done.
    #[inline]
    pub(crate) fn wait_again(&mut self, id: ChannelId) -> bool {
        let Ok(slot) = self.ports.by_id(id) else {
            return false;
        };
        let waits = wait_again(slot, &mut self.count);
        if waits {
            self.rearm.push(id.port());
        }
        waits
    }

    /// The next wake: first what is queued, then what was read. One that the round has nobody
    /// for is kept for the next wait on its channel.
    #[inline]
    pub(crate) fn next_wake(&mut self, has_taker: impl Fn(ChannelId) -> bool) -> Option<Wake> {
        self.next_event(false, &has_taker)
            .or_else(|| self.next_wake_of_any(has_taker))
    }

    /// Hands out many wakes, until there are `room` of them, and has each of their channels waited
    /// for again if `again` says so, unless it is gone.
    pub(crate) fn next_wakes(&mut self, wakes: &mut Vec<Wake>, room: usize, again: bool) {
        while wakes.len() < room && self.has_any() {
            if self.ready.is_empty() {
                self.next_events(wakes, room, again);
                if wakes.len() == room {
                    return;
                }
            }
            let Some(wake) = self.next_wake_of_any(|_| true) else {
                return;
            };
            if again {
                let _unless_gone = self.wait_again(wake.channel);
            }
            wakes.push(wake);
        }
    }

    /// Whether there is something that may be a wake.
    #[inline]
    fn has_any(&self) -> bool {
        !self.unread.is_empty() || !self.ready.is_empty()
    }

    /// The wakes of the next words, as long as they are those of ports that wait.
    #[inline(never)]
    fn next_events(&mut self, wakes: &mut Vec<Wake>, room: usize, again: bool) {
        let then = if again {
            PortState::Rearming
        } else {
            PortState::Held
        };
        let before = wakes.len();
        let many = self.unread.len().min(room - before);
        let last = &self.unread[self.unread.len() - many..];
        wakes.extend(last.iter().rev().map_while(|word| {
            let (channel, slot) = self.ports.by_word(*word)?;
            let cause = Cause::Event;
            fire_now(slot, then).then_some(Wake { channel, cause })
        }));
        let taken = wakes.len() - before;
        self.unread.truncate(self.unread.len() - taken);
        self.stats.wakes += taken as u64;
        if again {
            self.rearm.extend(wakes[before..].iter().map(Wake::port));
        } else {
            self.count.waited -= taken;
        }
    }

    /// The wake of the next word, if nothing is queued, it is that of a port that waits, and
    /// `take` has somebody for it.
    #[inline]
    pub(crate) fn next_event(
        &mut self,
        again: bool,
        take: impl FnOnce(ChannelId) -> bool,
    ) -> Option<Wake> {
        if !self.ready.is_empty() {
            return None;
        }
        let (channel, slot) = self.ports.by_word(*self.unread.last()?)?;
        if !is_plain(slot) || !take(channel) {
            return None;
        }
        if again {
            slot.state = PortState::Rearming;
            self.rearm.push(channel.port());
        } else {
            slot.state = PortState::Held;
            self.count.waited -= 1;
        }
        note_fired(slot.state);
        self.unread.pop();
        self.stats.wakes += 1;
        Some(Wake {
            channel,
            cause: Cause::Event,
        })
    }

    /// [`next_wake`](Self::next_wake), whatever it is.
    #[cold]
    pub(crate) fn next_wake_of_any(
        &mut self,
        has_taker: impl Fn(ChannelId) -> bool,
    ) -> Option<Wake> {
        while let Some(wake) = self.ready.pop_front() {
            let channel = wake.channel;
            if let Some(cause) = self.deliver(wake, has_taker(channel)) {
                return Some(Wake { channel, cause });
            }
        }
        while let Some(word) = self.unread.pop() {
            let taken = take_event(&mut self.ports, word, &mut self.count, &mut self.stats);
            let Some((channel, slot)) = taken else {
                continue;
            };
            if has_taker(channel) {
                advance(channel, slot, PortInput::Deliver, &mut self.count);
                self.stats.wakes += 1;
                return Some(Wake {
                    channel,
                    cause: Cause::Event,
                });
            }
            advance(channel, slot, PortInput::Keep, &mut self.count);
            self.stats.latched += 1;
        }
        None
    }

    /// Why a wake from the queue is handed out, if it is. Its port says so: one that is no longer
    /// `Ready` has nothing to hand out, and one that is `Ready` again has another cause.
    fn deliver(&mut self, wake: Wake, has_taker: bool) -> Option<Cause> {
        let input = if has_taker {
            PortInput::Deliver
        } else {
            PortInput::Keep
        };
        let effect = match wake.cause {
            Cause::Gone => {
                self.count.queued -= 1;
                has_taker.then_some(PortEffect::Deliver(Cause::Gone))
            }
            Cause::Event | Cause::Overflow | Cause::PeerGone | Cause::Adopted => {
                let stepped = self.step(wake.channel, input);
                stepped.ok().map(|(_, effect)| effect)
            }
        };
        self.stats.latched += u64::from(effect == Some(PortEffect::Latch));
        let Some(PortEffect::Deliver(cause)) = effect else {
            return None;
        };
        self.stats.wakes += 1;
        Some(cause)
    }
}
