//! Adopting a device and its ports from another process.

use super::peers::Peer;
use super::port::{Cause, PortState};
use super::{ChannelId, Machine};
use crate::ids::Port;

impl Machine {
    /// Takes over the device of another process. An unbind there may have left an entry in the
    /// ring.
    pub(crate) fn adopt_device(&mut self) {
        self.dirty = true;
        // The device is read before the first bind makes room.
        self.inbox.grow(1);
    }

    /// Enters a port that another process had bound on the device, and what that process knew of
    /// its peer. Only that process knew whether the port is masked and which events were read. So
    /// the first wait gets a wake at once.
    pub(crate) fn adopt(&mut self, port: Port, peer: Peer) -> ChannelId {
        let id = self.bind(port);
        self.set_peer(id, peer);
        if let Ok(slot) = self.ports.by_id(id) {
            slot.state = PortState::Latched(Cause::Adopted);
        }
        id
    }
}
