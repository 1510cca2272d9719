//! Handing out wakes in a round.

use super::port::{Cause, PortEffect, PortInput};
use super::step::{advance, fire, take_event};
use super::{ChannelId, Machine, Wake};
use crate::ids::Port;

impl Machine {
    /// After a wake of a channel was handed out: a wait for each wake goes on, unless the channel
    /// is gone.
    fn go_on_if_each(&mut self, id: ChannelId) {
        if self.ports.by_id(id).is_ok_and(|slot| slot.owner.is_each()) {
            self.go_on(id);
        }
    }

    /// The next wake: first what is queued, then what was read. A wake without a taker is kept for
    /// the next wait on its channel.
    #[inline]
    pub(crate) fn next_wake(&mut self, has_taker: impl Fn(ChannelId) -> bool) -> Option<Wake> {
        match self.next_event(|id| has_taker(id).then_some(())) {
            Some(((), channel)) => {
                let cause = Cause::Event;
                Some(Wake { channel, cause })
            }
            None if self.most_wakes() == 0 => None,
            None => self.next_wake_of_any(has_taker),
        }
    }

    /// How many wakes there can be at most in what was read and what is queued.
    #[inline]
    pub(crate) fn most_wakes(&self) -> usize {
        self.unread() + self.ready.len()
    }

    /// Hands out wakes, as many as there are and there is room for. Returns how many.
    #[inline]
    pub(crate) fn next_wakes(&mut self, room: &mut [Wake]) -> usize {
        let mut count = 0;
        while count < room.len() && self.most_wakes() > 0 {
            if self.ready.is_empty() {
                count += self.next_events(&mut room[count..]);
            }
            let Some(place) = room.get_mut(count) else {
                break;
            };
            let Some(wake) = self.next_wake_of_any(|_| true) else {
                break;
            };
            *place = wake;
            count += 1;
        }
        count
    }

    /// Hands out the events of the next words, up to the first that is not for a wait of rounds.
    /// Returns how many.
    #[inline(never)]
    fn next_events(&mut self, room: &mut [Wake]) -> usize {
        let words = self.inbox.words().get(self.taken..).unwrap_or_default();
        let places = words.iter().zip(room);
        let next = self.ports.next();
        let cause = Cause::Event;
        let before = self.to_unmask.len();
        // Room for all of them, so that each is written without a look at the length.
        self.to_unmask.resize(before + places.len(), Port::MAX);
        let mut ports = self.to_unmask[before..].iter_mut();
        let mut count = 0;
        for (word, place) in places {
            let Some((channel, slot)) = self.ports.plain(*word) else {
                break;
            };
            *place = Wake { channel, cause };
            if fire(slot, next) {
                if let Some(port) = ports.next() {
                    *port = channel.port();
                }
            }
            count += 1;
        }
        let unused = ports.len();
        let end = self.to_unmask.len() - unused;
        self.to_unmask.truncate(end);
        self.count.waited -= count - (end - before);
        self.taken += count;
        self.stats.wakes += count as u64;
        count
    }

    /// Hands out the event of the next word, if nothing is queued, rounds wait for its port, and
    /// `take` returns a taker.
    #[inline(always)]
    pub(crate) fn next_event<T>(
        &mut self,
        take: impl FnOnce(ChannelId) -> Option<T>,
    ) -> Option<(T, ChannelId)> {
        if !self.ready.is_empty() {
            return None;
        }
        let next = self.ports.next();
        let word = *self.inbox.words().get(self.taken)?;
        let (channel, slot) = self.ports.plain(word)?;
        let taker = take(channel)?;
        if fire(slot, next) {
            self.to_unmask.push(channel.port());
        } else {
            self.count.waited -= 1;
        }
        self.taken += 1;
        self.stats.wakes += 1;
        Some((taker, channel))
    }

    /// [`next_wake`](Self::next_wake) for a wake with any cause.
    #[cold]
    pub(crate) fn next_wake_of_any(
        &mut self,
        has_taker: impl Fn(ChannelId) -> bool,
    ) -> Option<Wake> {
        while let Some(wake) = self.ready.pop_front() {
            let channel = wake.channel;
            if let Some(cause) = self.deliver(wake, has_taker(channel)) {
                self.go_on_if_each(channel);
                return Some(Wake { channel, cause });
            }
        }
        while let Some(word) = self.take_word() {
            let taken = take_event(&mut self.ports, word, &mut self.count, &mut self.stats);
            let Some((channel, slot)) = taken else {
                continue;
            };
            if has_taker(channel) {
                advance(channel, slot, PortInput::Deliver, &mut self.count);
                self.stats.wakes += 1;
                self.go_on_if_each(channel);
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

    /// The cause with which a queued wake is handed out, or `None` if it is not. The state of the
    /// port decides: if it is no longer `Ready`, the wake is void; if it is `Ready` again, it has
    /// its own cause.
    fn deliver(&mut self, wake: Wake, has_taker: bool) -> Option<Cause> {
        let input = if has_taker {
            PortInput::Deliver
        } else {
            PortInput::Keep
        };
        let effect = match wake.cause {
            cause @ (Cause::Gone | Cause::Resumed) => {
                self.count.queued -= 1;
                has_taker.then_some(PortEffect::Deliver(cause))
            }
            Cause::Event
            | Cause::Overflow
            | Cause::PeerGone
            | Cause::PeerConnected
            | Cause::Adopted => {
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
