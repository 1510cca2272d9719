//! Runs schedules of scenarios: how many and in which ways, how a failing one is kept, and how it is run
//! again.

use std::any::Any;
use std::cell::RefCell;
use std::env;
use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use evtchn_core::Trigger;
use evtchn_trace::{Header, Record, Schedule, Source, Tape, Trace, Verdict};
use libtest_mimic::Failed;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// How many schedules are run in all, unless `EVTCHN_SCHEDULES` is set.
const SCHEDULES: usize = 20_000;
const SEED: u64 = 1;
/// At how many points PCT changes the priorities.
const CHANGES: usize = 3;
/// Many times the steps of the longest schedule. A schedule with more is a livelock.
const MAX_STEPS: usize = 50_000;

/// A function in which threads use one context. It must not fail in any schedule.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
    /// Whether it is so short that many of its schedules can be tried in order. Nothing in it may spin.
    pub(crate) is_small: bool,
}

/// Makes a list of scenarios from functions, each under its own name. The small ones come after `small`.
macro_rules! scenarios {
    ($($name:ident),* ; small $($small:ident),* $(,)?) => {
        pub(crate) const SCENARIOS: &[crate::explore::Scenario] = &[
            $(crate::explore::Scenario { name: stringify!($name), run: $name, is_small: false },)*
            $(crate::explore::Scenario { name: stringify!($small), run: $small, is_small: true },)*
        ];
    };
}
pub(crate) use scenarios;

/// The ways in which schedules are chosen, and how many were run so far in each.
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
                .unwrap_or_else(|_| panic!("EVTCHN_SCHEDULES is not a number: {number}"))
        });
        Suite {
            share: all.div_ceil(scenarios),
        }
    }

    /// Runs the share of a scenario, or the one schedule that `EVTCHN_SCHEDULE` names.
    pub(crate) fn explore(self, scenario: &Scenario) -> Result<(), Failed> {
        let Suite { share } = self;
        if let Ok(file) = env::var("EVTCHN_SCHEDULE") {
            let steps = kept(scenario, &file);
            let steps = steps.map_err(|error| format!("EVTCHN_SCHEDULE={file}: {error}"))?;
            return run(scenario, 3, ReplayScheduler::new_from_encoded(&steps));
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
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(scenario.name);
    let _old = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let run = scenario.run;
    let counted = move || {
        RUNS[way].1.fetch_add(1, Ordering::Relaxed);
        run();
    };
    let Err(what) = play(
        scheduler,
        FailurePersistence::File(Some(dir.clone())),
        counted,
    ) else {
        return Ok(());
    };
    let file = keep(scenario, &dir, &what).map_or_else(
        |error| format!("FILE, which could not be written: {error}"),
        |file| file.display().to_string(),
    );
    let name = scenario.name;
    Err(format!(
        "{what}\nto run this schedule again:\n  EVTCHN_SCHEDULE={file} .ci/schedules --exact {name}"
    )
    .into())
}

/// Runs the schedules of a scheduler. Returns the message of the first one that panics.
fn play(
    scheduler: impl Scheduler + 'static,
    persistence: FailurePersistence,
    run: impl Fn() + Send + Sync + 'static,
) -> Result<(), String> {
    let mut config = Config::new();
    config.silence_warnings = true;
    config.stack_size = 0x2_0000;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.failure_persistence = persistence;
    let run_noted = move || {
        FIRST.set(None);
        run();
    };
    let ended = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(scheduler, config).run(run_noted)
    }));
    ended
        .map(drop)
        .map_err(|panic| FIRST.take().unwrap_or_else(|| message(&*panic)))
}

/// Keeps the message of the first panic of a schedule. While it unwinds, threads take more steps, which
/// are not in the schedule that is kept, so another panic may come out in the end.
pub(crate) fn note_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        FIRST.with_borrow_mut(|first| {
            first.get_or_insert_with(|| message(info.payload()));
        });
        before(info);
    }));
}

thread_local! {
    /// The first panic of the schedule that this thread runs.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
    /// The tape on which the rigs of this thread are recorded.
    static TAPE: RefCell<Tape> = const { RefCell::new(Tape::off()) };
}

/// The tape on which a rig is recorded.
pub(crate) fn tape() -> Tape {
    TAPE.with_borrow(Clone::clone)
}

/// Runs the schedule that shuttle left in `dir` once more, and writes it to a trace with the backend
/// calls that it led to.
fn keep(scenario: &Scenario, dir: &Path, what: &str) -> io::Result<PathBuf> {
    let left = files(dir)
        .into_iter()
        .next()
        .ok_or(io::ErrorKind::NotFound)?;
    let steps = fs::read_to_string(left)?;
    let path = dir.with_extension("trace");
    let header = Header::new(Source::Script, Trigger::Level);
    let thread = || u32::try_from(usize::from(shuttle::current::me())).unwrap_or(u32::MAX);
    let tape = Tape::of_threads(&header, File::create(&path)?, thread);
    tape.put(|| {
        Record::Schedule(Schedule {
            schedule: scenario.name.to_owned(),
            // Shuttle writes it in several lines.
            steps: steps.split_whitespace().collect(),
        })
    });
    TAPE.set(tape.clone());
    let again = play(
        ReplayScheduler::new_from_encoded(&steps),
        FailurePersistence::None,
        scenario.run,
    );
    TAPE.set(Tape::off());
    let what = again.err().unwrap_or_else(|| what.to_owned());
    tape.put(|| Record::Verdict(Verdict::Broken { step: 0, what }));
    tape.finish()?;
    Ok(path)
}

/// The schedule of a trace.
fn kept(scenario: &Scenario, file: &str) -> Result<String, String> {
    let trace = Trace::load(file).map_err(|error| error.to_string())?;
    let mut lines = trace.lines.into_iter();
    let schedule = lines.find_map(|line| match line.record {
        Record::Schedule(schedule) => Some(schedule),
        _ => None,
    });
    match schedule {
        Some(kept) if kept.schedule == scenario.name => Ok(kept.steps),
        Some(kept) => Err(format!("it is a schedule of {}", kept.schedule)),
        None => Err("it has no schedule".to_owned()),
    }
}

/// The files of a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn message(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// How many schedules were run.
pub(crate) fn summary() -> String {
    let runs = RUNS.each_ref();
    let runs = runs.map(|(way, runs)| (way, runs.load(Ordering::Relaxed)));
    let all: usize = runs.iter().map(|(_, runs)| runs).sum();
    let ways = runs.iter().filter(|(_, runs)| *runs > 0);
    let ways: Vec<String> = ways.map(|(way, runs)| format!("{runs} {way}")).collect();
    format!("{all} schedules: {}", ways.join(", "))
}
