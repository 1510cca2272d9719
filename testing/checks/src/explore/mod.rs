//! Exploration: plays scripts of many kinds on all cores, until one breaks or enough steps were played.
//!
//! Scripts are numbered and come in blocks. A run counts the blocks up to the one where it stopped,
//! whichever thread played them, so the same seed and the same number of steps give the same result on
//! any machine.

mod cells;
mod coverage;
mod scenario;
mod state;
#[cfg(test)]
mod tests;
mod watchdog;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use evtchn_core::machine::cells as seen;

pub use cells::{Cell, LINK_CELLS, PORT_CELLS};
pub use coverage::{Coverage, Met};
pub use scenario::{NoScenario, Scenario};
pub use state::{BadState, State};

use crate::player::{Broken, play_seen};
use crate::trace::Script;
use watchdog::{Playing, Watchdog};

/// How many scripts a thread plays before it checks whether to stop.
const BLOCK: u64 = 32;

/// A script that breaks.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The number of the script.
    pub number: u64,
    /// The scenario that it was drawn from.
    pub scenario: Scenario,
    /// The script, as it was drawn.
    pub script: Script,
    /// How it breaks.
    pub broken: Broken,
}

/// A script that does not come to an end.
#[derive(Debug, Clone)]
pub struct Hang {
    /// The number of the script.
    pub number: u64,
    /// The scenario that it was drawn from.
    pub scenario: Scenario,
    /// The script, as it was drawn.
    pub script: Script,
}

/// Plays scripts on this many threads, beginning where `state` stands, until `most` more steps were
/// played, until `stop` returns true, or until a script breaks, which is returned. `state` is updated
/// meanwhile, and `watch` is called with it now and then. `hangs` is called with a script that has run for
/// ten seconds. Such a script cannot be stopped, so this returns only if it ends.
///
/// # Errors
/// [`BadState`] if a scenario of it does not exist.
pub fn explore(
    state: &mut State,
    threads: usize,
    most: Option<u64>,
    stop: &(dyn Fn() -> bool + Sync),
    watch: &(dyn Fn(&State) + Sync),
    hangs: &dyn Fn(&Hang),
) -> Result<Option<Box<Failure>>, BadState> {
    let scenarios = state.recipes()?;
    let threads = threads.max(1);
    let run = Run {
        scenarios: &scenarios,
        seed: state.seed,
        until: most.map(|most| state.steps.saturating_add(most)),
        next: AtomicU64::new(state.next),
        is_over: AtomicBool::new(false),
        playing: Playing::new(threads),
        done: Mutex::new(Done {
            state,
            blocks: BTreeMap::new(),
            failure: None,
        }),
    };
    let left = AtomicUsize::new(threads);
    thread::scope(|scope| {
        for thread in 0..threads {
            let leaves = Leaves(&left, thread::current());
            let run = &run;
            scope.spawn(move || {
                let _at_the_end = leaves;
                run.play(thread, stop, watch);
            });
        }
        run.watch_over(&left, hangs);
    });
    let done = run.done.into_inner();
    Ok(done.unwrap_or_else(PoisonError::into_inner).failure)
}

/// Counts a thread that ends, also by a panic, and wakes the one that waits for all of them.
struct Leaves<'a>(&'a AtomicUsize, Thread);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
        self.1.unpark();
    }
}

/// What the threads share.
struct Run<'a> {
    scenarios: &'a [Scenario],
    seed: u64,
    /// The number of steps at which the run ends.
    until: Option<u64>,
    /// The next block that no thread plays yet.
    next: AtomicU64,
    is_over: AtomicBool,
    playing: Playing,
    done: Mutex<Done<'a>>,
}

struct Done<'a> {
    state: &'a mut State,
    /// Blocks that were finished before one with a smaller number.
    blocks: BTreeMap<u64, Block>,
    failure: Option<Box<Failure>>,
}

/// What the scripts of a block did.
#[derive(Default)]
struct Block {
    scripts: u64,
    steps: u64,
    idle: u64,
    wakes: u64,
    failures: u64,
    coverage: Coverage,
    failure: Option<Box<Failure>>,
}

impl Run<'_> {
    /// Runs until no thread is left.
    fn watch_over(&self, left: &AtomicUsize, hangs: &dyn Fn(&Hang)) {
        let mut watchdog = Watchdog::of(&self.playing);
        let mut looked = Instant::now();
        while left.load(Ordering::Acquire) > 0 {
            thread::park_timeout(watchdog::EVERY);
            if looked.elapsed() < watchdog::EVERY {
                continue;
            }
            looked = Instant::now();
            if let Some(number) = watchdog.look(&self.playing) {
                let (scenario, script) = self.drawn(number);
                hangs(&Hang {
                    number,
                    scenario,
                    script,
                });
            }
        }
    }

    fn play(
        &self,
        thread: usize,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &(dyn Fn(&State) + Sync),
    ) {
        while !self.is_over.load(Ordering::Relaxed) && !stop() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let block = self.block(thread, number);
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.blocks.insert(number, block);
            if done.go_on(self.until) {
                self.is_over.store(true, Ordering::Relaxed);
            }
            watch(done.state);
        }
    }

    fn block(&self, thread: usize, number: u64) -> Block {
        let mut block = Block::default();
        let scripts = number.saturating_mul(BLOCK);
        for number in scripts..scripts.saturating_add(BLOCK) {
            self.playing.set(thread, Some(number));
            self.script(number, &mut block);
            if block.failure.is_some() {
                break;
            }
        }
        self.playing.set(thread, None);
        block
    }

    /// The script of this number.
    fn drawn(&self, number: u64) -> (Scenario, Script) {
        let turn = usize::try_from(number % self.scenarios.len() as u64).unwrap_or(0);
        let scenario = self.scenarios[turn];
        (scenario, scenario.script(mixed(self.seed, number)))
    }

    fn script(&self, number: u64, block: &mut Block) {
        let (scenario, script) = self.drawn(number);
        let mut steps = 0;
        let _of_others = seen::take();
        let coverage = &mut block.coverage;
        let ops = script.steps.iter().copied();
        let played = play_seen(script.slots, script.trigger, ops, |_, player| {
            coverage.add(seen::take(), player.faults());
            steps = player.steps() as u64;
        });
        block.scripts += 1;
        block.steps += steps;
        match played {
            Ok(played) => {
                block.idle += (script.steps.len() as u64).saturating_sub(steps);
                block.wakes += played.wakes;
                block.failures += played.failures;
            }
            Err(broken) => {
                block.failure = Some(Box::new(Failure {
                    number,
                    scenario,
                    script,
                    broken,
                }));
            }
        }
    }
}

impl Done<'_> {
    /// Adds up the next blocks in order. Returns whether the last one was among them.
    fn go_on(&mut self, until: Option<u64>) -> bool {
        let is_over = |done: &Done<'_>| {
            done.failure.is_some() || until.is_some_and(|until| done.state.steps >= until)
        };
        while !is_over(self) {
            let Some(block) = self.blocks.remove(&self.state.next) else {
                return false;
            };
            let state = &mut *self.state;
            state.next += 1;
            state.scripts += block.scripts;
            state.steps += block.steps;
            state.idle += block.idle;
            state.wakes += block.wakes;
            state.failures += block.failures;
            state.coverage.merge(&block.coverage);
            self.failure = block.failure;
        }
        true
    }
}

/// The seed of one script. Scripts with neighbouring numbers have unrelated seeds.
const fn mixed(seed: u64, number: u64) -> u64 {
    let mixed =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xbea2_25f9_eb34_556d);
    mixed ^ (mixed >> 29)
}
