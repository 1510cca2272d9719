//! Runs a scenario with every sequence of decisions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Choice, Source};

/// The result of [`Choice::exhaustive`].
///
/// ```
/// use evtchn::sim::Choice;
///
/// let all = Choice::exhaustive(100, |mut choice| {
///     assert!(choice.of(2) + choice.of(3) < 4);
/// });
/// assert_eq!((all.runs, all.complete), (6, true));
/// let some = Choice::exhaustive(4, |mut choice| assert!(choice.of(9) < 9));
/// assert_eq!((some.runs, some.complete), (4, false));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    /// How often the scenario ran.
    pub runs: u64,
    /// Whether those were all the runs there are; otherwise the bound ended it.
    pub complete: bool,
}

/// The decisions of one run: those up to the turn are given, and after them the first way is taken.
#[derive(Debug, Default)]
pub(super) struct Path {
    steps: Vec<Step>,
    /// How many of them this run has reached.
    come: usize,
    /// A step had another number of ways than in the run before.
    strayed: bool,
}

#[derive(Debug)]
struct Step {
    way: usize,
    ways: usize,
}

impl Path {
    /// The next decision of this run.
    pub(super) fn step(&mut self, ways: usize) -> usize {
        if self.come == self.steps.len() {
            self.steps.push(Step { way: 0, ways });
        }
        let step = &self.steps[self.come];
        self.strayed |= step.ways != ways;
        self.come += 1;
        step.way
    }

    /// Goes on to the next run: the last step that has a way left takes it, and the steps after it
    /// are open again. Returns false where no step has one.
    fn turn(&mut self) -> bool {
        self.come = 0;
        while let Some(mut step) = self.steps.pop() {
            if step.way + 1 < step.ways {
                step.way += 1;
                self.steps.push(step);
                return true;
            }
        }
        false
    }

    fn script(&self) -> Vec<usize> {
        let taken = self.steps.iter().take(self.come);
        taken.map(|step| step.way).collect()
    }
}

#[expect(
    clippy::panic,
    reason = "the scenario is a test, which fails by panicking"
)]
pub(super) fn explore(bound: u64, mut scenario: impl FnMut(Choice)) -> Explored {
    let path = Arc::<Mutex<Path>>::default();
    for run in 0..bound {
        let choice = Choice::from(Source::Exhaustive(Arc::clone(&path)));
        // What the scenario leaves half done is not used afterwards.
        let ended = catch_unwind(AssertUnwindSafe(|| scenario(choice)));
        let mut path = path.lock().unwrap_or_else(PoisonError::into_inner);
        if path.strayed || path.come < path.steps.len() {
            panic!("the scenario is not the same each time: run {run} asked something else");
        }
        if ended.is_err() {
            let script = path.script();
            panic!("the scenario panicked in run {run}, with the decisions {script:?}");
        }
        if !path.turn() {
            let runs = run + 1;
            return Explored {
                runs,
                complete: true,
            };
        }
    }
    Explored {
        runs: bound,
        complete: false,
    }
}
