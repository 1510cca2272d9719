//! What an event loop supplies: registration, and a wake-up for those that block in it.

use core::num::NonZeroU32;
use core::time::Duration;

use super::{Device, LoopError};

/// How an event loop reports readiness of a registered device.
///
/// ```
/// use evtchn_core::{Registrar, Trigger};
/// use evtchn_sim::SimLoop;
///
/// fn trigger(event_loop: &impl Registrar) -> Trigger {
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
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use evtchn_core::{Context, Device, DomId, LoopError, Registrar, Trigger};
/// use evtchn_sim::Sim;
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
    /// Called once, when the context is made. A loop that dispatches needs none.
    #[cfg(feature = "std")]
    fn attach(&self, _driver: crate::Driver) {}

    /// How this loop reports readiness. Asked once, when a context is made.
    fn trigger(&self) -> Trigger;

    /// Starts to watch `device` for reading. The error bit must be reported too: after an
    /// overflow the device shows it alone.
    ///
    /// A loop that holds the descriptor as a number keeps a clone of `device` until it has let go
    /// of that: so the descriptor stays open whatever its callers do.
    ///
    /// # Errors
    /// The loop's; then the device is not watched.
    fn register(&self, device: &Device) -> Result<(), LoopError>;

    /// Stops to watch `device`.
    ///
    /// # Errors
    /// The loop's; then the device is still watched.
    fn deregister(&self, device: &Device) -> Result<(), LoopError>;

    /// Makes a loop that blocks in its poll come back and dispatch, and every thread that sleeps in
    /// it look again. Called from any thread, in the middle of calls of the context, so a loop that
    /// dispatches in here runs callbacks there. What asks for a wake-up on the same thread meanwhile
    /// is one more call of this once it returned.
    ///
    /// A loop in which this can fail keeps the error, and its next [`register`](Self::register) or
    /// [`deregister`](Self::deregister) fails with it.
    fn wake(&self);

    /// Wakes some of the threads that wait in the loop. The context calls this where it knows whom
    /// it has something for. A loop may wake others too; unless it says otherwise it wakes all.
    ///
    /// A loop that supplies this supplies [`Sleep::sleep_as`] too.
    fn wake_only(&self, whom: Whom<'_>) {
        let _everybody = whom;
        self.wake();
    }
}

/// An event loop that a context can make by itself ([`Context::new`](crate::Context::new)).
///
/// ```
/// use evtchn_core::{Context, DomId, Link};
/// use evtchn_sim::{Sim, SimLoop};
///
/// let ctx = Context::<SimLoop>::new(Sim::new(1).open(DomId::DOM0))?;
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// channel.wait()?;
/// assert_eq!(ctx.link(), Link::Watching);
/// # Ok::<_, evtchn_core::Error>(())
/// ```
pub trait NewLoop: Registrar + Sized {
    /// A loop that watches nothing yet.
    ///
    /// # Errors
    /// What making it reports: no descriptor is left, or it can only be made inside its runtime.
    fn new_loop() -> Result<Self, LoopError>;
}

/// Which threads a loop has to [wake](Registrar::wake_only).
///
/// ```
/// use std::num::NonZeroU32;
///
/// use evtchn_core::{Registrar, Sleeper, Whom};
/// use evtchn_sim::SimLoop;
///
/// let event_loop = SimLoop::level();
/// let sleepers = [Sleeper::new(NonZeroU32::MIN)];
/// let whom = Whom { runners: false, sleepers: &sleepers };
/// Registrar::wake_only(&event_loop, whom);
/// assert_eq!(event_loop.counts().wakes, 1); // this loop wakes everybody
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whom<'a> {
    /// Those who run the loop and dispatch. As after [`wake`](Registrar::wake), the next poll
    /// comes back at once where none of them is in one.
    pub runners: bool,
    /// Threads in [`Sleep::sleep_as`].
    pub sleepers: &'a [Sleeper],
}

/// The number of a thread that sleeps in a loop for calls of its own.
///
/// ```
/// use std::num::NonZeroU32;
///
/// use evtchn_core::Sleeper;
///
/// let first = Sleeper::new(NonZeroU32::MIN);
/// assert_eq!(first.number().get(), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sleeper(NonZeroU32);

impl Sleeper {
    /// The sleeper that goes by this number.
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

/// An event loop that threads can sleep in until a wake of theirs has come, each for itself,
/// while others run it or nobody does.
///
/// A thread takes a [`ticket`](Self::ticket), looks whether there is something for it, and sleeps
/// on the ticket where there is not.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn_core::{LoopError, Sleep, Slept};
/// use evtchn_sim::SimLoop;
///
/// fn nap<L: Sleep<Deadline = Duration>>(it: &L) -> Result<Slept, LoopError> {
///     let ticket = it.ticket();
///     // Here the thread looks whether there is something for it; then it sleeps.
///     it.sleep(ticket, Some(Duration::from_secs(1)))
/// }
/// assert_eq!(nap(&SimLoop::level())?, Slept::TimedOut);
/// # Ok::<_, evtchn_core::LoopError>(())
/// ```
pub trait Sleep: Registrar {
    /// A point in the time of this loop.
    type Deadline: Copy;
    /// The point in the time of this loop that is `timeout` from now.
    fn deadline(&self, timeout: Duration) -> Self::Deadline;

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
    fn sleep(&self, ticket: u64, deadline: Option<Self::Deadline>) -> Result<Slept, LoopError>;

    /// [`sleep`](Self::sleep) for a thread that need only note_event the calls of
    /// [`wake`](Registrar::wake), and those of [`wake_only`](Registrar::wake_only) for it. It may
    /// sleep through what the device says while another thread sees to that.
    ///
    /// Afterwards it sleeps again or [leaves](Self::leave), before it runs code of others.
    ///
    /// # Errors
    /// As [`sleep`](Self::sleep).
    fn sleep_as(
        &self,
        sleeper: Sleeper,
        ticket: u64,
        deadline: Option<Self::Deadline>,
    ) -> Result<Slept, LoopError> {
        let _like_any_other = sleeper;
        self.sleep(ticket, deadline)
    }

    /// A thread that came back from [`sleep_as`](Self::sleep_as) does something else now, so
    /// another one has to see to the device.
    fn leave(&self, _sleeper: Sleeper) {}
}

/// Why a [`sleep`](Sleep::sleep) is over.
///
/// ```
/// use evtchn_core::{Registrar, Sleep, Slept};
/// use evtchn_sim::SimLoop;
///
/// let event_loop = SimLoop::level();
/// let ticket = event_loop.ticket();
/// Registrar::wake(&event_loop); // on another thread, say
/// assert_eq!(event_loop.sleep(ticket, None)?, Slept::Notified);
/// # Ok::<_, evtchn_core::LoopError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slept {
    /// The device has something to say.
    Ready,
    /// Somebody called, or a signal came: look again.
    Notified,
    /// The deadline has passed.
    TimedOut,
}
