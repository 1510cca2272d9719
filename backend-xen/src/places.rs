//! Where threads wait: the one that watches the device in poll(2), the others in futex(2).
//!
//! A futex rather than a `Condvar`, for two reasons. A signal ends it: with a deadline,
//! `FUTEX_WAIT` fails with `EINTR` once the handler has run, whatever `SA_RESTART` says (Linux
//! kernel/futex/waitwake.c, `futex_wait`), as poll(2) does. And waking takes no lock, so a signal
//! handler may do it. It needs no descriptor, however many threads sleep.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use evtchn_core::watch::{Parked, Places, Polled, Unpark};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::thread::futex;

/// Place 0, and one for each of 512 successive numbers of sleepers.
const PLACES: usize = 513;

/// Longer than any machine runs. A futex without a deadline would sleep on after a signal whose
/// handler has `SA_RESTART`.
const FOR_EVER: Timespec = Timespec {
    tv_sec: 1 << 32,
    tv_nsec: 0,
};

/// The eventfd that ends the poll of the watching thread, and the futexes of the others.
#[derive(Debug)]
pub(crate) struct Kernel {
    bell: OwnedFd,
    /// How often each place was unparked.
    unparks: Box<[AtomicU32]>,
}

/// How long a thread waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deadline {
    Passed,
    At(Instant),
    Never,
}

impl Deadline {
    /// The point in time that is `timeout` from now. Reads the clock only where it has to.
    #[inline]
    pub(crate) fn after(timeout: Option<Duration>) -> Deadline {
        match timeout {
            None => Deadline::Never,
            Some(Duration::ZERO) => Deadline::Passed,
            // A time that the clock cannot express is longer than any machine runs.
            Some(timeout) => {
                let at = Instant::now().checked_add(timeout);
                at.map_or(Deadline::Never, Deadline::At)
            }
        }
    }

    /// The time that is left, if this ends.
    #[inline]
    fn timeout(self) -> Option<Timespec> {
        match self {
            Deadline::Passed => Some(Timespec::default()),
            Deadline::At(at) => {
                let left = at.saturating_duration_since(Instant::now());
                Timespec::try_from(left).ok()
            }
            Deadline::Never => None,
        }
    }
}

impl Kernel {
    pub(crate) fn new() -> io::Result<Kernel> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Kernel {
            bell: eventfd(0, flags)?,
            unparks: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
        })
    }
}

/// An entry for poll(2): readable, or an error.
fn polled(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

impl Places for Kernel {
    type Deadline = Deadline;
    type Error = io::Error;

    const PASSED: Deadline = Deadline::Passed;

    fn count(&self) -> usize {
        PLACES
    }

    #[inline]
    #[expect(unsafe_code, reason = "the registered descriptor is kept as a number")]
    fn poll(&self, device: Option<usize>, deadline: Deadline) -> io::Result<Polled> {
        let timeout = deadline.timeout();
        let timeout = timeout.as_ref();
        let bell = polled(self.bell.as_fd());
        let device = device.and_then(|number| RawFd::try_from(number).ok());
        let (outcome, ready, rung) = if let Some(device) = device {
            // SAFETY: the loop holds a registered device until `deregister` has returned, and that
            // waits until every poll of it has ended (`Watch::deregister`, `Watch::begin_to_poll`).
            let device = unsafe { BorrowedFd::borrow_raw(device) };
            // The device first: once the kernel has found one ready, it queues on none of the
            // others.
            let mut fds = [polled(device), bell];
            let outcome = rustix::event::poll(&mut fds, timeout);
            let [device, bell] = fds;
            // Any bit: after an overflow the driver shows the error bit alone (evtchn_poll).
            (outcome, !device.revents().is_empty(), bell.revents())
        } else {
            let mut fds = [bell];
            let outcome = rustix::event::poll(&mut fds, timeout);
            let [bell] = fds;
            (outcome, false, bell.revents())
        };
        let interrupted = match outcome {
            Ok(_) => false,
            Err(Errno::INTR) => true,
            Err(errno) => return Err(errno.into()),
        };
        Ok(Polled {
            ready,
            rung: !rung.is_empty(),
            interrupted,
        })
    }

    fn ring(&self) {
        // This fails only where the counter is full, and then the eventfd is readable anyway.
        let _full = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    #[cold]
    fn clear_rings(&self) {
        let _silent_before = rustix::io::read(&self.bell, &mut [0_u8; 8]);
    }

    fn unparks(&self, place: usize) -> u32 {
        self.unparks.get(place).map_or(0, |it| it.load(SeqCst))
    }

    fn park(&self, place: usize, before: u32, deadline: Deadline) -> io::Result<Parked> {
        let Some(word) = self.unparks.get(place) else {
            return Ok(Parked::Unparked);
        };
        let timeout = deadline.timeout().unwrap_or(FOR_EVER);
        match futex::wait(word, futex::Flags::PRIVATE, before, Some(&timeout)) {
            // It was unparked before this thread slept.
            Ok(()) | Err(Errno::AGAIN) => Ok(Parked::Unparked),
            Err(Errno::INTR) => Ok(Parked::Interrupted),
            Err(Errno::TIMEDOUT) => Ok(Parked::TimedOut),
            Err(errno) => Err(errno.into()),
        }
    }

    fn unpark(&self, place: usize, threads: Unpark) {
        let Some(word) = self.unparks.get(place) else {
            return;
        };
        word.fetch_add(1, SeqCst);
        let count = match threads {
            Unpark::One => 1,
            Unpark::All => i32::MAX.unsigned_abs(),
        };
        // This fails only for an invalid address.
        let _woken = futex::wake(word, futex::Flags::PRIVATE, count);
    }
}
