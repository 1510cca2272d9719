//! Backend calls: the calls that the core makes of the device and the event loop, with their answers.

use evtchn_core::{DomId, Port, Virq};
use serde::{Deserialize, Serialize};

use crate::failed::Failed;
use crate::names;

/// A backend call and its answer.
///
/// ```
/// use evtchn_trace::{BackendAnswer, BackendCall, BackendRecord};
///
/// let read = BackendRecord {
///     call: BackendCall::Pending { room: 64 },
///     peer: None,
///     answer: Some(BackendAnswer::Ports(vec![10, 11])),
///     failed: None,
/// };
/// assert_eq!(
///     serde_json::to_string(&read)?,
///     r#"{"seam":"pending","room":64,"got":[10,11]}"#
/// );
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// The call.
    #[serde(flatten)]
    pub call: BackendCall,
    /// The number of the other holder of the device that made it; none for the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    /// What it returned.
    #[serde(default, rename = "got", skip_serializing_if = "Option::is_none")]
    pub answer: Option<BackendAnswer>,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Box<Failed>>,
}

/// A call of `Open`, `EventChannel`, `Registrar` or `PortStatuses`.
///
/// ```
/// use evtchn::DomId;
/// use evtchn_trace::BackendCall;
///
/// let bind = BackendCall::BindUnboundPort { remote: DomId::new(1) };
/// assert_eq!(serde_json::to_string(&bind)?, r#"{"seam":"bind_unbound_port","remote":1}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seam", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named after the methods and their arguments")]
pub enum BackendCall {
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
    /// A thread blocks in the event loop.
    Sleep {
        /// There is a deadline.
        until: bool,
    },
    /// Asks Xen for the status of a port of this domain.
    Status {
        #[serde(with = "names::number")]
        port: Port,
    },
    /// The device is dropped.
    Close,
}

/// What a backend call returned.
///
/// ```
/// use evtchn_trace::BackendAnswer;
///
/// assert_eq!(serde_json::from_str::<BackendAnswer>("10")?, BackendAnswer::Number(10));
/// assert_eq!(serde_json::from_str::<BackendAnswer>("[10,11]")?, BackendAnswer::Ports(vec![10, 11]));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BackendAnswer {
    /// A port, or a count.
    Number(u32),
    /// The ports read.
    Ports(Vec<u32>),
    /// How a sleep ended.
    Sleep(names::SleepEnd),
    /// The status of a port.
    Status(names::RecordedStatus),
}
