//! What a backend and an event loop must supply. The core knows nothing else of them.
//!
//! An implementor of [`EventChannel`] is one open device. The core never calls a method of it
//! while another thread is inside `bind_*`, `unbind`, `pending`, `unmask` or `reset` of the same
//! device; `notify` and `notify_many` may run at any time, on any thread. While a `notify_many` runs,
//! none of its ports is unbound.
//!
//! The traits of a backend are here, those of an event loop in `event_loop.rs`.

mod backend;
mod device;
mod error;
mod event_loop;
mod fork;
#[cfg(feature = "std")]
mod notify_buf;
mod port_buf;

use alloc::boxed::Box;
use core::fmt::Debug;
use core::ops::ControlFlow;
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
pub use event_loop::{NewLoop, Registrar, Sleep, Sleeper, Slept, Trigger, WakeTargets};
pub use fork::ForkMark;
#[cfg(feature = "std")]
pub(crate) use fork::Process;
#[cfg(feature = "std")]
pub(crate) use notify_buf::{Failures, NotifyBuf};
pub use port_buf::PortBuf;

/// Opens devices. A context opens its device at the first bind.
///
/// ```
/// use evtchn::sim::{SimDevice, SimOpen};
/// use evtchn::{DeviceError, Open};
///
/// /// Prints a line when a device is opened.
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
    /// The type of the opened device.
    type Device: EventChannel;

    /// Opens the device: non-blocking and, if the system has it, close-on-exec.
    ///
    /// # Errors
    /// The backend's; typically [`ErrorKind::NoDevice`] or [`ErrorKind::NotPermitted`].
    fn open(&self) -> Result<Self::Device, DeviceError>;

    /// The number of the calling process. It stays the same for as long as the process lives, and
    /// every process that is forked from it has another number, even if both have the same process
    /// id, as in PID namespaces. It is never `u64::MAX`, which stands for no process.
    ///
    /// A backend that cannot notice a fork, for example on an old kernel, returns the same number
    /// everywhere, and its [`open`](Self::open) fails. So a context that cannot notice a fork never
    /// has a device: making it succeeds, and its first bind fails with the error of `open`.
    fn process(&self) -> u64;

    /// Whether `process` is the number of the calling process. A context asks in every call, so it
    /// must make no system call. A backend may implement it in a quicker way.
    #[inline]
    fn is_current(&self, process: u64) -> bool {
        self.process() == process
    }

    /// The words in memory whose sum is [`process`](Self::process), if there are such words. A
    /// context then reads them in each call instead of calling [`is_current`](Self::is_current).
    fn mark(&self) -> Option<ForkMark> {
        None
    }

    /// Opens what reports the states of ports.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the backend does not supply this; otherwise the backend's.
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
/// After this domain was saved and restored, or migrated, the ports that the device had bound are
/// dead, and a kernel need not survive their unbind. A device that can notice this fails with
/// [`ErrorKind::Resumed`] in every bind, in `unbind` and in `pending`, and dropping it closes nothing. It
/// becomes ready, so that its event loop reads it.
///
/// The calls of a device, without a context:
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, EventChannel, Open, PortBuf, RemotePort};
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
    /// The device's; [`ErrorKind::InUse`] if this domain has bound the interrupt already.
    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError>;

    /// Takes over a port that was set up without a file (static event channel, Linux 6.6).
    ///
    /// The caller must know that `port` is the end of a static channel of this domain, because the
    /// kernel does not refuse every other number, and a bind of one can break the channel of its owner.
    /// [`Context::bind_static`](crate::Context::bind_static) refuses what it knows to be wrong; this call
    /// refuses nothing by itself. The restriction of a device does not apply to static ports.
    ///
    /// # Errors
    /// The device's; [`ErrorKind::Unsupported`] on older kernels, [`ErrorKind::InUse`] if this
    /// device has bound the port already.
    fn bind_static(&self, port: Port) -> Result<(), DeviceError>;

    /// Closes a port. A static port is released and stays open in Xen. An entry of the port that
    /// was not read yet stays in the driver's ring.
    ///
    /// # Errors
    /// The device's; [`ErrorKind::NotBound`] if this device did not bind the port.
    fn unbind(&self, port: Port) -> Result<(), DeviceError>;

    /// Sets the other end pending. Several notifies before the peer reads are one event. It
    /// succeeds without a peer, too.
    ///
    /// # Errors
    /// The device's; [`ErrorKind::NotBound`] if this device did not bind the port.
    fn notify(&self, port: Port) -> Result<(), DeviceError>;

    /// Notifies through several ports, in this order. Calls `failed` with the place in `ports` of
    /// each one that was not notified, and why; the others were.
    ///
    /// By default it calls [`notify`](Self::notify) for each. A backend that can notify several in
    /// one call does that instead. `failed` must not call the device. Such a call need not check who bound a port, so the caller must
    /// make sure that this device has bound each of them, and that none is unbound meanwhile. A
    /// context does.
    fn notify_many(&self, ports: &[Port], failed: &mut dyn FnMut(usize, DeviceError)) {
        for (place, port) in ports.iter().enumerate() {
            if let Err(error) = self.notify(*port) {
                failed(place, error);
            }
        }
    }

    /// Reads the ports that fired, up to `buf.capacity()`, and replaces the contents of `buf`.
    ///
    /// Never blocks: if nothing is to be read, `buf` is empty. Each port that was read is masked
    /// and fires again only after [`unmask`](Self::unmask).
    ///
    /// # Errors
    /// The device's; [`ErrorKind::Overflow`] if the driver's ring overflowed: then every read fails
    /// so until [`reset`](Self::reset).
    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError>;

    /// Unmasks ports. Returns how many of them, from the first on, were unmasked, which can be
    /// fewer than all.
    ///
    /// The driver ignores ports that this device did not bind or that are not masked, and counts
    /// them as unmasked.
    ///
    /// # Errors
    /// The device's; then no port was unmasked.
    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError>;

    /// Empties the driver's ring and ends an overflow. It unmasks no port.
    ///
    /// # Errors
    /// The device's.
    fn reset(&self) -> Result<(), DeviceError>;

    /// Restricts this device, for good, to binding to ports that `domid` offers. Every other bind
    /// then fails with [`ErrorKind::NotPermitted`], including allocating a port for `domid` and
    /// binding a virtual interrupt, but not binding a static port. Ports that are bound stay
    /// usable.
    ///
    /// # Errors
    /// The device's; [`ErrorKind::NotPermitted`] if the device is restricted already,
    /// [`ErrorKind::Invalid`] for domain 0 and for a reserved id.
    fn restrict(&self, domid: DomId) -> Result<(), DeviceError>;

    /// Whether the calling process has this device only because it was forked from the process that
    /// opened or adopted it. Then every call except closing it would disturb the parent, which
    /// shares ports and ring. The core asks before each notify, so this must make no system call.
    fn is_inherited(&self) -> bool;

    /// Whether this domain was saved and restored, or migrated, after the device was opened.
    fn is_resumed(&self) -> bool {
        false
    }

    /// The device that this one wraps, for example to record its calls.
    fn inner(&self) -> Option<&dyn EventChannel> {
        None
    }

    /// The time that the device lives in, if that is not real time: a simulated device may have
    /// one. Event loops that support it let this time pass instead of sleeping.
    fn own_time(&self) -> Option<&dyn OwnTime> {
        None
    }

    /// The descriptor that event loops poll. The core only passes it on. A backend may make it at
    /// the first call; from then on it is the same for as long as the device is open.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the backend has no descriptor; otherwise the backend's.
    #[cfg_attr(not(feature = "std"), cfg(any()))]
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
/// use evtchn::sim::Sim;
/// use evtchn::{Device, DomId, OwnTime, Passed};
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
    /// The time now, counted from any start.
    fn now(&self) -> Duration;

    /// Lets the next thing happen, or lets time pass up to `deadline` if nothing happens before.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] if there is no deadline and nothing will ever happen, so that a program
    /// would sleep for ever.
    fn pass(&self, deadline: Option<Duration>) -> Result<Passed, DeviceError>;
}

/// Why [`OwnTime::pass`] returned.
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, EventChannel, OwnTime, Passed, RemotePort};
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
    /// Something else happened. Call it again.
    Happened,
    /// The deadline has come.
    TimeOver,
}

/// Reports the states of ports, which the event-channel device does not.
///
/// A backend need not have it. Xen itself answers, so it shows what no event does: that a peer
/// closed its end or died (`Context::check_peers`).
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, PortStatuses, Status};
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
    /// The state of a port of `domid` right now. Xen lets a domain ask about itself,
    /// [`SELF`](DomId::SELF), and a control domain about every other. Linux lets no program of an
    /// ordinary domain ask at all, not even root, unless its driver allows it.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchDomain`] if there is no such domain, [`ErrorKind::Invalid`] for a port
    /// behind the end of its table, [`ErrorKind::NotPermitted`] if the caller may not ask about the
    /// domain, [`ErrorKind::Hidden`] for a port that Xen keeps for itself.
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError>;

    /// Asks about several ports of a domain, in this order. Calls `each` with the place of each port
    /// and its answer, until it breaks.
    ///
    /// By default it calls [`status`](Self::status) for each. A backend that can ask about several in
    /// one call does that instead; then the answers are of the same moment. `each` must not ask again.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use evtchn::sim::Sim;
    /// use evtchn::{DomId, EventChannel, Open, PortStatuses};
    ///
    /// let sim = Sim::new(1);
    /// let device = sim.open(DomId::DOM0).open()?;
    /// let ports = [device.bind_unbound_port(DomId::SELF)?, device.bind_unbound_port(DomId::SELF)?];
    /// let mut count = 0;
    /// sim.privcmd(DomId::DOM0).status_many(DomId::SELF, &ports, &mut |_, status| {
    ///     count += usize::from(status.is_ok());
    ///     ControlFlow::Continue(())
    /// });
    /// assert_eq!(count, 2);
    /// # Ok::<_, evtchn::DeviceError>(())
    /// ```
    fn status_many(
        &self,
        domid: DomId,
        ports: &[Port],
        each: &mut dyn FnMut(usize, Result<PortStatus, DeviceError>) -> ControlFlow<()>,
    ) {
        for (place, port) in ports.iter().enumerate() {
            if each(place, self.status(domid, *port)).is_break() {
                return;
            }
        }
    }

    /// Every port of a domain that is not closed, lowest first. The iterator asks about each port
    /// as it comes to it. A port that is [`Hidden`](ErrorKind::Hidden) yields that error, and the
    /// iterator goes on; after any other error it ends.
    fn ports(&self, domid: DomId) -> Ports<'_>
    where
        Self: Sized,
    {
        Ports::new(self, domid)
    }
}
