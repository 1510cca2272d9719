//! A failed call of a simulated device or event loop.

use std::fmt;

use evtchn_core::{DeviceCall, DeviceError, DomId, ErrorKind, LoopError, Port};

use crate::errno::Errno;

/// A failed call of the simulator: the call, the port and the errno. It is the source of a
/// [`DeviceError`], and of a [`LoopError`](evtchn_core::LoopError).
///
/// ```
/// use std::error::Error as _;
///
/// use evtchn::sim::{Call, Errno, Error, Sim};
/// use evtchn::{DomId, EventChannel, Open, Port};
///
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// let error = device.notify(Port::MAX).unwrap_err();
/// let own = error.source().and_then(|own| own.downcast_ref::<Error>()).ok_or("no source")?;
/// assert_eq!((own.call, own.port, own.errno), (Call::Notify, Some(Port::MAX), Errno::ENOTCONN));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("simulated {call}{}: {errno}", OfPort(*port))]
pub struct Error {
    /// The call that failed.
    pub call: Call,
    /// The port of the call: the remote one for `bind_interdomain`, the first of several for
    /// `unmask`.
    pub port: Option<Port>,
    /// What the kernel answered.
    pub errno: Errno,
}

/// The error of a call of a simulated device.
pub(crate) fn device_error(call: DeviceCall, errno: Errno) -> DeviceError {
    use DeviceCall::{BindInterdomain, Status};
    let port = if let BindInterdomain(theirs) | Status(theirs) = call {
        Some(theirs.port)
    } else {
        call.port()
    };
    let own = Error {
        call: Call::of(call),
        port,
        errno,
    };
    let kind = match (own.call, errno) {
        (Call::Status, Errno::EACCES) => ErrorKind::Hidden,
        (_, errno) => errno.kind(),
    };
    let error = DeviceError::new(kind, call)
        .with_code(errno.raw(), errno.name().unwrap_or("errno"))
        .with_source(own);
    let is_own = matches!(call, Status(asked) if asked.domid == DomId::SELF);
    let hint = match errno {
        Errno::EPERM if is_own => Some(REFUSES_HYPERCALLS),
        _ => hint(own.call, errno),
    };
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Xen lets every domain ask about itself, so a refusal is that of the driver.
const REFUSES_HYPERCALLS: &str = "the privcmd driver of this domain refuses every hypercall, to \
    root too; there is no way to ask unless the module is loaded with unrestricted=1 \
    (xen_privcmd.unrestricted=1 for the kernel), which a locked-down kernel ignores";

/// The error of a call of a simulated event loop.
pub(crate) fn loop_error(call: Call, errno: Errno) -> LoopError {
    LoopError::new(Error {
        call,
        port: None,
        errno,
    })
}

/// The calls of a simulated device or event loop, for which faults can be set.
///
/// ```
/// use evtchn::sim::{Call, Errno, Fault};
///
/// assert_eq!(Call::BindVirq.name(), "bind_virq");
/// let fault = Fault::fail(Call::BindVirq, Errno::EBUSY);
/// # drop(fault);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "remote", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "remote", serde(rename_all = "snake_case"))]
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
    /// Unmasking ports.
    Unmask,
    /// Emptying the ring.
    Reset,
    /// Restricting the device to one domain.
    Restrict,
    /// Adding the device to an event loop.
    Register,
    /// Removing the device from an event loop.
    Deregister,
    /// Asking whether an event loop has something to report.
    Ready,
    /// Blocking in an event loop.
    Sleep,
    /// Asking what a port is.
    Status,
}

impl Call {
    /// Whether a device from before a restore of its domain refuses this call by itself.
    pub(crate) const fn needs_current_device(self) -> bool {
        use Call as C;
        match self {
            C::BindUnboundPort | C::BindInterdomain | C::BindVirq | C::BindStatic => true,
            C::Unbind | C::Pending => true,
            C::Open | C::Notify | C::Unmask | C::Reset | C::Restrict => false,
            C::Register | C::Deregister | C::Ready | C::Sleep | C::Status => false,
        }
    }
}

/// One kind of calls, several, or all, for a fault to hit.
///
/// ```
/// use evtchn::sim::{Call, Calls, Errno, Fault};
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
    /// The kind of this call.
    ///
    /// # Panics
    /// For a call that no simulated device answers.
    pub(crate) fn of(call: DeviceCall) -> Call {
        match call {
            DeviceCall::Open => Call::Open,
            DeviceCall::Restrict(_) => Call::Restrict,
            DeviceCall::BindUnboundPort(_) => Call::BindUnboundPort,
            DeviceCall::BindInterdomain(_) => Call::BindInterdomain,
            DeviceCall::BindVirq(_) => Call::BindVirq,
            DeviceCall::BindStatic(_) => Call::BindStatic,
            DeviceCall::Unbind(_) => Call::Unbind,
            DeviceCall::Notify(_) => Call::Notify,
            DeviceCall::Pending => Call::Pending,
            DeviceCall::Unmask { .. } => Call::Unmask,
            DeviceCall::Reset => Call::Reset,
            DeviceCall::Status(_) => Call::Status,
            DeviceCall::Descriptor | DeviceCall::Other(_) | _ => {
                unreachable!("the simulator has no call to {call}")
            }
        }
    }

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
        (Call::Restrict, Errno::EACCES) => {
            "the file is restricted already, which cannot be changed"
        }
        (Call::Restrict, Errno::EINVAL) => "a device can be restricted only to domains 1 to 32751",
        (Call::Pending, Errno::EFBIG) => {
            "the ring overflowed and events are lost: reset it and unmask every port"
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
    use std::error::Error as _;

    use evtchn_core::{RemotePort, Virq};

    use super::*;

    #[test]
    fn an_error_prints_call_port_errno_and_hint_and_its_source_the_simulated_call() {
        let port = Port::new(5).unwrap();
        let error = device_error(DeviceCall::Notify(port), Errno::ENOTCONN);
        assert_eq!(
            error.to_string(),
            "cannot notify port 5: ENOTCONN (107): this file has not bound it"
        );
        assert_eq!(error.kind(), ErrorKind::NotBound);
        let own = error.source().unwrap();
        assert_eq!(
            own.to_string(),
            "simulated notify of port 5: ENOTCONN (107)"
        );
        assert_eq!(own.downcast_ref::<Error>().unwrap().call, Call::Notify);
        let error = device_error(DeviceCall::Reset, Errno::ENOMEM);
        assert_eq!(error.to_string(), "cannot reset the ring: ENOMEM (12)");
    }

    #[test]
    fn a_refused_bind_lists_every_possible_reason() {
        let port = Port::new(5).unwrap();
        let domid = DomId::new(7);
        let interdomain = DeviceCall::BindInterdomain(RemotePort { domid, port });
        let table = [
            (
                interdomain,
                Errno::EINVAL,
                "cannot bind to port 5 of domain 7: EINVAL (22): no such port there, or it is \
                 bound already, or it waits for another domain, or the domain is dying",
            ),
            (
                interdomain,
                Errno::EACCES,
                "cannot bind to port 5 of domain 7: EACCES (13): the file is restricted to \
                 another domain",
            ),
            (
                DeviceCall::BindUnboundPort(domid),
                Errno::EACCES,
                "cannot allocate a port for domain 7: EACCES (13): the file is restricted, and \
                 binds only to ports that its domain offers: bind this before the restriction",
            ),
            (
                DeviceCall::BindVirq(Virq::DOM_EXC),
                Errno::EACCES,
                "cannot bind virtual interrupt DOM_EXC: EACCES (13): the file is restricted, and \
                 binds only to ports that its domain offers: bind this before the restriction",
            ),
        ];
        for (call, errno, line) in table {
            assert_eq!(device_error(call, errno).to_string(), line);
        }
    }
}
