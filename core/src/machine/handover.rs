//! Ports that another process had bound.

use super::port::{Cause, PortState};
use super::{ChannelId, Machine};
use crate::ids::Port;

impl Machine {
    /// Enters a port that another process had bound on the device. Whether it is enabled and
    /// what was read of it, only that process knew: its first wait is ready at once.
    pub(crate) fn adopt(&mut self, port: Port) -> ChannelId {
        let id = self.bind(port);
        if let Ok(slot) = self.ports.by_id(id) {
            slot.state = PortState::Latched(Cause::Adopted);
        }
        // An unbind of that process may have left an entry too.
        self.dirty = true;
        id
    }
}
