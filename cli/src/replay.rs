//! `evtchn replay`: replays a trace and compares it with the recorded run.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use evtchn_trace::{Recording, Replayed, Source};

use crate::plain::{Plain, eprintln};

const EXIT_CODES: &str = "\
Exit code 0: the same run. 1: the run differs, and the first difference is printed. 2: the file is
refused, or wrong arguments.";

/// Replay a trace of `evtchn watch --record`.
///
/// It makes every call of the program on a real context, whose device and event loop answer as the
/// trace says. Each call that these get, and each answer to the program, must be the next one of the
/// trace. If a trace was cut off, for example by a crash, its complete lines are replayed, and stderr
/// says where it ends.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Replay {
    /// The trace
    file: PathBuf,
    /// What answers the calls of the backend
    #[arg(long, value_enum, default_value_t = On::Trace)]
    on: On,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// The trace
    Trace,
    /// The simulator; its answers must be those of the trace
    Sim,
}

/// The result of a replay.
struct Outcome {
    is_same: bool,
    message: String,
}

impl Replay {
    /// Replays it, prints the result, and returns the exit code.
    pub(crate) fn run(&self) -> ExitCode {
        let file = self.file.display();
        match self.play() {
            Ok(Outcome { is_same, message }) => {
                // If the output cannot be written, the exit code still has the result.
                let _ignored = writeln!(io::stdout(), "{}: {message}", Plain(file));
                ExitCode::from(u8::from(!is_same))
            }
            Err(error) => {
                eprintln(format_args!("{file}: {error:#}"));
                ExitCode::from(2)
            }
        }
    }

    fn play(&self) -> Result<Outcome> {
        let recording = Recording::open(&self.file)?;
        let cut = recording.cut();
        if let Some(cut) = cut {
            eprintln(format_args!("{}: {cut}", self.file.display()));
        }
        if recording.header().source == Source::Script {
            bail!("it is the script of a check: `evtchn-explore --replay` plays it");
        }
        let replayed = match self.on {
            On::Trace => recording.replay(),
            On::Sim => recording.replay_on_sim(),
        };
        let up_to = cut.map(|cut| format!(" up to line {}", cut.after));
        let up_to = up_to.unwrap_or_default();
        let replayed = replayed.context("it cannot be replayed")?;
        Ok(match replayed {
            Replayed::Same(tally) => Outcome {
                is_same: true,
                message: format!(
                    "the same{up_to}: {} calls, {} backend calls, on {} threads",
                    tally.calls, tally.backend_calls, tally.threads
                ),
            },
            Replayed::Differs(difference) => Outcome {
                is_same: false,
                message: format!(
                    "line {}: expected {}\n  but got {}",
                    difference.line,
                    Plain(difference.expected),
                    Plain(difference.got)
                ),
            },
        })
    }
}
