//! Ports that another process had bound.

use super::peers::Peer;
use super::port::{Cause, PortState};
use super::{ChannelId, Machine};
use crate::ids::Port;

impl Machine {
    /// Takes over the device of another process, of which an unbind may have left an entry.
    pub(crate) fn adopt_device(&mut self) {
        self.dirty = true;
        // It is read before the first bind makes room.
        self.inbox.grow(1);
    }

    /// Enters a port that another process had bound on the device, and what that process knew of its
    /// peer. Whether it is enabled and what was read of it, only that process knew: its first wait
    /// gets a wake at once.
    pub(crate) fn adopt(&mut self, port: Port, peer: Peer) -> ChannelId {
        let id = self.bind(port);
        self.set_peer(id, peer);
        if let Ok(slot) = self.ports.by_id(id) {
            slot.state = PortState::Latched(Cause::Adopted);
        }
        id
    }
}
