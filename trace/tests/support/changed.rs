//! Traces with one changed byte.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use evtchn_sim::Choice;
use evtchn_trace::{BadTrace, Replayed, Trace};

use super::seal::seal;

/// How many changed traces were refused, differed, or replayed the same.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) refused: usize,
    pub(crate) differs: usize,
    pub(crate) same: usize,
}

impl Outcomes {
    pub(crate) fn count(&mut self, replayed: &Result<Replayed, BadTrace>) {
        match replayed {
            Ok(Replayed::Same(_)) => self.same += 1,
            Ok(Replayed::Differs(difference)) => {
                assert!(difference.line > 1 && difference.expected != difference.got);
                self.differs += 1;
            }
            Err(bad) => {
                assert!(bad.line > 0 && !bad.kind.to_string().is_empty());
                self.refused += 1;
            }
        }
    }
}

/// Changes one byte, at 100 places in turn, and replays the result. With `sealed` the digest is
/// computed again, so only the lines themselves can show the change.
pub(crate) fn changed_bytes(
    bytes: &[u8],
    sealed: bool,
    replay: impl Fn(&Trace) -> Result<Replayed, BadTrace>,
) -> Outcomes {
    let mut choice = Choice::seeded(100);
    let mut outcomes = Outcomes::default();
    let end = bytes[..bytes.len() - 1].iter().rposition(|it| *it == b'\n');
    let lines = end.unwrap() + 1;
    for turn in 0..100 {
        let mut place = choice.of(if sealed { lines } else { bytes.len() });
        let mut changed = bytes.to_vec();
        let by = u8::try_from(1 + choice.of(255)).unwrap();
        // A digit that becomes another one leaves JSON that says something else.
        if sealed || turn % 2 == 0 {
            while !changed[place].is_ascii_digit() {
                place = (place + 1) % lines;
            }
            changed[place] = b'0' + (changed[place] - b'0' + 1 + by % 9) % 10;
        } else {
            changed[place] ^= by;
        }
        if sealed {
            changed.truncate(lines);
            changed.extend_from_slice(seal(&changed).as_bytes());
        }
        let played = Trace::read(&changed).and_then(|trace| replay(&trace));
        outcomes.count(&played);
    }
    outcomes
}
