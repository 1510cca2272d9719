//! Virtual time: it moves only on demand, and timers run in the order in which they are due.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The time since the start of the world, and the timers.
pub(crate) struct Clock<A> {
    now: Duration,
    /// By deadline; the second number keeps the order in which they were set.
    timers: BTreeMap<(Duration, u64), A>,
    set: u64,
}

impl<A> Clock<A> {
    pub(crate) const fn new() -> Clock<A> {
        Clock {
            now: Duration::ZERO,
            timers: BTreeMap::new(),
            set: 0,
        }
    }

    pub(crate) const fn now(&self) -> Duration {
        self.now
    }

    /// Sets a timer that is due after `delay`.
    pub(crate) fn after(&mut self, delay: Duration, action: A) {
        self.set += 1;
        let deadline = self.now.saturating_add(delay);
        self.timers.insert((deadline, self.set), action);
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Moves on to the next timer that is due by `until` and takes it; where there is none,
    /// moves on to `until`. Time never goes back.
    pub(crate) fn next(&mut self, until: Duration) -> Option<A> {
        match self.timers.first_entry() {
            Some(timer) if timer.key().0 <= until => {
                let ((at, _), action) = timer.remove_entry();
                self.now = self.now.max(at);
                Some(action)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}

impl<A> fmt::Debug for Clock<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("now", &self.now)
            .field("timers", &self.timers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn timers_are_due_by_deadline_then_in_the_order_they_were_set() {
        let mut clock = Clock::new();
        for (delay, name) in [(3, "c"), (1, "a"), (3, "d"), (2, "b"), (9, "z")] {
            clock.after(s(delay), name);
        }
        assert_eq!(clock.next_deadline(), Some(s(1)));
        let mut seen = Vec::new();
        while let Some(name) = clock.next(s(5)) {
            seen.push((clock.now().as_secs(), name));
        }
        assert_eq!(seen, [(1, "a"), (2, "b"), (3, "c"), (3, "d")]);
        assert_eq!((clock.now(), clock.next_deadline()), (s(5), Some(s(9))));
    }

    #[test]
    fn time_neither_goes_back_nor_overflows() {
        let mut clock = Clock::new();
        assert_eq!(clock.next(s(5)), None);
        clock.after(Duration::MAX, ());
        assert_eq!(clock.next(s(1)), None);
        assert_eq!(clock.now(), s(5));
        assert_eq!(clock.next_deadline(), Some(Duration::MAX));
    }
}
