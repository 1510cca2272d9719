//! The summary of a trace: counts, and a line of text.

use std::fmt::{self, Display, Formatter};

use crate::{Header, Source};

use super::lanes::Kind;

/// The source of a trace, and the count of each kind of mark.
#[derive(Debug)]
pub(super) struct Summary {
    source: Source,
    seed: Option<u64>,
    /// How many lines the trace has.
    pub(super) lines: usize,
    /// Whether it was cut off after these.
    pub(super) is_cut: bool,
    pub(super) ports: usize,
    counts: [usize; Kind::ALL.len()],
}

impl Summary {
    /// An empty summary of a trace with this first line.
    pub(super) const fn new(header: &Header) -> Summary {
        Summary {
            source: header.source,
            seed: header.seed,
            lines: 0,
            is_cut: false,
            ports: 0,
            counts: [0; Kind::ALL.len()],
        }
    }

    pub(super) const fn add(&mut self, kind: Kind) {
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
pub(super) fn many(count: usize, name: &str) -> String {
    match (count, name.ends_with("ch")) {
        (1, _) => format!("1 {name}"),
        (_, true) => format!("{} {name}es", thousands(count)),
        (_, false) => format!("{} {name}s", thousands(count)),
    }
}

/// A number with commas: 1,234,567.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
