//! Plays a trace again: a real context over a backend and an event loop that answer as the trace says.
//!
//! A replay has as many threads as the trace, and makes each call of the program on its thread. Each
//! backend call that the context then makes must be the next one of the trace. The first difference
//! ends the replay.

mod backend;
mod calls;
mod check;
mod cursor;
mod player;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use evtchn_core::Trigger;

use crate::line::Record;
use crate::read::Trace;
use crate::refused::{BadTrace, BadTraceKind, LoadError};
use crate::salvage::Cut;
pub(crate) use check::Check;
pub(crate) use cursor::Cursor;
#[cfg(feature = "sim")]
pub(crate) use cursor::text;

/// How a replay ended.
///
/// ```
/// use evtchn::Trigger;
/// use evtchn_trace::{Header, Replayed, Source, Tally, Trace, replay};
///
/// let nothing = Trace { header: Header::new(Source::Sim, Trigger::Level), lines: Vec::new() };
/// assert_eq!(replay(&nothing)?, Replayed::Same(Tally::default()));
/// # Ok::<_, evtchn_trace::BadTrace>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// Every call and answer was as recorded.
    Same(Tally),
    /// The first call or answer that was not as recorded.
    Differs(Difference),
}

/// How much was compared.
///
/// ```
/// # use evtchn::Trigger;
/// # use evtchn_trace::{Call, Header, Line, Source, Trace};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let lines = [
/// #     Record::Call(Call::Teardown),
/// #     Record::Answer(Answer::Done),
/// #     Record::Call(Call::DropContext),
/// #     Record::Answer(Answer::Done),
/// # ];
/// # let header = Header::new(Source::Sim, Trigger::Level);
/// # let mut trace = Trace { header, lines: lines.map(Line::new).into() };
/// use evtchn_trace::{Answer, Record, Replayed, replay};
///
/// let Replayed::Same(tally) = replay(&trace)? else {
///     panic!("it is the same program");
/// };
/// assert_eq!((tally.calls, tally.backend_calls, tally.threads), (2, 0, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Calls of the program.
    pub calls: usize,
    /// Backend calls of the context.
    pub backend_calls: usize,
    /// Threads that made the calls of the program.
    pub threads: usize,
}

/// The first difference between a recording and its replay.
///
/// ```
/// # use evtchn::Trigger;
/// # use evtchn_trace::{Call, Header, Line, Source, Trace};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let lines = [
/// #     Record::Call(Call::Teardown),
/// #     Record::Answer(Answer::Done),
/// #     Record::Call(Call::DropContext),
/// #     Record::Answer(Answer::Done),
/// # ];
/// # let header = Header::new(Source::Sim, Trigger::Level);
/// # let mut trace = Trace { header, lines: lines.map(Line::new).into() };
/// use evtchn_trace::{Answer, Record, Replayed, replay};
///
/// trace.lines[1].record = Record::Answer(Answer::Nothing); // what a teardown never answers
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
    /// What the trace has there.
    pub expected: String,
    /// What the replay did.
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

/// A machine on which the backend calls are made too. Its answers must be the recorded ones.
pub(crate) trait Machine: Send {
    /// Does what others did, or makes a backend call, as the line says.
    ///
    /// # Errors
    /// What happened instead.
    fn act(&mut self, record: &Record) -> Result<(), String>;
}

/// Plays a trace of a program again, with the answers of the device and the loop as recorded.
///
/// # Errors
/// [`BadTrace`] if the trace cannot be replayed; then nothing was played.
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
    let cursor = Cursor::new(lines, cut.is_some(), machine);
    play(trace.header.trigger, cursor, &threads).map_err(|error| match error {
        LoadError::Bad(bad) => bad,
        // A read from memory cannot fail.
        LoadError::Io(error) => BadTraceKind::Field(error.to_string()).at(1),
    })
}

/// Plays lines that [`Check`] has accepted.
///
/// # Errors
/// [`LoadError`] if they cannot be read any more.
pub(crate) fn play(
    trigger: Trigger,
    cursor: Cursor,
    threads: &BTreeSet<u32>,
) -> Result<Replayed, LoadError> {
    let cursor = Arc::new(cursor);
    player::play(trigger, &cursor, threads);
    cursor.end(threads.len())
}
