//! The adapter for a program that fills an array for poll(2) itself.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::{Device, LoopError, NewLoop, Registrar, Trigger};
use evtchn_fork::Process;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::held::Held;
use crate::hooks::Interest;

/// An entry of the array, with the layout that poll(2) expects.
///
/// ```
/// use evtchn::hooks::{PollArray, PollFd};
/// use evtchn::sim::Sim;
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::<PollArray>::new(Sim::new(0).open(DomId::DOM0))?;
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// channel.wait()?;
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
    /// The bits to watch it for.
    pub events: i16,
    /// The bits that poll(2) reports.
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
/// use evtchn::hooks::PollArray;
/// use evtchn::sim::Sim;
/// use evtchn::{Context, DomId};
///
/// # fn poll(fds: &mut [evtchn::hooks::PollFd], timeout: Option<std::time::Duration>) {
/// #     use std::os::fd::BorrowedFd;
/// #     use rustix::event::{PollFd, PollFlags, Timespec};
/// #     let entry = |it: &evtchn::hooks::PollFd| {
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
/// let sim = Sim::new(0); // on a host: evtchn::xen::backend() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::<PollArray>::new(sim.open(DomId::DOM0))?;
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// channel.wait()?;
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
/// Several threads may poll, each with an array of its own. Each of them then polls the device, and
/// an event wakes them all. A device that is registered or deregistered during a poll ends the poll
/// of each thread, and so does a wake by the context: each thread that polls at that moment returns
/// once, and its next poll sleeps again. Until then the kernel keeps a device open that was closed
/// during a poll(2).
///
/// Each wake during a poll needs a pipe of its own until all the threads that it woke have
/// returned; then the pipe is used again. So there are two or three pipes, and never more than one
/// for each thread and one more. Where no descriptor is left for another pipe, threads that begin
/// to poll meanwhile return at once.
#[derive(Debug)]
pub struct PollArray {
    state: Mutex<State>,
    /// The process that made it. A forked child shares the pipes.
    process: Process,
}

#[derive(Debug)]
struct State {
    device: Option<RawFd>,
    held: Held,
    /// The context woke the loop while no thread polled.
    called: bool,
    /// Never empty.
    bells: Vec<Bell>,
    /// The bell for threads that begin to poll now. It does not ring, unless no other could be
    /// made.
    current: usize,
}

/// A pipe that holds one byte while it rings. It rings for the threads that poll it, from a wake
/// until the last of them has returned. A thread that begins to poll after the wake polls another
/// bell, so no thread is woken twice by one wake.
#[derive(Debug)]
struct Bell {
    reader: File,
    writer: File,
    /// How many threads are between their `before_poll` and their `after_poll` with it.
    pollers: usize,
    rings: bool,
    /// It rings because of a wake by the context.
    called: bool,
}

impl Bell {
    fn new() -> io::Result<Bell> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Bell {
            reader: reader.into(),
            writer: writer.into(),
            pollers: 0,
            rings: false,
            called: false,
        })
    }

    fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    fn ring(&mut self) {
        if !self.rings {
            self.rings = true;
            // The other end is open and there is room, so this cannot fail.
            let _written = self.writer.write(&[0]);
        }
    }

    /// One of its threads has returned. Returns whether the context had woken it.
    fn leave(&mut self) -> bool {
        let called = self.called;
        self.pollers = self.pollers.saturating_sub(1);
        if self.pollers == 0 && self.rings {
            // The byte is in the pipe, so this does not sleep.
            let _read = self.reader.read(&mut [0]);
            self.rings = false;
            self.called = false;
        }
        called
    }
}

impl State {
    /// Ends the poll of the threads that poll. Returns whether there are any that were not woken
    /// before.
    fn send_back(&mut self, called: bool) -> bool {
        let Some(bell) = self.bells.get_mut(self.current) else {
            return false;
        };
        if bell.pollers == 0 {
            return false;
        }
        bell.ring();
        bell.called |= called;
        let free = self.bells.iter().position(|it| it.pollers == 0);
        if let Some(free) = free {
            self.current = free;
        } else if let Ok(another) = Bell::new() {
            self.current = self.bells.len();
            self.bells.push(another);
        }
        true
    }

    /// The bell that is in an array; the newest, where the program left an older one in the array.
    fn bell_in(&mut self, fds: &[PollFd]) -> Option<&mut Bell> {
        let bells = &self.bells;
        let mut found = fds
            .iter()
            .rev()
            .filter_map(|entry| bells.iter().position(|it| it.fd() == entry.fd));
        let found = found.next().unwrap_or(self.current);
        self.bells.get_mut(found)
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
            state: Mutex::new(State {
                device: None,
                held: Held::default(),
                called: false,
                bells: vec![Bell::new()?],
                current: 0,
            }),
            process,
        })
    }

    /// Adds the entries to poll, and returns how long poll(2) may sleep: not at all where the
    /// context has woken the loop, else as long as the program likes.
    ///
    /// [`after_poll`](Self::after_poll) has to follow, even where poll(2) failed. In a forked child
    /// there is nothing to poll, and nothing to dispatch.
    #[must_use = "poll(2) must not sleep longer"]
    pub fn before_poll(&self, fds: &mut Vec<PollFd>) -> Option<Duration> {
        if !self.process.is_current() {
            return None;
        }
        let mut state = self.state();
        let current = state.current;
        if let Some(bell) = state.bells.get_mut(current) {
            bell.pollers += 1;
            fds.push(PollFd::readable(bell.fd()));
        }
        fds.extend(state.device.map(PollFd::readable));
        state.called.then_some(Duration::ZERO)
    }

    /// Looks at what poll(2) reported, in an array that may hold other entries beside those of
    /// [`before_poll`](Self::before_poll), and returns whether to dispatch. An entry of a device
    /// that is no longer registered is ignored.
    #[must_use = "what is not dispatched is reported again"]
    pub fn after_poll(&self, fds: &[PollFd]) -> bool {
        // A wake is for the process that made the adapter, and so is the byte in its pipe.
        if !self.process.is_current() {
            return false;
        }
        let reports = |fd| fds.iter().any(|it| it.fd == fd && it.revents != 0);
        let mut state = self.state();
        let mut woken = std::mem::take(&mut state.called);
        if let Some(bell) = state.bell_in(fds) {
            woken |= reports(bell.fd());
            woken |= bell.leave();
        }
        // Any bit: after an overflow the driver shows the error bit alone (evtchn_poll).
        woken || state.device.is_some_and(reports)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NewLoop for PollArray {
    fn new_loop() -> Result<PollArray, LoopError> {
        Ok(PollArray::new()?)
    }
}

impl Registrar for PollArray {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        self.process.check().map_err(io::Error::from)?;
        let fd = device.fd()?.as_raw_fd();
        let mut state = self.state();
        state.device = Some(fd);
        state.held.keep(device);
        state.send_back(false);
        Ok(())
    }

    fn deregister(&self, _device: &Device) -> Result<(), LoopError> {
        self.process.check().map_err(io::Error::from)?;
        let mut state = self.state();
        if state.device.take().is_none() {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        }
        state.held.let_go();
        state.send_back(false);
        Ok(())
    }

    fn wake(&self) {
        if !self.process.is_current() {
            return;
        }
        let mut state = self.state();
        // Where no thread polls, the next poll returns at once.
        state.called |= !state.send_back(true);
    }
}
