//! A failed backend call, as it is written in a trace.

use std::error::Error as _;
use std::io;

use evtchn_core::{DeviceCall, DeviceError, ErrorKind, LoopError, Port};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::names::{self, Number as _};
use crate::text::beginning;

/// A failed call of a device or an event loop.
///
/// ```
/// use evtchn::ErrorKind;
/// use evtchn_trace::Failed;
///
/// let line = r#"{"kind":"no_memory","errno":12,"call":"unmask","text":"out of memory"}"#;
/// let failed: Failed = serde_json::from_str(line)?;
/// assert_eq!((failed.kind, failed.errno), (ErrorKind::NoMemory, Some(12)));
/// assert_eq!(failed.call.as_deref(), Some("unmask"));
/// assert_eq!(serde_json::to_string(&failed)?, line);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failed {
    /// What kind of failure it is, for code that must handle any backend.
    #[serde(with = "names::kind")]
    pub kind: ErrorKind,
    /// The errno, if the kernel refused the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// The call that failed, if the error names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The port of that call, if the error names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// The message of the error.
    pub text: String,
    /// Fields that this version does not know. They are kept.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Failed {
    /// How many bytes of the message a trace keeps.
    const MOST: usize = 1 << 16;

    /// A failure with a kind and a message, of which the first 65,536 bytes are kept.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Failed {
        let mut text = text.into();
        text.truncate(beginning(&text, Failed::MOST).len());
        Failed {
            kind,
            errno: None,
            call: None,
            port: None,
            text,
            rest: Map::new(),
        }
    }

    /// A failed call of a device. An error that a replay returned is written as it was recorded.
    pub(crate) fn of_device(error: &DeviceError) -> Failed {
        let own = error.source().and_then(|own| own.downcast_ref::<Failed>());
        if let Some(recorded) = own {
            return recorded.clone();
        }
        let (name, port) = named(error.call());
        Failed {
            errno: error.code(),
            call: name.map(str::to_owned),
            port: port.map(Port::number),
            ..Failed::new(error.kind(), error.to_string())
        }
    }

    /// A failed call of an event loop. An error that a replay returned is written as it was recorded.
    pub(crate) fn of_loop(error: &LoopError) -> Failed {
        let own = error.get_ref();
        if let Some(recorded) = own.downcast_ref::<Failed>() {
            return recorded.clone();
        }
        if let Some(error) = own.downcast_ref() {
            return Failed::of_device(error);
        }
        let mut failed = Failed::new(ErrorKind::Other, error.to_string());
        failed.errno = own.downcast_ref().and_then(io::Error::raw_os_error);
        #[cfg(feature = "sim")]
        if let Some(error) = own.downcast_ref::<evtchn_sim::Error>() {
            failed.kind = error.errno.kind();
            failed.errno = Some(error.errno.raw());
            failed.call = Some(error.call.name().to_owned());
        }
        failed
    }

    /// The error that a replay returns from this call.
    pub(crate) fn of_call(self, call: DeviceCall) -> DeviceError {
        let error = DeviceError::new(self.kind, call);
        match self.errno {
            Some(errno) => error.with_code(errno, "errno"),
            None => error,
        }
        .with_source(self)
    }
}

/// The name of a call in a trace, and its port.
fn named(call: DeviceCall) -> (Option<&'static str>, Option<Port>) {
    let name = match call {
        DeviceCall::Open => "open",
        DeviceCall::Restrict(_) => "restrict",
        DeviceCall::BindUnboundPort(_) => "bind_unbound_port",
        DeviceCall::BindInterdomain(remote) => {
            return (Some("bind_interdomain"), Some(remote.port));
        }
        DeviceCall::BindVirq(_) => "bind_virq",
        DeviceCall::BindStatic(_) => "bind_static",
        DeviceCall::Unbind(_) => "unbind",
        DeviceCall::Notify(_) => "notify",
        DeviceCall::Pending => "pending",
        DeviceCall::Unmask { .. } => "unmask",
        DeviceCall::Reset => "reset",
        DeviceCall::Descriptor => "descriptor",
        DeviceCall::Status(remote) => return (Some("status"), Some(remote.port)),
        DeviceCall::Other(_) | _ => return (None, None),
    };
    (Some(name), call.port())
}
