//! The seam: what a backend and an event loop supply, and all that the core knows of them.
//!
//! An implementor of [`EventChannel`] is one open device. The core never calls a method of it
//! while another thread is inside `bind_*`, `unbind`, `pending`, `unmask` or `reset` of the same
//! device; `notify` may run at any time, on any thread.

use alloc::vec::Vec;
use core::fmt::Debug;

use crate::ids::{DomId, Port, RemotePort, Virq};
use crate::status::{PortStatus, Ports};

/// Opens the device. Called at the first bind, never before.
///
/// ```
/// use evtchn_core::{EventChannel, Open};
/// use evtchn_sim::{SimDevice, SimOpen};
///
/// /// Says when a device is opened.
/// struct Told(SimOpen);
///
/// impl Open for Told {
///     type Device = SimDevice;
///
///     fn open(&self) -> Result<SimDevice, <SimDevice as EventChannel>::Error> {
///         println!("opening the device");
///         self.0.open()
///     }
///
///     fn process(&self) -> u64 {
///         self.0.process()
///     }
/// }
/// ```
pub trait Open {
    /// The device that is opened.
    type Device: EventChannel;

    /// Opens the device: non-blocking and, where that exists, close-on-exec.
    ///
    /// # Errors
    /// Whatever the backend's open reports; typically [`ErrorKind::NoDevice`] or
    /// [`ErrorKind::NotPermitted`].
    fn open(&self) -> Result<Self::Device, <Self::Device as EventChannel>::Error>;

    /// A number of the calling process: it stays the same as long as the process lives, and every
    /// process that is forked from it has another one. A context asks in every call, so an
    /// answer costs no system call.
    fn process(&self) -> u64;
}

/// One open event-channel device.
///
/// Dropping it closes the device, which unbinds every port that is still bound.
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
pub trait EventChannel: Debug + Send + Sync {
    /// What a failed call reports. It keeps errno, call and port.
    type Error: Error;

    /// Allocates a port that `remote` may bind to.
    ///
    /// The port delivers nothing before the peer has bound and notified. The remote id is not
    /// checked by Xen: an unknown domain is accepted (xen/common/event_channel.c, alloc_unbound).
    ///
    /// # Errors
    /// The device's.
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, Self::Error>;

    /// Binds a new local port to a port that its owner allocated for us.
    ///
    /// Xen sets the new local port pending at once, so it delivers one event that means "look".
    ///
    /// # Errors
    /// The device's; an unknown domain is [`ErrorKind::NoSuchDomain`].
    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, Self::Error>;

    /// Binds a virtual interrupt to a new local port.
    ///
    /// # Errors
    /// The device's; one that somebody in this domain holds is [`ErrorKind::InUse`].
    fn bind_virq(&self, virq: Virq) -> Result<Port, Self::Error>;

    /// Takes over a port that was set up at boot (static event channel, Linux 6.6).
    ///
    /// # Errors
    /// The device's; [`ErrorKind::Unsupported`] on older kernels.
    fn bind_static(&self, port: Port) -> Result<(), Self::Error>;

    /// Closes a port. An entry of it that was not read yet stays in the driver's ring.
    ///
    /// # Errors
    /// The device's; a port that this device did not bind is [`ErrorKind::NotBound`].
    fn unbind(&self, port: Port) -> Result<(), Self::Error>;

    /// Sets the other end pending. Coalesces; succeeds also where nobody listens.
    ///
    /// # Errors
    /// The device's; a port that this device did not bind is [`ErrorKind::NotBound`].
    fn notify(&self, port: Port) -> Result<(), Self::Error>;

    /// Reads the ports that fired, up to `buf.capacity()`, and replaces the contents of `buf`.
    ///
    /// Never blocks: nothing to read is an empty `buf`. Each port comes back disabled and fires
    /// again only after [`unmask`](Self::unmask).
    ///
    /// # Errors
    /// The device's. [`ErrorKind::Overflow`] says that the driver's ring overflowed: it reads
    /// nothing more until [`reset`](Self::reset).
    fn pending(&self, buf: &mut PortBuf) -> Result<(), Self::Error>;

    /// Enables ports again and says how many of them were written, which can be fewer.
    ///
    /// The driver ignores ports that are not ours or already enabled, and counts them as written.
    ///
    /// # Errors
    /// The device's; then none was written.
    fn unmask(&self, ports: &[Port]) -> Result<usize, Self::Error>;

    /// Empties the driver's ring and ends an overflow. Enables nothing again.
    ///
    /// # Errors
    /// The device's.
    fn reset(&self) -> Result<(), Self::Error>;

    /// Restricts this device, for good, to binding to `domid`.
    ///
    /// # Errors
    /// The device's; a second call is [`ErrorKind::NotPermitted`], domain 0 is
    /// [`ErrorKind::Invalid`].
    fn restrict(&self, domid: DomId) -> Result<(), Self::Error>;

    /// Whether the calling process has this device only because it was forked from the process
    /// that opened or adopted it. Then every call but closing it would meddle with the parent,
    /// which shares ports and ring. Asked before each notify, so an answer costs no system call.
    fn is_inherited(&self) -> bool;
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
pub trait PortStatuses {
    /// What a failed call reports.
    type Error: Error;

    /// What a port of `domid` is right now. A domain may ask about itself,
    /// [`SELF`](DomId::SELF), and a control domain about every other.
    ///
    /// # Errors
    /// An unknown domain is [`ErrorKind::NoSuchDomain`], a port behind the end of its table
    /// [`ErrorKind::Invalid`], a domain that may not be asked about
    /// [`ErrorKind::NotPermitted`], a port of Xen's own [`ErrorKind::Hidden`].
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, Self::Error>;

    /// Every port of a domain that is not closed, lowest first. Each is asked about as the
    /// iterator comes to it. A port that is [`Hidden`](ErrorKind::Hidden) is told of; any other
    /// failure is the last answer.
    fn ports(&self, domid: DomId) -> Ports<'_, Self> {
        Ports::new(self, domid)
    }
}

/// How an event loop reports readiness of a registered device.
///
/// ```
/// use evtchn_core::{Registrar, Trigger};
/// use evtchn_sim::{SimDevice, SimLoop};
///
/// fn trigger(event_loop: &impl Registrar<SimDevice>) -> Trigger {
///     event_loop.trigger()
/// }
/// assert_eq!(trigger(&SimLoop::level()), Trigger::Level);
/// assert_eq!(trigger(&SimLoop::edge()), Trigger::Edge);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Again and again while there is something to read: a short read ends a round.
    Level,
    /// Once per change from empty to not empty: a round must read until nothing is left.
    Edge,
}

/// The event loop, as the core sees it: libxl's osevent hooks plus the wake-up they lack.
///
/// `register` and `deregister` are called one at a time, and never while the device is closed.
/// Neither may call back into the context that called it. One that panics counts as having done
/// nothing; the panic goes on to the caller of the context.
///
/// No method is called in a forked child. Where dropping the registrar would change what parent
/// and child share, such as an epoll instance, the child has to leak that part.
///
/// A loop of one flag, for a program that looks at it in its own time:
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use evtchn_core::{Context, DomId, EventChannel, Registrar, Trigger, Wait};
/// use evtchn_sim::Sim;
///
/// #[derive(Default)]
/// struct Flag {
///     is_watched: AtomicBool,
/// }
///
/// impl<D: EventChannel> Registrar<D> for Flag {
///     type Error = Infallible;
///
///     fn trigger(&self) -> Trigger {
///         Trigger::Level
///     }
///
///     fn register(&self, _device: &D) -> Result<(), Infallible> {
///         self.is_watched.store(true, Ordering::Relaxed);
///         Ok(())
///     }
///
///     fn deregister(&self, _device: &D) -> Result<(), Infallible> {
///         self.is_watched.store(false, Ordering::Relaxed);
///         Ok(())
///     }
///
///     fn wake(&self) {} // this loop never sleeps
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::new(Sim::new(1).open(DomId::DOM0), Flag::default());
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// assert_eq!(channel.wait()?, Wait::Pending);
/// assert!(ctx.registrar().is_watched.load(Ordering::Relaxed));
/// channel.cancel()?;
/// assert!(!ctx.registrar().is_watched.load(Ordering::Relaxed));
/// # Ok(())
/// # }
/// ```
pub trait Registrar<D: ?Sized>: Send + Sync {
    /// What a failed call reports.
    type Error: core::error::Error + Send + Sync + 'static;

    /// How this loop reports readiness. Asked once, when a context is made.
    fn trigger(&self) -> Trigger;

    /// Starts to watch `device` for reading. The error bit must be reported too: after an
    /// overflow the device shows it alone.
    ///
    /// Whoever registers a device keeps it open until [`deregister`](Self::deregister) has
    /// returned, so a loop may keep its descriptor as a number. The one exception is a loop that
    /// does not let go: a device that failed, or whose context is dropped, is closed even then.
    ///
    /// # Errors
    /// The loop's; then the device is not watched.
    fn register(&self, device: &D) -> Result<(), Self::Error>;

    /// Stops to watch `device`.
    ///
    /// # Errors
    /// The loop's; then the device is still watched.
    fn deregister(&self, device: &D) -> Result<(), Self::Error>;

    /// Makes a loop that blocks in its poll come back and dispatch. Called from any thread.
    fn wake(&self);
}

/// An event loop that threads can sleep in until a wake of theirs has come, each for itself,
/// while others run it or nobody does.
///
/// A thread takes a [`ticket`](Self::ticket), looks whether there is something for it, and sleeps
/// on the ticket where there is not.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn_core::{Sleep, Slept};
/// use evtchn_sim::{SimDevice, SimLoop};
///
/// fn nap<L: Sleep<SimDevice, Deadline = Duration>>(it: &L) -> Result<Slept, L::SleepError> {
///     let ticket = it.ticket();
///     // Here the thread looks whether there is something for it; then it sleeps.
///     it.sleep(ticket, Some(Duration::from_secs(1)))
/// }
/// assert_eq!(nap(&SimLoop::level())?, Slept::TimedOut);
/// # Ok::<_, evtchn_sim::Error>(())
/// ```
pub trait Sleep<D: ?Sized>: Registrar<D> {
    /// A point in the time of this loop.
    type Deadline: Copy;
    /// What a sleep that fails reports.
    type SleepError: core::error::Error + Send + Sync + 'static;

    /// Tells what happens before from what happens after.
    fn ticket(&self) -> u64;

    /// Sleeps until the registered device has something to say, until somebody called
    /// [`wake`](Registrar::wake) since the ticket was taken, or until the deadline; without one,
    /// for as long as it takes. A signal may end it too.
    ///
    /// It takes nothing away from those who run the loop: who is woken is woken as well.
    ///
    /// # Errors
    /// The loop's.
    fn sleep(
        &self,
        ticket: u64,
        deadline: Option<Self::Deadline>,
    ) -> Result<Slept, Self::SleepError>;
}

/// Why a [`sleep`](Sleep::sleep) is over.
///
/// ```
/// use evtchn_core::{Registrar, Sleep, Slept};
/// use evtchn_sim::{SimDevice, SimLoop};
///
/// let event_loop = SimLoop::level();
/// let ticket = event_loop.ticket();
/// Registrar::<SimDevice>::wake(&event_loop); // on another thread, say
/// assert_eq!(event_loop.sleep(ticket, None)?, Slept::Roused);
/// # Ok::<_, evtchn_sim::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slept {
    /// The device has something to say.
    Ready,
    /// Somebody called, or a signal came: look again.
    Roused,
    /// The deadline has passed.
    TimedOut,
}

/// A device error that generic code can branch on.
///
/// ```
/// use evtchn_core::{DomId, Error, ErrorKind, EventChannel, Open, Port, RemotePort};
/// use evtchn_sim::Sim;
///
/// /// Whether the guest is gone, whichever device says so.
/// fn is_gone(error: &impl Error) -> bool {
///     error.kind() == ErrorKind::NoSuchDomain
/// }
///
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// let nobody = RemotePort { domid: DomId::new(77), port: Port::MAX };
/// assert!(is_gone(&device.bind_interdomain(nobody).unwrap_err()));
/// # Ok::<_, evtchn_sim::Error>(())
/// ```
pub trait Error: core::error::Error + Send + Sync + 'static {
    /// What kind of failure it is.
    fn kind(&self) -> ErrorKind;
}

/// Kinds of device failures.
///
/// ```
/// use evtchn_core::{DomId, Error, ErrorKind, EventChannel, Open, Virq};
/// use evtchn_sim::Sim;
///
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// device.bind_virq(Virq::DOM_EXC)?;
/// let twice = device.bind_virq(Virq::DOM_EXC).unwrap_err();
/// assert_eq!(twice.kind(), ErrorKind::InUse);
/// # Ok::<_, evtchn_sim::Error>(())
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
    /// Somebody else holds the virtual interrupt or the port.
    InUse,
    /// No port number is left in this domain.
    NoSpace,
    /// Out of memory.
    NoMemory,
    /// The driver's ring overflowed: `reset` and enable every port again.
    Overflow,
    /// A signal interrupted the call; try again.
    Interrupted,
    /// Xen keeps the port for itself and says no more of it (Xen 4.15 to 4.18).
    Hidden,
    /// The kernel or the backend does not know this call.
    Unsupported,
    /// The device itself is gone or broken; close it.
    Gone,
    /// Anything else.
    Other,
}

/// Room for the ports of one [`pending`](EventChannel::pending) call.
///
/// Holds the words as the driver wrote them, so that a backend can read straight into it.
///
/// ```
/// use evtchn_core::PortBuf;
///
/// let mut buf = PortBuf::with_capacity(4);
/// buf.fill(|words| {
///     words[..2].copy_from_slice(&[3, 9]); // what a driver does
///     Ok::<_, std::convert::Infallible>(2)
/// })?;
/// assert_eq!((buf.capacity(), buf.words()), (4, &[3, 9][..]));
/// # Ok::<_, std::convert::Infallible>(())
/// ```
#[derive(Debug, Default)]
pub struct PortBuf {
    words: Vec<u32>,
    len: usize,
}

impl PortBuf {
    /// The most ports that one call to the driver brings: a page of them.
    pub const MAX: usize = 1024;

    /// As many ports as a domain can have (Xen, FIFO event channels).
    const ALL: usize = 1 << 17;

    /// An empty buffer with room for `capacity` ports, or for as many as a domain can have, if
    /// that is less.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> PortBuf {
        PortBuf {
            words: alloc::vec![0; capacity.min(PortBuf::ALL)],
            len: 0,
        }
    }

    /// How many ports fit.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.words.len()
    }

    /// The words that were read.
    #[must_use]
    #[inline]
    pub fn words(&self) -> &[u32] {
        &self.words[..self.len]
    }

    /// How many words were read.
    #[inline]
    pub(crate) const fn count(&self) -> usize {
        self.len
    }

    /// For backends: lets `fill` write words from the start of the whole room and takes its
    /// answer as the number of words that count.
    ///
    /// # Errors
    /// Those of `fill`; the buffer is then empty.
    #[inline]
    pub fn fill<E>(&mut self, fill: impl FnOnce(&mut [u32]) -> Result<usize, E>) -> Result<(), E> {
        self.len = 0;
        self.len = fill(&mut self.words)?.min(self.words.len());
        Ok(())
    }

    /// Makes room for `capacity` ports, or for as many as a domain can have, and keeps what was
    /// read.
    pub fn grow(&mut self, capacity: usize) {
        let room = capacity.min(PortBuf::ALL).max(self.words.len());
        self.words.resize(room, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_room_for_as_many_ports_as_there_can_be() {
        let mut buf = PortBuf::with_capacity(usize::MAX);
        assert_eq!(buf.capacity(), 131_072);
        buf.grow(usize::MAX);
        assert_eq!(buf.capacity(), 131_072);
        buf.grow(1);
        assert_eq!(buf.capacity(), 131_072);

        let mut buf = PortBuf::with_capacity(2);
        buf.fill(|room| Ok::<_, ()>(room.len())).unwrap();
        buf.grow(3);
        assert_eq!((buf.capacity(), buf.words()), (3, &[0, 0][..]));
    }
}
