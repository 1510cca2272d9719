//! Every free decision of a run comes from one [`Choice`]: same choice, same run.

mod explore;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use explore::Explored;
use explore::Path;

/// Where decisions come from: a seed, a script, the bytes of a fuzzer, or one run after the other
/// with all of them ([`exhaustive`](Self::exhaustive)). One scenario runs on each:
///
/// ```
/// use evtchn::sim::Choice;
///
/// fn scenario(mut choice: Choice) -> usize {
///     let (first, second) = (choice.of(3), choice.flip());
///     first + usize::from(second)
/// }
///
/// let (choice, taken) = Choice::seeded(7).recorded();
/// let once = scenario(choice);
/// assert_eq!(scenario(Choice::scripted(taken.script())), once);
/// assert_eq!(scenario(Choice::bytes([2, 1])), 3);
/// let all = Choice::exhaustive(100, |choice| assert!(scenario(choice) < 4));
/// assert_eq!((all.runs, all.complete), (6, true));
/// ```
#[derive(Debug, Clone)]
pub struct Choice {
    source: Source,
    asked: u64,
    taken: Option<Taken>,
    observer: Option<Observer>,
}

/// Called with each decision.
#[derive(Clone)]
struct Observer(Arc<dyn Fn(usize, usize) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
enum Source {
    Seeded(u64),
    Scripted {
        script: Vec<u32>,
        next: usize,
    },
    Bytes {
        bytes: Vec<u8>,
        next: usize,
    },
    /// One run of [`exhaustive`](Choice::exhaustive). Clones belong to the same run.
    Exhaustive(Arc<Mutex<Path>>),
}

/// The decisions that a [`recorded`](Choice::recorded) choice has made, in its clones too.
///
/// ```
/// use evtchn::sim::{Choice, Sim};
///
/// let (mut choice, taken) = Choice::seeded(7).recorded();
/// let ways = [choice.of(5), choice.of(2)];
/// assert_eq!(taken.script().len(), 2);
///
/// let mut again = Choice::scripted(taken.script());
/// assert_eq!([again.of(5), again.of(2)], ways);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Taken(Arc<Mutex<Vec<u32>>>);

impl Taken {
    /// The decisions so far, as a script that makes them again.
    #[must_use]
    pub fn script(&self) -> Vec<u32> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn push(&self, way: usize) {
        // A script takes its numbers modulo the ways, and no run has so many.
        let way = u32::try_from(way).unwrap_or(u32::MAX);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(way);
    }
}

impl Choice {
    /// Decisions drawn from a seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Choice {
        Choice::from(Source::Seeded(seed))
    }

    /// Decisions read from a list, each taken modulo the number of ways there are.
    /// After the end of the list the first way is taken every time.
    pub fn scripted(script: impl IntoIterator<Item = u32>) -> Choice {
        let script = script.into_iter().collect();
        Choice::from(Source::Scripted { script, next: 0 })
    }

    /// Decisions read from the bytes of a fuzzer: one byte each for up to 256 ways, two or more
    /// beyond, the low one first. After the end the first way is taken.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Choice {
        let bytes = bytes.into();
        Choice::from(Source::Bytes { bytes, next: 0 })
    }

    /// Runs `scenario` with every possible sequence of decisions, depth first and the first ways
    /// first, or with the first `bound` of them.
    ///
    /// # Panics
    /// Where the scenario panics, with the script of that run; and where it is not the same each
    /// time, that is, the same decisions led to a decision with another number of ways.
    pub fn exhaustive(bound: u64, scenario: impl FnMut(Choice)) -> Explored {
        explore::explore(bound, scenario)
    }

    /// The same decisions, recorded from now on.
    #[must_use]
    pub fn recorded(self) -> (Choice, Taken) {
        let taken = Taken::default();
        let choice = Choice {
            taken: Some(taken.clone()),
            ..self
        };
        (choice, taken)
    }

    /// The same decisions, and `report` is called for each one, in clones too, with the way that
    /// was taken and the number of ways.
    #[must_use]
    pub fn observed(self, report: impl Fn(usize, usize) + Send + Sync + 'static) -> Choice {
        Choice {
            observer: Some(Observer(Arc::new(report))),
            ..self
        }
    }

    /// Decides which of `ways` ways to take: a number below it. With fewer than two ways there is
    /// nothing to decide.
    pub fn of(&mut self, ways: usize) -> usize {
        if ways < 2 {
            return 0;
        }
        self.asked += 1;
        let drawn = match &mut self.source {
            Source::Seeded(state) => splitmix64(state),
            Source::Scripted { script, next } => {
                let drawn = script.get(*next).copied().unwrap_or(0);
                *next = next.saturating_add(1);
                u64::from(drawn)
            }
            Source::Bytes { bytes, next } => number(bytes, next, ways),
            Source::Exhaustive(path) => {
                let mut path = path.lock().unwrap_or_else(PoisonError::into_inner);
                path.step(ways) as u64
            }
        };
        // Both conversions keep the value: the remainder is below a usize.
        let way = usize::try_from(drawn % u64::try_from(ways).unwrap_or(u64::MAX)).unwrap_or(0);
        if let Some(taken) = &self.taken {
            taken.push(way);
        }
        if let Some(Observer(report)) = &self.observer {
            report(way, ways);
        }
        way
    }

    /// Yes or no.
    pub fn flip(&mut self) -> bool {
        self.of(2) == 1
    }

    /// Yes once in so many times; always for 0 and 1. The first way is no.
    pub fn once_in(&mut self, times: usize) -> bool {
        times < 2 || self.of(times) == times - 1
    }

    /// How many decisions were made. One with a single way does not count.
    #[must_use]
    pub const fn asked(&self) -> u64 {
        self.asked
    }

    const fn from(source: Source) -> Choice {
        Choice {
            source,
            asked: 0,
            taken: None,
            observer: None,
        }
    }
}

/// The next number, made of as many bytes as `ways` needs.
fn number(bytes: &[u8], next: &mut usize, ways: usize) -> u64 {
    let mut number = 0;
    let bits = usize::BITS - (ways - 1).leading_zeros();
    for shift in (0..bits).step_by(8) {
        let byte = bytes.get(*next).copied().unwrap_or(0);
        *next = next.saturating_add(1);
        number |= u64::from(byte) << shift;
    }
    number
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
