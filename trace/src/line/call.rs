//! The calls of the program, and their answers.

use evtchn_core::{DomId, Port, Virq};
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::failed::Failed;
use crate::names::{self, WakeCause};

/// A call that the program makes. A channel goes by its number: successful binds are counted from 0.
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
    NotifyMany {
        channels: Vec<u32>,
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
        /// It panics.
        #[serde(default, skip_serializing_if = "is_false")]
        panics: bool,
    },
    Block {
        channel: u32,
        /// There is a deadline.
        until: bool,
    },
    /// A future of the next wake is polled. This is not replayed.
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
    /// A call that is not replayed.
    Other {
        /// The name of the call.
        what: String,
    },
}

/// The answer to a call.
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
    /// The call succeeded and returned nothing.
    Done,
    /// A channel was bound.
    Bound {
        /// Its number.
        channel: u32,
        /// Its port.
        #[serde(with = "names::number")]
        port: Port,
    },
    /// Channels were adopted.
    Adopted {
        /// Their numbers, in the order of their ports.
        channels: Vec<u32>,
    },
    /// A callback begins. The calls that it makes follow, then its end, which is the call `return`
    /// of the same thread.
    Calls {
        /// The channel of the callback.
        channel: u32,
        /// Why the channel woke.
        cause: WakeCause,
    },
    /// A callback was removed.
    Removed {
        /// There was one to remove.
        was_set: bool,
    },
    /// A task has no wake yet.
    Pending,
    /// The deadline of a block passed.
    TimedOut,
    /// A cancel succeeded.
    Cancelled {
        /// It ended a wait.
        ended: bool,
    },
    /// A block ended with a wake.
    Woken {
        /// Why the channel woke.
        cause: WakeCause,
    },
    /// A check of the peers succeeded.
    Checked {
        /// How many waits it ended.
        ended: usize,
    },
    /// How long the loop may sleep.
    Timeout {
        /// It may not sleep; otherwise it may sleep for ever.
        zero: bool,
    },
    /// The round handed out a wake.
    Wake {
        /// The channel that woke.
        channel: u32,
        /// Why it woke.
        cause: WakeCause,
    },
    /// The round has no wake.
    Nothing,
    /// The round handed out a batch of wakes.
    Wakes {
        /// Each channel that woke, and why.
        wakes: Vec<(u32, WakeCause)>,
    },
    /// The round ended and more is ready.
    More,
    /// The call failed.
    Failed {
        /// The step that failed, named after the variant of the error.
        step: String,
        /// How many ports were not unmasked, how many channels were not notified, or how many channels
        /// and notifiers are left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<usize>,
        /// The backend call that failed, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<Box<Failed>>,
    },
}
