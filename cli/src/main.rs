//! The `evtchn` command: watches Xen event channels, real or simulated.
#![forbid(unsafe_code)]

mod explore;
mod ls;
mod output;
mod record;
mod replay;
mod sim;
mod stop;
mod summary;
mod watch;
mod xen;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use evtchn::Virq;
use evtchn_checks::explore::Scenario;

use output::Format;

/// Xen event channels at work, on a real Xen or on a simulator that needs none.
#[derive(Debug, Parser)]
#[command(name = "evtchn", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Watch(Watch),
    Explore(Explore),
    Replay(replay::Replay),
    Ls(ls::Ls),
}

const EXAMPLES: &str = "\
Examples:
  evtchn watch                                        8 simulated guests, no Xen needed
  evtchn watch --seed 7 --guests 100 --json           another run of 100 guests, for programs
  evtchn watch --backend xen --loopback 16            16 channels of this domain to itself
  evtchn watch --backend xen --virq DOM_EXC           a virtual interrupt, until Ctrl-C
  evtchn watch --record FILE                          a trace for evtchn replay

Exit code 0: it ended as it should. 1: it failed. 2: wrong arguments.";

/// Bind event channels, wait on them, print each event as it fires, and sum up.
///
/// Without options it runs on the simulator: a toolstack in domain 0 waits for the suspend
/// acknowledgements of some guests, in virtual time. With `--backend xen` it does the same job on
/// /dev/xen/evtchn of this machine. Ctrl-C ends it in order.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct Watch {
    /// Where the channels are
    #[arg(long, value_enum, default_value_t = Backend::Sim)]
    backend: Backend,
    /// End after N events [default: 3000; for --virq alone, never]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Simulator: same seed, same output [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Simulator: how many guests [default: 8]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=4096))]
    guests: Option<u16>,
    /// Xen: N channels of this domain to itself, driven by a second handle [default: 8; with
    /// --virq, none]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    loopback: Option<u16>,
    /// Xen: a virtual interrupt (may be repeated)
    #[arg(long, value_name = "NAME|N")]
    virq: Vec<Virq>,
    /// Write a trace of the run to FILE, to be replayed
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// The simulator
    Sim,
    /// The device of this machine
    Xen,
}

impl Watch {
    const EVENTS: u64 = 3000;

    /// The first option that was given for the other backend, and that backend.
    fn stray(&self) -> Option<(&'static str, &'static str)> {
        match self.backend {
            Backend::Sim if self.loopback.is_some() => Some(("--loopback", "xen")),
            Backend::Sim if !self.virq.is_empty() => Some(("--virq", "xen")),
            Backend::Xen if self.seed.is_some() => Some(("--seed", "sim")),
            Backend::Xen if self.guests.is_some() => Some(("--guests", "sim")),
            Backend::Sim | Backend::Xen => None,
        }
    }

    /// Ends the program where an option was given for the other backend.
    fn checked(self) -> Watch {
        if let Some((option, backend)) = self.stray() {
            let message = format!("{option} needs --backend {backend}");
            wrong::<Watch>("evtchn watch", ErrorKind::ArgumentConflict, message);
        }
        self
    }

    fn run(self) -> Result<()> {
        let format = if self.json {
            Format::Json
        } else {
            Format::Text
        };
        match self.backend {
            Backend::Sim => {
                let cast = sim::Cast {
                    seed: self.seed.unwrap_or(0),
                    guests: self.guests.unwrap_or(8),
                    events: self.events.unwrap_or(Watch::EVENTS),
                };
                let tape = record::sim(self.record.as_deref(), cast.seed)?;
                let ran = sim::run(cast, format, &tape);
                ran.and(record::finish(&tape))
            }
            Backend::Xen => {
                let only_virqs = self.loopback.is_none() && !self.virq.is_empty();
                let (loopback, events) = if only_virqs {
                    (0, None)
                } else {
                    (8, Some(Watch::EVENTS))
                };
                let cast = xen::Cast {
                    loopback: self.loopback.unwrap_or(loopback),
                    virqs: self.virq,
                    events: self.events.or(events),
                };
                let tape = record::xen(self.record.as_deref())?;
                let ran = xen::run(&cast, format, &tape);
                ran.and(record::finish(&tape))
            }
        }
    }
}

/// Play random scripts of calls on the simulator against a model, on all cores, until something
/// breaks or the time is up.
///
/// In the end it says which cells of the tables of states were met. A script that breaks is made
/// short and written to a file. Ctrl-C ends it in order.
#[derive(Debug, Args)]
#[command(after_help = EXPLORE_EXAMPLES)]
struct Explore {
    /// End after this time [default: 60s, unless --steps is given]
    #[arg(long, value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
    /// End after N more steps: same seed and same N, same output
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Other scripts
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Which kind of scripts (may be repeated), or `list` [default: all]
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Go on where the run that FILE keeps stopped, and keep this one there
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Where scripts that break are written
    #[arg(long, value_name = "DIR", default_value = "target/explore")]
    failures: PathBuf,
    /// The summary as one line of JSON
    #[arg(long)]
    json: bool,
}

const EXPLORE_EXAMPLES: &str = "\
Examples:
  evtchn explore                                      a minute, all kinds of scripts
  evtchn explore --scenario list                      which kinds there are
  evtchn explore --time 8h --resume explored.json     a night; again, and it goes on
  evtchn explore --steps 100000 --json                the same run on any machine, for programs

Exit code 0: everything held. 1: a script broke, or it failed. 2: wrong arguments.";

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
        Some(_) | None => Err("a time is such as 90s, 15m or 8h, and a year at most".into()),
    }
}

impl Explore {
    /// Says whether everything held.
    fn run(self) -> Result<bool> {
        if self.scenario.iter().any(|name| name == "list") {
            return explore::list().map(|()| true);
        }
        let scenarios = self.scenario.iter().map(|name| {
            name.parse::<Scenario>().unwrap_or_else(|error| {
                let message = format!("{error}; --scenario list names them");
                wrong::<Explore>("evtchn explore", ErrorKind::InvalidValue, message)
            })
        });
        let minute = Duration::from_secs(60);
        let job = explore::Job {
            scenarios: scenarios.collect(),
            time: self.time.or((self.steps.is_none()).then_some(minute)),
            steps: self.steps,
            seed: self.seed,
            resume: self.resume,
            failures: self.failures,
            json: self.json,
        };
        job.run()
    }
}

fn wrong<A: Args>(name: &'static str, kind: ErrorKind, message: String) -> ! {
    A::augment_args(clap::Command::new(name))
        .error(kind, message)
        .exit()
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Watch(watch) => watch.checked().run().map(|()| true),
        Command::Explore(explore) => explore.run(),
        Command::Replay(replay) => return replay.run(),
        Command::Ls(ls) => ls.run().map(|()| true),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A reader of stderr that is gone cannot be told.
            let _unheard = writeln!(io::stderr(), "evtchn: {error:#}");
            ExitCode::FAILURE
        }
    }
}
