//! Which ports were delivered how often.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use evtchn::Port;

/// How often each port was delivered. It takes the place of a program's own table of ports, and costs every
/// implementation the same.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: Vec<AtomicU32>,
    total: AtomicUsize,
    ports: Vec<Port>,
}

impl Tally {
    /// Counts for these ports.
    pub(crate) fn new(ports: Vec<Port>) -> Tally {
        let last = ports.iter().max().map_or(0, |port| port.as_raw());
        Tally {
            counts: (0..=last).map(|_| AtomicU32::new(0)).collect(),
            total: AtomicUsize::new(0),
            ports,
        }
    }

    /// Counts one delivery. Other ports are ignored, such as the initial event of a B.
    pub(crate) fn count(&self, port: u32) {
        // One thread counts, so an addition need not be atomic, which is slow on some machines.
        if let Some(count) = self.counts.get(port as usize) {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let total = self.total.load(Ordering::Relaxed);
            self.total.store(total + 1, Ordering::Relaxed);
        }
    }

    /// All deliveries.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Fails unless each port was delivered once in each of so many rounds.
    pub(crate) fn check(&self, rounds: u32) -> Result<()> {
        for port in &self.ports {
            let count = self.counts[port.as_raw() as usize].load(Ordering::Relaxed);
            ensure!(
                count == rounds,
                "port {port} was delivered {count} times in {rounds} rounds"
            );
        }
        let expected = self.ports.len() * rounds as usize;
        ensure!(self.total() == expected, "an unknown port was delivered");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new([3, 5].into_iter().filter_map(Port::new).collect())
    }

    #[test]
    fn a_port_that_came_once_in_each_round_passes() {
        let tally = tally();
        tally.check(0).unwrap();
        for port in [3, 5, 5, 3] {
            tally.count(port);
        }
        tally.check(2).unwrap();
        assert_eq!(tally.total(), 4);
    }

    #[test]
    fn a_port_that_came_twice_in_place_of_another_fails() {
        let tally = tally();
        tally.count(3);
        tally.count(3);
        let error = tally.check(1).unwrap_err().to_string();
        assert_eq!(error, "port 3 was delivered 2 times in 1 rounds");
    }

    #[test]
    fn an_unknown_port_fails() {
        let tally = tally();
        for port in [3, 4, 5] {
            tally.count(port);
        }
        let error = tally.check(1).unwrap_err().to_string();
        assert_eq!(error, "an unknown port was delivered");
    }
}
