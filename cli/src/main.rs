//! The `evtchn` command: Xen event channels from a shell, real or simulated.
#![forbid(unsafe_code)]

mod completions;
mod diagnosis;
mod exit;
mod explore;
mod listen;
mod log;
mod machine;
mod man;
mod notify;
mod options;
mod output;
mod ping;
mod progress;
mod replay;
mod stop;
mod timeline;
mod watch;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, value_parser};
use evtchn_checks::explore::Scenario;

use exit::{Exit, exit_codes};
use options::{misused, wrong};

/// Xen event channels at work, on a real Xen or on a simulator that needs none.
#[derive(Debug, Parser)]
#[command(name = "evtchn", version, after_help = EXAMPLES)]
struct Cli {
    /// Log to stderr what the library does; twice, each wake too (or RUST_LOG=evtchn=trace)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn watch                  what events look like, on a simulator
  evtchn listen 3               a port for domain 3, and its wakes
  evtchn notify 3:17            wake who waits at port 17 of domain 3
  evtchn ping                   how long a notify and its answer take
  evtchn watch --help           more of the same for each command

",
    exit_codes!()
);

#[derive(Debug, Subcommand)]
enum Command {
    Watch(watch::Watch),
    Listen(listen::Listen),
    Notify(notify::Notify),
    Ping(ping::Ping),
    Explore(Explore),
    Replay(replay::Replay),
    Timeline(timeline::Draw),
    Completions(completions::Completions),
    Man(man::Man),
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

/// What is said where clap has no command to run: help and version as it says them, and errors in
/// one line.
fn unparsed(error: &clap::Error) -> ExitCode {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let help = [
        DisplayHelp,
        DisplayHelpOnMissingArgumentOrSubcommand,
        DisplayVersion,
    ];
    if help.contains(&error.kind()) {
        error.exit();
    }
    let cli = Cli::command();
    let named = env::args().find_map(|word| Some(cli.find_subcommand(word)?.get_name().to_owned()));
    let name = named.map_or("evtchn".to_owned(), |name| format!("evtchn {name}"));
    misused(error, &name).into()
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
    if let Err(error) = log::start(cli.verbose) {
        return failed(&error);
    }
    let ended = match cli.command {
        Command::Watch(watch) => watch.run().map(|()| true),
        Command::Listen(listen) => listen.run().map(|()| true),
        Command::Notify(notify) => notify.run().map(|()| true),
        Command::Ping(ping) => ping.run().map(|()| true),
        Command::Explore(explore) => explore.run(),
        Command::Replay(replay) => return replay.run(),
        Command::Timeline(draw) => return draw.run(),
        Command::Completions(completions) => completions.run().map(|()| true),
        Command::Man(man) => man.run().map(|()| true),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // A reader of stderr that is gone cannot be told.
    let _unheard = writeln!(io::stderr(), "evtchn: {error:#}");
    Exit::of(error).into()
}
