//! Scripts as traces: written where one fails, and played again from the file.

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::Path;

use evtchn_core::Trigger;
use evtchn_trace::{Header, Source, Tape, Trace, Verdict, What};

use crate::op::Op;
use crate::player::{Broken, Played, SLOTS, play_on, play_taped, shortest};
use crate::text::NoStep;

/// Plays a script and writes the trace of it: its steps, the calls at the seam that it led to,
/// and what the model said.
///
/// # Errors
/// Those of `out`. How the script went is what it gives.
pub fn record(
    slots: u16,
    trigger: Trigger,
    script: &[Op],
    out: impl Write + Send + 'static,
) -> io::Result<Result<Played, Broken>> {
    let mut header = Header::new(Source::Script, trigger);
    header.slots = Some(slots);
    let tape = Tape::new(&header, out);
    let steps = script.iter().copied();
    let played = play_taped(slots, trigger, steps, &tape, |_, _| ());
    tape.put(|| What::Verdict(verdict(&played)));
    tape.finish()?;
    Ok(played)
}

/// Writes the trace of a script that fails to a file in `dir` that is named after it, and says how
/// to play it again.
#[must_use]
pub fn keep(dir: &Path, slots: u16, trigger: Trigger, script: &[Op]) -> String {
    let mut hasher = DefaultHasher::new();
    (slots, trigger == Trigger::Edge, script).hash(&mut hasher);
    let path = dir.join(format!("evtchn-{:016x}.trace", hasher.finish()));
    let kept = write(&path, slots, trigger, script);
    let shown = path.display();
    match kept {
        Ok(_) => format!("to play it again: cargo run -p evtchn-cli -- replay {shown}"),
        Err(error) => format!("{shown} could not be written: {error}"),
    }
}

/// [`record`] into a file.
///
/// # Errors
/// Those of the file.
pub fn write(path: &Path, slots: u16, trigger: Trigger, script: &[Op]) -> io::Result<()> {
    let file = File::create(path)?;
    let _played = record(slots, trigger, script, file)?;
    Ok(())
}

fn verdict(played: &Result<Played, Broken>) -> Verdict {
    match played {
        Ok(_) => Verdict::Holds,
        Err(Broken { step, what }) => Verdict::Broken {
            step: *step,
            what: what.clone(),
        },
    }
}

/// A script and what it is played on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How many slots it is for.
    pub slots: u16,
    /// The trigger of its loop.
    pub trigger: Trigger,
    /// Its steps.
    pub steps: Vec<Op>,
    /// The line of each in the trace it is from, counted from 1.
    lines: Vec<usize>,
}

/// A trace that is not of a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoScript {
    /// It was recorded of a program.
    #[error("line 1: the trace is not of a script")]
    OfAProgram,
    /// A step of it cannot be read.
    #[error("line {line}: {why}")]
    Step {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        why: NoStep,
    },
}

impl TryFrom<&Trace> for Script {
    type Error = NoScript;

    fn try_from(trace: &Trace) -> Result<Script, NoScript> {
        if trace.header.source != Source::Script {
            return Err(NoScript::OfAProgram);
        }
        let mut script = Script {
            slots: trace.header.slots.unwrap_or(SLOTS),
            trigger: trace.header.trigger,
            steps: Vec::new(),
            lines: Vec::new(),
        };
        for (line, at) in trace.lines.iter().zip(2..) {
            if let What::Op(op) = &line.what {
                let step = op.op.parse();
                let step = step.map_err(|why| NoScript::Step { line: at, why })?;
                script.steps.push(step);
                script.lines.push(at);
            }
        }
        Ok(script)
    }
}

impl Script {
    /// One that is from no trace.
    #[must_use]
    pub const fn new(slots: u16, trigger: Trigger, steps: Vec<Op>) -> Script {
        Script {
            slots,
            trigger,
            steps,
            lines: Vec::new(),
        }
    }

    /// Plays it on the simulator against the model.
    ///
    /// # Errors
    /// [`Broken`] where it fails, also where something panics.
    pub fn play(&self) -> Result<Played, Broken> {
        play_on(self.slots, self.trigger, &self.steps)
    }

    /// The shortest script that breaks, of one that does.
    #[must_use]
    pub fn shortest(&self) -> Script {
        let (slots, steps) = shortest(self.slots, self.trigger, &self.steps);
        Script::new(slots, self.trigger, steps)
    }

    /// The line of a step, unless it is the end that is meant.
    #[must_use]
    pub fn line(&self, step: usize) -> Option<usize> {
        self.lines.get(step).copied()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} slots, {:?}", self.slots, self.trigger)?;
        self.steps.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Each, Failing, Source as From};

    #[test]
    fn a_script_that_was_kept_is_read_and_played_again() {
        let script = [
            Op::Many(Each::Binds(From::Interdomain), 0, 5),
            Op::Fail(Failing::Unmasking),
            Op::Many(Each::Waits, 0, 5),
            Op::Serve,
        ];
        let dir = std::env::temp_dir();
        let kept = keep(&dir, 5, Trigger::Edge, &script);
        let path = kept.rsplit(' ').next().unwrap();
        let trace = Trace::load(path).unwrap();
        std::fs::remove_file(path).unwrap();
        let read = Script::try_from(&trace).unwrap();
        assert_eq!((read.slots, read.trigger), (5, Trigger::Edge));
        assert_eq!(read.steps, script);
        assert_eq!(read.line(0), Some(2));
        let played = play_on(5, Trigger::Edge, &script).unwrap();
        assert_eq!(read.play().unwrap(), played);
        let last = trace.lines.last().map(|line| &line.what);
        assert_eq!(last, Some(&What::Verdict(Verdict::Holds)));
        let at_seam = |line: &&evtchn_trace::Line| matches!(line.what, What::Seam(_));
        assert!(trace.lines.iter().filter(at_seam).count() > 10);
    }
}
