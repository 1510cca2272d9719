//! Playing a trace again: a real context over a device and a loop that answer as the trace says.
//!
//! Each call of the program is made, on a thread for each that the trace has. Each call that the
//! context makes at the seam must be the next one of the trace. The first difference ends it.

mod calls;
mod check;
mod player;
mod script;
mod stage;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use evtchn_core::Trigger;

use crate::line::What;
use crate::read::Trace;
use crate::refused::{BadTrace, LoadError, Why};
use crate::salvage::Cut;
pub(crate) use check::Check;
pub(crate) use script::Script;
#[cfg(feature = "sim")]
pub(crate) use script::text;

/// How a replay ended.
///
/// ```
/// use evtchn_core::Trigger;
/// use evtchn_trace::{Header, Replayed, Source, Tally, Trace, replay};
///
/// let nothing = Trace { header: Header::new(Source::Sim, Trigger::Level), lines: Vec::new() };
/// assert_eq!(replay(&nothing)?, Replayed::Same(Tally::default()));
/// # Ok::<_, evtchn_trace::BadTrace>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// All was as recorded.
    Same(Tally),
    /// This was the first that was not.
    Differs(Difference),
}

/// What was compared.
///
/// ```
/// # use evtchn_core::Trigger;
/// # use evtchn_trace::{Call, Header, Line, Source, Trace};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let lines = [
/// #     What::Call(Call::Teardown),
/// #     What::Answer(Answer::Done),
/// #     What::Call(Call::DropContext),
/// #     What::Answer(Answer::Done),
/// # ];
/// # let header = Header::new(Source::Sim, Trigger::Level);
/// # let mut trace = Trace { header, lines: lines.map(Line::new).into() };
/// use evtchn_trace::{Answer, Replayed, What, replay};
///
/// let Replayed::Same(tally) = replay(&trace)? else {
///     panic!("it is the same program");
/// };
/// assert_eq!((tally.calls, tally.seam, tally.threads), (2, 0, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Calls of the program.
    pub calls: usize,
    /// Calls at the seam.
    pub seam: usize,
    /// Threads that made them.
    pub threads: usize,
}

/// The first thing that was not as recorded.
///
/// ```
/// # use evtchn_core::Trigger;
/// # use evtchn_trace::{Call, Header, Line, Source, Trace};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let lines = [
/// #     What::Call(Call::Teardown),
/// #     What::Answer(Answer::Done),
/// #     What::Call(Call::DropContext),
/// #     What::Answer(Answer::Done),
/// # ];
/// # let header = Header::new(Source::Sim, Trigger::Level);
/// # let mut trace = Trace { header, lines: lines.map(Line::new).into() };
/// use evtchn_trace::{Answer, Replayed, What, replay};
///
/// trace.lines[1].what = What::Answer(Answer::Nothing); // what a teardown never answers
/// let Replayed::Differs(difference) = replay(&trace)? else {
///     panic!("the trace was changed");
/// };
/// assert_eq!(difference.line, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The line, counted from 1.
    pub line: usize,
    /// What the trace says there.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            line,
            expected,
            got,
        } = self;
        write!(f, "line {line}: expected {expected}\n  but got {got}")
    }
}

/// Another machine that the calls at the seam are made on too, and whose answers must be the
/// recorded ones.
pub(crate) trait Machine: Send {
    /// Does what the trace says that others did, or makes a call of the seam.
    ///
    /// # Errors
    /// What came instead.
    fn act(&mut self, what: &What) -> Result<(), String>;
}

/// Plays a trace of a program again, with the answers of the device and the loop as recorded.
///
/// # Errors
/// [`BadTrace`] where the trace cannot be replayed; then nothing was played.
pub fn replay(trace: &Trace) -> Result<Replayed, BadTrace> {
    replay_with(trace, None, None)
}

pub(crate) fn replay_with(
    trace: &Trace,
    cut: Option<Cut>,
    machine: Option<Box<dyn Machine>>,
) -> Result<Replayed, BadTrace> {
    let mut check = Check::new();
    trace.lines.iter().for_each(|line| check.line(line));
    let threads = check.end(cut.is_some())?;
    let lines = Box::new(trace.lines.clone().into_iter().map(Ok));
    let script = Script::new(lines, cut.is_some(), machine);
    play(trace.header.trigger, script, &threads).map_err(|error| match error {
        LoadError::Bad(bad) => bad,
        // Nothing fails that reads from memory.
        LoadError::Io(error) => Why::Field(error.to_string()).at(1),
    })
}

/// Plays lines that [`Check`] has seen.
///
/// # Errors
/// [`LoadError`] where they cannot be read any more.
pub(crate) fn play(
    trigger: Trigger,
    script: Script,
    threads: &BTreeSet<u32>,
) -> Result<Replayed, LoadError> {
    let script = Arc::new(script);
    player::play(trigger, &script, threads);
    script.end(threads.len())
}
