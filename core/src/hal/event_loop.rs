//! What an event loop supplies: registration, and a wake-up for the threads that block in it.

use core::num::NonZeroU32;
use core::time::Duration;

use super::{Device, LoopError};

/// How an event loop reports readiness of a registered device.
///
/// ```
/// use evtchn::sim::SimLoop;
/// use evtchn::{Registrar, Trigger};
///
/// fn trigger(event_loop: &impl Registrar) -> Trigger {
///     event_loop.trigger()
/// }
/// assert_eq!(trigger(&SimLoop::level()), Trigger::Level);
/// assert_eq!(trigger(&SimLoop::edge()), Trigger::Edge);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Again and again while there is something to read. So a round may end after a short read.
    Level,
    /// Once per change from empty to not empty. So a round must read until nothing is left.
    Edge,
}

/// The hooks of an event loop: those of libxl's osevents, and a wake-up.
///
/// A context calls `register` and `deregister` one at a time, and only while the device is open.
/// Neither may call back into the context that called it. A hook that panics counts as having done
/// nothing; the panic goes on to the caller of the context.
///
/// No method is called in a forked child. If dropping the registrar would change what parent and
/// child share, such as an epoll instance, the child has to leak that part.
///
/// A loop of one flag, for a program that looks at it in its own time:
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use evtchn::sim::Sim;
/// use evtchn::{Context, Device, DomId, LoopError, Registrar, Trigger};
///
/// #[derive(Default)]
/// struct Flag {
///     is_watched: AtomicBool,
/// }
///
/// impl Registrar for Flag {
///     fn trigger(&self) -> Trigger {
///         Trigger::Level
///     }
///
///     fn register(&self, _device: &Device) -> Result<(), LoopError> {
///         self.is_watched.store(true, Ordering::Relaxed);
///         Ok(())
///     }
///
///     fn deregister(&self, _device: &Device) -> Result<(), LoopError> {
///         self.is_watched.store(false, Ordering::Relaxed);
///         Ok(())
///     }
///
///     fn wake(&self) {} // this loop never sleeps
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), Flag::default());
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// channel.wait()?;
/// assert!(ctx.registrar().is_watched.load(Ordering::Relaxed));
/// channel.cancel()?;
/// assert!(!ctx.registrar().is_watched.load(Ordering::Relaxed));
/// # Ok(())
/// # }
/// ```
pub trait Registrar: Send + Sync + 'static {
    /// Gives the loop a way to [drive](crate::Context::drive) the context that was made with it.
    /// Called once, when the context is made. A loop that dispatches does not need it.
    #[cfg_attr(not(feature = "std"), cfg(any()))]
    fn attach(&self, _driver: crate::Driver) {}

    /// How this loop reports readiness. Asked once, when a context is made.
    fn trigger(&self) -> Trigger;

    /// Starts to watch `device` for reading. The loop must report the error bit too, because after
    /// an overflow the device shows nothing else.
    ///
    /// A loop that keeps the descriptor as a number keeps a clone of `device` for as long. So the
    /// descriptor stays open, whatever the callers do.
    ///
    /// # Errors
    /// The loop's; then the device is not watched.
    fn register(&self, device: &Device) -> Result<(), LoopError>;

    /// Stops watching `device`.
    ///
    /// # Errors
    /// The loop's; then the device is still watched.
    fn deregister(&self, device: &Device) -> Result<(), LoopError>;

    /// Makes a loop that blocks in its poll return and dispatch, and every thread that sleeps in
    /// the loop return. Called from any thread, in the middle of calls of the context: a loop that
    /// dispatches in here runs callbacks there. If the same thread asks for another wake-up
    /// meanwhile, the context calls this once more after it returned.
    ///
    /// A loop in which this can fail keeps the error, and its next [`register`](Self::register) or
    /// [`deregister`](Self::deregister) fails with it.
    fn wake(&self);

    /// Wakes some of the threads that wait in the loop. The context calls this if it knows which
    /// threads have something to do. A loop may wake other threads too; by default it wakes all.
    ///
    /// A loop that implements this implements [`Sleep::sleep_as`] too.
    fn wake_only(&self, targets: WakeTargets<'_>) {
        let _all_of_them = targets;
        self.wake();
    }
}

/// An event loop that a context can make by itself ([`Context::new`](crate::Context::new)).
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId, Link};
///
/// let ctx = Context::<SimLoop>::new(Sim::new(1).open(DomId::DOM0))?;
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// channel.wait()?;
/// assert_eq!(ctx.link(), Link::Watching);
/// # Ok::<_, evtchn::Error>(())
/// ```
pub trait NewLoop: Registrar + Sized {
    /// A loop that watches nothing yet.
    ///
    /// # Errors
    /// The loop's: for example no descriptor is left, or it can only be made inside its runtime.
    fn new_loop() -> Result<Self, LoopError>;
}

/// Which threads a loop has to [wake](Registrar::wake_only).
///
/// ```
/// use std::num::NonZeroU32;
///
/// use evtchn::sim::SimLoop;
/// use evtchn::{Registrar, Sleeper, WakeTargets};
///
/// let event_loop = SimLoop::level();
/// let sleepers = [Sleeper::new(NonZeroU32::MIN)];
/// let targets = WakeTargets { runners: false, sleepers: &sleepers };
/// Registrar::wake_only(&event_loop, targets);
/// assert_eq!(event_loop.counts().wakes, 1); // this loop wakes all threads
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeTargets<'a> {
    /// Whether to wake the threads that run the loop and dispatch. If none of them is polling, the
    /// next poll returns at once, as after [`wake`](Registrar::wake).
    pub runners: bool,
    /// The threads in [`Sleep::sleep_as`] to wake.
    pub sleepers: &'a [Sleeper],
}

/// The number of a thread that blocks for one channel and sleeps in a loop ([`Sleep::sleep_as`]).
///
/// ```
/// use std::num::NonZeroU32;
///
/// use evtchn::Sleeper;
///
/// let first = Sleeper::new(NonZeroU32::MIN);
/// assert_eq!(first.number().get(), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sleeper(NonZeroU32);

impl Sleeper {
    /// The sleeper with this number.
    #[must_use]
    pub const fn new(number: NonZeroU32) -> Sleeper {
        Sleeper(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> NonZeroU32 {
        self.0
    }
}

/// An event loop in which threads can sleep, each until its own wake has come, whether or not
/// another thread runs the loop.
///
/// A thread takes a [`ticket`](Self::ticket), looks whether its wake has come, and if not sleeps
/// with that ticket. A wake-up between the two ends the sleep at once.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn::sim::SimLoop;
/// use evtchn::{LoopError, Sleep, Slept};
///
/// fn nap<L: Sleep<Deadline = Duration>>(it: &L) -> Result<Slept, LoopError> {
///     let ticket = it.ticket();
///     // Here the thread looks whether there is something for it; then it sleeps.
///     it.sleep(ticket, Some(Duration::from_secs(1)))
/// }
/// assert_eq!(nap(&SimLoop::level())?, Slept::TimedOut);
/// # Ok::<_, evtchn::LoopError>(())
/// ```
pub trait Sleep: Registrar {
    /// A point in the time of this loop.
    type Deadline: Copy;
    /// The point in the time of this loop that is `timeout` from now.
    fn deadline(&self, timeout: Duration) -> Self::Deadline;

    /// The number of wake-ups so far, for [`sleep`](Self::sleep).
    fn ticket(&self) -> u64;

    /// Sleeps until the registered device is ready, until [`wake`](Registrar::wake) was called
    /// since the ticket was taken, or until the deadline, if there is one. A signal may end the
    /// sleep too.
    ///
    /// It takes no wake-up from the threads that run the loop: they are woken as well.
    ///
    /// # Errors
    /// The loop's.
    fn sleep(&self, ticket: u64, deadline: Option<Self::Deadline>) -> Result<Slept, LoopError>;

    /// [`sleep`](Self::sleep) for a thread that is woken only by [`wake`](Registrar::wake) and by a
    /// [`wake_only`](Registrar::wake_only) that names it. It may go on sleeping while the device is
    /// ready if another thread watches the device.
    ///
    /// After it returns, the thread calls it again or [leaves](Self::leave), before it runs code of
    /// the program.
    ///
    /// # Errors
    /// Those of [`sleep`](Self::sleep).
    fn sleep_as(
        &self,
        sleeper: Sleeper,
        ticket: u64,
        deadline: Option<Self::Deadline>,
    ) -> Result<Slept, LoopError> {
        let _like_any_other = sleeper;
        self.sleep(ticket, deadline)
    }

    /// [`sleep`](Self::sleep) for a thread that runs the loop and dispatches: a wake-up for the loop
    /// that came while no thread was in here ends the next sleep. By default these are the wake-ups
    /// since the ticket.
    ///
    /// # Errors
    /// Those of [`sleep`](Self::sleep).
    fn sleep_as_runner(
        &self,
        ticket: u64,
        deadline: Option<Self::Deadline>,
    ) -> Result<Slept, LoopError> {
        self.sleep(ticket, deadline)
    }

    /// A thread that returned from [`sleep_as`](Self::sleep_as) does something else now, so another
    /// thread has to watch the device.
    fn leave(&self, _sleeper: Sleeper) {}
}

/// Why a [`sleep`](Sleep::sleep) is over.
///
/// ```
/// use evtchn::sim::SimLoop;
/// use evtchn::{Registrar, Sleep, Slept};
///
/// let event_loop = SimLoop::level();
/// let ticket = event_loop.ticket();
/// Registrar::wake(&event_loop); // on another thread, say
/// assert_eq!(event_loop.sleep(ticket, None)?, Slept::Notified);
/// # Ok::<_, evtchn::LoopError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slept {
    /// The device is ready.
    Ready,
    /// The loop was woken, or a signal came: look again.
    Notified,
    /// The deadline has passed.
    TimedOut,
}
