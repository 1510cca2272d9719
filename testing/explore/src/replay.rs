//! Plays a saved script again.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use evtchn_checks::{CheckTrace, Input, Script};
use evtchn_trace::plain::Plain;
use evtchn_trace::{Recording, Source};

use crate::eprintln;

/// Plays the trace of a script, prints the result, and returns the exit code: 0 if it passes, 1 if it
/// fails, 2 if the trace is refused.
pub(crate) fn run(file: &Path) -> ExitCode {
    let name = file.display();
    match play(file) {
        Ok(result) => {
            let message = match &result {
                Ok(passes) => format!("it passes: {passes}"),
                Err(fails) => format!("it fails: {}", Plain(fails)),
            };
            // If the output cannot be written, the exit code still has the result.
            let _ignored = writeln!(io::stdout(), "{}: {message}", Plain(name));
            ExitCode::from(u8::from(result.is_err()))
        }
        Err(error) => {
            eprintln(format_args!("{name}: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// What was played, or how it fails.
type Played = Result<String, String>;

fn play(file: &Path) -> Result<Played> {
    let recording = Recording::open(file)?;
    if let Some(cut) = recording.cut() {
        eprintln(format_args!("{}: {cut}", file.display()));
    }
    if recording.header().source != Source::Script {
        bail!("it is the trace of a run, not of a script: `evtchn replay` plays it");
    }
    Ok(match CheckTrace::load(recording)? {
        CheckTrace::Script(kept) => script(&kept),
        CheckTrace::Input(kept) => input(&kept),
    })
}

fn input(input: &Input) -> Played {
    match input.play() {
        Ok(()) => Ok(format!("{} steps", input.steps())),
        Err(what) => Err(what.to_string()),
    }
}

fn script(script: &Script) -> Played {
    match script.play() {
        Ok(played) => {
            let (steps, wakes) = (script.steps.len(), played.wakes);
            Ok(format!("{steps} steps, {wakes} wakes"))
        }
        Err(broken) => Err(match script.line(broken.step) {
            Some(line) => format!("line {line}: {broken}"),
            None => format!("at the end: {broken}"),
        }),
    }
}
