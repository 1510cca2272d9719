//! Whether the device is read before the loop sleeps: worth it where the next event usually is there
//! already, since the read that finds one saves the poll.

use std::sync::atomic::{AtomicU32, Ordering};

/// How often early reads found something lately, and how many sleeps there were since the last one.
///
/// Several threads may use it at once. Then the guess may be worse, which does no harm. So the atomics
/// are those of std, and not those of `sync`, which the schedule checker replaces.
#[derive(Debug, Default)]
pub(super) struct EarlyReads {
    /// Raised by one for each early read that finds something, up to [`MOST`]; halved for each that
    /// finds nothing.
    found: AtomicU32,
    /// Sleeps since the last early read.
    sleeps: AtomicU32,
}

const MOST: u32 = 8;
/// After so many sleeps an early read is tried, even where the last ones found nothing.
const SLEEPS: u32 = 128;

impl EarlyReads {
    /// Called before a sleep. Returns whether to read before it.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        if self.found.load(Ordering::Relaxed) > 0 {
            return true;
        }
        let sleeps = self.sleeps.load(Ordering::Relaxed) + 1;
        self.sleeps.store(sleeps % SLEEPS, Ordering::Relaxed);
        sleeps == SLEEPS
    }

    /// Notes whether the early read found something.
    #[inline]
    pub(super) fn note(&self, has_found: bool) {
        let found = self.found.load(Ordering::Relaxed);
        let found = match has_found {
            true => MOST.min(found + 1),
            false => found / 2,
        };
        self.found.store(found, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through `sleeps` sleeps, and counts how many of them an early read comes before. Each early
    /// read finds something if `finds` is true.
    fn reads(early: &EarlyReads, sleeps: usize, finds: bool) -> usize {
        let due = (0..sleeps).filter(|_| {
            let is_due = early.is_due();
            if is_due {
                early.note(finds);
            }
            is_due
        });
        due.count()
    }

    #[test]
    fn a_loop_whose_early_reads_find_nothing_makes_less_than_one_in_a_hundred_sleeps() {
        let early = EarlyReads::default();
        assert_eq!(reads(&early, 12_800, false), 100);
    }

    #[test]
    fn a_loop_whose_early_reads_find_events_makes_one_for_each_sleep() {
        let early = EarlyReads::default();
        assert_eq!(reads(&early, 127, true), 0);
        assert_eq!(reads(&early, 1_000, true), 1_000);
        // It goes back to sleeping after a few that find nothing.
        assert_eq!(reads(&early, 127, false), 4);
    }
}
