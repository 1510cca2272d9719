//! The `evtchn` command: Xen event channels from a shell, real or simulated.
//!
//! Its binary is [`run`]. [`draw`] is what `evtchn timeline` does, for the fuzz target of that name.
#![forbid(unsafe_code)]

mod completions;
mod diagnosis;
mod exit;
mod explore;
mod file;
mod listen;
mod log;
mod ls;
mod machine;
mod man;
mod notify;
mod options;
mod output;
mod ping;
mod plain;
mod progress;
mod replay;
mod stop;
mod timeline;
mod watch;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

pub use timeline::draw;

use exit::{Exit, exit_codes, line};
use options::{misused, wrong};
use output::screen;

/// Xen event channels at work, on a real Xen or on a simulator that needs none.
#[derive(Debug, Parser)]
#[command(name = "evtchn", bin_name = "evtchn", version, after_help = EXAMPLES)]
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
    let mut words = env::args_os();
    let named = words.find_map(|word| Some(cli.find_subcommand(word)?.get_name().to_owned()));
    let name = named.map_or("evtchn".to_owned(), |name| format!("evtchn {name}"));
    misused(error, &name).into()
}

/// Says that the command has a fault, as far as possible where what others wrote may be part of it.
fn panicked(info: &PanicHookInfo<'_>) {
    screen::restore();
    plain::say(info);
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        // A reader of stderr that is gone cannot be told.
        let _unheard = writeln!(io::stderr(), "{backtrace}");
    }
}

/// Runs the command with the arguments of the process, and gives its exit code.
#[must_use]
pub fn run() -> ExitCode {
    panic::set_hook(Box::new(panicked));
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
    plain::say(line(error));
    Exit::of(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufWriter, Read as _};
    use std::process::Command;

    const CHILD: &str = "EVTCHN_TEST_PANICS";

    /// Runs a test again, in a process of its own where it panics.
    fn again(test: &str) -> Command {
        let mut child = Command::new(env::current_exe().unwrap());
        let name = format!("tests::{test}");
        child.args(["--exact", &name, "--nocapture"]);
        child.env(CHILD, "1").env("RUST_BACKTRACE", "0");
        child
    }

    #[test]
    fn a_panic_is_one_line_without_what_a_terminal_acts_on() {
        if env::var_os(CHILD).is_some() {
            panic::set_hook(Box::new(panicked));
            panic!("\u{1b}[31m\u{202e}\nevtchn: forged");
        }
        let mut child = again("a_panic_is_one_line_without_what_a_terminal_acts_on");
        let output = child.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("evtchn: panicked at "), "{error}");
        let told = "\\u{1b}[31m\\u{202e}\\nevtchn: forged\n";
        assert!(error.ends_with(told), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn the_terminal_leaves_the_screen_of_the_table_before_a_panic_is_written() {
        if env::var_os(CHILD).is_some() {
            panic::set_hook(Box::new(panicked));
            let mut screen = screen::Screen::default();
            let mut out = BufWriter::new(io::stdout());
            screen.draw(&mut out, &["a table".to_owned()]).unwrap();
            panic!("a fault");
        }
        let mut child =
            again("the_terminal_leaves_the_screen_of_the_table_before_a_panic_is_written");
        // Stdout and stderr are one pipe, as they are one terminal.
        let (mut reader, writer) = io::pipe().unwrap();
        child.stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut running = child.spawn().unwrap();
        drop(child);
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        assert!(!running.wait().unwrap().success());
        let place = |part| written.find(part).unwrap_or_else(|| panic!("{written:?}"));
        let (table, left) = (place("a table"), place("\u{1b}[?1049l"));
        let told = place("evtchn: panicked at ");
        assert!(table < left && left < told, "{written:?}");
    }
}
