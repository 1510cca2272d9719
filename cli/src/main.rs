//! The `evtchn` command: Xen event channels from a shell, real or simulated.
#![forbid(unsafe_code)]

mod completions;
mod diagnosis;
mod exit;
mod explore;
mod listen;
mod log;
mod ls;
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
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

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
    Explore(explore::Explore),
    Replay(replay::Replay),
    Ls(ls::Ls),
    Timeline(timeline::Draw),
    Completions(completions::Completions),
    Man(man::Man),
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
        Command::Ls(ls) => ls.run().map(|()| true),
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
