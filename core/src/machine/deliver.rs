//! Handing out wakes, to whoever takes them in a round.

use super::port::{Cause, PortEffect, PortInput, PortState};
use super::step::{advance, take_event};
use super::{ChannelId, Machine, NotBound, Waited, Wake};

impl Machine {
    /// A wait whose wake is taken in a round: what is latched goes to the ready queue.
    pub(crate) fn wait_in_rounds(&mut self, id: ChannelId) -> Result<Waited, NotBound> {
        let (PortState::Latched(cause), PortEffect::Fire) = self.step(id, PortInput::Queue)? else {
            return self.wait(id);
        };
        self.ready.push_back(Wake { channel: id, cause });
        Ok(Waited::Queued)
    }

    /// The next wake: first what is queued, then what was read. One that the round has nobody
    /// for is kept for the next wait on its channel.
    pub(crate) fn next_wake(&mut self, has_taker: impl Fn(ChannelId) -> bool) -> Option<Wake> {
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
            Cause::Event | Cause::Overflow | Cause::Adopted => {
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
