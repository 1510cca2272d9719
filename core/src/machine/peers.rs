//! What the other end of a channel is, as far as it is known, and what became of it. Xen sends no event when a
//! peer connects, closes or dies, so somebody has to ask.

use alloc::vec::Vec;

use super::port::{Cause, PortEffect, PortInput, PortState};
use super::step::advance;
use super::{ChannelId, Machine, Wake};
use crate::ids::{DomId, RemotePort};
use crate::status::Status;

/// What is known of the peer of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Nothing: there was none yet, or the last one was found gone.
    Unknown,
    /// There was one, for an event came, but no check has seen it.
    Heard,
    /// The channel was bound to it, or a check saw it.
    Seen(RemotePort),
}

/// What a check finds out about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// A peer that was not known.
    Connected(RemotePort),
    /// The peer that was known is no longer there.
    Gone,
    /// Xen has closed the port, so the number is no longer ours.
    Closed,
}

impl Peer {
    /// What the status of the port says that was not known before.
    pub(crate) fn news(self, status: Status) -> Option<News> {
        match (self, status) {
            (Peer::Unknown | Peer::Heard, Status::Interdomain { remote }) => {
                Some(News::Connected(remote))
            }
            (Peer::Seen(peer), Status::Interdomain { remote }) => {
                (!is_same(peer, remote)).then_some(News::Gone)
            }
            (Peer::Heard | Peer::Seen(_), Status::Unbound { .. }) => Some(News::Gone),
            (Peer::Unknown, Status::Unbound { .. }) => None,
            (Peer::Unknown | Peer::Heard | Peer::Seen(_), Status::Closed) => Some(News::Closed),
            // It never was ours, or Xen closed it and gave the number to somebody else.
            (Peer::Seen(_), Status::Pirq { .. } | Status::Virq { .. } | Status::Ipi) => {
                Some(News::Closed)
            }
            (
                Peer::Unknown | Peer::Heard,
                Status::Pirq { .. } | Status::Virq { .. } | Status::Ipi,
            ) => None,
        }
    }
}

/// Whether the peer that was known is the one that Xen names. Xen names our own domain by its id,
/// and a bind may call it `self`.
fn is_same(known: RemotePort, now: RemotePort) -> bool {
    known.port == now.port && (known.domid == now.domid || known.domid == DomId::SELF)
}

impl Machine {
    /// The channels that somebody waits for and that have no wake yet, each with what is known of
    /// its peer.
    pub(crate) fn without_wake(&self) -> Vec<(ChannelId, Peer)> {
        let waiting = |state| matches!(state, PortState::Waiting | PortState::Unmasking);
        let slots = self.ports.iter();
        let waiting = slots.filter(|(_, slot)| waiting(slot.state));
        waiting
            .map(|(id, slot)| (id, self.known(id, slot.had_event())))
            .collect()
    }

    fn known(&self, id: ChannelId, had_event: bool) -> Peer {
        match self.ports.peer(id.port()) {
            Some(peer) => Peer::Seen(peer),
            None if had_event => Peer::Heard,
            None => Peer::Unknown,
        }
    }

    /// What a successor must know of the peer of a channel, so that a check tells it what nobody
    /// was told yet. A wake for the peer that was not handed over is lost with this context.
    pub(crate) fn bequest(&mut self, id: ChannelId) -> Peer {
        let Ok(slot) = self.ports.by_id(id) else {
            return Peer::Unknown;
        };
        let (state, had_event) = (slot.state, slot.had_event());
        match state {
            PortState::Latched(Cause::PeerGone) | PortState::Ready(Cause::PeerGone) => Peer::Heard,
            PortState::Latched(Cause::PeerConnected) | PortState::Ready(Cause::PeerConnected) => {
                Peer::Heard
            }
            PortState::Live
            | PortState::Waiting
            | PortState::Delivered
            | PortState::Masked
            | PortState::Unmasking
            | PortState::Latched(_)
            | PortState::Ready(_) => self.known(id, had_event),
        }
    }

    /// What is known of the peer of a channel from its bind or from another process.
    pub(crate) fn set_peer(&mut self, id: ChannelId, peer: Peer) {
        let Ok(slot) = self.ports.by_id(id) else {
            return;
        };
        match peer {
            Peer::Unknown => {}
            Peer::Heard => slot.note_event(),
            Peer::Seen(remote) => self.ports.connect(id.port(), remote),
        }
    }

    /// A check found this out about a channel. Says whether somebody is told, now or by the next
    /// wait. Where there is a wake that was not handed over, nothing changes, so the next check
    /// finds it again.
    pub(crate) fn apply_news(&mut self, id: ChannelId, news: News) -> bool {
        match news {
            News::Connected(remote) => {
                let is_told = self.tell_by(id, PortInput::PeerConnected, Cause::PeerConnected);
                if is_told {
                    self.ports.connect(id.port(), remote);
                    self.stats.peers_connected += 1;
                }
                is_told
            }
            News::Gone => {
                let is_told = self.tell_by(id, PortInput::PeerGone, Cause::PeerGone);
                if is_told {
                    self.forget_peer(id);
                    self.stats.peers_gone += 1;
                }
                is_told
            }
            News::Closed => self.close(id),
        }
    }

    fn tell_by(&mut self, id: ChannelId, input: PortInput, cause: Cause) -> bool {
        let Ok(slot) = self.ports.by_id(id) else {
            return false;
        };
        let effect = advance(id, slot, input, &mut self.count);
        if effect == PortEffect::Fire {
            self.ready.push_back(Wake { channel: id, cause });
        }
        self.stats.latched += u64::from(effect == PortEffect::Latch);
        matches!(effect, PortEffect::Fire | PortEffect::Latch)
    }

    /// The channel waits for a peer from now on, so nobody is told twice of the last one.
    fn forget_peer(&mut self, id: ChannelId) {
        self.ports.disconnect(id.port());
        if let Ok(slot) = self.ports.by_id(id) {
            slot.forget();
        }
    }

    /// The port of the channel was found closed: the channel is dead, and it is not to be unbound.
    fn close(&mut self, id: ChannelId) -> bool {
        let Ok(slot) = self.ports.unbind(id) else {
            return false;
        };
        self.count.leave(&slot);
        let is_told = slot.is_waited();
        self.wake_gone(id, slot);
        self.closed.insert(id);
        self.dirty = true;
        self.stats.closed += 1;
        is_told
    }

    /// Whether the port of the channel was found closed, for the drop of the channel, after which
    /// nothing is kept of it.
    pub(crate) fn take_closed(&mut self, id: ChannelId) -> bool {
        self.closed.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Owner;
    use super::*;
    use crate::ids::{Port, Virq};

    fn machine() -> (Machine, ChannelId) {
        let mut machine = Machine::new();
        let id = machine.bind(Port::new(5).unwrap());
        (machine, id)
    }

    fn remote(domid: DomId, port: u32) -> RemotePort {
        let port = Port::new(port).unwrap();
        RemotePort { domid, port }
    }

    fn theirs() -> RemotePort {
        remote(DomId::new(7), 3)
    }

    fn taken(machine: &mut Machine) -> Option<Cause> {
        machine.next_wake(|_| true).map(|wake| wake.cause)
    }

    /// The wait after a wake, outside of a round.
    fn wait(machine: &mut Machine, id: ChannelId) {
        machine.wait(id, Owner::NEXT).unwrap();
        machine.unmasked_one(id.port());
    }

    #[test]
    fn a_status_is_news_where_it_says_more_than_was_known() {
        let unknown = DomId::new(7);
        let seen = Peer::Seen(theirs());
        let connected = |remote| Status::Interdomain { remote };
        let unbound = Status::Unbound { remote: unknown };
        let virq = Status::Virq {
            virq: Virq::DOM_EXC,
        };
        let new = Some(News::Connected(theirs()));
        for (peer, status, news) in [
            (Peer::Unknown, connected(theirs()), new),
            (Peer::Heard, connected(theirs()), new),
            (seen, connected(theirs()), None),
            (seen, connected(remote(DomId::new(7), 4)), Some(News::Gone)),
            (seen, connected(remote(DomId::new(8), 3)), Some(News::Gone)),
            (Peer::Unknown, unbound, None),
            (Peer::Heard, unbound, Some(News::Gone)),
            (seen, unbound, Some(News::Gone)),
            (Peer::Unknown, Status::Closed, Some(News::Closed)),
            (Peer::Heard, Status::Closed, Some(News::Closed)),
            (seen, Status::Closed, Some(News::Closed)),
            (Peer::Unknown, virq, None),
            (Peer::Heard, virq, None),
            (seen, virq, Some(News::Closed)),
            (seen, Status::Ipi, Some(News::Closed)),
            (seen, Status::Pirq { pirq: 9 }, Some(News::Closed)),
        ] {
            assert_eq!(peer.news(status), news, "{peer:?}, {status:?}");
        }
    }

    #[test]
    fn a_bind_to_self_knows_its_peer_by_the_port() {
        let bound = Peer::Seen(remote(DomId::SELF, 3));
        let now = |port| Status::Interdomain {
            remote: remote(DomId::DOM0, port),
        };
        assert_eq!(bound.news(now(3)), None);
        assert_eq!(bound.news(now(4)), Some(News::Gone));
    }

    #[test]
    fn a_peer_is_told_connected_and_gone_once_and_so_is_the_next() {
        let (mut machine, id) = machine();
        for told in 1..3 {
            machine.wait(id, Owner::NEXT).unwrap();
            machine.unmasked_one(id.port());
            assert_eq!(machine.without_wake(), [(id, Peer::Unknown)]);
            assert!(machine.apply_news(id, News::Connected(theirs())));
            assert_eq!(machine.without_wake(), []);
            assert_eq!(taken(&mut machine), Some(Cause::PeerConnected));
            wait(&mut machine, id);
            assert_eq!(machine.without_wake(), [(id, Peer::Seen(theirs()))]);
            assert!(machine.apply_news(id, News::Gone));
            assert_eq!(machine.without_wake(), []);
            assert_eq!(taken(&mut machine), Some(Cause::PeerGone));
            let stats = machine.stats;
            assert_eq!((stats.peers_connected, stats.peers_gone), (told, told));
            assert!(!machine.has_ready());
        }
    }

    #[test]
    fn a_wake_that_is_there_already_comes_first_and_the_news_is_found_later() {
        for news in [News::Gone, News::Connected(remote(DomId::new(7), 4))] {
            let (mut machine, id) = machine();
            machine.set_peer(id, Peer::Seen(theirs()));
            machine.wait(id, Owner::NEXT).unwrap();
            machine.overflow();
            assert!(!machine.apply_news(id, news));
            assert_eq!(taken(&mut machine), Some(Cause::Overflow));
            machine.wait(id, Owner::NEXT).unwrap();
            assert_eq!(machine.without_wake(), [(id, Peer::Seen(theirs()))]);
        }
    }

    #[test]
    fn a_wait_that_ended_meanwhile_leaves_it_to_the_next() {
        let (mut machine, id) = machine();
        machine.set_peer(id, Peer::Seen(theirs()));
        assert!(machine.apply_news(id, News::Gone));
        assert_eq!(machine.state(id), Ok(PortState::Latched(Cause::PeerGone)));
        assert_eq!(machine.stats.latched, 1);
        machine.unbind(id).unwrap();
        for news in [News::Gone, News::Connected(theirs()), News::Closed] {
            assert!(!machine.apply_news(id, news));
        }
        assert!(!machine.take_closed(id));
    }

    #[test]
    fn the_next_owner_of_the_number_has_a_peer_of_its_own() {
        let (mut machine, id) = machine();
        machine.set_peer(id, Peer::Seen(theirs()));
        machine.set_peer(id, Peer::Heard);
        machine.unbind(id).unwrap();
        let next = machine.bind(id.port());
        machine.wait(next, Owner::NEXT).unwrap();
        assert_eq!(machine.without_wake(), [(next, Peer::Unknown)]);
        machine.set_peer(id, Peer::Seen(theirs()));
        assert_eq!(machine.without_wake(), [(next, Peer::Unknown)]);
    }

    /// Each way in which a wait follows an event: in the round, outside of one, and by a task.
    #[test]
    fn a_wait_after_an_event_has_heard_its_peer_and_one_after_anything_else_has_not() {
        let (mut machine, id) = machine();
        let known = |machine: &Machine| machine.without_wake()[0].1;
        wait(&mut machine, id);
        assert_eq!(known(&machine), Peer::Unknown);
        machine.overflow();
        assert_eq!(taken(&mut machine), Some(Cause::Overflow));
        assert!(!machine.wait_again(id), "that is for events");
        assert_eq!(
            machine.wait(id, Owner::NEXT),
            Ok(super::super::Waited::Unmask)
        );
        machine.queue_unmask(id.port());
        assert_eq!(machine.ports_to_unmask(), [id.port()]);
        machine.unmasked(1);
        assert_eq!(known(&machine), Peer::Unknown, "not written");
        assert_eq!(machine.ports_to_unmask(), [id.port()]);
        machine.unmasked(0);
        assert_eq!(machine.state(id), Ok(PortState::Waiting));
        assert_eq!(known(&machine), Peer::Unknown);
        // Cancelled before its unmask, and waited for again.
        machine.overflow();
        assert_eq!(taken(&mut machine), Some(Cause::Overflow));
        machine.wait(id, Owner::NEXT).unwrap();
        machine.cancel(id).unwrap();
        wait(&mut machine, id);
        assert_eq!(known(&machine), Peer::Unknown);

        heard(&mut machine, id);
        wait(&mut machine, id);
        assert_eq!(known(&machine), Peer::Heard);
        assert!(machine.apply_news(id, News::Gone));
        assert_eq!(taken(&mut machine), Some(Cause::PeerGone));
        wait(&mut machine, id);
        assert_eq!(known(&machine), Peer::Unknown);

        heard(&mut machine, id);
        assert!(machine.wait_again(id));
        assert_eq!(known(&machine), Peer::Heard);
        assert_eq!(machine.ports_to_unmask(), [id.port()]);
        machine.unmasked(0);
        assert_eq!(known(&machine), Peer::Heard);
        machine.cancel(id).unwrap();
        machine.wait(id, Owner::NEXT).unwrap();
        assert_eq!(known(&machine), Peer::Heard);
    }

    /// An event of the channel, which is waited for, is handed out.
    fn heard(machine: &mut Machine, id: ChannelId) {
        let word = id.port().as_raw();
        let filled = machine.inbox().fill(|room| {
            room[0] = word;
            Ok::<_, core::convert::Infallible>(1)
        });
        assert_eq!(filled, Ok(()));
        assert_eq!(taken(machine), Some(Cause::Event));
    }

    #[test]
    fn an_event_that_comes_behind_another_wake_is_heard_too() {
        let (mut machine, id) = machine();
        machine.overflow();
        let word = id.port().as_raw();
        let filled = machine.inbox().fill(|room| {
            room[0] = word;
            Ok::<_, core::convert::Infallible>(1)
        });
        assert_eq!(filled, Ok(()));
        machine.queue_unread();
        assert_eq!(
            machine.wait(id, Owner::of(super::super::Waiter::FIRST)),
            Ok(super::super::Waited::Ready(Cause::Overflow))
        );
        wait(&mut machine, id);
        assert_eq!(machine.without_wake(), [(id, Peer::Heard)]);
    }

    #[test]
    fn a_successor_is_told_what_nobody_was_told_yet() {
        let (mut machine, id) = machine();
        assert_eq!(machine.bequest(id), Peer::Unknown);
        machine.wait(id, Owner::NEXT).unwrap();
        assert!(machine.apply_news(id, News::Connected(theirs())));
        assert_eq!(machine.bequest(id), Peer::Heard);
        assert_eq!(taken(&mut machine), Some(Cause::PeerConnected));
        assert_eq!(machine.bequest(id), Peer::Seen(theirs()));
        wait(&mut machine, id);
        assert!(machine.apply_news(id, News::Gone));
        assert_eq!(machine.bequest(id), Peer::Heard);
        assert_eq!(taken(&mut machine), Some(Cause::PeerGone));
        assert_eq!(machine.bequest(id), Peer::Unknown);
        wait(&mut machine, id);
        heard(&mut machine, id);
        assert_eq!(machine.bequest(id), Peer::Heard);
        machine.unbind(id).unwrap();
        assert_eq!(machine.bequest(id), Peer::Unknown);
    }

    #[test]
    fn a_port_that_was_found_closed_is_remembered_until_its_channel_is_dropped() {
        let (mut machine, id) = machine();
        machine.wait(id, Owner::NEXT).unwrap();
        assert!(machine.apply_news(id, News::Closed));
        assert_eq!(taken(&mut machine), Some(Cause::Gone));
        assert!(machine.state(id).is_err() && machine.is_dirty());
        // The device fails, and the next one hands out the same number.
        machine.fault();
        let next = machine.bind(id.port());
        assert!(machine.take_closed(id) && !machine.take_closed(id));
        assert!(!machine.take_closed(next));
        // Where nobody waits any more, nobody is told.
        assert!(!machine.apply_news(next, News::Closed));
        assert_eq!((taken(&mut machine), machine.stats.closed), (None, 2));
    }
}
