//! Failures set by a test: which call, the how manieth, and what becomes of it.

use crate::errno::Errno;
use crate::error::Call;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It fails with this errno and does nothing.
    Fail(Errno),
    /// It moves at most this many ports.
    Short(usize),
}

/// Faults in the order they were set.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    call: Call,
    /// How many such calls go by first.
    skip: u64,
    verdict: Verdict,
}

impl Faults {
    /// Sets a fault for the `nth` call of this kind from now on; 0 and 1 both mean the next.
    pub(crate) fn set(&mut self, call: Call, nth: u64, verdict: Verdict) {
        let skip = nth.saturating_sub(1);
        self.rules.push(Rule {
            call,
            skip,
            verdict,
        });
    }

    /// The verdict on a call that is made now. A fault happens once; of two that are due the
    /// one that was set first, and the other at the next call.
    #[inline]
    pub(crate) fn verdict(&mut self, call: Call) -> Option<Verdict> {
        if self.rules.is_empty() {
            return None;
        }
        let mut due = None;
        for (index, rule) in self.rules.iter_mut().enumerate() {
            if rule.call != call {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if due.is_none() {
                due = Some(index);
            }
        }
        due.map(|index| self.rules.remove(index).verdict)
    }

    /// How many faults have not happened yet.
    pub(crate) fn left(&self) -> usize {
        self.rules.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_happen_once_each_at_their_call() {
        let mut faults = Faults::default();
        let fail = |errno| Some(Verdict::Fail(errno));
        faults.set(Call::Notify, 1, Verdict::Fail(Errno::EIO));
        faults.set(Call::Notify, 2, Verdict::Fail(Errno::EINTR));
        faults.set(Call::Notify, 2, Verdict::Fail(Errno::ENOMEM));
        faults.set(Call::Unmask, 3, Verdict::Short(1));
        assert_eq!(faults.verdict(Call::Open), None);
        assert_eq!(faults.verdict(Call::Notify), fail(Errno::EIO));
        assert_eq!(faults.verdict(Call::Notify), fail(Errno::EINTR));
        assert_eq!(faults.verdict(Call::Notify), fail(Errno::ENOMEM));
        assert_eq!(faults.verdict(Call::Notify), None);
        assert_eq!(faults.left(), 1);
        assert_eq!(
            [faults.verdict(Call::Unmask), faults.verdict(Call::Unmask)],
            [None; 2]
        );
        assert_eq!(faults.verdict(Call::Unmask), Some(Verdict::Short(1)));
        assert_eq!(faults.left(), 0);
    }
}
