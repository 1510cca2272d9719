//! What is known of the peer of each channel, and what a check finds. Xen sends no event when a
//! peer connects, closes or dies, so the context has to ask.

use alloc::vec::Vec;

use super::port::{Cause, PortEffect, PortInput, PortState};
use super::step::advance;
use super::{ChannelId, Machine, Wake};
use crate::ids::{DomId, RemotePort};
use crate::status::Status;

/// What is known of the peer of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Nothing: there was no peer yet, or the last one was found gone.
    Unknown,
    /// There was a peer, because an event came, but no check has seen it.
    HadEvent,
    /// The channel was bound to it, or a check saw it.
    Seen(RemotePort),
}

/// What a check found out about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// A peer that was not known has connected.
    Connected(RemotePort),
    /// The peer that was known is no longer there.
    Gone,
    /// Xen has closed the port, so the number is no longer ours.
    Closed,
}

impl Peer {
    /// What is new in the status of the port, compared with what is known.
    pub(crate) fn news(self, status: Status) -> Option<News> {
        match (self, status) {
            (Peer::Unknown | Peer::HadEvent, Status::Interdomain { remote }) => {
                Some(News::Connected(remote))
            }
            (Peer::Seen(peer), Status::Interdomain { remote }) => {
                (!is_same(peer, remote)).then_some(News::Gone)
            }
            (Peer::HadEvent | Peer::Seen(_), Status::Unbound { .. }) => Some(News::Gone),
            (Peer::Unknown, Status::Unbound { .. }) => None,
            (Peer::Unknown | Peer::HadEvent | Peer::Seen(_), Status::Closed) => Some(News::Closed),
            // The port never was ours, or Xen closed it and gave the number to another binding.
            (Peer::Seen(_), Status::Pirq { .. } | Status::Virq { .. } | Status::Ipi) => {
                Some(News::Closed)
            }
            (
                Peer::Unknown | Peer::HadEvent,
                Status::Pirq { .. } | Status::Virq { .. } | Status::Ipi,
            ) => None,
        }
    }
}

/// Whether the known peer is the one that Xen names. Xen names our own domain by its id, but a bind
/// may have named it `self`.
fn is_same(known: RemotePort, now: RemotePort) -> bool {
    known.port == now.port && (known.domid == now.domid || known.domid == DomId::SELF)
}

impl Machine {
    /// The channels that are waited for and have no wake yet, each with what is known of its peer.
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
            None if had_event => Peer::HadEvent,
            None => Peer::Unknown,
        }
    }

    /// What to hand over about the peer of a channel, so that the next check of the successor
    /// reports what was not reported yet. A wake about the peer that was not handed out is lost
    /// with this context.
    pub(crate) fn peer_to_hand_over(&mut self, id: ChannelId) -> Peer {
        let Ok(slot) = self.ports.by_id(id) else {
            return Peer::Unknown;
        };
        let (state, had_event) = (slot.state, slot.had_event());
        match state {
            PortState::Latched(Cause::PeerGone) | PortState::Ready(Cause::PeerGone) => {
                Peer::HadEvent
            }
            PortState::Latched(Cause::PeerConnected) | PortState::Ready(Cause::PeerConnected) => {
                Peer::HadEvent
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

    /// Sets what is known of the peer of a channel, from its bind or from another process.
    pub(crate) fn set_peer(&mut self, id: ChannelId, peer: Peer) {
        let Ok(slot) = self.ports.by_id(id) else {
            return;
        };
        match peer {
            Peer::Unknown => {}
            Peer::HadEvent => slot.note_event(),
            Peer::Seen(remote) => self.ports.connect(id.port(), remote),
        }
    }

    /// Applies what a check found out about a channel. Returns whether a wait ends with it, now or
    /// at its beginning. If the channel has a wake that was not handed out, nothing changes, and
    /// the next check finds the news again.
    pub(crate) fn apply_news(&mut self, id: ChannelId, news: News) -> bool {
        match news {
            News::Connected(remote) => {
                let is_reported = self.end_wait(id, PortInput::PeerConnected, Cause::PeerConnected);
                if is_reported {
                    self.ports.connect(id.port(), remote);
                    self.stats.peers_connected += 1;
                }
                is_reported
            }
            News::Gone => {
                let is_reported = self.end_wait(id, PortInput::PeerGone, Cause::PeerGone);
                if is_reported {
                    self.forget_peer(id);
                    self.stats.peers_gone += 1;
                }
                is_reported
            }
            News::Closed => self.close(id),
        }
    }

    /// Ends the wait with this cause, or keeps it for the next wait. Returns whether it did.
    fn end_wait(&mut self, id: ChannelId, input: PortInput, cause: Cause) -> bool {
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

    /// Forgets the peer, so that it is not reported gone twice.
    fn forget_peer(&mut self, id: ChannelId) {
        self.ports.disconnect(id.port());
        if let Ok(slot) = self.ports.by_id(id) {
            slot.forget();
        }
    }

    /// The port of the channel was found closed: the channel is dead, and must not be unbound.
    fn close(&mut self, id: ChannelId) -> bool {
        let Ok(slot) = self.ports.unbind(id) else {
            return false;
        };
        self.count.leave(&slot);
        let is_reported = slot.is_waited();
        self.wake_unbound(id, slot, Cause::Gone);
        self.closed.insert(id);
        self.dirty = true;
        self.stats.closed += 1;
        is_reported
    }

    /// Whether the port of the channel was found closed. Called when the channel is dropped: it
    /// forgets that.
    pub(crate) fn take_closed(&mut self, id: ChannelId) -> bool {
        self.closed.remove(&id)
    }
}

#[cfg(test)]
mod tests;
