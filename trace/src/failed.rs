//! A failure as a trace keeps it.

use evtchn_core::{ErrorKind, Port};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::names::{self, Number as _};

/// A failed call of a device or an event loop.
///
/// ```
/// use evtchn_core::ErrorKind;
/// use evtchn_trace::Failed;
///
/// let failed = Failed::new(ErrorKind::NoMemory, "out of memory").of("unmask", None, 12);
/// assert_eq!(
///     serde_json::to_string(&failed)?,
///     r#"{"kind":"no_memory","errno":12,"call":"unmask","text":"out of memory"}"#
/// );
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failed {
    /// What generic code can branch on.
    #[serde(with = "names::kind")]
    pub kind: ErrorKind,
    /// What the kernel answered, where it was the kernel that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// The call that failed, where the error says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The port that it was about, where the error says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// The failure in its own words.
    pub text: String,
    /// What this version does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl evtchn_core::Error for Failed {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl Failed {
    /// How many bytes of its words a trace keeps.
    const MOST: usize = 1 << 16;

    /// A failure that says nothing but its words, of which the first 65,536 bytes are kept.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Failed {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(Failed::MOST));
        Failed {
            kind,
            errno: None,
            call: None,
            port: None,
            text,
            rest: Map::new(),
        }
    }

    /// The same of this call on this port, which the kernel answered with this errno.
    #[must_use]
    pub fn of(self, call: &str, port: Option<Port>, errno: i32) -> Failed {
        Failed {
            errno: Some(errno),
            call: Some(call.to_owned()),
            port: port.map(Port::number),
            ..self
        }
    }
}

/// An error that can be written down.
///
/// ```
/// use evtchn_core::{Error, ErrorKind};
/// use evtchn_trace::{Failed, Failure};
///
/// /// What the program's own loop reports.
/// #[derive(Debug, thiserror::Error)]
/// #[error("the loop has ended")]
/// struct Ended;
///
/// impl Failure for Ended {
///     fn failed(&self) -> Failed {
///         Failed::new(ErrorKind::Other, self.to_string())
///     }
/// }
///
/// assert_eq!(Ended.failed().kind(), ErrorKind::Other);
/// ```
pub trait Failure: std::error::Error {
    /// What a trace keeps of it.
    fn failed(&self) -> Failed;
}

impl Failure for Failed {
    fn failed(&self) -> Failed {
        self.clone()
    }
}

#[cfg(feature = "sim")]
impl Failure for evtchn_sim::Error {
    fn failed(&self) -> Failed {
        let failed = Failed::new(evtchn_core::Error::kind(self), self.to_string());
        failed.of(self.call.name(), self.port, self.errno.raw())
    }
}

#[cfg(feature = "xen")]
impl Failure for evtchn_xen::Error {
    fn failed(&self) -> Failed {
        let failed = Failed::new(evtchn_core::Error::kind(self), self.to_string());
        failed.of(
            call_name(self.call()),
            self.port(),
            self.errno().raw_os_error(),
        )
    }
}

#[cfg(feature = "xen")]
impl Failure for evtchn_xen::RegistrationError {
    fn failed(&self) -> Failed {
        Failed::new(ErrorKind::Other, self.to_string())
    }
}

impl Failure for std::io::Error {
    fn failed(&self) -> Failed {
        Failed {
            errno: self.raw_os_error(),
            ..Failed::new(ErrorKind::Other, self.to_string())
        }
    }
}

/// The name of the method, as the simulator has it too.
#[cfg(feature = "xen")]
fn call_name(call: &evtchn_xen::Call) -> &'static str {
    use evtchn_xen::Call;
    match call {
        Call::Open(_) => "open",
        Call::NoticeForks => "notice_forks",
        Call::Adopt => "adopt",
        Call::SetCloseOnExec => "set_close_on_exec",
        Call::BindUnboundPort(_) => "bind_unbound_port",
        Call::BindInterdomain(_) => "bind_interdomain",
        Call::BindVirq(_) => "bind_virq",
        Call::BindStatic(_) => "bind_static",
        Call::Unbind(_) => "unbind",
        Call::Notify(_) => "notify",
        Call::Pending => "pending",
        Call::Unmask { .. } => "unmask",
        Call::Reset => "reset",
        Call::Restrict(_) => "restrict",
        Call::Status(_) => "status",
        Call::OpenPrivcmd | Call::OpenHypercall | Call::MapArgument | _ => "unknown",
    }
}
