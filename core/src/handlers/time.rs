//! Time as the caller passes it, which may go back.

use std::time::Duration;

/// Time that never goes back: a step back counts as none.
#[derive(Debug, Default)]
pub(super) struct Time {
    said: Duration,
    /// The sum of all steps back.
    ahead: Duration,
}

impl Time {
    pub(super) fn pass(&mut self, said: Duration) -> Duration {
        let back = self.said.saturating_sub(said);
        self.ahead = self.ahead.saturating_add(back);
        self.said = said;
        said.saturating_add(self.ahead)
    }

    pub(super) fn at(&self, said: Duration) -> Duration {
        said.max(self.said).saturating_add(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_step_back_counts_as_time_that_stood_still() {
        let mut time = Time::default();
        assert_eq!((time.pass(s(5)), time.pass(s(7))), (s(5), s(7)));
        assert_eq!((time.at(s(3)), time.pass(s(3))), (s(7), s(7)));
        assert_eq!((time.at(s(4)), time.pass(s(4))), (s(8), s(8)));
        assert_eq!(time.pass(Duration::MAX), Duration::MAX);
        assert_eq!(time.pass(s(0)), Duration::MAX);
    }
}
