//! A failed call of the device: which call, why, and what to do about it.

use core::fmt;
use std::path::Path;

use evtchn_core::{DeviceCall, DeviceError, DomId, ErrorKind, Port, RemotePort, Virq};
use evtchn_fork::Unavailable;
use rustix::io::Errno;

use crate::errno;

/// A failed system call: the source of each [`DeviceError`] of this backend.
///
/// ```
/// use std::error::Error as _;
///
/// use evtchn::xen::{Device, Errno, Error};
///
/// let error = Device::open_at("/nowhere/evtchn").unwrap_err();
/// assert!(error.to_string().starts_with("cannot open the event-channel device: ENOENT (2)"));
/// let own = error.source().and_then(|own| own.downcast_ref::<Error>()).ok_or("no source")?;
/// assert_eq!(own.errno(), Errno::NOENT);
/// assert_eq!(own.to_string(), "open /nowhere/evtchn: ENOENT (2)");
/// # Ok::<_, &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {}", Name(*errno))]
pub struct Error {
    call: Call,
    errno: Errno,
}

/// The call that failed, with its arguments.
///
/// ```
/// use std::error::Error as _;
///
/// use evtchn::xen::{Call, Device, Error};
///
/// let error = Device::open_at("/nowhere/evtchn").unwrap_err();
/// let own = error.source().and_then(|own| own.downcast_ref::<Error>()).ok_or("no source")?;
/// assert!(matches!(own.call(), Call::Open(path) if path.ends_with("evtchn")));
/// # Ok::<_, &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Opening the device at this path.
    Open(Box<Path>),
    /// Making sure that a fork of this process will be noticed.
    NoticeForks,
    /// Making a device of a file descriptor that other code opened.
    Adopt,
    /// Setting whether the descriptor survives an exec.
    SetCloseOnExec,
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
        /// The first of them.
        first: Port,
        /// How many there are.
        count: usize,
    },
    /// Emptying the ring.
    Reset,
    /// Restricting the device to this domain.
    Restrict(DomId),
    /// Opening the device for hypercalls.
    OpenPrivcmd,
    /// Opening the device whose memory hypercalls can use.
    OpenHypercall,
    /// Mapping a page of that device.
    MapArgument,
    /// Asking what this port of this domain is.
    Status(RemotePort),
}

impl Error {
    pub(crate) fn new(call: Call, errno: Errno) -> Error {
        Error { call, errno }
    }

    /// The call that failed.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// What the kernel answered.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

/// Has the errno of the step that failed.
impl From<Unavailable> for Error {
    fn from(error: Unavailable) -> Error {
        Error::new(Call::NoticeForks, error.errno)
    }
}

impl From<Error> for DeviceError {
    fn from(error: Error) -> DeviceError {
        let Error { call, errno } = &error;
        let kind = match (call, *errno) {
            (Call::Status(_), Errno::ACCESS) => ErrorKind::Hidden,
            (_, errno) => errno::kind(errno),
        };
        let name = errno::name(*errno).unwrap_or("errno");
        let hint = hint(call, *errno);
        let failed = DeviceError::new(kind, call.of_device()).with_code(errno.raw_os_error(), name);
        let failed = match hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        };
        failed.with_source(error)
    }
}

impl Call {
    /// The call of the backend that this system call is part of.
    pub(crate) fn of_device(&self) -> DeviceCall {
        match *self {
            Call::Open(_) => DeviceCall::Open,
            Call::NoticeForks => DeviceCall::Other("notice a fork of this process"),
            Call::Adopt => DeviceCall::Other("adopt a file descriptor as event-channel device"),
            Call::SetCloseOnExec => DeviceCall::Other("set whether the device survives an exec"),
            Call::BindUnboundPort(remote) => DeviceCall::BindUnboundPort(remote),
            Call::BindInterdomain(remote) => DeviceCall::BindInterdomain(remote),
            Call::BindVirq(virq) => DeviceCall::BindVirq(virq),
            Call::BindStatic(port) => DeviceCall::BindStatic(port),
            Call::Unbind(port) => DeviceCall::Unbind(port),
            Call::Notify(port) => DeviceCall::Notify(port),
            Call::Pending => DeviceCall::Pending,
            Call::Unmask { first, count } => DeviceCall::Unmask { first, count },
            Call::Reset => DeviceCall::Reset,
            Call::Restrict(domid) => DeviceCall::Restrict(domid),
            Call::OpenPrivcmd => DeviceCall::Other("open /dev/xen/privcmd"),
            Call::OpenHypercall => DeviceCall::Other("open /dev/xen/hypercall"),
            Call::MapArgument => DeviceCall::Other("map a page of /dev/xen/hypercall"),
            Call::Status(remote) => DeviceCall::Status(remote),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Call::Open(path) = self {
            write!(f, "open {}", path.display())
        } else {
            self.of_device().fmt(f)
        }
    }
}

/// `ENOENT (2)`, or the system's message for an errno that the table does not have.
struct Name(Errno);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match errno::name(self.0) {
            Some(name) => write!(f, "{name} ({})", self.0.raw_os_error()),
            None => std::io::Error::from(self.0).fmt(f),
        }
    }
}

/// What the errno means for this call, from the checks in Linux drivers/xen/evtchn.c and Xen
/// xen/common/event_channel.c.
fn hint(call: &Call, errno: Errno) -> Option<&'static str> {
    let hint = match (call, errno) {
        (Call::Open(_), Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
            "not a Xen domain, or the module xen-evtchn is not loaded (modprobe xen-evtchn)"
        }
        (Call::OpenPrivcmd, Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
            "not a Xen domain, or the module xen-privcmd is not loaded (modprobe xen-privcmd)"
        }
        (Call::OpenHypercall, Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
            "it comes with the module xen-privcmd, from Linux 4.18 on"
        }
        (Call::Open(_) | Call::OpenPrivcmd | Call::OpenHypercall, Errno::ACCESS) => {
            "permission denied: root only by default"
        }
        (Call::Open(_) | Call::OpenPrivcmd | Call::OpenHypercall, Errno::PERM) => {
            "the device rules of this container deny it"
        }
        (Call::NoticeForks, Errno::INVAL) => "madvise(MADV_WIPEONFORK) needs Linux 4.14",
        (Call::Status(_), Errno::SRCH) => "no such domain",
        (Call::Status(_), Errno::INVAL) => "the domain has no port of this number yet",
        // Xen lets every domain ask about itself.
        (Call::Status(RemotePort { domid, .. }), Errno::PERM) if *domid == DomId::SELF => {
            "the privcmd driver of this domain refuses every hypercall, to root too; there is no \
             way to ask unless the module is loaded with unrestricted=1 \
             (xen_privcmd.unrestricted=1 for the kernel), which a locked-down kernel ignores"
        }
        (Call::Status(_), Errno::PERM) => {
            "only a control domain may ask about another domain; in other domains the privcmd \
             driver refuses every hypercall, unless its module is loaded with unrestricted=1"
        }
        (Call::Status(_), Errno::ACCESS) => "Xen keeps this port for itself",
        (Call::Status(_), Errno::BADF) => "opened by the process that this one was forked from",
        (Call::Status(_), Errno::NOTTY) => "the driver makes no hypercalls for this program",
        (Call::Adopt, Errno::BADF) => "not open for reading and writing",
        (Call::BindInterdomain(_), Errno::INVAL) => {
            "no such port there, or it is bound already, or it waits for another domain, or the \
             domain is dying"
        }
        (Call::BindInterdomain(_), Errno::SRCH) => "no such domain",
        (Call::BindVirq(_), Errno::INVAL) => "Xen has no virtual interrupt of this number",
        (Call::BindVirq(Virq::DOM_EXC), Errno::EXIST) => {
            "another program holds it, in an ordinary dom0 xenstored"
        }
        (Call::BindVirq(_), Errno::EXIST) => "another program or the kernel holds it",
        (Call::BindVirq(_), Errno::BUSY) => "another domain is its handler",
        (Call::BindStatic(_), Errno::ISCONN) => "this device has bound it already",
        (Call::BindStatic(_), Errno::NOSYS) => "static channels need Linux 6.6",
        (Call::Restrict(_), Errno::ACCESS) => {
            "the device is restricted already, which cannot be changed"
        }
        (Call::Restrict(_), Errno::INVAL) => {
            "a device can be restricted only to domains 1 to 32751"
        }
        (Call::Pending, Errno::FBIG) => {
            "the ring overflowed and events are lost: reset it and unmask every port"
        }
        (Call::BindInterdomain(_), Errno::ACCESS) => "the device is restricted to another domain",
        (Call::BindVirq(_) | Call::BindUnboundPort(_), Errno::ACCESS) => {
            "the device is restricted, and binds only to ports that its domain offers: bind this \
             before the restriction"
        }
        (Call::BindVirq(_) | Call::BindInterdomain(_) | Call::BindUnboundPort(_), Errno::PERM) => {
            "the security policy of the hypervisor forbids it"
        }
        (Call::Unbind(_), Errno::INVAL) => "no such port",
        (Call::Notify(_), Errno::INVAL) => "the port is closed, or of a kind that cannot notify",
        (_, Errno::NOTCONN) => "this device has not bound it",
        (_, Errno::NOSPC) => "this domain has no free port left (see max_event_channels)",
        (_, Errno::NOTTY) => "not an event-channel device, or a 32-bit program on a 64-bit kernel",
        (_, Errno::NOSYS) => "the driver does not know this request",
        _ => return None,
    };
    Some(hint)
}

#[cfg(test)]
mod tests;
