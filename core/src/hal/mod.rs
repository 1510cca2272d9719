//! The seam: what a backend and an event loop supply, and all that the core knows of them.
//!
//! An implementor of [`EventChannel`] is one open device. The core never calls a method of it
//! while another thread is inside `bind_*`, `unbind`, `pending`, `unmask` or `reset` of the same
//! device; `notify` may run at any time, on any thread.
//!
//! What a backend supplies stands here, what an event loop supplies in `event_loop.rs`.

mod backend;
mod device;
mod error;
mod event_loop;
mod fork;
mod port_buf;

use alloc::boxed::Box;
use core::fmt::Debug;
use core::time::Duration;
#[cfg(feature = "std")]
use std::os::fd::BorrowedFd;

use crate::ids::{DomId, Port, RemotePort, Virq};
use crate::status::{PortStatus, Ports};

pub use backend::Backend;
use device::AsAny;
pub use device::Device;
#[cfg(feature = "std")]
pub(crate) use device::Opened;
pub use error::{DeviceCall, DeviceError, ErrorKind, LoopError};
pub use event_loop::{NewLoop, Registrar, Sleep, Sleeper, Slept, Trigger, Whom};
pub use fork::ForkMark;
#[cfg(feature = "std")]
pub(crate) use fork::Process;
pub use port_buf::PortBuf;

/// Opens the device. Called at the first bind, never before.
///
/// ```
/// use evtchn_core::{DeviceError, Open};
/// use evtchn_sim::{SimDevice, SimOpen};
///
/// /// Says when a device is opened.
/// struct Announced(SimOpen);
///
/// impl Open for Announced {
///     type Device = SimDevice;
///
///     fn open(&self) -> Result<SimDevice, DeviceError> {
///         println!("opening the device");
///         self.0.open()
///     }
///
///     fn process(&self) -> u64 {
///         self.0.process()
///     }
/// }
/// ```
pub trait Open: Send + Sync + 'static {
    /// The device that is opened.
    type Device: EventChannel;

    /// Opens the device: non-blocking and, where that exists, close-on-exec.
    ///
    /// # Errors
    /// Whatever the backend's open reports; typically [`ErrorKind::NoDevice`] or
    /// [`ErrorKind::NotPermitted`].
    fn open(&self) -> Result<Self::Device, DeviceError>;

    /// A number of the calling process: it stays the same as long as the process lives, and every
    /// process that is forked from it has another one, also where both have the same process id,
    /// as in PID namespaces. It is never `u64::MAX`, which stands for no process.
    ///
    /// A backend that cannot notice a fork, say on an old kernel, answers the same number
    /// everywhere, and its [`open`](Self::open) fails: so a context that could be used after a
    /// fork unnoticed never has a device. A context is made without an error all the same, and
    /// its first bind reports that of `open`.
    fn process(&self) -> u64;

    /// Whether `process` is the number of the calling process. A context asks in every call, so
    /// an answer costs no system call; a backend may have a quicker one than this.
    #[inline]
    fn is_current(&self, process: u64) -> bool {
        self.process() == process
    }

    /// The words that [`process`](Self::process) is the sum of, where it is: then a context reads
    /// them in each call, instead of asking here.
    fn mark(&self) -> Option<ForkMark> {
        None
    }

    /// Opens what tells the states of ports, where this backend has it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], unless the backend supplies this; then whatever the open
    /// reports.
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        const CALL: DeviceCall = DeviceCall::Other("ask what ports are");
        Err(DeviceError::new(ErrorKind::Unsupported, CALL))
    }
}

/// One open event-channel device.
///
/// Dropping it closes the device, which unbinds every port that is still bound, unless a duplicate
/// of its descriptor is open elsewhere.
///
/// The calls of a device, without a context:
///
/// ```
/// use evtchn_core::{DomId, EventChannel, Open, PortBuf, RemotePort};
/// use evtchn_sim::Sim;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// let ours = device.bind_unbound_port(DomId::SELF)?;
/// let theirs = device.bind_interdomain(RemotePort { domid: DomId::SELF, port: ours })?;
/// device.notify(theirs)?;
///
/// let mut fired = PortBuf::with_capacity(PortBuf::MAX);
/// device.pending(&mut fired)?;
/// // The bind of the other end brings an event too, which means "look".
/// assert_eq!(fired.words(), [theirs.as_raw(), ours.as_raw()]);
/// assert_eq!(device.unmask(&[ours, theirs])?, 2);
/// # Ok(())
/// # }
/// ```
pub trait EventChannel: AsAny + Debug + Send + Sync {
    /// Allocates a port that `remote` may bind to.
    ///
    /// The port delivers nothing before the peer has bound and notified. The remote id is not
    /// checked by Xen: an unknown domain is accepted (xen/common/event_channel.c, alloc_unbound).
    ///
    /// # Errors
    /// The device's.
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError>;

    /// Binds a new local port to a port that its owner allocated for us.
    ///
    /// Xen sets the new local port pending at once, so it delivers one event that means "look".
    ///
    /// # Errors
    /// The device's; an unknown domain is [`ErrorKind::NoSuchDomain`].
    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError>;

    /// Binds a virtual interrupt to a new local port.
    ///
    /// # Errors
    /// The device's; one that somebody in this domain holds is [`ErrorKind::InUse`].
    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError>;

    /// Takes over a port that was set up at boot (static event channel, Linux 6.6).
    ///
    /// The caller has to know that `port` is one: the kernel does not refuse every number that is
    /// not. The restriction of a device does not hold for it.
    ///
    /// # Errors
    /// The device's; [`ErrorKind::Unsupported`] on older kernels, [`ErrorKind::InUse`] where this
    /// device has bound it.
    fn bind_static(&self, port: Port) -> Result<(), DeviceError>;

    /// Closes a port; a static one is let go of and stays open in Xen. An entry of it that was not
    /// read yet stays in the driver's ring.
    ///
    /// # Errors
    /// The device's; a port that this device did not bind is [`ErrorKind::NotBound`].
    fn unbind(&self, port: Port) -> Result<(), DeviceError>;

    /// Sets the other end pending. Coalesces; succeeds also where nobody listens.
    ///
    /// # Errors
    /// The device's; a port that this device did not bind is [`ErrorKind::NotBound`].
    fn notify(&self, port: Port) -> Result<(), DeviceError>;

    /// Reads the ports that fired, up to `buf.capacity()`, and replaces the contents of `buf`.
    ///
    /// Never blocks: nothing to read is an empty `buf`. Each port comes back disabled and fires
    /// again only after [`unmask`](Self::unmask).
    ///
    /// # Errors
    /// The device's. [`ErrorKind::Overflow`] says that the driver's ring overflowed: it reads
    /// nothing more until [`reset`](Self::reset).
    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError>;

    /// Enables ports again and says how many of them were written, which can be fewer.
    ///
    /// The driver ignores ports that are not ours or already enabled, and counts them as written.
    ///
    /// # Errors
    /// The device's; then none was written.
    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError>;

    /// Empties the driver's ring and ends an overflow. Enables nothing again.
    ///
    /// # Errors
    /// The device's.
    fn reset(&self) -> Result<(), DeviceError>;

    /// Restricts this device, for good, to binding to ports that `domid` offers. Every other bind
    /// is [`ErrorKind::NotPermitted`] afterwards, also an allocation of a port for `domid` and a
    /// virtual interrupt; a static port is not looked at. Ports that are bound stay usable.
    ///
    /// # Errors
    /// The device's; a second call is [`ErrorKind::NotPermitted`], domain 0 and a reserved id are
    /// [`ErrorKind::Invalid`].
    fn restrict(&self, domid: DomId) -> Result<(), DeviceError>;

    /// Whether the calling process has this device only because it was forked from the process
    /// that opened or adopted it. Then every call but closing it would meddle with the parent,
    /// which shares ports and ring. Asked before each notify, so an answer costs no system call.
    fn is_inherited(&self) -> bool;

    /// The device that this one wraps, as one does that records the calls of another.
    fn inner(&self) -> Option<&dyn EventChannel> {
        None
    }

    /// The time of a device that has one of its own, as a simulated device can. Event loops that
    /// know of it let that time pass instead of sleeping.
    fn own_time(&self) -> Option<&dyn OwnTime> {
        None
    }

    /// The descriptor that event loops poll in place of the device. The core passes it on and
    /// does nothing with it. It may be made when it is first asked for, and is then the same one
    /// for as long as the device is open.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], unless the backend has one; then what making it reports.
    #[cfg(feature = "std")]
    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        let call = DeviceCall::Descriptor;
        Err(DeviceError::new(ErrorKind::Unsupported, call))
    }
}

/// The time of a device that does not live in real time.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn_core::{Device, DomId, OwnTime, Passed};
/// use evtchn_sim::Sim;
///
/// let device = Sim::new(1).backend(DomId::DOM0).open()?;
/// let time: &dyn OwnTime = device.own_time().ok_or("it lives in real time")?;
/// let soon = time.now() + Duration::from_secs(5);
/// assert_eq!(time.pass(Some(soon))?, Passed::TimeOver); // at once
/// assert_eq!(time.now(), soon);
/// assert!(time.pass(None).is_err()); // nothing will ever happen
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub trait OwnTime {
    /// The time now, since any start.
    fn now(&self) -> Duration;

    /// Lets the next thing happen, or time pass up to `deadline` if nothing happens before.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] without a deadline where nothing will ever happen: a program that
    /// slept would sleep for ever.
    fn pass(&self, deadline: Option<Duration>) -> Result<Passed, DeviceError>;
}

/// What [`OwnTime::pass`] came to.
///
/// ```
/// use evtchn_core::{DomId, EventChannel, OwnTime, Passed, RemotePort};
/// use evtchn_sim::Sim;
///
/// let device = Sim::new(1).backend(DomId::DOM0).open()?;
/// let port = device.bind_unbound_port(DomId::SELF)?;
/// device.bind_interdomain(RemotePort { domid: DomId::SELF, port })?; // brings an event
/// let time = device.own_time().ok_or("it lives in real time")?;
/// assert_eq!(time.pass(None)?, Passed::Readable);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// The device has something to read, or an error.
    Readable,
    /// Something happened. Ask again.
    Happened,
    /// The deadline has come.
    TimeOver,
}

/// Tells what ports are, which the device of event channels cannot be asked.
///
/// A backend need not have it. It is Xen's own answer, so it says what no event does: that a peer
/// closed its end or died (`Context::check_peers`).
///
/// ```
/// use evtchn_core::{DomId, PortStatuses, Status};
/// use evtchn_sim::Sim;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let privcmd = sim.privcmd(DomId::DOM0);
/// let port = guest.alloc_unbound(DomId::DOM0)?;
/// guest.close(port)?;
/// assert_eq!(privcmd.status(guest.domid(), port)?.state, Status::Closed);
/// # Ok(())
/// # }
/// ```
pub trait PortStatuses: Send + Sync {
    /// What a port of `domid` is right now. Xen lets a domain ask about itself,
    /// [`SELF`](DomId::SELF), and a control domain about every other. Linux lets no program of an
    /// ordinary domain ask at all, not even root, unless its driver says otherwise.
    ///
    /// # Errors
    /// An unknown domain is [`ErrorKind::NoSuchDomain`], a port behind the end of its table
    /// [`ErrorKind::Invalid`], a domain that may not be asked about
    /// [`ErrorKind::NotPermitted`], a port of Xen's own [`ErrorKind::Hidden`].
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError>;

    /// Every port of a domain that is not closed, lowest first. Each is asked about as the
    /// iterator comes to it. A port that is [`Hidden`](ErrorKind::Hidden) is told of; any other
    /// failure is the last answer.
    fn ports(&self, domid: DomId) -> Ports<'_>
    where
        Self: Sized,
    {
        Ports::new(self, domid)
    }
}
