//! The lines of a trace after the first: what each can say.

mod call;
mod check;
mod machine;
mod seam;

use serde::Serialize;
use serde_json::{Map, Value};

pub use call::{Answer, Call};
pub use check::{Input, Op, Schedule, Verdict};
pub use machine::{Guest, Sim};
pub use seam::{AtSeam, Got, Seam};

/// One line.
///
/// ```
/// use evtchn_trace::{Call, Line, What};
///
/// let line = Line::new(What::Call(Call::Teardown));
/// assert_eq!(line.thread, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The thread that made the call, counted from 0 in the order of their first calls.
    pub thread: u32,
    /// What happened.
    pub what: What,
    /// What this version does not know. It is kept.
    pub rest: Map<String, Value>,
}

impl Line {
    /// A line of the first thread.
    #[must_use]
    pub fn new(what: What) -> Line {
        Line {
            thread: 0,
            what,
            rest: Map::new(),
        }
    }
}

/// What a line says. The first field of its object names the kind.
///
/// ```
/// use evtchn_trace::{Answer, What};
///
/// let what = What::Answer(Answer::Done);
/// assert_eq!(serde_json::to_string(&what)?, r#"{"answer":"done"}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum What {
    /// The program calls its context.
    Call(Call),
    /// That call comes back.
    Answer(Answer),
    /// A call at the seam, by the context or by another holder of the device.
    Seam(AtSeam),
    /// What a guest of a simulated machine did.
    Guest(Guest),
    /// What the simulator decided.
    Sim(Sim),
    /// A step of a script of the checks.
    Op(Op),
    /// The input of a fuzz target.
    Input(Input),
    /// A schedule of threads.
    Schedule(Schedule),
    /// What the model said of one of these.
    Verdict(Verdict),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(it: &bool) -> bool {
    !*it
}
