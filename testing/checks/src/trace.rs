//! Traces of checks: written when a check fails, and played again from the file.

use std::borrow::Borrow;
use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use evtchn_core::Trigger;
use evtchn_trace::{Header, Line, LoadError, Record, Recording, Source, Tape, Trace, Verdict};

use crate::op::Op;
use crate::player::{Broken, Played, SLOTS, play_on, play_taped, shortest};
use crate::target::Input;
use crate::text::BadStep;

/// Plays a script and writes its trace: its steps, the backend calls that it led to, and what the model
/// found. Returns the result of the script.
///
/// # Errors
/// The error of a write to `out`.
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
    tape.put(|| Record::Verdict(verdict(&played)));
    tape.finish()?;
    Ok(played)
}

/// Writes the trace of a script that fails to a file in `dir`, which is named after a hash of it.
/// Returns a message with the command that plays it again.
#[must_use]
pub fn keep(dir: &Path, slots: u16, trigger: Trigger, script: &[Op]) -> String {
    kept(dir, &(slots, trigger == Trigger::Edge, script), |path| {
        write(path, slots, trigger, script)
    })
}

/// Writes to a file in `dir`, which is named after a hash of the content. Returns a message with the
/// command that plays it again.
pub(crate) fn kept(
    dir: &Path,
    what: &impl Hash,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> String {
    let path = named(dir, what);
    let shown = path.display();
    match write(&path) {
        Ok(()) => format!("to play it again: cargo run -p evtchn-explore -- --replay {shown}"),
        Err(error) => format!("{shown} could not be written: {error}"),
    }
}

/// A file in `dir`, named after a hash of the content.
pub(crate) fn named(dir: &Path, what: &impl Hash) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    dir.join(format!("evtchn-{:016x}.trace", hasher.finish()))
}

/// [`record`] to a file.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, slots: u16, trigger: Trigger, script: &[Op]) -> io::Result<()> {
    let file = File::create(path)?;
    let _played = record(slots, trigger, script, file)?;
    Ok(())
}

/// Writes only the steps of a script, without playing it, because it would not end.
///
/// # Errors
/// The error of a write to `out`.
pub fn write_unplayed(out: impl Write + Send + 'static, script: &Script) -> io::Result<()> {
    let mut header = Header::new(Source::Script, script.trigger);
    header.slots = Some(script.slots);
    let tape = Tape::new(&header, out);
    for step in &script.steps {
        let op = step.to_string();
        tape.put(|| Record::Op(evtchn_trace::Op { op }));
    }
    tape.finish()
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
    /// How many slots it has.
    pub slots: u16,
    /// The trigger of its loop.
    pub trigger: Trigger,
    /// Its steps.
    pub steps: Vec<Op>,
    /// The line of each step in the trace that it was read from, counted from 1.
    lines: Vec<usize>,
}

/// What the trace of a check contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckTrace {
    /// A script.
    Script(Script),
    /// The input of a fuzz target.
    Input(Input),
}

/// The most slots with which the script of a trace is played.
const MOST_SLOTS: u16 = 16_384;

/// A trace that cannot be played as a check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckTrace {
    /// It is the trace of a program.
    #[error("line 1: this is the trace of a program, not of a check")]
    OfAProgram,
    /// It is a schedule of threads, which only the schedule checker can play.
    #[error(
        "line {line}: a schedule of threads, to be played by: EVTCHN_SCHEDULE=FILE .ci/schedules \
         --exact {scenario}"
    )]
    Schedule {
        /// The line, counted from 1.
        line: usize,
        /// The scenario.
        scenario: String,
    },
    /// More slots than a script may have: each takes memory.
    #[error("line 1: {slots} slots, but a script has at most {MOST_SLOTS}")]
    Slots {
        /// How many it has.
        slots: u16,
    },
    /// A line with an input of an unknown target, or without bytes.
    #[error("line {line}: not an input of a fuzz target")]
    Input {
        /// The line, counted from 1.
        line: usize,
    },
    /// A step cannot be read.
    #[error("line {line}: {why}")]
    Step {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        why: BadStep,
    },
}

/// A file that is not a trace, or a trace that cannot be played as a check.
#[derive(Debug, thiserror::Error)]
pub enum CheckTraceError {
    /// It cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It cannot be played.
    #[error(transparent)]
    Bad(#[from] BadCheckTrace),
}

impl TryFrom<&Trace> for CheckTrace {
    type Error = BadCheckTrace;

    fn try_from(trace: &Trace) -> Result<CheckTrace, BadCheckTrace> {
        CheckTrace::of(
            &trace.header,
            trace.lines.iter().map(Ok::<_, BadCheckTrace>),
        )
    }
}

impl CheckTrace {
    /// What a recording contains.
    ///
    /// # Errors
    /// [`CheckTraceError`]
    pub fn load(recording: Recording) -> Result<CheckTrace, CheckTraceError> {
        let header = recording.header().clone();
        CheckTrace::of(&header, recording.lines()?)
    }

    fn of<E: From<BadCheckTrace>>(
        header: &Header,
        lines: impl Iterator<Item = Result<impl Borrow<Line>, impl Into<E>>>,
    ) -> Result<CheckTrace, E> {
        if header.source != Source::Script {
            return Err(BadCheckTrace::OfAProgram.into());
        }
        let slots = header.slots.unwrap_or(SLOTS);
        if slots > MOST_SLOTS {
            return Err(BadCheckTrace::Slots { slots }.into());
        }
        let mut script = Script {
            slots,
            trigger: header.trigger,
            steps: Vec::new(),
            lines: Vec::new(),
        };
        for (line, at) in lines.zip(2..) {
            let line = line.map_err(Into::into)?;
            let line: &Line = line.borrow();
            match &line.record {
                Record::Op(op) => {
                    let step = op.op.parse();
                    let step = step.map_err(|why| BadCheckTrace::Step { line: at, why })?;
                    script.steps.push(step);
                    script.lines.push(at);
                }
                Record::Input(input) => {
                    let input = Input::from_line(input);
                    let input = input.ok_or(BadCheckTrace::Input { line: at })?;
                    return Ok(CheckTrace::Input(input));
                }
                Record::Schedule(schedule) => {
                    let scenario = schedule.schedule.clone();
                    return Err(BadCheckTrace::Schedule { line: at, scenario }.into());
                }
                Record::Call(_)
                | Record::Answer(_)
                | Record::Backend(_)
                | Record::Guest(_)
                | Record::Sim(_)
                | Record::Verdict(_) => {}
            }
        }
        Ok(CheckTrace::Script(script))
    }
}

impl Script {
    /// A script that does not come from a trace.
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
    /// [`Broken`] if it fails or something panics.
    pub fn play(&self) -> Result<Played, Broken> {
        play_on(self.slots, self.trigger, &self.steps)
    }

    /// The shortest script that still breaks, if this one does.
    #[must_use]
    pub fn shortest(&self) -> Script {
        let (slots, steps) = shortest(self.slots, self.trigger, &self.steps);
        Script::new(slots, self.trigger, steps)
    }

    /// The line of a step. `None` for the end of the script.
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
    fn the_trace_of_a_script_is_read_and_played_again() {
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
        let Ok(CheckTrace::Script(read)) = CheckTrace::try_from(&trace) else {
            panic!("it is a script");
        };
        assert_eq!((read.slots, read.trigger), (5, Trigger::Edge));
        assert_eq!(read.steps, script);
        assert_eq!(read.line(0), Some(2));
        let played = play_on(5, Trigger::Edge, &script).unwrap();
        assert_eq!(read.play().unwrap(), played);
        let last = trace.lines.last().map(|line| &line.record);
        assert_eq!(last, Some(&Record::Verdict(Verdict::Holds)));
        let is_backend = |line: &&Line| matches!(line.record, Record::Backend(_));
        assert!(trace.lines.iter().filter(is_backend).count() > 10);
    }

    #[test]
    fn a_script_of_more_slots_than_are_played_is_refused() {
        let trace = |slots| {
            let mut header = Header::new(Source::Script, Trigger::Level);
            header.slots = Some(slots);
            CheckTrace::try_from(&Trace {
                header,
                lines: Vec::new(),
            })
        };
        let slots = MOST_SLOTS + 1;
        assert_eq!(trace(slots), Err(BadCheckTrace::Slots { slots }));
        assert!(trace(MOST_SLOTS).is_ok());
    }
}
