//! Notices a script that does not end, for example because the code under test loops for ever.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often it looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// A script that a thread is still playing after this many looks does not end. Looks are counted, not
/// time, because a process may have been stopped meanwhile.
const LOOKS: u32 = 10;
/// The number that means no script.
const NONE: u64 = u64::MAX;

/// The script that each thread plays.
pub(super) struct Playing(Vec<AtomicU64>);

/// The script that each thread was last seen with, and how many times.
pub(super) struct Watchdog(Vec<(u64, u32)>);

impl Playing {
    pub(super) fn new(threads: usize) -> Playing {
        Playing((0..threads).map(|_| AtomicU64::new(NONE)).collect())
    }

    /// A thread plays this script, or none.
    pub(super) fn set(&self, thread: usize, script: Option<u64>) {
        if let Some(playing) = self.0.get(thread) {
            playing.store(script.unwrap_or(NONE), Ordering::Relaxed);
        }
    }
}

impl Watchdog {
    pub(super) fn of(playing: &Playing) -> Watchdog {
        Watchdog(vec![(NONE, 0); playing.0.len()])
    }

    /// Looks once. Returns a script that does not end, once for each.
    pub(super) fn look(&mut self, playing: &Playing) -> Option<u64> {
        let mut hangs = None;
        for ((before, times), playing) in self.0.iter_mut().zip(&playing.0) {
            let now = playing.load(Ordering::Relaxed);
            if now == NONE || now != *before {
                (*before, *times) = (now, 0);
                continue;
            }
            *times = times.saturating_add(1);
            if *times == LOOKS {
                hangs = Some(now);
            }
        }
        hangs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_does_not_end_is_reported_once() {
        let playing = Playing::new(3);
        let mut watchdog = Watchdog::of(&playing);
        playing.set(1, Some(7));
        let reported = (0..40).filter_map(|look| {
            // The thread beside it goes on, and the third one waits for work.
            playing.set(0, Some(100 + look / 9));
            watchdog.look(&playing).map(|script| (look, script))
        });
        assert_eq!(reported.collect::<Vec<_>>(), [(10, 7)]);
    }
}
