//! What checks play, as traces: written where it fails, and played again from the file.

use std::borrow::Borrow;
use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use evtchn_core::Trigger;
use evtchn_trace::{Header, Line, LoadError, Recording, Source, Tape, Trace, Verdict, What};

use crate::op::Op;
use crate::player::{Broken, Played, SLOTS, play_on, play_taped, shortest};
use crate::target::Input;
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
    kept(dir, &(slots, trigger == Trigger::Edge, script), |path| {
        write(path, slots, trigger, script)
    })
}

/// Writes to a file in `dir` that is named after what is written, and says how to play that again.
pub(crate) fn kept(
    dir: &Path,
    what: &impl Hash,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> String {
    let path = named(dir, what);
    let shown = path.display();
    match write(&path) {
        Ok(()) => format!("to play it again: cargo run -p evtchn-cli -- replay {shown}"),
        Err(error) => format!("{shown} could not be written: {error}"),
    }
}

/// A file in `dir` that is named after what is written.
pub(crate) fn named(dir: &Path, what: &impl Hash) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    dir.join(format!("evtchn-{:016x}.trace", hasher.finish()))
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

/// The trace of a script that is not played, as where that would not end: its steps alone.
///
/// # Errors
/// Those of `out`.
pub fn write_unplayed(out: impl Write + Send + 'static, script: &Script) -> io::Result<()> {
    let mut header = Header::new(Source::Script, script.trigger);
    header.slots = Some(script.slots);
    let tape = Tape::new(&header, out);
    for step in &script.steps {
        let op = step.to_string();
        tape.put(|| What::Op(evtchn_trace::Op { op }));
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
    /// How many slots it is for.
    pub slots: u16,
    /// The trigger of its loop.
    pub trigger: Trigger,
    /// Its steps.
    pub steps: Vec<Op>,
    /// The line of each in the trace it is from, counted from 1.
    lines: Vec<usize>,
}

/// What a check played, from the trace that it kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A script.
    Script(Script),
    /// The input of a fuzz target.
    Input(Input),
}

/// With how many slots the script of a trace is played at most.
const MOST_SLOTS: u16 = 16_384;

/// A trace of which nothing can be played here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// It was recorded of a program.
    #[error("line 1: the trace is of a program and not of a check")]
    OfAProgram,
    /// Its threads are those of a schedule checker, which it takes to play it.
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
    /// More slots than a script is played with: each takes memory.
    #[error("line 1: {slots} slots, and a script is played with at most {MOST_SLOTS}")]
    Slots {
        /// How many it has.
        slots: u16,
    },
    /// An input that is none.
    #[error("line {line}: no input of a fuzz target")]
    Input {
        /// The line, counted from 1.
        line: usize,
    },
    /// A step of it cannot be read.
    #[error("line {line}: {why}")]
    Step {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        why: NoStep,
    },
}

/// A file that is no trace, or one of which nothing can be played here.
#[derive(Debug, thiserror::Error)]
pub enum LoadKept {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] LoadError),
    /// Nothing of it can be played.
    #[error(transparent)]
    Not(#[from] NotKept),
}

impl TryFrom<&Trace> for Kept {
    type Error = NotKept;

    fn try_from(trace: &Trace) -> Result<Kept, NotKept> {
        Kept::of(&trace.header, trace.lines.iter().map(Ok::<_, NotKept>))
    }
}

impl Kept {
    /// What a recording keeps.
    ///
    /// # Errors
    /// [`LoadKept`]
    pub fn load(recording: Recording) -> Result<Kept, LoadKept> {
        let header = recording.header().clone();
        Kept::of(&header, recording.lines()?)
    }

    fn of<E: From<NotKept>>(
        header: &Header,
        lines: impl Iterator<Item = Result<impl Borrow<Line>, impl Into<E>>>,
    ) -> Result<Kept, E> {
        if header.source != Source::Script {
            return Err(NotKept::OfAProgram.into());
        }
        let slots = header.slots.unwrap_or(SLOTS);
        if slots > MOST_SLOTS {
            return Err(NotKept::Slots { slots }.into());
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
            match &line.what {
                What::Op(op) => {
                    let step = op.op.parse();
                    let step = step.map_err(|why| NotKept::Step { line: at, why })?;
                    script.steps.push(step);
                    script.lines.push(at);
                }
                What::Input(input) => {
                    let input = Input::from_line(input);
                    return Ok(Kept::Input(input.ok_or(NotKept::Input { line: at })?));
                }
                What::Schedule(schedule) => {
                    let scenario = schedule.schedule.clone();
                    return Err(NotKept::Schedule { line: at, scenario }.into());
                }
                What::Call(_)
                | What::Answer(_)
                | What::Seam(_)
                | What::Guest(_)
                | What::Sim(_)
                | What::Verdict(_) => {}
            }
        }
        Ok(Kept::Script(script))
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
        let Ok(Kept::Script(read)) = Kept::try_from(&trace) else {
            panic!("it is of a script");
        };
        assert_eq!((read.slots, read.trigger), (5, Trigger::Edge));
        assert_eq!(read.steps, script);
        assert_eq!(read.line(0), Some(2));
        let played = play_on(5, Trigger::Edge, &script).unwrap();
        assert_eq!(read.play().unwrap(), played);
        let last = trace.lines.last().map(|line| &line.what);
        assert_eq!(last, Some(&What::Verdict(Verdict::Holds)));
        let at_seam = |line: &&Line| matches!(line.what, What::Seam(_));
        assert!(trace.lines.iter().filter(at_seam).count() > 10);
    }

    #[test]
    fn a_script_of_more_slots_than_are_played_is_refused() {
        let trace = |slots| {
            let mut header = Header::new(Source::Script, Trigger::Level);
            header.slots = Some(slots);
            Kept::try_from(&Trace {
                header,
                lines: Vec::new(),
            })
        };
        let slots = MOST_SLOTS + 1;
        assert_eq!(trace(slots), Err(NotKept::Slots { slots }));
        assert!(trace(MOST_SLOTS).is_ok());
    }
}
