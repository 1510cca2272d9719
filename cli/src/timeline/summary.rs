//! The summary of a trace: counts, and a line of text.

use std::fmt::{self, Display, Formatter};

use evtchn_trace::{Header, Source};
use indicatif::HumanCount;

use super::lanes::Kind;

/// The source of a trace, and the count of each kind of mark.
#[derive(Debug)]
pub(crate) struct Summary {
    source: Source,
    seed: Option<u64>,
    /// How many lines the trace has.
    pub(crate) lines: usize,
    /// Whether it was cut off after these.
    pub(crate) is_cut: bool,
    pub(crate) ports: usize,
    counts: [usize; Kind::ALL.len()],
}

impl Summary {
    /// An empty summary of a trace with this first line.
    pub(crate) const fn new(header: &Header) -> Summary {
        Summary {
            source: header.source,
            seed: header.seed,
            lines: 0,
            is_cut: false,
            ports: 0,
            counts: [0; Kind::ALL.len()],
        }
    }

    pub(crate) const fn add(&mut self, kind: Kind) {
        self.counts[kind as usize] += 1;
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.source, self.seed) {
            (Source::Sim, Some(seed)) => write!(f, "simulator, seed {seed}")?,
            (Source::Sim, None) => f.write_str("simulator")?,
            (Source::Xen, _) => f.write_str("/dev/xen/evtchn")?,
            (Source::Script, _) => f.write_str("script of the checks")?,
        }
        let count = |kind: Kind| self.counts[kind as usize];
        let wakes = count(Kind::Wake) + count(Kind::Alarm);
        let always = [(self.lines, "line"), (self.ports, "port"), (wakes, "wake")];
        let kinds = [
            (Kind::Latch, "latch"),
            (Kind::Overflow, "overflow"),
            (Kind::Fault, "fault"),
        ];
        let optional = kinds.map(|(kind, name)| (count(kind), name));
        let optional = optional.into_iter().filter(|(count, _)| *count > 0);
        for (count, name) in always.into_iter().chain(optional) {
            write!(f, " · {}", many(count, name))?;
        }
        if self.is_cut {
            f.write_str(" · cut off")?;
        }
        Ok(())
    }
}

/// A number with its noun.
pub(crate) fn many(count: usize, name: &str) -> String {
    match (count, name.ends_with("ch")) {
        (1, _) => format!("1 {name}"),
        (_, true) => format!("{} {name}es", thousands(count)),
        (_, false) => format!("{} {name}s", thousands(count)),
    }
}

/// A number with commas: 1,234,567.
pub(crate) fn thousands(number: usize) -> HumanCount {
    HumanCount(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_nouns_their_plural() {
        assert_eq!(many(1, "latch"), "1 latch");
        assert_eq!(many(2, "latch"), "2 latches");
        assert_eq!(many(0, "fault"), "0 faults");
        assert_eq!(many(1_234_567, "wake"), "1,234,567 wakes");
    }
}
