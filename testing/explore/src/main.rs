//! Plays scripts of calls against a model, on all cores, until one fails; and plays such a script again.
#![forbid(unsafe_code)]

mod checkpoint;
mod file;
mod progress;
mod replay;
mod report;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::error::ErrorKind as ClapKind;
use clap::{CommandFactory as _, Parser, value_parser};
use evtchn_checks::explore::{Failure, Hang, Scenario, State, explore};
use evtchn_trace::plain::{self, Plain};
use signal_hook::consts::{SIGINT, SIGTERM};

use checkpoint::Checkpoint;
use progress::Progress;

const EXAMPLES: &str = "\
Examples:
  evtchn-explore                                      one minute, all kinds of scripts
  evtchn-explore --scenario list                      list the kinds of scripts
  evtchn-explore --time 8h --resume explored.json     eight hours; run it again to continue
  evtchn-explore --steps 100000 --json                the same run on any machine, for programs
  evtchn-explore --replay FILE                        play a saved script again

Exit code 0: every script passed. 1: a script failed, or another error. 2: wrong arguments, or a
trace that is refused.";

/// Play random scripts of calls on the simulator against a model, on all cores, until one fails or
/// the time is over.
///
/// In the end it prints which cells of the state tables the scripts reached. A failing script is
/// minimized and saved as a trace. A script that hangs for ten seconds is saved as it is. Ctrl-C
/// ends the run and prints its summary.
#[derive(Debug, Parser)]
#[command(name = "evtchn-explore", version, after_help = EXAMPLES)]
struct Explore {
    /// Play the trace of a script again, from this program or from a test that failed
    #[arg(long, value_name = "FILE", exclusive = true)]
    replay: Option<PathBuf>,
    /// End after this time [default: 60s, unless --steps is given]
    #[arg(long, value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
    /// End after N more steps; the same seed and the same N give the same output
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Seed of the scripts
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Kind of scripts (may be repeated), or `list` [default: all]
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Continue the run saved in FILE, and save this one there
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Save the run every N steps, so that a killed run loses no more than that
    #[arg(long, value_name = "N", default_value_t = 1_000_000, requires = "resume",
        value_parser = value_parser!(u64).range(1..))]
    keep_every: u64,
    /// Directory for failing scripts
    #[arg(long, value_name = "DIR", default_value = "target/explore")]
    failures: PathBuf,
    /// Print the summary as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Explore {
    /// Runs it. Returns whether every script passed.
    ///
    /// # Errors
    /// If a file cannot be read or written, or is damaged.
    fn run(&self) -> Result<bool> {
        if self.scenario.iter().any(|name| name == "list") {
            return list().map(|()| true);
        }
        let minute = Duration::from_secs(60);
        let time = self.time.or((self.steps.is_none()).then_some(minute));
        let mut state = self.begin()?;
        let first_step = state.steps;
        let stop = on_signal().context("cannot watch for signals")?;
        let progress = Progress::new(time, self.steps, first_step);
        let since = Instant::now();
        let checkpoint = Checkpoint::new(self.resume.as_deref(), self.keep_every, first_step);
        let is_over = || {
            let is_late = time.is_some_and(|time| since.elapsed() >= time);
            is_late || stop.load(Ordering::Relaxed) || checkpoint.failed.get().is_some()
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let hook = std::panic::take_hook();
        // A panic is a failure of a script, which the report shows.
        std::panic::set_hook(Box::new(|_| ()));
        let watch = |state: &State| {
            checkpoint.write_if_due(state);
            progress.show(state);
        };
        let report_hang = |hang: &Hang| {
            progress.end();
            self.report_hang(hang);
        };
        let explored = explore(
            &mut state,
            threads,
            self.steps,
            &is_over,
            &watch,
            &report_hang,
        );
        progress.end();
        let found = explored?.map(|failure| self.save(&failure));
        std::panic::set_hook(hook);
        let found = found.transpose()?;
        checkpoint.finish(&state)?;
        let rate = time.is_some().then(|| {
            #[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
            let steps = (state.steps - first_step) as f64;
            steps / since.elapsed().as_secs_f64()
        });
        let report = report::Report {
            state: &state,
            rate,
            found: found.as_ref(),
        };
        let text = if self.json {
            format!("{}\n", plain::json(&report.object()))
        } else {
            report.to_string()
        };
        print(&text)?;
        Ok(found.is_none())
    }

    fn begin(&self) -> Result<State> {
        let scenarios = self.scenarios();
        let new = State::new(self.seed, &scenarios);
        let Some(file) = &self.resume else {
            return Ok(new);
        };
        let text = match checkpoint::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(new),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        let state = State::from_text(&text)
            .map_err(|error| anyhow!("cannot resume {}: {error}", file.display()))?;
        let is_same = state.seed == new.seed && state.scenarios == new.scenarios;
        if !is_same {
            bail!(
                "cannot resume {}: it has seed {} and scenarios {}",
                file.display(),
                state.seed,
                state.scenarios.join(", ")
            );
        }
        Ok(state)
    }

    /// The scenarios of the options; all if none is named.
    fn scenarios(&self) -> Vec<Scenario> {
        if self.scenario.is_empty() {
            return Scenario::all().collect();
        }
        let named = self.scenario.iter().map(|name| {
            name.parse().unwrap_or_else(|error| {
                let message = format!("{error}; see --scenario list");
                Explore::command()
                    .error(ClapKind::InvalidValue, message)
                    .exit()
            })
        });
        named.collect()
    }

    /// Saves a script that hangs, and ends the program, because one of its threads never returns.
    fn report_hang(&self, hang: &Hang) -> ! {
        let Hang {
            number,
            scenario,
            script,
        } = hang;
        let file = self.trace_path(*scenario, *number);
        let written = self.write_trace(&file, |out| evtchn_checks::write_unplayed(out, script));
        let outcome = match written {
            Ok(()) => format!("play it again: evtchn-explore --replay {}", file.display()),
            Err(error) => format!("{error:#}"),
        };
        eprintln(format_args!(
            "script {number} ({scenario}) does not end; {outcome}"
        ));
        process::exit(1);
    }

    /// The file of a failing script. Its name has the seed.
    fn trace_path(&self, scenario: Scenario, number: u64) -> PathBuf {
        let name = format!("{scenario}-{}-{number}.trace", self.seed);
        self.failures.join(name)
    }

    /// Writes the trace of a script. Creates its directory if needed, and does not overwrite the saved
    /// run.
    fn write_trace(&self, path: &Path, write: impl FnOnce(File) -> io::Result<()>) -> Result<()> {
        let begin = || {
            fs::create_dir_all(&self.failures)?;
            file::write(path, self.resume.as_deref(), write)
        };
        begin().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Minimizes a failing script and saves it.
    fn save(&self, failure: &Failure) -> Result<Found> {
        let short = failure.script.shortest();
        // The short script may pass if the failure depends on timing; then the long one is saved.
        let (script, what) = match short.play() {
            Err(broken) => (short, broken.to_string()),
            Ok(_) => (failure.script.clone(), failure.broken.to_string()),
        };
        let file = self.trace_path(failure.scenario, failure.number);
        self.write_trace(&file, |out| {
            let (slots, trigger) = (script.slots, script.trigger);
            evtchn_checks::record(slots, trigger, &script.steps, out).map(drop)
        })?;
        Ok(Found {
            scenario: failure.scenario,
            number: failure.number,
            steps: script.steps.len(),
            drawn: failure.script.steps.len(),
            what,
            file,
        })
    }
}

/// A failing script, and its file.
#[derive(Debug)]
struct Found {
    scenario: Scenario,
    number: u64,
    steps: usize,
    /// Its number of steps before it was minimized.
    drawn: usize,
    what: String,
    file: PathBuf,
}

/// A flag that Ctrl-C and SIGTERM set. The second of them ends the process, as without this.
fn on_signal() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Prints text. A reader that has gone away is not an error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a line on stderr, after the name of the program.
fn eprintln(line: impl std::fmt::Display) {
    // Nothing can report that stderr is closed.
    let _ignored = writeln!(io::stderr(), "evtchn-explore: {}", Plain(line));
}

fn main() -> ExitCode {
    let explore = Explore::parse();
    if let Some(file) = &explore.replay {
        return replay::run(file);
    }
    match explore.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints the names of the scenarios.
fn list() -> Result<()> {
    let lines = Scenario::all().map(|it| format!("{:<13} {}\n", it.name(), it.about()));
    print(&lines.collect::<String>())
}

/// A time: `90`, `90s`, `15m` or `8h`.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) if text.ends_with('h') => (number, 3600),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    let seconds = number.parse().ok().and_then(|it: u64| it.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        Some(_) | None => Err("expected a time such as 90s, 15m or 8h, a year at most".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_saved_script_has_its_seed_and_the_saved_run_is_not_overwritten() {
        let directory = std::env::temp_dir().join(format!("evtchn-kept-{}", process::id()));
        let run = directory.join("run.json");
        fs::create_dir(&directory).unwrap();
        fs::write(&run, "was here").unwrap();
        let words = ["evtchn-explore", "--seed", "7", "--failures"];
        let words = words.map(AsRef::as_ref).into_iter();
        let words = words.chain([directory.as_os_str(), "--resume".as_ref(), run.as_os_str()]);
        let explore = Explore::parse_from(words);

        let scenario = Scenario::all().next().unwrap();
        let script = explore.trace_path(scenario, 3);
        let name = format!("{}-7-3.trace", scenario.name());
        assert_eq!(script, directory.join(name));
        let write = |mut out: File| out.write_all(b"a script");
        explore.write_trace(&script, write).unwrap();
        assert_eq!(fs::read_to_string(&script).unwrap(), "a script");
        let refused = explore.write_trace(&run, write).unwrap_err();
        assert!(format!("{refused:#}").contains("it is the file that is read"));
        assert_eq!(fs::read_to_string(&run).unwrap(), "was here");
        fs::remove_dir_all(directory).unwrap();
    }
}
