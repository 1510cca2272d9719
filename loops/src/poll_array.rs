//! The adapter for a program that fills an array for poll(2) itself.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::{Registrar, Trigger};
use evtchn_fork::Process;

use crate::hooks::Interest;

/// An entry of the array, laid out as poll(2) wants it.
///
/// ```
/// use evtchn_core::{Context, DomId, Wait};
/// use evtchn_loops::{PollArray, PollFd};
/// use evtchn_sim::Sim;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::new(Sim::new(0).open(DomId::DOM0), PollArray::new()?);
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// assert_eq!(channel.wait()?, Wait::Pending);
/// let mut fds: Vec<PollFd> = Vec::new();
/// let _timeout = ctx.registrar().before_poll(&mut fds);
/// assert!(fds.iter().all(|entry| entry.events == 0x1 && entry.revents == 0));
/// # ctx.registrar().after_poll(&fds);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PollFd {
    /// The descriptor.
    pub fd: RawFd,
    /// What to watch it for.
    pub events: i16,
    /// What poll(2) says of it.
    pub revents: i16,
}

impl PollFd {
    fn readable(fd: RawFd) -> PollFd {
        PollFd {
            fd,
            events: Interest::Read.events(),
            revents: 0,
        }
    }
}

/// Puts a device into the poll(2) array of a program, as `libxl_osevent_beforepoll` and
/// `libxl_osevent_afterpoll` do.
///
/// ```
/// use evtchn_core::{Context, DomId, Wait};
/// use evtchn_loops::PollArray;
/// use evtchn_sim::Sim;
///
/// # fn poll(fds: &mut [evtchn_loops::PollFd], timeout: Option<std::time::Duration>) {
/// #     use std::os::fd::BorrowedFd;
/// #     use rustix::event::{PollFd, PollFlags, Timespec};
/// #     let entry = |it: &evtchn_loops::PollFd| {
/// #         // SAFETY: nothing closes before this returns.
/// #         let fd = unsafe { BorrowedFd::borrow_raw(it.fd) };
/// #         PollFd::from_borrowed_fd(fd, PollFlags::from_bits_retain(it.events.cast_unsigned()))
/// #     };
/// #     let mut polled: Vec<_> = fds.iter().map(entry).collect();
/// #     let timeout = timeout.map(|it| Timespec::try_from(it).unwrap());
/// #     rustix::event::poll(&mut polled, timeout.as_ref()).unwrap();
/// #     for (fd, polled) in fds.iter_mut().zip(&polled) {
/// #         fd.revents = polled.revents().bits().cast_signed();
/// #     }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(0); // on a host: evtchn_xen::XenOpen::default() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::new(sim.open(DomId::DOM0), PollArray::new()?);
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// assert_eq!(channel.wait()?, Wait::Pending);
/// guest.send(theirs)?;
///
/// let mut fds = Vec::new(); // the program's own entries
/// let timeout = ctx.registrar().before_poll(&mut fds);
/// poll(&mut fds, timeout); // poll(2), no longer than that
/// assert!(ctx.registrar().after_poll(&fds));
/// let mut round = ctx.dispatch()?;
/// assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
/// round.finish()?;
/// # Ok(())
/// # }
/// ```
///
/// Several threads may poll, each with an array of its own. A device that is registered or
/// deregistered meanwhile sends them back, and so does a call of the context. Until then the
/// kernel keeps a device open that was closed under a poll(2).
#[derive(Debug)]
pub struct PollArray {
    device: Mutex<Option<RawFd>>,
    /// Somebody called since the last look.
    called: AtomicBool,
    /// How many are between their `before_poll` and their `after_poll`.
    pollers: AtomicUsize,
    bell: Bell,
    /// The process that made it. A forked child shares the pipe.
    process: Process,
}

/// A pipe with at most one byte for each time that it rang.
#[derive(Debug)]
struct Bell {
    reader: PipeReader,
    writer: PipeWriter,
    rings: AtomicBool,
}

impl Bell {
    fn new() -> io::Result<Bell> {
        let (reader, writer) = io::pipe()?;
        let rings = AtomicBool::new(false);
        Ok(Bell {
            reader,
            writer,
            rings,
        })
    }

    fn ring(&self) {
        if !self.rings.swap(true, Ordering::SeqCst) {
            // The other end is ours and there is room: nothing to fail.
            let _written = (&self.writer).write(&[0]);
        }
    }

    fn silence(&self) {
        // Each change to false reads the byte of one change to true, so this never sleeps long.
        if self.rings.swap(false, Ordering::SeqCst) {
            let _read = (&self.reader).read(&mut [0]);
        }
    }
}

impl PollArray {
    /// An adapter that watches nothing yet.
    ///
    /// # Errors
    /// No descriptor is left for a pipe; or [`Unavailable`](evtchn_fork::Unavailable), inside of the
    /// [`io::Error`], on a kernel where a fork of this process cannot be noticed.
    pub fn new() -> io::Result<PollArray> {
        let process = Process::current()?;
        Ok(PollArray {
            device: Mutex::default(),
            called: AtomicBool::new(false),
            pollers: AtomicUsize::new(0),
            bell: Bell::new()?,
            process,
        })
    }

    /// Adds what has to be polled, and says how long poll(2) may sleep: not at all where the
    /// context has called, else as long as the program likes.
    ///
    /// After it comes an [`after_poll`](Self::after_poll), whatever becomes of the poll. In a forked
    /// child there is nothing to poll, and nothing to dispatch.
    #[must_use = "poll(2) must not sleep longer"]
    pub fn before_poll(&self, fds: &mut Vec<PollFd>) -> Option<Duration> {
        if !self.process.is_current() {
            return None;
        }
        // Counted before the look: who changes something from here on rings.
        self.pollers.fetch_add(1, Ordering::SeqCst);
        fds.push(PollFd::readable(self.bell.reader.as_raw_fd()));
        fds.extend(self.device().map(PollFd::readable));
        self.called.load(Ordering::SeqCst).then_some(Duration::ZERO)
    }

    /// Looks at what poll(2) said, in an array that may hold other entries, and says whether to
    /// dispatch. An entry of a device that is not registered any more says nothing.
    #[must_use = "what is not dispatched is reported again"]
    pub fn after_poll(&self, fds: &[PollFd]) -> bool {
        // What rang in a forked child is for its parent, and so is a byte in the pipe.
        if !self.process.is_current() {
            return false;
        }
        let device = *self.device();
        let reports = |fd| fds.iter().any(|it| it.fd == fd && it.revents != 0);
        let rang = reports(self.bell.reader.as_raw_fd());
        let left = self.pollers.fetch_sub(1, Ordering::SeqCst);
        // While others poll it goes on, because it has to send them back too.
        if rang && left == 1 {
            self.bell.silence();
        }
        let called = self.called.swap(false, Ordering::SeqCst);
        // Any bit: after an overflow the driver shows the error bit alone (evtchn_poll).
        device.is_some_and(reports) || called || rang
    }

    fn device(&self) -> MutexGuard<'_, Option<RawFd>> {
        // No code that can panic runs under the lock.
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_back(&self) {
        if self.pollers.load(Ordering::SeqCst) > 0 {
            self.bell.ring();
        }
    }
}

impl<D: AsFd + ?Sized> Registrar<D> for PollArray {
    type Error = io::Error;

    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, device: &D) -> io::Result<()> {
        self.process.check()?;
        *self.device() = Some(device.as_fd().as_raw_fd());
        self.send_back();
        Ok(())
    }

    fn deregister(&self, _device: &D) -> io::Result<()> {
        let Some(_fd) = self.device().take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.send_back();
        Ok(())
    }

    fn wake(&self) {
        self.called.store(true, Ordering::SeqCst);
        self.send_back();
    }
}
