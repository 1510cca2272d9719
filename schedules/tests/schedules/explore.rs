//! How many schedules of a scenario are run, in which ways, and how one is run again.

use std::any::Any;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::Failed;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// How many schedules there are in all, where `EVTCHN_SCHEDULES` does not say.
const SCHEDULES: usize = 20_000;
const SEED: u64 = 1;
/// At how many points PCT changes the priorities.
const CHANGES: usize = 3;
/// Many times what the longest schedule takes: more is a livelock.
const MAX_STEPS: usize = 50_000;

/// What threads do with one context, as a function that any schedule of them must leave well.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
    /// Whether it is so short that going through the schedules in order gets somewhere. Nothing in
    /// it may spin.
    pub(crate) is_small: bool,
}

/// Makes a list of scenarios of functions, each under its own name; after `small` the small ones.
macro_rules! scenarios {
    ($($name:ident),* ; small $($small:ident),* $(,)?) => {
        pub(crate) const SCENARIOS: &[crate::explore::Scenario] = &[
            $(crate::explore::Scenario { name: stringify!($name), run: $name, is_small: false },)*
            $(crate::explore::Scenario { name: stringify!($small), run: $small, is_small: true },)*
        ];
    };
}
pub(crate) use scenarios;

/// The ways to choose schedules, with how many were run so far.
static RUNS: [(&str, AtomicUsize); 4] = [
    ("at random", AtomicUsize::new(0)),
    ("by PCT", AtomicUsize::new(0)),
    ("depth first", AtomicUsize::new(0)),
    ("again", AtomicUsize::new(0)),
];

/// How many schedules each scenario gets.
#[derive(Clone, Copy)]
pub(crate) struct Suite {
    share: usize,
}

impl Suite {
    pub(crate) fn of(scenarios: usize) -> Suite {
        let all = env::var("EVTCHN_SCHEDULES").map_or(SCHEDULES, |number| {
            number
                .parse()
                .unwrap_or_else(|_| panic!("EVTCHN_SCHEDULES is no number: {number}"))
        });
        Suite {
            share: all.div_ceil(scenarios),
        }
    }

    /// Runs the share of a scenario, or the one schedule that was asked for.
    pub(crate) fn explore(self, scenario: &Scenario) -> Result<(), Failed> {
        let Suite { share } = self;
        if let Ok(file) = env::var("EVTCHN_SCHEDULE") {
            let schedule = ReplayScheduler::new_from_file(&file);
            let schedule = schedule.map_err(|error| format!("EVTCHN_SCHEDULE={file}: {error}"))?;
            return run(scenario, 3, schedule);
        }
        let depth_first = if scenario.is_small { share / 4 } else { 0 };
        let by_priority = (share - depth_first) / 2;
        let at_random = share - depth_first - by_priority;
        run(scenario, 0, RandomScheduler::new_from_seed(SEED, at_random))?;
        run(
            scenario,
            1,
            PctScheduler::new_from_seed(SEED, CHANGES, by_priority),
        )?;
        if depth_first > 0 {
            run(scenario, 2, DfsScheduler::new(Some(depth_first), false))?;
        }
        Ok(())
    }
}

fn run(scenario: &Scenario, way: usize, scheduler: impl Scheduler + 'static) -> Result<(), Failed> {
    let mut config = Config::new();
    config.silence_warnings = true;
    config.stack_size = 0x2_0000;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(scenario.name);
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let before = files(&dir);
    config.failure_persistence = FailurePersistence::File(Some(dir.clone()));
    let run = scenario.run;
    let counted = move || {
        RUNS[way].1.fetch_add(1, Ordering::Relaxed);
        run();
    };
    let ended = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(scheduler, config).run(counted)
    }));
    ended.map(drop).map_err(|panic| {
        let (what, name) = (message(&*panic), scenario.name);
        let new = files(&dir).into_iter().find(|it| !before.contains(it));
        let file = new.map_or("FILE".into(), |file| file.display().to_string());
        format!(
            "{what}\nto run this schedule again:\n  \
             EVTCHN_SCHEDULE={file} cargo test --manifest-path schedules/Cargo.toml \
             --test schedules -- --exact {name}"
        )
        .into()
    })
}

/// The schedules that were kept.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// What was run.
pub(crate) fn summary() -> String {
    let runs = RUNS.each_ref();
    let runs = runs.map(|(way, runs)| (way, runs.load(Ordering::Relaxed)));
    let all: usize = runs.iter().map(|(_, runs)| runs).sum();
    let ways = runs.iter().filter(|(_, runs)| *runs > 0);
    let ways: Vec<String> = ways.map(|(way, runs)| format!("{runs} {way}")).collect();
    format!("{all} schedules: {}", ways.join(", "))
}
