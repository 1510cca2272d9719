//! The `evtchn` command: Xen event channels from a shell, real or simulated.
//!
//! Its binary is [`run`].
#![forbid(unsafe_code)]

mod completions;
mod diagnosis;
mod doctor;
mod exit;
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
mod sim;
mod source;
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

use exit::{Exit, exit_codes, line};
use options::{report_usage_error, usage_error};
use output::screen;

/// Xen event channels, on a real Xen or on a simulator that needs no Xen.
#[derive(Debug, Parser)]
#[command(name = "evtchn", bin_name = "evtchn", version, after_help = EXAMPLES)]
struct Cli {
    /// Log to stderr what the library does; given twice, also each wake (or RUST_LOG=evtchn=trace)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn doctor                 what this machine has, and what to do
  evtchn watch                  without Xen: show events on a simulator
  evtchn watch --virq DOM_EXC   on Xen: show each event of a virtual interrupt
  evtchn listen 3               offer a port to domain 3, print its wakes
  evtchn notify 3:17            notify port 17 of domain 3
  evtchn ping                   measure how long a notify and its answer take
  evtchn ls                     the ports of domains
  evtchn watch --help           more examples, for each command

",
    exit_codes!()
);

#[derive(Debug, Subcommand)]
enum Command {
    Watch(watch::Watch),
    Listen(listen::Listen),
    Notify(notify::Notify),
    Ping(ping::Ping),
    Replay(replay::Replay),
    Ls(ls::Ls),
    Doctor(doctor::Doctor),
    Timeline(timeline::Draw),
    Sim(sim::Sim),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Handles arguments that name no command to run: prints help and version as clap does, and errors
/// in one line.
fn report_parse_error(error: &clap::Error) -> ExitCode {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let help = [
        DisplayHelp,
        DisplayHelpOnMissingArgumentOrSubcommand,
        DisplayVersion,
    ];
    if help.contains(&error.kind()) {
        return match output::written(error.print()) {
            Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1)),
            Err(error) => failed(&error),
        };
    }
    let cli = Cli::command();
    let mut words = env::args_os();
    let command = words.find_map(|word| Some(cli.find_subcommand(word)?.get_name().to_owned()));
    let name = command.map_or("evtchn".to_owned(), |name| format!("evtchn {name}"));
    report_usage_error(error, &name).into()
}

/// Reports a panic, with escapes for text of others in its message.
fn report_panic(info: &PanicHookInfo<'_>) {
    screen::restore();
    plain::eprintln(info);
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        // Nothing can report that stderr is closed.
        let _ignored = writeln!(io::stderr(), "{backtrace}");
    }
}

/// Runs the command with the arguments of the process, and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    panic::set_hook(Box::new(report_panic));
    match completions::answer() {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(error) => return failed(&error),
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report_parse_error(&error),
    };
    if let Err(error) = log::start(cli.verbose) {
        return failed(&error);
    }
    let ended = match cli.command {
        Command::Watch(watch) => watch.run(),
        Command::Listen(listen) => listen.run(),
        Command::Notify(notify) => notify.run(),
        Command::Ping(ping) => ping.run(),
        Command::Replay(replay) => return replay.run(),
        Command::Ls(ls) => ls.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Timeline(draw) => return draw.run(),
        Command::Sim(sim) => sim.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    plain::eprintln(line(error));
    Exit::of(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufWriter, Read as _};
    use std::process::Command;

    const CHILD: &str = "EVTCHN_TEST_PANICS";

    /// The command that runs a test in a process of its own, in which it panics.
    fn run_alone(test: &str) -> Command {
        let mut child = Command::new(env::current_exe().unwrap());
        let name = format!("tests::{test}");
        child.args(["--exact", &name, "--nocapture"]);
        child.env(CHILD, "1").env("RUST_BACKTRACE", "0");
        child
    }

    #[test]
    fn a_panic_is_one_line_without_characters_that_control_a_terminal() {
        if env::var_os(CHILD).is_some() {
            panic::set_hook(Box::new(report_panic));
            panic!("\u{1b}[31m\u{202e}\nevtchn: forged");
        }
        let mut child = run_alone("a_panic_is_one_line_without_characters_that_control_a_terminal");
        let output = child.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("evtchn: panicked at "), "{error}");
        let message = "\\u{1b}[31m\\u{202e}\\nevtchn: forged\n";
        assert!(error.ends_with(message), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn the_screen_of_the_table_is_left_before_a_panic_is_written() {
        if env::var_os(CHILD).is_some() {
            panic::set_hook(Box::new(report_panic));
            let mut screen = screen::Screen::default();
            let mut out = BufWriter::new(io::stdout());
            screen.draw(&mut out, &["a table".to_owned()]).unwrap();
            panic!("a fault");
        }
        let mut child = run_alone("the_screen_of_the_table_is_left_before_a_panic_is_written");
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
        let message = place("evtchn: panicked at ");
        assert!(table < left && left < message, "{written:?}");
    }
}
