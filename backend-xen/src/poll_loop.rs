//! A blocking event loop on `poll(2)` for one device.
//!
//! It knows the device only as a file descriptor, and the core only as a caller of its
//! [`Registrar`]. It is level-triggered and keeps nothing in the kernel but an eventfd, so a
//! forked child that drops it spoils nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::{Registrar, Trigger};
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
#[derive(Debug, Clone)]
pub struct PollLoop {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wakeup: OwnedFd,
    state: Mutex<State>,
    /// The last thread that polls the registered device has left `poll`.
    unwatched: Condvar,
}

#[derive(Debug, Default)]
struct State {
    device: Option<RawFd>,
    /// Threads in `poll`.
    pollers: usize,
    /// Those of them that poll a device.
    watchers: usize,
    counters: Counters,
}

/// Why [`PollLoop::wait`] came back.
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
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(PollLoop {
            shared: Arc::new(Shared {
                wakeup,
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
        let readiness = self.poll(device, timeout);
        self.leave(device.is_some(), readiness.is_ok_and(|it| it.woken));
        Ok(readiness?)
    }

    /// Makes a blocked [`wait`](Self::wait) return, or the next one if none is blocked. Waking
    /// twice before that is waking once.
    pub fn wake(&self) {
        // It fails only where the counter is full, and then the eventfd is readable anyway.
        let _full = rustix::io::write(&self.shared.wakeup, &1_u64.to_ne_bytes());
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
        state.counters.polls += 1;
        state.pollers += 1;
        state.watchers += usize::from(state.device.is_some());
        state.device
    }

    #[expect(unsafe_code, reason = "the registered descriptor is kept as a number")]
    fn poll(&self, device: Option<RawFd>, timeout: Option<Duration>) -> Result<Readiness, Errno> {
        let wakeup = self.shared.wakeup.as_fd();
        // SAFETY: who registers a device keeps it open until `deregister` has returned, and
        // that waits for every thread between `enter` and `leave`.
        let borrow = |fd| unsafe { BorrowedFd::borrow_raw(fd) };
        let mut fds = [
            PollFd::from_borrowed_fd(wakeup, PollFlags::IN),
            PollFd::from_borrowed_fd(device.map_or(wakeup, borrow), PollFlags::IN),
        ];
        let fds = &mut fds[..1 + usize::from(device.is_some())];
        // A timeout that the kernel cannot express is longer than any machine runs.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let interrupted = match rustix::event::poll(fds, timeout.as_ref()) {
            Ok(_) => false,
            Err(Errno::INTR) => true,
            Err(errno) => return Err(errno),
        };
        Ok(Readiness {
            // Any bit: after an overflow the driver shows the error bit alone (evtchn_poll).
            ready: fds[1..].iter().any(|fd| !fd.revents().is_empty()),
            woken: !fds[0].revents().is_empty(),
            interrupted,
        })
    }

    fn leave(&self, watched: bool, woken: bool) {
        let mut state = self.state();
        state.pollers -= 1;
        if watched {
            state.watchers -= 1;
            if state.watchers == 0 {
                self.shared.unwatched.notify_all();
            }
        }
        // While others poll it stays readable, because it has to send them back too.
        if woken && state.pollers == 0 {
            let _emptied_before = rustix::io::read(&self.shared.wakeup, &mut [0_u8; 8]);
        }
    }
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
        if state.pollers > 0 {
            self.wake();
        }
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
        if state.watchers > 0 {
            self.wake();
        }
        while state.watchers > 0 {
            state = self
                .shared
                .unwatched
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn wake(&self) {
        PollLoop::wake(self);
    }
}
