//! A blocking event loop on `poll(2)` for one device.
//!
//! It knows the device only as a file descriptor, and the core only as a caller of its
//! [`Registrar`]. It is level-triggered and keeps nothing in the kernel but two eventfds, so a
//! forked child that drops it spoils nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evtchn_core::{Registrar, Sleep, Slept, Trigger};
use evtchn_fork::{Inherited, Process};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::bell::Bell;

/// A blocking event loop on `poll(2)` that watches one device.
///
/// A handle: its clones are the same loop. One goes to the context, another stays with the
/// thread that waits:
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let poll_loop = evtchn_xen::PollLoop::new()?;
/// let handle = poll_loop.clone();
/// std::thread::spawn(move || handle.wake());
/// assert!(poll_loop.wait(None)?.woken);
/// # Ok(())
/// # }
/// ```
///
/// In a forked child it is its parent's: waiting, sleeping and registering are errors.
///
/// Several threads may wait; each of them is told of everything. Registering and deregistering
/// send waiting threads back, so that the next `wait` polls what is then registered.
///
/// A thread that blocks for one channel ([`Channel::block`](evtchn_core::Channel::block)) sleeps
/// in the same loop, beside those that wait or alone, until a deadline on the monotonic clock:
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use evtchn_core::{Blocked, Context, DomId};
/// use evtchn_sim::Sim;
/// use evtchn_xen::PollLoop;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(0); // on a host: evtchn_xen::XenOpen::default() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::new(sim.open(DomId::DOM0), PollLoop::new()?);
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// let answer = std::thread::spawn(move || guest.send(theirs));
/// let soon = Instant::now() + Duration::from_secs(10);
/// assert!(matches!(channel.block(Some(soon))?, Blocked::Woken(_)));
/// assert_eq!(channel.block(Some(Instant::now()))?, Blocked::TimedOut);
/// # answer.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PollLoop {
    shared: Arc<Shared>,
}

/// A wait takes no lock. Where one thread writes A and looks at B while another writes B and looks
/// at A, all four are `SeqCst`: one of the two sees the other.
#[derive(Debug)]
struct Shared {
    /// Calls those in [`PollLoop::wait`].
    wakeup: Bell,
    /// Calls those in [`Sleep::sleep`]; of their own, so that neither take the others' call away.
    reveille: Bell,
    /// How often somebody called.
    calls: AtomicU64,
    /// The registered device, or `NONE`. It changes under the lock.
    device: AtomicI32,
    /// Threads that poll the device.
    watchers: AtomicUsize,
    /// Threads that wait for the last of them.
    awaited: AtomicUsize,
    polls: AtomicU64,
    registrations: Mutex<Registrations>,
    /// The last thread that polls the registered device has left `poll`.
    unwatched: Condvar,
    /// The process that made it. A forked child shares the eventfds.
    process: Process,
}

/// No device.
const NONE: RawFd = -1;

/// How often the registration changed.
#[derive(Debug, Default)]
struct Registrations {
    registers: u64,
    deregisters: u64,
}

/// Why [`PollLoop::wait`] came back.
///
/// ```
/// use std::time::Duration;
///
/// let poll_loop = evtchn_xen::PollLoop::new()?;
/// let ended = poll_loop.wait(Some(Duration::ZERO))?;
/// assert!(ended.timed_out() && !ended.ready);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// The device has something to say, be it ports or an error: dispatch.
    pub ready: bool,
    /// Somebody called for this loop, or the registration changed: dispatch too.
    pub woken: bool,
    /// A signal came first.
    pub interrupted: bool,
}

impl Readiness {
    /// Nothing happened before the timeout.
    #[must_use]
    pub fn timed_out(self) -> bool {
        !(self.ready || self.woken || self.interrupted)
    }
}

/// How often a [`PollLoop`] did what.
///
/// ```
/// use std::time::Duration;
///
/// let poll_loop = evtchn_xen::PollLoop::new()?;
/// poll_loop.wait(Some(Duration::ZERO))?;
/// let counters = poll_loop.counters();
/// assert_eq!((counters.polls, counters.registers), (1, 0));
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Devices registered.
    pub registers: u64,
    /// Devices deregistered.
    pub deregisters: u64,
    /// Calls of `poll` begun.
    pub polls: u64,
}

/// A registration that does not fit what is registered.
///
/// ```
/// use evtchn_core::{DomId, Open, Registrar};
/// use evtchn_sim::Sim;
/// use evtchn_xen::{PollLoop, RegistrationError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Sim::new(0).open(DomId::DOM0).open()?;
/// let poll_loop = PollLoop::new()?;
/// assert_eq!(poll_loop.deregister(&device), Err(RegistrationError::NotRegistered));
/// poll_loop.register(&device)?;
/// assert_eq!(poll_loop.register(&device), Err(RegistrationError::AlreadyRegistered));
/// # poll_loop.deregister(&device)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The loop watches one device at a time.
    #[error("the poll loop watches a device already")]
    AlreadyRegistered,
    /// The loop does not watch this device.
    #[error("the poll loop does not watch this device")]
    NotRegistered,
    /// Called in a forked child: the loop is the parent's.
    #[error("the poll loop belongs to the process that this one was forked from")]
    Inherited,
}

impl PollLoop {
    /// A loop that watches nothing yet.
    ///
    /// # Errors
    /// Those of `eventfd(2)`: no descriptor or no memory left; or
    /// [`Unavailable`](evtchn_fork::Unavailable), inside of the [`io::Error`], on a kernel where a
    /// fork of this process cannot be noticed.
    pub fn new() -> io::Result<PollLoop> {
        let process = Process::current()?;
        Ok(PollLoop {
            shared: Arc::new(Shared {
                wakeup: Bell::new()?,
                reveille: Bell::new()?,
                calls: AtomicU64::new(0),
                device: AtomicI32::new(NONE),
                watchers: AtomicUsize::new(0),
                awaited: AtomicUsize::new(0),
                polls: AtomicU64::new(0),
                registrations: Mutex::default(),
                unwatched: Condvar::new(),
                process,
            }),
        })
    }

    /// Blocks until the device is ready, somebody calls [`wake`](Self::wake), a signal comes, or
    /// `timeout` is over; without a timeout, for ever.
    ///
    /// # Errors
    /// Those of `poll(2)` other than `EINTR`; [`Inherited`](evtchn_fork::Inherited), inside of the
    /// [`io::Error`], in a forked child.
    #[inline]
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Readiness> {
        self.shared.process.check()?;
        let bell = &self.shared.wakeup;
        bell.listen();
        self.poll(bell, timeout)
    }

    /// Makes a blocked [`wait`](Self::wait) return, or the next one if none is blocked. Waking
    /// twice before that is waking once. Threads that block for one channel look again.
    ///
    /// It takes no lock, so the handler of a signal may call it. In a forked child it does nothing.
    pub fn wake(&self) {
        if !self.shared.process.is_current() {
            return;
        }
        self.rouse();
        self.shared.wakeup.ring();
    }

    fn rouse(&self) {
        self.shared.calls.fetch_add(1, SeqCst);
        // A sleeper counts itself before it looks at the calls.
        if self.shared.reveille.has_listeners() {
            self.shared.reveille.ring();
        }
    }

    /// How often this loop did what, since it was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let registrations = self.registrations();
        Counters {
            registers: registrations.registers,
            deregisters: registrations.deregisters,
            polls: self.shared.polls.load(Relaxed),
        }
    }

    fn registrations(&self) -> MutexGuard<'_, Registrations> {
        // No code that can panic runs under the lock.
        self.shared
            .registrations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the device, if there is one, and a bell that the caller listens to, until now.
    #[inline]
    #[expect(unsafe_code, reason = "the registered descriptor is kept as a number")]
    fn poll(&self, bell: &Bell, timeout: Option<Duration>) -> io::Result<Readiness> {
        self.shared.polls.fetch_add(1, Relaxed);
        // A timeout that the kernel cannot express is longer than any machine runs.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let timeout = timeout.as_ref();
        let rings = polled(bell.as_fd());
        let (outcome, ready, rings) = match self.watch() {
            Some(device) => {
                // SAFETY: who registers a device keeps it open until `deregister` has returned,
                // and that waits for every watcher.
                let device = unsafe { BorrowedFd::borrow_raw(device) };
                // The device first: once the kernel has found one ready, it queues on none of
                // the others.
                let mut fds = [polled(device), rings];
                let outcome = rustix::event::poll(&mut fds, timeout);
                self.unwatch();
                let [device, rings] = fds;
                // Any bit: after an overflow the driver shows the error bit alone (evtchn_poll).
                (outcome, !device.revents().is_empty(), rings)
            }
            None => {
                let mut fds = [rings];
                let outcome = rustix::event::poll(&mut fds, timeout);
                let [rings] = fds;
                (outcome, false, rings)
            }
        };
        let woken = !rings.revents().is_empty();
        bell.leave(woken);
        let interrupted = match outcome {
            Ok(_) => false,
            Err(Errno::INTR) => true,
            Err(errno) => return Err(errno.into()),
        };
        Ok(Readiness {
            ready,
            woken,
            interrupted,
        })
    }

    /// The device to poll; whoever polls it is counted.
    #[inline]
    fn watch(&self) -> Option<RawFd> {
        let shared = &*self.shared;
        if shared.device.load(SeqCst) == NONE {
            return None;
        }
        shared.watchers.fetch_add(1, SeqCst);
        // Who deregisters it takes it away before looking at the watchers.
        match shared.device.load(SeqCst) {
            NONE => {
                self.unwatch();
                None
            }
            device => Some(device),
        }
    }

    #[inline]
    fn unwatch(&self) {
        let is_last = self.shared.watchers.fetch_sub(1, SeqCst) == 1;
        // Who waits for it says so before looking at the watchers.
        if is_last && self.shared.awaited.load(SeqCst) > 0 {
            self.tell_unwatched();
        }
    }

    #[cold]
    fn tell_unwatched(&self) {
        // Locked, so that who waits is not about to fall asleep.
        let _registrations = self.registrations();
        self.shared.unwatched.notify_all();
    }
}

/// What is asked about a descriptor.
fn polled(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

impl<D: AsFd + ?Sized> Registrar<D> for PollLoop {
    type Error = RegistrationError;

    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    /// A thread that waits already polls the old set of descriptors: it is sent back.
    fn register(&self, device: &D) -> Result<(), RegistrationError> {
        let admitted = self.shared.process.check();
        admitted.map_err(|Inherited| RegistrationError::Inherited)?;
        let mut registrations = self.registrations();
        if self.shared.device.load(SeqCst) != NONE {
            return Err(RegistrationError::AlreadyRegistered);
        }
        self.shared.device.store(device.as_fd().as_raw_fd(), SeqCst);
        registrations.registers += 1;
        self.send_back();
        Ok(())
    }

    /// Returns when no thread polls the device any more, so that it can be closed: a `poll` that
    /// goes on would keep it open, and every port of it bound.
    fn deregister(&self, device: &D) -> Result<(), RegistrationError> {
        let shared = &*self.shared;
        let mut registrations = self.registrations();
        if shared.device.load(SeqCst) != device.as_fd().as_raw_fd() {
            return Err(RegistrationError::NotRegistered);
        }
        shared.device.store(NONE, SeqCst);
        registrations.deregisters += 1;
        self.send_back();
        shared.awaited.fetch_add(1, SeqCst);
        while shared.watchers.load(SeqCst) > 0 {
            registrations = shared
                .unwatched
                .wait(registrations)
                .unwrap_or_else(PoisonError::into_inner);
        }
        shared.awaited.fetch_sub(1, SeqCst);
        Ok(())
    }

    fn wake(&self) {
        PollLoop::wake(self);
    }
}

impl PollLoop {
    /// Makes the threads in `poll` come back, because what is registered changed.
    fn send_back(&self) {
        self.rouse();
        // A listener counts itself before it looks at the device.
        if self.shared.wakeup.has_listeners() {
            self.shared.wakeup.ring();
        }
    }
}

impl<D: AsFd + ?Sized> Sleep<D> for PollLoop {
    type Deadline = Instant;
    type SleepError = io::Error;

    fn ticket(&self) -> u64 {
        self.shared.calls.load(SeqCst)
    }

    fn sleep(&self, ticket: u64, deadline: Option<Instant>) -> io::Result<Slept> {
        self.shared.process.check()?;
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if timeout == Some(Duration::ZERO) {
            return Ok(Slept::TimedOut);
        }
        let bell = &self.shared.reveille;
        bell.listen();
        if self.shared.calls.load(SeqCst) != ticket {
            bell.leave(false);
            return Ok(Slept::Roused);
        }
        let readiness = self.poll(bell, timeout)?;
        Ok(match readiness {
            Readiness { ready: true, .. } => Slept::Ready,
            _ if readiness.timed_out() => Slept::TimedOut,
            _ => Slept::Roused,
        })
    }
}
