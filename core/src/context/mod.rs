//! The state machine ([`machine`](crate::machine)) behind locks. It calls the backend and the event
//! loop as the tables say.
//!
//! Lock order: `settling`, then `state`. Hooks of the event loop and the opening of the device run
//! under `settling` alone, never under `state`. Code of the program runs under neither. `state` is
//! held over the calls of the device that bind, unbind, read and unmask, so that a port is in the
//! table before its first event is looked up, and over those that notify many channels, so that none
//! of them is unbound meanwhile. A [`NotifySet`] has no context. Instead it takes a lock of the device
//! that every unbind takes too. That lock is always taken last. `notify` takes no lock.

// The first, so that the documentation of `Context` begins with it.
mod new;

mod after;
mod ahead;
mod batch;
mod bind;
mod block;
mod callback;
mod cancel;
mod channel;
mod drive;
mod early;
mod end;
mod handover;
mod inspect;
mod io;
mod layer;
mod nested;
mod next_round;
mod notify_many;
mod notify_set;
mod observed;
mod owner;
mod peers;
mod restrict;
mod round;
mod settle;
mod static_port;
mod stream;
mod task;
mod teardown;
mod wait;
mod weak;

use std::time::Duration;

use crate::error::Error;
use crate::hal::{Backend, DeviceError, NotifyBuf, Opened, Process, Registrar, Trigger};
use crate::ids::DomId;
use crate::machine::{ChannelId, Machine, Owner};
use crate::observe::{Called, Came};
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, OwnerThread};
use crate::trace::News;
use ahead::Ahead;
use callback::Callbacks;
use early::EarlyReads;
use nested::Nested;
use observed::{OneObserver, ok};
use owner::{RoundNumber, RoundOwner};
use peers::Statuses;

pub use batch::WakeBuf;
pub use channel::{Channel, Notifier};
pub use drive::Driver;
pub use handover::Parts;
pub use notify_set::NotifySet;
pub use round::{Outcome, Round};
pub use stream::Wakes;
pub use task::Woken;
pub use weak::WeakContext;

/// The event channels of one device. The context opens the device at the first bind and registers
/// it with one event loop only while something waits.
///
/// Every method may be called from any thread. One thread at a time has a [`Round`].
///
/// In the documentation of a call, the first words under *Errors* say what is true after each of the
/// errors that follow.
///
/// A context belongs to the process that made it. In a forked child each call fails with
/// [`Error::Inherited`] and touches neither device nor event loop. Dropping context and channels
/// there only closes the child's descriptor, so a forked child cannot disturb its parent's
/// channels.
///
/// Clones are handles of the same context. Dropping the last one deregisters the device and
/// delivers no wake. Channels that outlive the context can still notify and unbind. The device is
/// closed once no channel and no notifier is left either.
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId, Link};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1); // on a host the backend is evtchn::xen::backend()
/// let guest = sim.guest(sim.create_domain()?);
/// let event_loop = SimLoop::level();
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
/// assert_eq!(ctx.link(), Link::Closed);
///
/// let mut channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// channel.wait()?;
/// guest.send(theirs)?;
/// assert!(event_loop.ready());
/// let mut round = ctx.dispatch()?;
/// for wake in &mut round {
///     channel.notify()?; // an answer
///     ctx.wait(wake.channel)?;
/// }
/// round.finish()?;
///
/// channel.unbind()?;
/// ctx.teardown()?;
/// # Ok(())
/// # }
/// ```
pub struct Context<R: Registrar> {
    shared: Arc<Shared<R>>,
}

/// What the context and its channels share.
struct Shared<R: Registrar> {
    /// How many [`Context`]s there are.
    handles: AtomicUsize,
    backend: Backend,
    /// Records the calls, if the backend brings an observer.
    observer: OneObserver,
    registrar: R,
    /// What reports the states of ports, once it was opened.
    statuses: Mutex<Option<Statuses>>,
    trigger: Trigger,
    /// The process that made it; [`NO_PROCESS`] if it was made of an inherited device.
    process: Process,
    state: Mutex<State>,
    /// What the current round took ahead.
    ahead: Ahead,
    early: EarlyReads,
    /// The [ticket](crate::Sleep::ticket) of the thread that runs the loop, taken after its last sleep.
    ticket: AtomicU64,
    /// Whether the link is `Watching`, to be read without the lock.
    watching: AtomicBool,
    /// Whether `State::owed` has an error.
    owes_error: AtomicBool,
    /// Notified when a callback has returned for which a thread waits.
    returned: Condvar,
    /// Serializes the hooks of the registrar.
    settling: Mutex<()>,
    /// The thread that is inside a hook.
    in_hook: OwnerThread,
    in_round: RoundOwner,
    /// The thread that checks the peers.
    in_check: OwnerThread,
}

/// The number that no process has ([`Open::process`](crate::Open::process)).
const NO_PROCESS: u64 = u64::MAX;

struct State {
    machine: Machine,
    callbacks: Callbacks,
    device: Option<Opened>,
    /// Why the device that was opened last failed, if it did.
    failure: Option<DeviceError>,
    /// How many of the wakes taken ahead were last taken back.
    taken_back: usize,
    /// The error of the device when the current round read it.
    failed_in_round: Option<DeviceError>,
    /// The error of a round that was dropped, for the next call that can return it.
    owed: Option<Error>,
    restriction: Option<DomId>,
    /// The context was dropped; only channels are left.
    ended: bool,
    /// A drive was asked for from inside a hook, and is still to be done.
    drive_after_hook: bool,
    nested: Nested,
    /// The event loop stopped watching the device by itself, and was not asked to watch it again since.
    is_lost: bool,
    news: News,
    notifies: NotifyBuf,
}

impl<R: Registrar> Context<R> {
    /// Asks for the next wake of a channel, and returns at once. A [round](Self::dispatch) hands the
    /// wake out. If `wait` or [`wait_each`](Self::wait_each) was called already, nothing changes.
    ///
    /// If an event came while the channel had no waiter, its wake is queued for the next round, and
    /// the event loop is woken. If this thread is in a round, that round hands it out.
    ///
    /// If the port is masked because its event was read, it is unmasked: at the end of the round if
    /// this thread is in one, otherwise at once.
    ///
    /// # Errors
    /// This wait did not begin, and an earlier one goes on. [`Error::NotBound`] if the channel is not
    /// bound; [`Error::AlreadyWaited`] if a task or a blocked thread waits for it;
    /// [`Error::Register`] if the event loop refuses the device; [`Error::Deregister`] if it lost
    /// the device and cannot deregister it; [`Error::Device`] or [`Error::NotUnmasked`] if the port
    /// cannot be unmasked; [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a
    /// forked child.
    #[inline]
    pub fn wait(&self, id: ChannelId) -> Result<(), Error> {
        self.shared.wait(id, Owner::NEXT)
    }

    /// Asks for every wake of a channel, until the wait is [cancelled](Self::cancel) or the channel
    /// is gone, and returns at once. This is the cheapest way to receive a stream of events. If
    /// [`wait`](Self::wait) was called before, that wait becomes one for every wake.
    ///
    /// After each wake the port is unmasked at the end of the round that handed it out: all ports
    /// of a round by one call of the device.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Context, DomId};
    ///
    /// let sim = Sim::new(1);
    /// let guest = sim.guest(sim.create_domain()?);
    /// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    /// let channel = ctx.bind_unbound_port(guest.domid())?;
    /// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
    ///
    /// channel.wait_each()?;
    /// for _ in 0..3 {
    ///     guest.send(theirs)?;
    ///     for wake in ctx.dispatch()? {
    ///         assert_eq!(wake.channel, channel.id());
    ///     }
    /// }
    /// assert!(channel.cancel()?);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait).
    pub fn wait_each(&self, id: ChannelId) -> Result<(), Error> {
        self.shared.wait(id, Owner::EACH)
    }

    /// Ends the wait for a channel. Returns whether there was one. A wake that was queued for the
    /// wait is kept for the next wait. A task or a blocked thread that waits for the channel gets
    /// [`Error::Cancelled`].
    ///
    /// When it returns, the callback of the channel is not running on another thread. So do not
    /// call it while holding a lock that the callback takes; [`try_cancel`](Self::try_cancel) does
    /// not wait.
    ///
    /// # Errors
    /// The wait goes on. [`Error::NotBound`] if the channel is not bound; [`Error::Deregister`] if
    /// the event loop cannot deregister the device; [`Error::Reentrant`] from inside a hook;
    /// [`Error::Inherited`] in a forked child.
    pub fn cancel(&self, id: ChannelId) -> Result<bool, Error> {
        self.shared.cancel(id)
    }

    /// How long the event loop may sleep. Zero if there are wakes that the device will not report,
    /// or the error of a round that was dropped: then dispatch at once. Otherwise `None`: until the
    /// device is ready.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let shared = &*self.shared;
        let is_due = shared.observed(
            || Called::NextTimeout,
            || shared.is_due(),
            |zero| Came::Timeout { zero: *zero },
        );
        is_due.then_some(Duration::ZERO)
    }

    /// Begins a round. Call it when the event loop reports that the device is ready, and when
    /// [`next_timeout`](Self::next_timeout) is zero. Calling it without need is harmless.
    ///
    /// # Errors
    /// [`Error::Busy`] while another thread has a round, and inside a callback;
    /// [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a forked child; once, the
    /// error of a [round](Round) that was dropped.
    #[inline]
    pub fn dispatch(&self) -> Result<Round<'_, R>, Error> {
        self.dispatch_at_most(Round::<R>::BUDGET)
    }

    /// [`dispatch`](Self::dispatch) with a budget: the round ends after that many wakes, with
    /// [`Outcome::More`] if more are ready.
    ///
    /// # Errors
    /// Those of [`dispatch`](Self::dispatch).
    #[inline]
    pub fn dispatch_at_most(&self, wakes: usize) -> Result<Round<'_, R>, Error> {
        if self.shared.observer.is_some() {
            return self.dispatch_observed(wakes);
        }
        Round::begin(&self.shared, wakes)
    }

    #[cold]
    #[inline(never)]
    fn dispatch_observed(&self, wakes: usize) -> Result<Round<'_, R>, Error> {
        let begin = || {
            let mut round = Round::begin(&self.shared, wakes)?;
            round.plain = RoundNumber::NONE;
            Ok(round)
        };
        self.shared.observed(
            || Called::Begin(wakes),
            begin,
            |begun| ok(begun, |_| Came::Begun),
        )
    }
}

impl<R: Registrar> Shared<R> {
    fn is_due(&self) -> bool {
        !self.is_inherited()
            && (self.owes_error.load(Ordering::Relaxed) || self.lock().machine.has_work())
    }

    fn count_unreported(&self) {
        // In a forked child the lock may be held for ever.
        if !self.is_inherited() {
            self.lock().machine.stats.unreported += 1;
        }
    }
}

impl<R: Registrar> Clone for Context<R> {
    /// Another handle of the same context.
    fn clone(&self) -> Context<R> {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Context {
            shared: Arc::clone(&self.shared),
        }
    }
}
