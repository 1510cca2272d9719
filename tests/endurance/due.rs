//! The wakes that are due.

use evtchn_core::Port;

/// How many wakes of each port are still to come. Grows only with the highest port.
#[derive(Debug, Default)]
pub(crate) struct Due {
    by_port: Vec<u8>,
    total: usize,
}

fn index(port: Port) -> usize {
    usize::try_from(port.as_raw()).unwrap()
}

impl Due {
    /// One more wake is due on this port.
    pub(crate) fn add(&mut self, port: Port) {
        let index = index(port);
        if index >= self.by_port.len() {
            self.by_port.resize(index + 1, 0);
        }
        self.by_port[index] += 1;
        self.total += 1;
    }

    /// Takes a wake of the port. False if none was due.
    pub(crate) fn take(&mut self, port: Port) -> bool {
        let was_due = self.on(port) > 0;
        if was_due {
            self.by_port[index(port)] -= 1;
            self.total -= 1;
        }
        was_due
    }

    /// No wake is due on this port any more, since it was unbound.
    pub(crate) fn forget(&mut self, port: Port) {
        while self.take(port) {}
    }

    /// How many are due on this port.
    pub(crate) fn on(&self, port: Port) -> u8 {
        self.by_port.get(index(port)).copied().unwrap_or(0)
    }

    /// How many are due on all ports.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}
