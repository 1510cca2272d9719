//! What the program calls, and what it is answered.

use evtchn_core::{DomId, Port, Virq};
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::failed::Failed;
use crate::names::{self, Caused};

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
    WaitEach {
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
    Finish,
    /// The round is dropped.
    Leave,
    /// The round runs the callbacks.
    Call,
    SetCallback {
        channel: u32,
    },
    RemoveCallback {
        channel: u32,
    },
    DispatchCallbacks,
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
    /// A future of the next wake is polled, which is not replayed.
    Woken {
        channel: u32,
    },
    /// A future that waits is dropped.
    DropWoken {
        channel: u32,
    },
    HandOver {
        channels: Vec<u32>,
    },
    FromParts {
        #[serde(with = "names::numbers")]
        ports: Vec<Port>,
        /// The domain that the device is restricted to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restriction: Option<u16>,
    },
    CheckPeers,
    Teardown,
    /// The context is dropped.
    DropContext,
    /// Something that is not replayed.
    Other {
        /// What.
        what: String,
    },
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
    /// A task has no wake yet.
    Pending,
    /// The deadline of a block passed.
    TimedOut,
    /// A cancel is done.
    Cancelled {
        /// There was a wait, which it ended.
        ended: bool,
    },
    /// A block has its wake.
    Woken {
        /// Why.
        cause: Caused,
    },
    /// A check of the peers is over.
    Checked {
        /// How many waits it ended.
        ended: usize,
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
