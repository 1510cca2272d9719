//! Lines of a simulated machine: what its guests did, and what the simulator decided.

use evtchn_core::{DomId, Virq};
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::names;

/// What a guest of a simulated machine did, or what was done to it.
///
/// ```
/// use evtchn::DomId;
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
    /// It was killed, and is dying until it is removed.
    Kill {
        #[serde(with = "names::number")]
        domid: DomId,
    },
    /// It was removed, after it was killed.
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
        /// Its name.
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
        /// The way taken, counted from 0.
        way: usize,
        /// How many ways there were.
        of: usize,
    },
    /// A fault makes the next call of the device fail, or shortens it.
    Fault {
        /// The name of the call.
        #[serde(rename = "at")]
        call: String,
        /// The errno that it fails with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        errno: Option<i32>,
        /// The number of ports that it is shortened to.
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
        /// It arrived during the device call whose line comes next.
        #[serde(default, skip_serializing_if = "is_false")]
        within: bool,
    },
    /// From now on events are delivered by decision, not at once.
    Held,
}
