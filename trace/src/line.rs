//! The lines of a trace after the first: what each can say.

mod check;

use evtchn_core::{DomId, Port, Virq};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use check::{Input, Op, Schedule, Verdict};

use crate::failed::Failed;
use crate::names::{self, Caused};

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

/// A call that the program makes. Channels go by a number: the how manieth bind they are of.
///
/// ```
/// use evtchn_trace::Call;
///
/// let call = Call::Wait { channel: 0 };
/// assert_eq!(serde_json::to_string(&call)?, r#"{"call":"wait","channel":0}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named after the methods and their arguments")]
pub enum Call {
    BindUnboundPort {
        #[serde(with = "names::number")]
        remote: DomId,
    },
    BindInterdomain {
        #[serde(with = "names::number")]
        domid: DomId,
        #[serde(with = "names::number")]
        port: Port,
    },
    BindVirq {
        #[serde(with = "names::number")]
        virq: Virq,
    },
    BindStatic {
        #[serde(with = "names::number")]
        port: Port,
    },
    Restrict {
        #[serde(with = "names::number")]
        domid: DomId,
    },
    Wait {
        channel: u32,
    },
    Cancel {
        channel: u32,
    },
    Notify {
        channel: u32,
    },
    Unbind {
        channel: u32,
    },
    /// The channel is dropped.
    DropChannel {
        channel: u32,
    },
    NextTimeout,
    /// `dispatch_at_most`
    Begin {
        wakes: usize,
    },
    Next,
    Fill {
        room: usize,
    },
    FillAgain {
        room: usize,
    },
    Finish,
    /// The round is dropped.
    Leave,
    SetCallback {
        channel: u32,
    },
    RemoveCallback {
        channel: u32,
    },
    DispatchCallbacks {
        /// Each channel is waited for again.
        again: bool,
    },
    /// A callback returns.
    Return {
        /// Or panics.
        #[serde(default, skip_serializing_if = "is_false")]
        panics: bool,
    },
    Block {
        channel: u32,
        /// There is a deadline.
        until: bool,
    },
    IntoParts {
        channels: Vec<u32>,
    },
    FromParts {
        #[serde(with = "names::numbers")]
        ports: Vec<Port>,
        /// The domain that the device is restricted to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restriction: Option<u16>,
    },
    Teardown,
    /// The context is dropped.
    DropContext,
}

/// What a call came to.
///
/// ```
/// use evtchn_trace::Answer;
///
/// let answer = Answer::Timeout { zero: true };
/// assert_eq!(serde_json::to_string(&answer)?, r#"{"answer":"timeout","zero":true}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// A channel was bound.
    Bound {
        /// Its number.
        channel: u32,
        /// Its port.
        #[serde(with = "names::number")]
        port: Port,
    },
    /// Channels were adopted: the number of each.
    Adopted {
        /// In the order of their ports.
        channels: Vec<u32>,
    },
    /// A callback is called. That it returns is the next call of its thread, but for those that it
    /// makes itself.
    Calls {
        /// Whose.
        channel: u32,
        /// Why.
        cause: Caused,
    },
    /// There is no callback any more.
    Removed {
        /// There was one.
        was_set: bool,
    },
    /// The deadline of a block passed.
    TimedOut,
    /// A block was cancelled.
    Cancelled,
    /// The wake will come in a round.
    Pending,
    /// The wake was there.
    Ready {
        /// Why.
        cause: Caused,
    },
    /// How long the loop may sleep.
    Timeout {
        /// Not at all; else for ever.
        zero: bool,
    },
    /// The round handed out a wake.
    Wake {
        /// Whose.
        channel: u32,
        /// Why.
        cause: Caused,
    },
    /// The round has no wake.
    Nothing,
    /// The round handed out these.
    Wakes {
        /// Whose, and why.
        wakes: Vec<(u32, Caused)>,
    },
    /// The round ended and more is ready.
    More,
    /// It failed.
    Failed {
        /// The step that failed, as the variant of the error is called.
        step: String,
        /// How many ports are still to be written, channels left, or the like.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<usize>,
        /// The call of the device or the loop that failed, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<Box<Failed>>,
    },
}

/// A call of the seam and what it came to.
///
/// ```
/// use evtchn_trace::{AtSeam, Got, Seam};
///
/// let read = AtSeam {
///     call: Seam::Pending { room: 64 },
///     peer: None,
///     got: Some(Got::Ports(vec![10, 11])),
///     failed: None,
/// };
/// assert_eq!(
///     serde_json::to_string(&read)?,
///     r#"{"seam":"pending","room":64,"got":[10,11]}"#
/// );
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtSeam {
    /// The call.
    #[serde(flatten)]
    pub call: Seam,
    /// Another holder of the device made it, not the context: its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    /// What it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<Got>,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Box<Failed>>,
}

/// A call of `Open`, `EventChannel` or `Registrar`.
///
/// ```
/// use evtchn_core::DomId;
/// use evtchn_trace::Seam;
///
/// let bind = Seam::BindUnboundPort { remote: DomId::new(1) };
/// assert_eq!(serde_json::to_string(&bind)?, r#"{"seam":"bind_unbound_port","remote":1}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seam", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named after the methods and their arguments")]
pub enum Seam {
    Open,
    BindUnboundPort {
        #[serde(with = "names::number")]
        remote: DomId,
    },
    BindInterdomain {
        #[serde(with = "names::number")]
        domid: DomId,
        #[serde(with = "names::number")]
        port: Port,
    },
    BindVirq {
        #[serde(with = "names::number")]
        virq: Virq,
    },
    BindStatic {
        #[serde(with = "names::number")]
        port: Port,
    },
    Unbind {
        #[serde(with = "names::number")]
        port: Port,
    },
    Notify {
        #[serde(with = "names::number")]
        port: Port,
    },
    Pending {
        room: usize,
    },
    Unmask {
        #[serde(with = "names::numbers")]
        ports: Vec<Port>,
    },
    Reset,
    Restrict {
        #[serde(with = "names::number")]
        domid: DomId,
    },
    Register,
    Deregister,
    Wake,
    /// A thread that blocks sleeps in the loop.
    Sleep {
        /// There is a deadline.
        until: bool,
    },
    /// The device is dropped.
    Close,
}

/// What a call of the seam gave.
///
/// ```
/// use evtchn_trace::Got;
///
/// assert_eq!(serde_json::from_str::<Got>("10")?, Got::Number(10));
/// assert_eq!(serde_json::from_str::<Got>("[10,11]")?, Got::Ports(vec![10, 11]));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Got {
    /// A port, or a count.
    Number(u32),
    /// The ports read.
    Ports(Vec<u32>),
    /// What ended a sleep.
    Slept(names::Ended),
}

/// What a guest of a simulated machine did, or what befell it.
///
/// ```
/// use evtchn_core::DomId;
/// use evtchn_trace::Guest;
///
/// let send = Guest::Send { domid: DomId::new(1), port: 3 };
/// assert_eq!(serde_json::to_string(&send)?, r#"{"guest":"send","domid":1,"port":3}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "guest", rename_all = "snake_case")]
#[expect(missing_docs, reason = "ids of guests and ports, as everywhere")]
pub enum Guest {
    /// It was created.
    Create {
        #[serde(with = "names::number")]
        domid: DomId,
        /// The highest port that it may have.
        max_port: u32,
    },
    /// The first half of its end.
    Kill {
        #[serde(with = "names::number")]
        domid: DomId,
    },
    /// The second half.
    Remove {
        #[serde(with = "names::number")]
        domid: DomId,
    },
    /// Its kernel allocated a port.
    AllocUnbound {
        #[serde(with = "names::number")]
        domid: DomId,
        #[serde(with = "names::number")]
        remote: DomId,
        port: u32,
    },
    /// Its kernel bound to a port.
    BindInterdomain {
        #[serde(with = "names::number")]
        domid: DomId,
        #[serde(with = "names::number")]
        remote: DomId,
        remote_port: u32,
        port: u32,
    },
    /// Its kernel sent through a port.
    Send {
        #[serde(with = "names::number")]
        domid: DomId,
        port: u32,
    },
    /// Its kernel closed a port.
    Close {
        #[serde(with = "names::number")]
        domid: DomId,
        port: u32,
    },
    /// A virtual interrupt of it was raised.
    Raise {
        #[serde(with = "names::number")]
        domid: DomId,
        #[serde(with = "names::number")]
        virq: Virq,
    },
    /// Something that is not replayed.
    Other {
        /// What.
        what: String,
    },
}

/// What the simulator decided.
///
/// ```
/// use evtchn_trace::Sim;
///
/// let choice = Sim::Choice { way: 3, of: 8 };
/// assert_eq!(serde_json::to_string(&choice)?, r#"{"sim":"choice","way":3,"of":8}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sim", rename_all = "snake_case")]
pub enum Sim {
    /// Its `Choice` took one of several ways.
    Choice {
        /// Which.
        way: usize,
        /// Of how many.
        of: usize,
    },
    /// A fault failed the call of the device that comes next.
    Fault {
        /// The call.
        #[serde(rename = "at")]
        call: String,
        /// How.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        errno: Option<i32>,
        /// Or to how many ports it was shortened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ports: Option<usize>,
    },
    /// The ring of the device overflowed.
    Overflow,
    /// An event reached its domain.
    Deliver {
        /// The domain.
        #[serde(with = "names::number")]
        domid: DomId,
        /// The port there.
        port: u32,
        /// It came inside of the call of the device that the next line of the seam tells of.
        #[serde(default, skip_serializing_if = "is_false")]
        within: bool,
    },
    /// From now on events are delivered by decision, not at once.
    Held,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(it: &bool) -> bool {
    !*it
}
