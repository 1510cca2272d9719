//! The errors of devices and event loops, for every backend and every loop.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

use crate::ids::{DomId, Port, RemotePort, Virq};

/// A failed call of a device: which call, on which port, why.
///
/// It prints as one line, with the code and, if there is one, a hint. Its [`source`](Error::source)
/// is the backend's own error, which says more about the system call. It can be downcast, and
/// clones share it.
///
/// ```
/// use evtchn::sim::{Errno, Sim};
/// use evtchn::{DeviceCall, DomId, ErrorKind, EventChannel, Open, Port};
///
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// let error = device.notify(Port::MAX).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotBound);
/// assert_eq!(error.call(), DeviceCall::Notify(Port::MAX));
/// assert_eq!(error.port(), Some(Port::MAX));
/// assert_eq!(error.code(), Some(Errno::ENOTCONN.raw()));
/// # Ok::<_, evtchn::DeviceError>(())
/// ```
#[derive(Clone)]
pub struct DeviceError(Arc<Failure>);

struct Failure {
    kind: ErrorKind,
    call: DeviceCall,
    code: Option<(i32, &'static str)>,
    hint: Option<&'static str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl DeviceError {
    /// A failure of this kind, without a code.
    #[must_use]
    pub fn new(kind: ErrorKind, call: DeviceCall) -> DeviceError {
        DeviceError(Arc::new(Failure {
            kind,
            call,
            code: None,
            hint: None,
            source: None,
        }))
    }

    /// With the code that the kernel answered, such as an errno, and its name. The core stores and
    /// prints both, and reads neither.
    #[must_use]
    pub fn with_code(self, code: i32, name: &'static str) -> DeviceError {
        self.with(|failure| failure.code = Some((code, name)))
    }

    /// With a clause that says what the code means here, or what to do.
    #[must_use]
    pub fn with_hint(self, hint: &'static str) -> DeviceError {
        self.with(|failure| failure.hint = Some(hint))
    }

    /// With the backend's own error.
    #[must_use]
    pub fn with_source(self, source: impl Error + Send + Sync + 'static) -> DeviceError {
        self.with(|failure| failure.source = Some(Box::new(source)))
    }

    /// Changes an error that was just made. One that is shared stays as it is.
    fn with(mut self, change: impl FnOnce(&mut Failure)) -> DeviceError {
        if let Some(failure) = Arc::get_mut(&mut self.0) {
            change(failure);
        }
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The call that failed.
    #[must_use]
    pub fn call(&self) -> DeviceCall {
        self.0.call
    }

    /// The local port of the call, or the first of several.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        self.0.call.port()
    }

    /// The code that the kernel returned: an errno, for the backends of this workspace.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.0.code.map(|(code, _)| code)
    }
}

/// Compares kind, call and code, but not the sources.
impl PartialEq for DeviceError {
    fn eq(&self, other: &DeviceError) -> bool {
        let said = |error: &DeviceError| (error.kind(), error.call(), error.code());
        said(self) == said(other)
    }
}

impl Eq for DeviceError {}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = &*self.0;
        write!(f, "cannot {}: ", failure.call)?;
        match failure.code {
            Some((code, name)) => write!(f, "{name} ({code})")?,
            None => write!(f, "{}", failure.kind)?,
        }
        match failure.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceError")
            .field("kind", &self.0.kind)
            .field("call", &self.0.call)
            .field("code", &self.code())
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for DeviceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

/// A call of a device, with its arguments.
///
/// ```
/// use evtchn::{DeviceCall, DomId, Port, RemotePort};
///
/// let remote = RemotePort { domid: DomId::new(5), port: Port::MAX };
/// assert_eq!(
///     DeviceCall::BindInterdomain(remote).to_string(),
///     "bind to port 2147483647 of domain 5",
/// );
/// assert_eq!(DeviceCall::Notify(Port::MAX).port(), Some(Port::MAX));
/// assert_eq!(DeviceCall::BindInterdomain(remote).port(), None); // it is not ours
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceCall {
    /// Opening the device.
    Open,
    /// Restricting the device to this domain.
    Restrict(DomId),
    /// Allocating a port for this domain.
    BindUnboundPort(DomId),
    /// Binding to this port of another domain.
    BindInterdomain(RemotePort),
    /// Binding this virtual interrupt.
    BindVirq(Virq),
    /// Taking over this port, which was set up at boot.
    BindStatic(Port),
    /// Closing this port.
    Unbind(Port),
    /// Notifying through this port.
    Notify(Port),
    /// Reading the ports that fired.
    Pending,
    /// Unmasking ports.
    Unmask {
        /// The first of the ports.
        first: Port,
        /// How many ports there are.
        count: usize,
    },
    /// Emptying the ring.
    Reset,
    /// Asking for the descriptor that event loops poll.
    Descriptor,
    /// Asking what this port of this domain is.
    Status(RemotePort),
    /// Another call of the backend: what it is for, as in "cannot …".
    Other(&'static str),
}

impl DeviceCall {
    /// The local port of the call, or the first of several.
    #[must_use]
    pub const fn port(self) -> Option<Port> {
        match self {
            DeviceCall::BindStatic(port)
            | DeviceCall::Unbind(port)
            | DeviceCall::Notify(port)
            | DeviceCall::Unmask { first: port, .. } => Some(port),
            DeviceCall::Open
            | DeviceCall::Restrict(_)
            | DeviceCall::BindUnboundPort(_)
            | DeviceCall::BindInterdomain(_)
            | DeviceCall::BindVirq(_)
            | DeviceCall::Pending
            | DeviceCall::Reset
            | DeviceCall::Descriptor
            | DeviceCall::Status(_)
            | DeviceCall::Other(_) => None,
        }
    }
}

impl fmt::Display for DeviceCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceCall::Open => f.write_str("open the event-channel device"),
            DeviceCall::Restrict(domid) => write!(f, "restrict the device to domain {domid}"),
            DeviceCall::BindUnboundPort(remote) => {
                write!(f, "allocate a port for domain {remote}")
            }
            DeviceCall::BindInterdomain(RemotePort { domid, port }) => {
                write!(f, "bind to port {port} of domain {domid}")
            }
            DeviceCall::BindVirq(virq) => write!(f, "bind virtual interrupt {virq}"),
            DeviceCall::BindStatic(port) => write!(f, "bind static port {port}"),
            DeviceCall::Unbind(port) => write!(f, "unbind port {port}"),
            DeviceCall::Notify(port) => write!(f, "notify port {port}"),
            DeviceCall::Pending => f.write_str("read the ports that fired"),
            DeviceCall::Unmask { first, count: 1 } => write!(f, "unmask port {first}"),
            DeviceCall::Unmask { first, count } => {
                write!(f, "unmask {count} ports from port {first} on")
            }
            DeviceCall::Reset => f.write_str("reset the ring"),
            DeviceCall::Descriptor => f.write_str("get a descriptor that event loops can poll"),
            DeviceCall::Status(RemotePort { domid, port }) => {
                write!(f, "ask what port {port} of domain {domid} is")
            }
            DeviceCall::Other(call) => f.write_str(call),
        }
    }
}

/// Kinds of device failures.
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, ErrorKind, EventChannel, Open, Virq};
///
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// device.bind_virq(Virq::DOM_EXC)?;
/// let twice = device.bind_virq(Virq::DOM_EXC).unwrap_err();
/// assert_eq!(twice.kind(), ErrorKind::InUse);
/// # Ok::<_, evtchn::DeviceError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no device: not a Xen domain, or its driver is not loaded.
    NoDevice,
    /// Not allowed: no permission on the device, or the device is restricted.
    NotPermitted,
    /// The named domain does not exist.
    NoSuchDomain,
    /// An argument was refused; what is wrong with it depends on the call.
    Invalid,
    /// The port is not bound by this device.
    NotBound,
    /// The virtual interrupt or the port is bound already.
    InUse,
    /// No port number is left in this domain.
    NoSpace,
    /// Out of memory.
    NoMemory,
    /// The driver's ring overflowed: `reset` it and unmask every port.
    Overflow,
    /// A signal interrupted the call; try again.
    Interrupted,
    /// Xen keeps the port for itself and does not say what it is (Xen 4.15 to 4.18).
    Hidden,
    /// The kernel or the backend does not know this call.
    Unsupported,
    /// The device itself is gone or broken; close it.
    Gone,
    /// This domain was saved and restored, or migrated, after the device was opened. Its ports are
    /// dead. Open another device.
    Resumed,
    /// Anything else.
    Other,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ErrorKind::NoDevice => "there is no device",
            ErrorKind::NotPermitted => "not permitted",
            ErrorKind::NoSuchDomain => "no such domain",
            ErrorKind::Invalid => "invalid argument",
            ErrorKind::NotBound => "the port is not bound",
            ErrorKind::InUse => "in use",
            ErrorKind::NoSpace => "no port is left",
            ErrorKind::NoMemory => "out of memory",
            ErrorKind::Overflow => "the ring overflowed",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Hidden => "Xen keeps the port for itself",
            ErrorKind::Unsupported => "not supported",
            ErrorKind::Gone => "the device is gone",
            ErrorKind::Resumed => "the domain was restored after the device was opened",
            ErrorKind::Other => "it failed",
        })
    }
}

/// A failed call of an event loop. It holds the loop's own error, which can be downcast, and prints
/// what that error prints. Clones share it.
///
/// ```
/// use std::io;
///
/// use evtchn::LoopError;
///
/// let error = LoopError::from(io::Error::from(io::ErrorKind::AlreadyExists));
/// let own = error.get_ref().downcast_ref::<io::Error>().map(io::Error::kind);
/// assert_eq!(own, Some(io::ErrorKind::AlreadyExists));
/// ```
#[derive(Clone)]
pub struct LoopError(Arc<dyn Error + Send + Sync>);

impl LoopError {
    /// An error of an event loop.
    #[must_use]
    pub fn new(error: impl Error + Send + Sync + 'static) -> LoopError {
        LoopError(Arc::new(error))
    }

    /// The loop's own error. It is a [`DeviceError`] if the device could not give the loop its
    /// descriptor.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for LoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The source is that of the loop's own error, because that error is printed already.
impl Error for LoopError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl From<DeviceError> for LoopError {
    fn from(error: DeviceError) -> LoopError {
        LoopError::new(error)
    }
}

#[cfg(feature = "std")]
impl From<std::io::Error> for LoopError {
    fn from(error: std::io::Error) -> LoopError {
        LoopError::new(error)
    }
}

#[cfg(test)]
mod tests;
