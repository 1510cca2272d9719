//! What is called at the seam, and what that gave.

use evtchn_core::{DomId, Port, Virq};
use serde::{Deserialize, Serialize};

use crate::failed::Failed;
use crate::names;

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

/// A call of `Open`, `EventChannel`, `Registrar` or `PortStatuses`.
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
    /// What a port of this domain is, as Xen says.
    Status {
        #[serde(with = "names::number")]
        port: Port,
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
    /// What a port is.
    Is(names::State),
}
