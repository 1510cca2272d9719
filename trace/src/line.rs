//! The lines of a trace after the first.

mod backend;
mod call;
mod check;
mod machine;

use serde::Serialize;
use serde_json::{Map, Value};

pub use backend::{BackendAnswer, BackendCall, BackendRecord};
pub use call::{Answer, Call};
pub use check::{Input, Op, Schedule, Verdict};
pub use machine::{Guest, Sim};

/// One line.
///
/// ```
/// use evtchn_trace::{Call, Line, Record};
///
/// let line = Line::new(Record::Call(Call::Teardown));
/// assert_eq!(line.thread, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The thread that made the call, counted from 0 in the order of their first calls.
    pub thread: u32,
    /// What happened.
    pub record: Record,
    /// Fields that this version does not know. They are kept.
    pub rest: Map<String, Value>,
}

impl Line {
    /// A line of the first thread.
    #[must_use]
    pub fn new(record: Record) -> Line {
        Line {
            thread: 0,
            record,
            rest: Map::new(),
        }
    }
}

/// The content of a line. The first field of its object names the kind.
///
/// ```
/// use evtchn_trace::{Answer, Record};
///
/// let record = Record::Answer(Answer::Done);
/// assert_eq!(serde_json::to_string(&record)?, r#"{"answer":"done"}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// The program calls its context.
    Call(Call),
    /// That call returns.
    Answer(Answer),
    /// A backend call, by the context or by another holder of the device.
    Backend(BackendRecord),
    /// A guest of a simulated machine did something.
    Guest(Guest),
    /// The simulator decided something.
    Sim(Sim),
    /// A step of a script of the checks.
    Op(Op),
    /// The input of a fuzz target.
    Input(Input),
    /// A schedule of threads.
    Schedule(Schedule),
    /// What the model found in one of the three above.
    Verdict(Verdict),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(it: &bool) -> bool {
    !*it
}
