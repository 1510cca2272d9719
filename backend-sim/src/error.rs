//! A failed call of a simulated device or event loop.

use std::fmt;

use evtchn_core::{ErrorKind, Port};

use crate::errno::Errno;

/// A failed call: which call, on which port, why.
///
/// ```
/// use evtchn_core::{DomId, EventChannel, Open, Port};
/// use evtchn_sim::{Call, Errno, Sim};
///
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// let error = device.notify(Port::MAX).unwrap_err();
/// assert_eq!((error.call, error.port), (Call::Notify, Some(Port::MAX)));
/// assert_eq!(error.errno, Errno::ENOTCONN);
/// # Ok::<_, evtchn_sim::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{call}{} failed: {errno}{}", OfPort(*port), Hint(hint(*call, *errno)))]
pub struct Error {
    /// The call that failed.
    pub call: Call,
    /// The port it was about: the remote one for `bind_interdomain`, the first of several for
    /// `unmask`.
    pub port: Option<Port>,
    /// What the kernel answered.
    pub errno: Errno,
}

impl evtchn_core::Error for Error {
    fn kind(&self) -> ErrorKind {
        match (self.call, self.errno) {
            (Call::Status, Errno::EACCES) => ErrorKind::Hidden,
            (_, errno) => errno.kind(),
        }
    }
}

/// The calls that a simulated device or event loop answers, and that a fault can be set for.
///
/// ```
/// use evtchn_sim::{Call, Errno, Fault};
///
/// assert_eq!(Call::BindVirq.name(), "bind_virq");
/// let fault = Fault::fail(Call::BindVirq, Errno::EBUSY);
/// # drop(fault);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Opening the device.
    Open,
    /// Allocating a port for a peer.
    BindUnboundPort,
    /// Binding to a port of a peer.
    BindInterdomain,
    /// Binding a virtual interrupt.
    BindVirq,
    /// Taking over a port that was set up at boot.
    BindStatic,
    /// Closing a port.
    Unbind,
    /// Setting the other end pending.
    Notify,
    /// Reading the ports that fired.
    Pending,
    /// Enabling ports again.
    Unmask,
    /// Emptying the ring.
    Reset,
    /// Restricting the device to one domain.
    Restrict,
    /// Adding the device to an event loop.
    Register,
    /// Removing the device from an event loop.
    Deregister,
    /// Looking whether an event loop has something to report.
    Ready,
    /// Blocking in an event loop.
    Sleep,
    /// Asking what a port is.
    Status,
}

/// Kinds of calls, for a fault to look at: one, several, or all.
///
/// ```
/// use evtchn_sim::{Call, Calls, Errno, Fault};
///
/// let binds = Fault::fail([Call::BindVirq, Call::BindInterdomain], Errno::EINTR);
/// let all = Fault::fail(Calls::ALL, Errno::EIO);
/// # drop((binds, all));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls(u32);

impl Calls {
    /// Every call.
    pub const ALL: Calls = Calls(u32::MAX);

    pub(crate) const fn contains(self, call: Call) -> bool {
        self.0 & Calls::bit(call) != 0
    }

    const fn bit(call: Call) -> u32 {
        1 << call as u32
    }
}

impl From<Call> for Calls {
    fn from(call: Call) -> Calls {
        Calls(Calls::bit(call))
    }
}

impl<const N: usize> From<[Call; N]> for Calls {
    fn from(calls: [Call; N]) -> Calls {
        Calls(
            calls
                .into_iter()
                .map(Calls::bit)
                .fold(0, |all, bit| all | bit),
        )
    }
}

impl Call {
    /// The name of the method.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Call::Open => "open",
            Call::BindUnboundPort => "bind_unbound_port",
            Call::BindInterdomain => "bind_interdomain",
            Call::BindVirq => "bind_virq",
            Call::BindStatic => "bind_static",
            Call::Unbind => "unbind",
            Call::Notify => "notify",
            Call::Pending => "pending",
            Call::Unmask => "unmask",
            Call::Reset => "reset",
            Call::Restrict => "restrict",
            Call::Register => "register",
            Call::Deregister => "deregister",
            Call::Ready => "ready",
            Call::Sleep => "sleep",
            Call::Status => "status",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// ` of port 5`, or nothing.
struct OfPort(Option<Port>);

impl fmt::Display for OfPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(port) => write!(f, " of port {port}"),
            None => Ok(()),
        }
    }
}

/// A clause after the errno, or nothing.
struct Hint(Option<&'static str>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

/// What the errno means for this call.
const fn hint(call: Call, errno: Errno) -> Option<&'static str> {
    Some(match (call, errno) {
        (Call::Open, Errno::ENOENT) => "this domain does not exist, so it has no device",
        (Call::BindInterdomain, Errno::EINVAL) => {
            "no such port there, or it is bound already, or it waits for another domain, or the \
             domain is dying"
        }
        (Call::BindInterdomain, Errno::ESRCH) => "no such domain",
        (Call::BindVirq, Errno::EINVAL) => "Xen has no virtual interrupt of this number",
        (Call::BindVirq, Errno::EEXIST) => "another file or the kernel of this domain holds it",
        (Call::BindVirq, Errno::EBUSY) => "another domain is its handler",
        (Call::BindStatic, Errno::EISCONN) => "this file has bound it already",
        (Call::BindStatic, Errno::ENOSYS) => "the simulated kernel is older than Linux 6.6",
        (Call::Restrict, Errno::EACCES) => "the file is restricted already, and for good",
        (Call::Restrict, Errno::EINVAL) => "only domains 1 to 32751 can be restricted to",
        (Call::Pending, Errno::EFBIG) => {
            "the ring overflowed and events are lost: reset it and enable every port again"
        }
        (Call::BindInterdomain, Errno::EACCES) => "the file is restricted to another domain",
        (Call::BindVirq | Call::BindUnboundPort, Errno::EACCES) => {
            "the file is restricted, and binds only to ports that its domain offers: bind this \
             before the restriction"
        }
        (Call::Unbind, Errno::EINVAL) => "no such port",
        (Call::Status, Errno::EINVAL) => "the domain has no port of this number yet",
        (Call::Status, Errno::ESRCH) => "no such domain",
        (Call::Status, Errno::EPERM) => "only a control domain may ask about another domain",
        (Call::Status, Errno::EACCES) => "Xen keeps this port for itself",
        (Call::Register, Errno::EEXIST) => "the device is registered already",
        (Call::Deregister, Errno::ENOENT) => "the device is not registered",
        (_, Errno::ENOTCONN) => "this file has not bound it",
        (_, Errno::ENOSPC) => "this domain has no free port left",
        (_, Errno::EBADF) => "the file is closed, or its domain is gone",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_call_port_errno_and_hint() {
        let error = Error {
            call: Call::Notify,
            port: Port::new(5),
            errno: Errno::ENOTCONN,
        };
        assert_eq!(
            error.to_string(),
            "notify of port 5 failed: ENOTCONN (107): this file has not bound it"
        );
        assert_eq!(evtchn_core::Error::kind(&error), ErrorKind::NotBound);
        let error = Error {
            call: Call::Reset,
            port: None,
            errno: Errno::ENOMEM,
        };
        assert_eq!(error.to_string(), "reset failed: ENOMEM (12)");
    }

    #[test]
    fn a_refused_bind_says_every_reason_there_can_be() {
        let table = [
            (
                Call::BindInterdomain,
                Errno::EINVAL,
                "bind_interdomain failed: EINVAL (22): no such port there, or it is bound \
                 already, or it waits for another domain, or the domain is dying",
            ),
            (
                Call::BindInterdomain,
                Errno::EACCES,
                "bind_interdomain failed: EACCES (13): the file is restricted to another domain",
            ),
            (
                Call::BindUnboundPort,
                Errno::EACCES,
                "bind_unbound_port failed: EACCES (13): the file is restricted, and binds only \
                 to ports that its domain offers: bind this before the restriction",
            ),
            (
                Call::BindVirq,
                Errno::EACCES,
                "bind_virq failed: EACCES (13): the file is restricted, and binds only to ports \
                 that its domain offers: bind this before the restriction",
            ),
        ];
        for (call, errno, line) in table {
            let error = Error {
                call,
                port: None,
                errno,
            };
            assert_eq!(error.to_string(), line);
        }
    }
}
