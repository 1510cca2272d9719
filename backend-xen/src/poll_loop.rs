//! A blocking event loop on `poll(2)` for one device.
//!
//! It knows the device only as a file descriptor, and the core only as the caller of its
//! [`Registrar`]. The core's [`Watch`] decides which thread polls and which ones sleep. The loop is
//! level-triggered and keeps nothing in the kernel but one eventfd, so a forked child that drops
//! it disturbs nothing.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evtchn_core::watch::{Waited, Watch};
use evtchn_core::{
    Device, LoopError, NewLoop, Passed, Registrar, Sleep, Sleeper, Slept, Trigger, WakeTargets,
};
use evtchn_fork::{Inherited, Process};

use crate::places::{Deadline, Kernel};

/// A blocking event loop on `poll(2)` that watches one device.
///
/// It is a handle: clones are the same loop. One goes to the context, another stays with the thread
/// that waits:
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let poll_loop = evtchn::poll::PollLoop::new()?;
/// let handle = poll_loop.clone();
/// std::thread::spawn(move || handle.wake());
/// assert!(poll_loop.wait(None)?.woken);
/// # Ok(())
/// # }
/// ```
///
/// In a forked child it belongs to the parent: waiting, sleeping and registering return errors.
///
/// # Several threads
/// Several threads may wait in one loop. One of them watches the device, that is, it calls
/// `poll(2)`; the others sleep. That thread leaves the watch when the device is ready, when it is
/// woken, at a signal, or at its deadline. Then one of the others takes the watch over. So:
///
/// - **The device is ready**: the thread that watches returns, with [`ready`](Readiness::ready).
///   If it does not read the device, the thread that watches next returns too.
/// - **[`wake`](Self::wake)**, and a device that is registered or deregistered: every thread
///   in `wait` returns, once, with [`woken`](Readiness::woken).
/// - **A signal** that a thread handles ends the `wait` of that thread
///   ([`interrupted`](Readiness::interrupted)), even while another thread watches.
///
/// So an event costs one `poll(2)`, not one for each thread, and not every thread in `wait` sees
/// every event. Have one thread wait and dispatch, and others block for channels of their own.
///
/// A thread that blocks for one channel ([`Channel::block`](evtchn_core::Channel::block)) sleeps in
/// the same loop, alone or beside threads that wait, until a deadline on the monotonic clock. It
/// may be the one that watches; then it reads the device and wakes the threads whose channels have
/// an event. While another thread watches, only a wake of its channel, a cancel,
/// [`wake`](Self::wake), a signal that it handles, or its deadline makes it run.
///
/// Threads sleep in `futex(2)`, because a signal ends it and waking takes no lock. The loop has 512
/// places for threads that block. Two threads that share a place wake together, and the one that
/// has no wake sleeps again.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use evtchn::poll::PollLoop;
/// use evtchn::sim::Sim;
/// use evtchn::{Cause, Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(0); // on a host: evtchn::xen::backend() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), PollLoop::new()?);
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// let answer = std::thread::spawn(move || guest.send(theirs));
/// let soon = Instant::now() + Duration::from_secs(10);
/// assert_eq!(channel.block_until(soon)?, Some(Cause::Event));
/// assert_eq!(channel.block_until(Instant::now())?, None);
/// # answer.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PollLoop {
    watch: Arc<Watch<Kernel>>,
    /// The device that is registered. It stays open while a thread may poll its descriptor.
    held: Arc<Held>,
    /// When the time of a device that has its own time begins.
    start: Instant,
    /// The process that made it. A forked child shares the eventfd.
    process: Process,
}

/// Why [`PollLoop::wait`] returned.
///
/// ```
/// use std::time::Duration;
///
/// let poll_loop = evtchn::poll::PollLoop::new()?;
/// let ended = poll_loop.wait(Some(Duration::ZERO))?;
/// assert!(ended.timed_out() && !ended.ready);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// The device is ready, with events or an error: dispatch. Only the thread that watches the
    /// device gets this.
    pub ready: bool,
    /// [`wake`](PollLoop::wake) was called, or the registration changed: dispatch too.
    pub woken: bool,
    /// A signal came before anything else.
    pub interrupted: bool,
}

impl Readiness {
    /// Whether nothing happened before the timeout.
    #[must_use]
    pub fn timed_out(self) -> bool {
        !(self.ready || self.woken || self.interrupted)
    }
}

/// How often a [`PollLoop`] has polled, slept, registered and deregistered.
///
/// ```
/// use std::time::Duration;
///
/// let poll_loop = evtchn::poll::PollLoop::new()?;
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
    /// Sleeps begun by threads that wait or block while another thread polls.
    pub sleeps: u64,
}

/// A registration or deregistration that the loop refuses.
///
/// ```
/// use evtchn::poll::PollLoop;
/// use evtchn::sim::Sim;
/// use evtchn::{Device, DomId, Open, Registrar};
/// use evtchn_xen::RegistrationError;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::new(Sim::new(0).open(DomId::DOM0).open()?);
/// let poll_loop = PollLoop::new()?;
/// poll_loop.register(&device)?;
/// let error = poll_loop.register(&device).unwrap_err();
/// let own = error.get_ref().downcast_ref();
/// assert_eq!(own, Some(&RegistrationError::AlreadyRegistered));
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
    /// Called in a forked child: the loop belongs to the parent.
    #[error("the poll loop belongs to the process that this one was forked from")]
    Inherited,
}

/// The registered device, kept open.
#[derive(Debug, Default)]
struct Held {
    device: Mutex<Option<Device>>,
    has_own_time: AtomicBool,
}

impl Held {
    fn device(&self) -> MutexGuard<'_, Option<Device>> {
        // No code that can panic runs under the lock.
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PollLoop {
    /// A loop that watches nothing yet.
    ///
    /// # Errors
    /// Those of `eventfd(2)`: no descriptor or no memory is left; or
    /// [`Unavailable`](evtchn_fork::Unavailable), inside of the [`io::Error`], on a kernel where a
    /// fork of this process cannot be noticed.
    pub fn new() -> io::Result<PollLoop> {
        let process = Process::current()?;
        Ok(PollLoop {
            watch: Arc::new(Watch::new(Kernel::new()?)),
            held: Arc::default(),
            start: Instant::now(),
            process,
        })
    }

    /// Blocks until the device is ready, [`wake`](Self::wake) is called, a signal comes, or
    /// `timeout` has passed; without a timeout, as long as that takes. Only one of several threads
    /// returns when the device is ready ([above](Self#several-threads)).
    ///
    /// # Errors
    /// Those of `poll(2)` and `futex(2)` other than `EINTR`; [`Inherited`](evtchn_fork::Inherited),
    /// inside of the [`io::Error`], in a forked child.
    #[inline]
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Readiness> {
        self.process.check()?;
        if let Some(device) = self.in_own_time() {
            return self.pass_time(&device, timeout);
        }
        let Waited {
            ready,
            woken,
            interrupted,
        } = self.watch.wait(Deadline::after(timeout))?;
        Ok(Readiness {
            ready,
            woken,
            interrupted,
        })
    }

    /// Makes every blocked [`wait`](Self::wait) return once, or the next one if none is blocked.
    /// Several wakes before that count as one. Threads that block for one channel check it again.
    ///
    /// It takes no lock and allocates nothing, so a signal handler may call it. In a forked child
    /// it does nothing.
    pub fn wake(&self) {
        if self.process.is_current() {
            self.watch.wake();
        }
    }

    /// What this loop has done since it was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let counts = self.watch.counts();
        Counters {
            registers: counts.registers,
            deregisters: counts.deregisters,
            polls: counts.polls,
            sleeps: counts.parks,
        }
    }
}

impl PollLoop {
    /// The number by which the watch knows a device. A descriptor is never negative.
    fn number(&self, device: &Device) -> Result<usize, LoopError> {
        let checked = self.process.check();
        checked.map_err(|Inherited| LoopError::new(RegistrationError::Inherited))?;
        let fd = device.fd()?.as_raw_fd();
        Ok(usize::try_from(fd).unwrap_or(usize::MAX))
    }

    /// The registered device, if it has a time of its own. Takes no lock where there is none.
    #[inline]
    fn in_own_time(&self) -> Option<Device> {
        let has_own_time = self.held.has_own_time.load(Ordering::Relaxed);
        has_own_time.then(|| self.held.device().clone()).flatten()
    }

    /// [`wait`](Self::wait) in the time of the device.
    #[cold]
    fn pass_time(&self, device: &Device, timeout: Option<Duration>) -> io::Result<Readiness> {
        let is_woken = self.watch.wait(Deadline::Passed)?.woken;
        let deadline = timeout.map(|timeout| Sleep::deadline(self, timeout));
        let slept = match is_woken {
            true => Slept::Notified,
            false => self
                .sleep_in(device, self.watch.ticket(), deadline)
                .map_err(io::Error::other)?,
        };
        Ok(Readiness {
            ready: slept == Slept::Ready,
            woken: slept == Slept::Notified,
            interrupted: false,
        })
    }

    /// A sleep in the time of the device.
    #[cold]
    fn sleep_in(
        &self,
        device: &Device,
        ticket: u64,
        deadline: Option<Instant>,
    ) -> Result<Slept, LoopError> {
        let deadline = deadline.map(|at| at.saturating_duration_since(self.start));
        while let Some(time) = device.own_time() {
            if self.watch.ticket() != ticket {
                return Ok(Slept::Notified);
            }
            match time.pass(deadline)? {
                Passed::Readable => return Ok(Slept::Ready),
                Passed::TimeOver => return Ok(Slept::TimedOut),
                Passed::Happened => {}
            }
        }
        Ok(Slept::Notified)
    }
}

impl Registrar for PollLoop {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    /// A thread that already waits polls the old set of descriptors, so it is sent back.
    fn register(&self, device: &Device) -> Result<(), LoopError> {
        let number = self.number(device)?;
        // Held first, so that no thread polls a descriptor that may be closed.
        let mut held = self.held.device();
        if !self.watch.register(number) {
            return Err(LoopError::new(RegistrationError::AlreadyRegistered));
        }
        *held = Some(device.clone());
        let has_own_time = device.own_time().is_some();
        self.held
            .has_own_time
            .store(has_own_time, Ordering::Relaxed);
        Ok(())
    }

    /// Returns when no thread polls the device any more, so that it can be closed: a `poll` under
    /// way would keep it open, and every port of it bound.
    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        if !self.watch.deregister(self.number(device)?) {
            return Err(LoopError::new(RegistrationError::NotRegistered));
        }
        self.held.has_own_time.store(false, Ordering::Relaxed);
        let held = self.held.device().take();
        drop(held);
        Ok(())
    }

    fn wake(&self) {
        PollLoop::wake(self);
    }

    fn wake_only(&self, targets: WakeTargets<'_>) {
        if self.process.is_current() {
            self.watch.wake_only(targets);
        }
    }
}

/// The deadline of a sleep, if it is still to come.
fn to_come(deadline: Option<Instant>) -> Option<Deadline> {
    match deadline {
        None => Some(Deadline::Never),
        Some(at) => (at > Instant::now()).then_some(Deadline::At(at)),
    }
}

impl NewLoop for PollLoop {
    fn new_loop() -> Result<PollLoop, LoopError> {
        Ok(PollLoop::new()?)
    }
}

/// Stands for a time that a clock cannot express; longer than any machine runs.
const AGES: Duration = Duration::from_secs(1 << 32);

impl Sleep for PollLoop {
    type Deadline = Instant;

    /// From now, in the time of the registered device if it has a time of its own.
    fn deadline(&self, timeout: Duration) -> Instant {
        let device = self.in_own_time();
        let now = match device.as_ref().and_then(|device| device.own_time()) {
            Some(time) => self.start + time.now(),
            None => Instant::now(),
        };
        now.checked_add(timeout).unwrap_or_else(|| now + AGES)
    }

    fn ticket(&self) -> u64 {
        self.watch.ticket()
    }

    fn sleep(&self, ticket: u64, deadline: Option<Instant>) -> Result<Slept, LoopError> {
        self.process.check().map_err(io::Error::from)?;
        if let Some(device) = self.in_own_time() {
            return self.sleep_in(&device, ticket, deadline);
        }
        match to_come(deadline) {
            Some(deadline) => Ok(self.watch.sleep(ticket, deadline)?),
            None => Ok(Slept::TimedOut),
        }
    }

    fn sleep_as_runner(&self, ticket: u64, deadline: Option<Instant>) -> Result<Slept, LoopError> {
        self.process.check().map_err(io::Error::from)?;
        if let Some(device) = self.in_own_time() {
            return self.sleep_in(&device, ticket, deadline);
        }
        let deadline = to_come(deadline).unwrap_or(Deadline::Passed);
        Ok(self.watch.wait(deadline)?.into())
    }

    fn sleep_as(
        &self,
        sleeper: Sleeper,
        ticket: u64,
        deadline: Option<Instant>,
    ) -> Result<Slept, LoopError> {
        self.process.check().map_err(io::Error::from)?;
        if let Some(device) = self.in_own_time() {
            return self.sleep_in(&device, ticket, deadline);
        }
        match to_come(deadline) {
            Some(deadline) => Ok(self.watch.sleep_as(sleeper, ticket, deadline)?),
            None => Ok(Slept::TimedOut),
        }
    }

    fn leave(&self, sleeper: Sleeper) {
        if self.process.is_current() {
            self.watch.leave(sleeper);
        }
    }
}
