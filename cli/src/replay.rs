//! `evtchn replay`: plays a trace again and says whether it is the same run.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use evtchn_checks::{Input, Kept, Script};
use evtchn_trace::{Recording, Replayed, Source};

use crate::plain::{Plain, say};

const EXIT_CODES: &str = "\
Exit code 0: the same run; of a check: it holds. 1: it differs, and the first difference is
printed; of a check: it fails. 2: the file is refused, or wrong arguments.";

/// Play a trace again that `evtchn watch --record`, or a check that failed, has written.
///
/// Every call of the program is made on a real context, over a device and an event loop that
/// answer as the trace says; each call that they get must be the next one of the trace, and so
/// must be each answer to the program. The trace of a script is played on the simulator against
/// the model of the checks. One that was cut off, as by a crash, is played as far as its lines are
/// whole, and stderr says where it ends.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Replay {
    /// The trace
    file: PathBuf,
    /// What the calls at the seam are made on, beside the trace
    #[arg(long, value_enum, default_value_t = On::Trace)]
    on: On,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// Nothing: the trace answers
    Trace,
    /// The simulator, whose answers must be those of the trace
    Sim,
}

/// A run that is over.
struct Verdict {
    is_same: bool,
    says: String,
}

impl Replay {
    /// Plays it, prints what came of it, and gives the exit code.
    pub(crate) fn run(&self) -> ExitCode {
        let file = self.file.display();
        match self.play() {
            Ok(Verdict { is_same, says }) => {
                // A reader that is gone has the exit code.
                let _unheard = writeln!(io::stdout(), "{}: {says}", Plain(file));
                ExitCode::from(u8::from(!is_same))
            }
            Err(error) => {
                say(format_args!("{file}: {error:#}"));
                ExitCode::from(2)
            }
        }
    }

    fn play(&self) -> Result<Verdict> {
        let recording = Recording::open(&self.file)?;
        let cut = recording.cut();
        if let Some(cut) = cut {
            say(format_args!("{}: {cut}", self.file.display()));
        }
        if recording.header().source == Source::Script {
            return Ok(match Kept::load(recording)? {
                Kept::Script(kept) => script(&kept),
                Kept::Input(kept) => input(&kept),
            });
        }
        let replayed = match self.on {
            On::Trace => recording.replay(),
            On::Sim => recording.replay_on_sim(),
        };
        let up_to = cut.map(|cut| format!(" up to line {}", cut.after));
        let up_to = up_to.unwrap_or_default();
        let replayed = replayed.context("it cannot be replayed")?;
        Ok(match replayed {
            Replayed::Same(tally) => Verdict {
                is_same: true,
                says: format!(
                    "the same{up_to}: {} calls, {} at the seam, on {} threads",
                    tally.calls, tally.seam, tally.threads
                ),
            },
            Replayed::Differs(difference) => Verdict {
                is_same: false,
                says: format!(
                    "line {}: expected {}\n  but got {}",
                    difference.line,
                    Plain(difference.expected),
                    Plain(difference.got)
                ),
            },
        })
    }
}

fn input(input: &Input) -> Verdict {
    match input.play() {
        Ok(()) => Verdict {
            is_same: true,
            says: format!("it holds: {} steps", input.steps()),
        },
        Err(what) => Verdict {
            is_same: false,
            says: format!("it fails: {}", Plain(what)),
        },
    }
}

fn script(script: &Script) -> Verdict {
    match script.play() {
        Ok(played) => Verdict {
            is_same: true,
            says: format!(
                "it holds: {} steps, {} wakes",
                script.steps.len(),
                played.wakes
            ),
        },
        Err(broken) => {
            let line = match script.line(broken.step) {
                Some(line) => format!("line {line}"),
                None => "at the end".to_owned(),
            };
            Verdict {
                is_same: false,
                says: format!("it fails: {line}: {}", Plain(broken)),
            }
        }
    }
}
