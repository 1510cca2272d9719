//! Ports that are gathered to be enabled again, by one write.

use super::port::{PortInput, PortState};
use super::step::advance;
use super::{Machine, cells};
use crate::ids::Port;

impl Machine {
    /// Gathers a port for the write-back at the end of the round.
    #[inline]
    pub(crate) fn gather(&mut self, port: Port) {
        if self.ports.await_next(port) {
            self.rearm.push(port);
        }
    }

    /// The write-back of one port was done.
    pub(crate) fn written(&mut self, port: Port) {
        if let Some((id, slot)) = self.ports.by_word(port.as_raw()) {
            advance(id, slot, PortInput::Written, &mut self.count);
        }
    }

    /// The gathered ports that are still to be written, each once, now counted as written. What
    /// came of it is told to [`flushed`](Self::flushed).
    #[inline]
    pub(crate) fn rearms(&mut self) -> &[Port] {
        if self.ports.was_early() {
            self.sift();
        }
        if !self.rearm.is_empty() {
            cells::port(PortState::Rearming, PortInput::Written);
        }
        &self.rearm
    }

    /// Looks at every gathered port, since some of them may have gone, or may be there twice.
    #[cold]
    fn sift(&mut self) {
        self.rearm
            .retain(|port| match self.ports.slot(port.as_raw()) {
                Some(slot) if slot.state == PortState::Rearming => {
                    // Waited for before and after.
                    slot.state = PortState::Waiting;
                    true
                }
                Some(_) | None => false,
            });
    }

    /// Of the list that [`rearms`](Self::rearms) gave, the last `left` were not written.
    #[inline]
    pub(crate) fn flushed(&mut self, left: usize) {
        if self.rearm.is_empty() {
            return;
        }
        self.ports.written();
        if left == 0 {
            self.rearm.clear();
        } else {
            self.gather_again(left);
        }
    }

    #[cold]
    fn gather_again(&mut self, left: usize) {
        let written = self.rearm.len().saturating_sub(left);
        self.rearm.drain(..written);
        self.anticipate_rearms();
    }

    /// Leaves each port that is to be written in the list once.
    #[cold]
    pub(super) fn tidy_rearm(&mut self) {
        self.sift();
        self.anticipate_rearms();
    }

    fn anticipate_rearms(&mut self) {
        for port in &self.rearm {
            if let Some(slot) = self.ports.slot(port.as_raw()) {
                slot.state = PortState::Rearming;
            }
            let _as_before = self.ports.await_next(*port);
        }
    }
}
