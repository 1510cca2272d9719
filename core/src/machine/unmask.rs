//! Ports that are queued to be unmasked together, by one write.

use super::port::{PortInput, PortState};
use super::step::advance;
use super::{Machine, cells};
use crate::ids::Port;

impl Machine {
    /// Whether ports are queued.
    #[inline]
    pub(crate) fn has_unmasks(&self) -> bool {
        !self.to_unmask.is_empty()
    }

    /// Queues a port for the unmask at the end of the round.
    #[inline]
    pub(crate) fn queue_unmask(&mut self, port: Port) {
        if self.ports.await_next(port) {
            self.to_unmask.push(port);
        }
    }

    /// One port was unmasked, by itself.
    pub(crate) fn unmasked_one(&mut self, port: Port) {
        if let Some((id, slot)) = self.ports.by_word(port.as_raw()) {
            advance(id, slot, PortInput::Unmasked, &mut self.count);
        }
    }

    /// The queued ports that are still to be unmasked, each once. They count as unmasked from now
    /// on; the caller passes the result to [`unmasked`](Self::unmasked).
    #[inline]
    pub(crate) fn ports_to_unmask(&mut self) -> &[Port] {
        if self.ports.was_early() {
            self.sift();
        }
        if !self.to_unmask.is_empty() {
            cells::port(PortState::Unmasking, PortInput::Unmasked);
        }
        &self.to_unmask
    }

    /// Looks at every queued port, because some may be stale or there twice.
    #[cold]
    fn sift(&mut self) {
        self.to_unmask
            .retain(|port| match self.ports.slot(port.as_raw()) {
                Some(slot) if slot.state == PortState::Unmasking => {
                    // It is waited for before and after, so the counts stay.
                    slot.state = PortState::Waiting;
                    true
                }
                Some(_) | None => false,
            });
    }

    /// The last `left` ports of [`ports_to_unmask`](Self::ports_to_unmask) were not unmasked.
    #[inline]
    pub(crate) fn unmasked(&mut self, left: usize) {
        if self.to_unmask.is_empty() {
            return;
        }
        self.ports.unmasked();
        if left == 0 {
            self.to_unmask.clear();
        } else {
            self.queue_unmasks_again(left);
        }
    }

    #[cold]
    fn queue_unmasks_again(&mut self, left: usize) {
        let unmasked = self.to_unmask.len().saturating_sub(left);
        self.to_unmask.drain(..unmasked);
        self.anticipate_unmasks();
    }

    /// Keeps each port that is to be unmasked in the queue once.
    #[cold]
    pub(super) fn tidy_unmasks(&mut self) {
        self.sift();
        self.anticipate_unmasks();
    }

    fn anticipate_unmasks(&mut self) {
        for port in &self.to_unmask {
            if let Some(slot) = self.ports.slot(port.as_raw()) {
                slot.state = PortState::Unmasking;
            }
            let _as_before = self.ports.await_next(*port);
        }
    }
}
