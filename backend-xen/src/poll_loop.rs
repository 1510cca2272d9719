//! A blocking event loop on `poll(2)` for one device.
//!
//! It knows the device only as a file descriptor, and the core only as a caller of its
//! [`Registrar`]. It is level-triggered and keeps nothing in the kernel but two eventfds, so a
//! forked child that drops it spoils nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evtchn_core::{Registrar, Sleep, Slept, Trigger};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::io::Errno;

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

#[derive(Debug)]
struct Shared {
    wakeup: OwnedFd,
    /// The same for sleepers, so that neither takes the other's call away.
    reveille: OwnedFd,
    /// How often somebody called.
    calls: AtomicU64,
    /// Threads in [`Sleep::sleep`]. It changes under the lock of the state.
    sleepers: AtomicUsize,
    state: Mutex<State>,
    /// The last thread that polls the registered device has left `poll`.
    unwatched: Condvar,
}

#[derive(Debug, Default)]
struct State {
    device: Option<RawFd>,
    /// Threads in [`PollLoop::wait`].
    pollers: usize,
    /// Threads that poll the device, sleepers too.
    watchers: usize,
    /// Threads that wait for the last of them.
    awaited: usize,
    counters: Counters,
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
}

impl PollLoop {
    /// A loop that watches nothing yet.
    ///
    /// # Errors
    /// Those of `eventfd(2)`: no descriptor or no memory left.
    pub fn new() -> io::Result<PollLoop> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(PollLoop {
            shared: Arc::new(Shared {
                wakeup: eventfd(0, flags)?,
                reveille: eventfd(0, flags)?,
                calls: AtomicU64::new(0),
                sleepers: AtomicUsize::new(0),
                state: Mutex::default(),
                unwatched: Condvar::new(),
            }),
        })
    }

    /// Blocks until the device is ready, somebody calls [`wake`](Self::wake), a signal comes, or
    /// `timeout` is over; without a timeout, for ever.
    ///
    /// # Errors
    /// Those of `poll(2)` other than `EINTR`.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Readiness> {
        let device = self.enter();
        let readiness = poll(self.shared.wakeup.as_fd(), device, timeout);
        self.leave(device.is_some(), readiness.is_ok_and(|it| it.woken));
        Ok(readiness?)
    }

    /// Makes a blocked [`wait`](Self::wait) return, or the next one if none is blocked. Waking
    /// twice before that is waking once. Threads that block for one channel look again.
    ///
    /// It takes no lock, so the handler of a signal may call it.
    pub fn wake(&self) {
        self.rouse();
        ring(&self.shared.wakeup);
    }

    fn rouse(&self) {
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        // A sleeper counts itself before it looks at the calls: one of us sees the other.
        if self.shared.sleepers.load(Ordering::SeqCst) > 0 {
            ring(&self.shared.reveille);
        }
    }

    /// How often this loop did what, since it was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().counters
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> Option<RawFd> {
        let mut state = self.state();
        state.pollers += 1;
        state.watch()
    }

    fn leave(&self, watched: bool, woken: bool) {
        let mut state = self.state();
        state.pollers -= 1;
        // While others poll it stays readable, because it has to send them back too.
        if woken && state.pollers == 0 {
            silence(&self.shared.wakeup);
        }
        self.unwatch(state, watched);
    }

    /// The device to sleep for, unless somebody called since the ticket was taken.
    fn fall_asleep(&self, ticket: u64) -> Option<Option<RawFd>> {
        let mut state = self.state();
        self.shared.sleepers.fetch_add(1, Ordering::SeqCst);
        if self.shared.calls.load(Ordering::SeqCst) != ticket {
            self.shared.sleepers.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        Some(state.watch())
    }

    fn wake_up(&self, watched: bool, called: bool) {
        let state = self.state();
        // While others sleep it goes on, because it has to rouse them too.
        if self.shared.sleepers.fetch_sub(1, Ordering::SeqCst) == 1 && called {
            silence(&self.shared.reveille);
        }
        self.unwatch(state, watched);
    }

    fn unwatch(&self, mut state: MutexGuard<'_, State>, watched: bool) {
        state.watchers -= usize::from(watched);
        // A notify is a system call, also where nobody waits for it.
        if watched && state.watchers == 0 && state.awaited > 0 {
            self.shared.unwatched.notify_all();
        }
    }
}

impl State {
    /// The device to poll; whoever polls it is counted.
    fn watch(&mut self) -> Option<RawFd> {
        self.counters.polls += 1;
        self.watchers += usize::from(self.device.is_some());
        self.device
    }
}

fn ring(bell: &OwnedFd) {
    // It fails only where the counter is full, and then the eventfd is readable anyway.
    let _full = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

fn silence(bell: &OwnedFd) {
    let _silent_before = rustix::io::read(bell, &mut [0_u8; 8]);
}

/// Polls for a call and, where there is one, for the device, whose watcher the caller is.
#[expect(unsafe_code, reason = "the registered descriptor is kept as a number")]
fn poll(
    bell: BorrowedFd<'_>,
    device: Option<RawFd>,
    timeout: Option<Duration>,
) -> Result<Readiness, Errno> {
    // SAFETY: who registers a device keeps it open until `deregister` has returned, and that
    // waits for every watcher.
    let borrow = |fd| unsafe { BorrowedFd::borrow_raw(fd) };
    // The device first: once the kernel has found one ready, it queues on none of the others.
    let mut fds =
        [device.map_or(bell, borrow), bell].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let polled = &mut fds[usize::from(device.is_none())..];
    // A timeout that the kernel cannot express is longer than any machine runs.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let interrupted = match rustix::event::poll(polled, timeout.as_ref()) {
        Ok(_) => false,
        Err(Errno::INTR) => true,
        Err(errno) => return Err(errno),
    };
    // Any bit: after an overflow the driver shows the error bit alone (evtchn_poll).
    let [ready, woken] = fds.map(|fd| !fd.revents().is_empty());
    Ok(Readiness {
        ready,
        woken,
        interrupted,
    })
}

impl<D: AsFd + ?Sized> Registrar<D> for PollLoop {
    type Error = RegistrationError;

    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    /// A thread that waits already polls the old set of descriptors: it is sent back.
    fn register(&self, device: &D) -> Result<(), RegistrationError> {
        let mut state = self.state();
        if state.device.is_some() {
            return Err(RegistrationError::AlreadyRegistered);
        }
        state.device = Some(device.as_fd().as_raw_fd());
        state.counters.registers += 1;
        self.send_back(&state);
        Ok(())
    }

    /// Returns when no thread polls the device any more, so that it can be closed: a `poll` that
    /// goes on would keep it open, and every port of it bound.
    fn deregister(&self, device: &D) -> Result<(), RegistrationError> {
        let mut state = self.state();
        if state.device != Some(device.as_fd().as_raw_fd()) {
            return Err(RegistrationError::NotRegistered);
        }
        state.device = None;
        state.counters.deregisters += 1;
        self.send_back(&state);
        state.awaited += 1;
        while state.watchers > 0 {
            state = self
                .shared
                .unwatched
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.awaited -= 1;
        Ok(())
    }

    fn wake(&self) {
        PollLoop::wake(self);
    }
}

impl PollLoop {
    /// Makes the threads in `poll` come back, because what is registered changed.
    fn send_back(&self, state: &State) {
        self.rouse();
        if state.pollers > 0 {
            ring(&self.shared.wakeup);
        }
    }
}

impl<D: AsFd + ?Sized> Sleep<D> for PollLoop {
    type Deadline = Instant;
    type SleepError = io::Error;

    fn ticket(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }

    fn sleep(&self, ticket: u64, deadline: Option<Instant>) -> io::Result<Slept> {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if timeout == Some(Duration::ZERO) {
            return Ok(Slept::TimedOut);
        }
        let Some(device) = self.fall_asleep(ticket) else {
            return Ok(Slept::Roused);
        };
        let readiness = poll(self.shared.reveille.as_fd(), device, timeout);
        self.wake_up(device.is_some(), readiness.is_ok_and(|it| it.woken));
        let readiness = readiness?;
        Ok(match readiness {
            Readiness { ready: true, .. } => Slept::Ready,
            _ if readiness.timed_out() => Slept::TimedOut,
            _ => Slept::Roused,
        })
    }
}
