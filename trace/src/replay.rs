//! Playing a trace again: a real context over a device and a loop that answer as the trace says.
//!
//! Each call of the program is made, on a thread for each that the trace has. Each call that the
//! context makes at the seam must be the next one of the trace. The first difference ends it.

mod calls;
mod player;
mod script;
mod stage;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::line::{AtSeam, Call, Got, Seam, What};
use crate::read::Trace;
use crate::refused::{BadTrace, Why};
use crate::salvage::Cut;
use script::Script;
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
    let threads = check(trace, cut.is_some())?;
    let script = Arc::new(Script::new(&trace.lines, cut.is_some(), machine));
    player::play(trace.header.trigger, &script, &threads);
    Ok(script.end(threads.len()))
}

/// As many ports as a domain can have, which no number of a port reaches.
const PORTS: u32 = 1 << 17;

/// Whether it can be replayed: no call of the program may begin before the one before it has come
/// back, or has called the program back, and no number makes the context allocate more than a domain
/// can have. The last call of a trace that `is_cut` need not have come back. Gives the threads.
fn check(trace: &Trace, is_cut: bool) -> Result<BTreeSet<u32>, BadTrace> {
    const MOST: u32 = 1024;
    let refuse = |at: usize, why: String| Err(Why::Field(why).at(at));
    let mut under_way: Option<(usize, u32)> = None;
    let mut threads = BTreeSet::new();
    for (line, at) in trace.lines.iter().zip(2..) {
        if line.thread >= MOST {
            return refuse(at, format!("thread {} of at most {MOST}", line.thread));
        }
        if let What::Seam(seam) = &line.what
            && let Some(port) = bound(seam).filter(|port| *port >= PORTS)
        {
            let why = format!("port {port}, but a domain has no more than {PORTS}");
            return refuse(at, why);
        }
        match (&line.what, under_way) {
            (What::Call(Call::Other { what }), _) => {
                return refuse(at, format!("{what}, which is not replayed"));
            }
            (What::Call(Call::Woken { .. } | Call::DropWoken { .. }), _) => {
                return refuse(at, "a task waits, which is not replayed".into());
            }
            (What::Call(_), Some((begun, _))) => {
                let why = "a call begins while that of line";
                return refuse(
                    at,
                    format!("{why} {begun} is under way: it has no one order"),
                );
            }
            (What::Call(call), None) => {
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
            (What::Answer(_), Some((_, thread))) if thread == line.thread => under_way = None,
            (What::Answer(_), _) => return refuse(at, "an answer without its call".into()),
            // Of a device that was handed out.
            (What::Seam(seam), None) if *seam == AtSeam::new(Seam::Close) => {}
            (What::Seam(seam), under_way) if seam.peer.is_none() => {
                if under_way.is_none_or(|(_, thread)| thread != line.thread) {
                    return refuse(at, "a call at the seam outside of every call".into());
                }
            }
            (What::Op(_) | What::Input(_) | What::Schedule(_) | What::Verdict(_), _) => {
                return refuse(at, "a line of a check among those of a program".into());
            }
            (What::Seam(_) | What::Guest(_) | What::Sim(_), _) => {}
        }
    }
    match under_way {
        Some((begun, _)) if !is_cut => refuse(begun, "a call without its answer".into()),
        Some(_) | None => Ok(threads),
    }
}

/// The port that a call at the seam gives the context.
fn bound(at: &AtSeam) -> Option<u32> {
    match (&at.call, &at.got) {
        (Seam::BindStatic { port }, _) => Some(port.as_raw()),
        (
            Seam::BindUnboundPort { .. } | Seam::BindInterdomain { .. } | Seam::BindVirq { .. },
            Some(Got::Number(port)),
        ) => Some(*port),
        _ => None,
    }
}
