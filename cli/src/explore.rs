//! `evtchn explore`: scripts of calls against a model, on all cores, until something breaks.

mod progress;
mod report;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use evtchn_checks::explore::{Failure, Scenario, State, explore};

use crate::stop::Stop;
use progress::Progress;

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Job {
    /// For how long, unless a number of steps ends it before.
    pub(crate) time: Option<Duration>,
    pub(crate) steps: Option<u64>,
    pub(crate) seed: u64,
    /// All where there are none.
    pub(crate) scenarios: Vec<Scenario>,
    /// Where the run goes on, and where it is kept.
    pub(crate) resume: Option<PathBuf>,
    /// Where scripts that break are written.
    pub(crate) failures: PathBuf,
    pub(crate) json: bool,
}

impl Job {
    /// Explores. Says whether everything held.
    ///
    /// # Errors
    /// Where a file cannot be read or written, or is damaged.
    pub(crate) fn run(&self) -> Result<bool> {
        let mut state = self.begin()?;
        let begun = state.steps;
        let stop = Stop::on_signal(|| ()).context("cannot listen for signals")?;
        let progress = Progress::new(self.time, self.steps, begun);
        let since = Instant::now();
        let is_over = || {
            let is_late = self.time.is_some_and(|time| since.elapsed() >= time);
            is_late || stop.is_requested()
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let hook = std::panic::take_hook();
        // A panic is a finding, told of in the report.
        std::panic::set_hook(Box::new(|_| ()));
        let explored = explore(&mut state, threads, self.steps, &is_over, &|state| {
            progress.show(state);
        });
        progress.end();
        let found = explored?.map(|failure| self.found(&failure));
        std::panic::set_hook(hook);
        let found = found.transpose()?;
        if let Some(file) = &self.resume {
            keep(file, &state)?;
        }
        let rate = self.time.is_some().then(|| {
            #[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
            let steps = (state.steps - begun) as f64;
            steps / since.elapsed().as_secs_f64()
        });
        let report = report::Report {
            state: &state,
            rate,
            found: found.as_ref(),
        };
        let text = if self.json {
            format!("{}\n", report.object())
        } else {
            report.to_string()
        };
        print(&text)?;
        Ok(found.is_none())
    }

    fn begin(&self) -> Result<State> {
        let scenarios = match &self.scenarios[..] {
            [] => Scenario::all().collect(),
            some => some.to_vec(),
        };
        let new = State::new(self.seed, &scenarios);
        let Some(file) = &self.resume else {
            return Ok(new);
        };
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(new),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        let state = State::from_text(&text)
            .map_err(|error| anyhow!("cannot go on with {}: {error}", file.display()))?;
        let is_same = state.seed == new.seed && state.scenarios == new.scenarios;
        if !is_same {
            bail!(
                "cannot go on with {}: it is of seed {} and of {}",
                file.display(),
                state.seed,
                state.scenarios.join(", ")
            );
        }
        Ok(state)
    }

    /// Makes a script that breaks short, and writes it to a file.
    fn found(&self, failure: &Failure) -> Result<Found> {
        let short = failure.script.shortest();
        // One that breaks by chance alone stays as it was.
        let (script, what) = match short.play() {
            Err(broken) => (short, broken.to_string()),
            Ok(_) => (failure.script.clone(), failure.broken.to_string()),
        };
        let name = format!("{}-{}.trace", failure.scenario, failure.number);
        let file = self.failures.join(name);
        let (slots, trigger) = (script.slots, script.trigger);
        fs::create_dir_all(&self.failures)
            .and_then(|()| evtchn_checks::write(&file, slots, trigger, &script.steps))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Found {
            scenario: failure.scenario,
            number: failure.number,
            steps: script.steps.len(),
            what,
            file,
        })
    }
}

/// A script that broke, and where it is.
#[derive(Debug)]
pub(crate) struct Found {
    scenario: Scenario,
    number: u64,
    steps: usize,
    what: String,
    file: PathBuf,
}

/// Writes beside the file and puts it in its place, which is never half written.
fn keep(file: &Path, state: &State) -> Result<()> {
    let text = state.to_text()?;
    let beside = file.with_extension("new");
    let parent = file.parent().filter(|parent| *parent != Path::new(""));
    parent
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&beside, text))
        .and_then(|()| fs::rename(&beside, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Prints the names of the scenarios.
///
/// # Errors
/// Where nothing can be printed.
pub(crate) fn list() -> Result<()> {
    let lines = Scenario::all().map(|it| format!("{:<13} {}\n", it.name(), it.about()));
    print(&lines.collect::<String>())
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
