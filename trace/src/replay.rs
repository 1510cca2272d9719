//! Plays a trace again: a real context over a backend and an event loop that answer as the trace says.
//!
//! A replay has as many threads as the trace, and makes each call of the program on its thread. Each
//! backend call that the context then makes must be the next one of the trace. The first difference
//! ends the replay.

mod backend;
mod calls;
mod cursor;
mod player;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::line::{BackendAnswer, BackendCall, BackendRecord, Call, Record};
use crate::read::Trace;
use crate::refused::{BadTrace, BadTraceKind};
use crate::salvage::Cut;
use cursor::Cursor;
#[cfg(feature = "sim")]
pub(crate) use cursor::text;

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
    /// Every call and answer was as recorded.
    Same(Tally),
    /// The first call or answer that was not as recorded.
    Differs(Difference),
}

/// How much was compared.
///
/// ```
/// # use evtchn_core::Trigger;
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
/// # use evtchn_core::Trigger;
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
    let threads = check(trace, cut.is_some())?;
    let cursor = Arc::new(Cursor::new(&trace.lines, cut.is_some(), machine));
    player::play(trace.header.trigger, &cursor, &threads);
    Ok(cursor.end(threads.len()))
}

/// How many ports a domain can have. The number of a port is below this.
const PORTS: u32 = 1 << 17;

/// Checks that the trace can be replayed, and returns its threads.
///
/// A call of the program may begin only when the one before it has returned or has called a callback.
/// Numbers are limited, so the context allocates no more than for a domain with all its ports. If the
/// trace `is_cut`, its last call need not have returned.
fn check(trace: &Trace, is_cut: bool) -> Result<BTreeSet<u32>, BadTrace> {
    const MOST: u32 = 1024;
    let refuse = |at: usize, why: String| Err(BadTraceKind::Field(why).at(at));
    let mut under_way: Option<(usize, u32)> = None;
    let mut threads = BTreeSet::new();
    for (line, at) in trace.lines.iter().zip(2..) {
        if line.thread >= MOST {
            return refuse(at, format!("thread {} of at most {MOST}", line.thread));
        }
        if let Record::Backend(backend) = &line.record
            && let Some(port) = bound(backend).filter(|port| *port >= PORTS)
        {
            let why = format!("port {port}, but a domain has no more than {PORTS}");
            return refuse(at, why);
        }
        match (&line.record, under_way) {
            (Record::Call(Call::Other { what }), _) => {
                return refuse(at, format!("{what}, which is not replayed"));
            }
            (Record::Call(Call::Woken { .. } | Call::DropWoken { .. }), _) => {
                return refuse(at, "a task waits, which is not replayed".into());
            }
            (Record::Call(_), Some((begun, _))) => {
                let why = format!(
                    "a call begins while the call of line {begun} is under way: calls that overlap are not replayed"
                );
                return refuse(at, why);
            }
            (Record::Call(call), None) => {
                threads.insert(line.thread);
                under_way = Some((at, line.thread));
                if let Call::Fill { room } = call
                    && *room > PORTS as usize
                {
                    return refuse(at, format!("no room for {room} wakes"));
                }
                if *call == (Call::Return { panics: true }) {
                    return refuse(at, "a callback panics, which is not replayed".into());
                }
            }
            (Record::Answer(_), Some((_, thread))) if thread == line.thread => under_way = None,
            (Record::Answer(_), _) => return refuse(at, "an answer without its call".into()),
            // A device that was handed over is closed.
            (Record::Backend(backend), None)
                if *backend == BackendRecord::new(BackendCall::Close) => {}
            (Record::Backend(backend), under_way) if backend.peer.is_none() => {
                if under_way.is_none_or(|(_, thread)| thread != line.thread) {
                    return refuse(
                        at,
                        "a backend call outside of every call of the program".into(),
                    );
                }
            }
            (Record::Op(_) | Record::Input(_) | Record::Schedule(_) | Record::Verdict(_), _) => {
                return refuse(at, "a line of a check among those of a program".into());
            }
            (Record::Backend(_) | Record::Guest(_) | Record::Sim(_), _) => {}
        }
    }
    match under_way {
        Some((begun, _)) if !is_cut => refuse(begun, "a call without its answer".into()),
        Some(_) | None => Ok(threads),
    }
}

/// The port that the context gets from a backend call.
fn bound(backend: &BackendRecord) -> Option<u32> {
    match (&backend.call, &backend.answer) {
        (BackendCall::BindStatic { port }, _) => Some(port.as_raw()),
        (
            BackendCall::BindUnboundPort { .. }
            | BackendCall::BindInterdomain { .. }
            | BackendCall::BindVirq { .. },
            Some(BackendAnswer::Number(port)),
        ) => Some(*port),
        _ => None,
    }
}
