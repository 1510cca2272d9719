//! The `evtchn` command: watches Xen event channels, real or simulated.
#![forbid(unsafe_code)]

mod explore;
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

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use evtchn::Virq;

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
    Explore(explore::Explore),
    Replay(replay::Replay),
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

/// Ends the program as wrong arguments of `name` do.
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
