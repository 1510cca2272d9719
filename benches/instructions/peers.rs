//! The loops beside which the library is measured, on the same device.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use evtchn::{EventChannel, Port, PortBuf};

/// The limit: one read, a look into a table, one write of all.
pub(crate) struct Raw {
    fired: PortBuf,
    table: Vec<u32>,
    again: Vec<Port>,
}

impl Raw {
    pub(crate) fn new(ports: &[Port]) -> Raw {
        let most = ports.iter().map(|port| port.as_raw()).max().unwrap_or(0);
        Raw {
            fired: PortBuf::with_capacity(PortBuf::MAX),
            table: vec![0; most as usize + 1],
            again: Vec::new(),
        }
    }

    pub(crate) fn round(&mut self, device: &impl EventChannel) -> usize {
        let mut handled = 0;
        loop {
            device.pending(&mut self.fired).unwrap();
            self.again.clear();
            for word in self.fired.words() {
                let port = Port::try_from(*word).unwrap();
                self.table[port.as_raw() as usize] += 1;
                self.again.push(port);
            }
            handled += self.again.len();
            let mut left = &self.again[..];
            while !left.is_empty() {
                let written = device.unmask(left).unwrap();
                left = &left[written..];
            }
            if self.again.len() < PortBuf::MAX {
                return handled;
            }
        }
    }
}

/// libxl's structure: each read brings one port, which is looked up in a list of waiters; a
/// repeated wait is put first.
pub(crate) struct List {
    fired: PortBuf,
    waiters: VecDeque<Port>,
}

impl List {
    pub(crate) fn new(ports: &[Port]) -> List {
        List {
            fired: PortBuf::with_capacity(1),
            waiters: ports.iter().copied().collect(),
        }
    }

    pub(crate) fn round(&mut self, device: &impl EventChannel) -> usize {
        let mut handled = 0;
        loop {
            device.pending(&mut self.fired).unwrap();
            let Some(port) = self
                .fired
                .words()
                .first()
                .map(|word| Port::try_from(*word).unwrap())
            else {
                return handled;
            };
            let at = self.waiters.iter().position(|waiter| *waiter == port);
            self.waiters.remove(at.unwrap());
            device.unmask(&[port]).unwrap();
            self.waiters.push_front(port);
            handled += 1;
        }
    }
}

/// krata's structure: each read brings one port, whose notifier stands in a hash map.
pub(crate) struct Map {
    fired: PortBuf,
    /// With the hash that a map has by default, but the same places in every run.
    notifiers: HashMap<Port, Arc<AtomicU32>, BuildHasherDefault<DefaultHasher>>,
}

impl Map {
    pub(crate) fn new(ports: &[Port]) -> Map {
        let notifier = |port: &Port| (*port, Arc::default());
        Map {
            fired: PortBuf::with_capacity(1),
            notifiers: ports.iter().map(notifier).collect(),
        }
    }

    pub(crate) fn round(&mut self, device: &impl EventChannel) -> usize {
        let mut handled = 0;
        loop {
            device.pending(&mut self.fired).unwrap();
            let Some(port) = self
                .fired
                .words()
                .first()
                .map(|word| Port::try_from(*word).unwrap())
            else {
                return handled;
            };
            let notifier = self.notifiers.get(&port).map(Arc::clone).unwrap();
            notifier.fetch_add(1, Ordering::SeqCst);
            device.unmask(&[port]).unwrap();
            handled += 1;
        }
    }
}
