//! Channels whose other end may be gone. Xen tells nobody, so somebody has to ask.

use alloc::vec::Vec;

use super::port::{Cause, PortEffect, PortInput, PortState};
use super::step::advance;
use super::{ChannelId, Machine, Wake};

impl Machine {
    /// The channels that somebody waits for and that have no wake yet, each with whether it was
    /// seen connected.
    pub(crate) fn without_wake(&self) -> Vec<(ChannelId, bool)> {
        let waiting = |state| matches!(state, PortState::Waiting | PortState::Rearming);
        let slots = self.ports.iter();
        let waiting = slots.filter(|(_, slot)| waiting(slot.state));
        let connected = |id: ChannelId| self.ports.is_connected(id.port());
        waiting.map(|(id, _)| (id, connected(id))).collect()
    }

    /// The channel has a peer. From now on the peer can be found gone.
    pub(crate) fn set_connected(&mut self, id: ChannelId) {
        if self.ports.by_id(id).is_ok() {
            self.ports.connect(id.port());
        }
    }

    /// The peer of a channel that was connected is gone. Says whether somebody is told, now or by
    /// the next wait. The channel waits for a peer from then on, so nobody is told twice.
    pub(crate) fn peer_gone(&mut self, id: ChannelId) -> bool {
        let Ok(slot) = self.ports.by_id(id) else {
            return false;
        };
        let effect = advance(id, slot, PortInput::PeerGone, &mut self.count);
        let is_told = matches!(effect, PortEffect::Fire | PortEffect::Latch);
        if is_told {
            self.ports.disconnect(id.port());
        }
        if effect == PortEffect::Fire {
            let cause = Cause::PeerGone;
            self.ready.push_back(Wake { channel: id, cause });
        }
        self.stats.latched += u64::from(effect == PortEffect::Latch);
        self.stats.peers_gone += u64::from(is_told);
        is_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Port;

    fn machine() -> (Machine, ChannelId) {
        let mut machine = Machine::new();
        let id = machine.bind(Port::new(5).unwrap());
        (machine, id)
    }

    #[test]
    fn a_peer_that_was_found_gone_is_none_until_there_is_another() {
        let (mut machine, id) = machine();
        for gone in 1..3 {
            machine.wait(id).unwrap();
            assert_eq!(machine.without_wake(), [(id, false)]);
            machine.set_connected(id);
            assert_eq!(machine.without_wake(), [(id, true)]);
            assert!(machine.peer_gone(id));
            assert_eq!(machine.without_wake(), []);
            let cause = Cause::PeerGone;
            let wake = Wake { channel: id, cause };
            assert_eq!(machine.next_wake(|_| true), Some(wake));
            assert_eq!(
                (machine.stats.peers_gone, machine.has_ready()),
                (gone, false)
            );
        }
    }

    #[test]
    fn a_wake_that_is_there_already_comes_first_and_the_peer_is_found_gone_later() {
        let (mut machine, id) = machine();
        machine.set_connected(id);
        machine.wait(id).unwrap();
        machine.overflow();
        assert!(!machine.peer_gone(id));
        let wake = machine.next_wake(|_| true).unwrap();
        assert_eq!(wake.cause, Cause::Overflow);
        machine.wait(id).unwrap();
        assert_eq!(machine.without_wake(), [(id, true)]);
    }

    #[test]
    fn a_wait_that_ended_meanwhile_leaves_it_to_the_next() {
        let (mut machine, id) = machine();
        machine.set_connected(id);
        assert!(machine.peer_gone(id));
        assert_eq!(machine.state(id), Ok(PortState::Latched(Cause::PeerGone)));
        assert_eq!(machine.stats.latched, 1);
        machine.unbind(id).unwrap();
        assert!(!machine.peer_gone(id));
    }

    #[test]
    fn the_next_owner_of_the_number_has_a_peer_of_its_own() {
        let (mut machine, id) = machine();
        machine.set_connected(id);
        machine.unbind(id).unwrap();
        let next = machine.bind(id.port());
        machine.wait(next).unwrap();
        assert_eq!(machine.without_wake(), [(next, false)]);
    }
}
