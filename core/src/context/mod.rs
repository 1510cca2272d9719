//! The machine behind locks, carrying out over the seam what the tables say.
//!
//! Lock order: `settling`, then `state`. Registrar hooks and the opening of the device run under
//! `settling` alone and never under `state`; callers' code runs under neither. `state` is held
//! over the calls of the device that bind, unbind, read and write back, so that a port is in the
//! table before its first event is looked up. `notify` takes no lock.

mod after;
mod ahead;
mod batch;
mod bind;
mod block;
mod callback;
mod cancel;
mod channel;
mod drive;
mod end;
mod handover;
mod io;
mod layer;
mod nested;
mod observed;
mod owner;
mod peers;
mod restrict;
mod round;
mod settle;
mod stream;
mod task;
mod teardown;
mod wait;
mod weak;

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::hal::{Backend, DeviceError, NewLoop, Opened, Process, Registrar, Trigger};
use crate::ids::DomId;
use crate::machine::link::Link;
use crate::machine::{ChannelId, Machine, Owner, Stats};
use crate::observe::{Called, Came, Observe};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, OwnerThread};
use crate::trace::News;
use ahead::Ahead;
use callback::Callbacks;
use nested::Nested;
use observed::{OneObserver, ok};
use owner::{RoundNumber, RoundOwner};
use peers::Statuses;

pub use batch::WakeBuf;
pub use channel::{Channel, Notifier};
pub use drive::Driver;
pub use handover::Parts;
pub use round::{Outcome, Round};
pub use stream::Wakes;
pub use task::Woken;
pub use weak::WeakContext;

/// Event channels of one device, opened at the first bind and registered with one event loop
/// while somebody waits.
///
/// Every method may be called from any thread; one thread at a time has a [`Round`].
///
/// It belongs to the process that made it. In a forked child each call gives
/// [`Error::Inherited`] and touches neither device nor event loop, and dropping context and
/// channels closes the child's descriptor and nothing else: the parent's channels go on.
///
/// Clones are handles of the same context. When the last one is dropped it deregisters and lets go
/// of the device, whatever is left, and delivers no wake. Channels that outlive it can still notify
/// and unbind.
///
/// ```
/// use evtchn_core::{Context, DomId, Link};
/// use evtchn_sim::{Sim, SimLoop};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1); // on a host the backend is evtchn_xen::XenOpen::default()
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
    /// Who records the calls, where the backend brings one.
    observer: OneObserver,
    registrar: R,
    /// What the backend tells the states of ports with, once it was asked for.
    statuses: Mutex<Option<Statuses>>,
    trigger: Trigger,
    /// The process that made it; [`NOBODY`] where the device was inherited even then.
    process: Process,
    state: Mutex<State>,
    /// What the round that is under way took ahead.
    ahead: Ahead,
    /// What the link in the state says, for those who need no lock to know.
    watching: AtomicBool,
    /// Whether the state has an error of a round that was dropped.
    owes_error: AtomicBool,
    /// A callback returned that somebody waits for.
    returned: Condvar,
    /// Serializes the hooks of the registrar.
    settling: Mutex<()>,
    /// The thread that is inside a hook.
    in_hook: OwnerThread,
    in_round: RoundOwner,
    /// The thread that looks after the peers.
    in_check: OwnerThread,
}

/// The number that no process has ([`Open::process`](crate::Open::process)).
const NOBODY: u64 = u64::MAX;

struct State {
    machine: Machine,
    callbacks: Callbacks,
    device: Option<Opened>,
    /// Why the device failed that was open last.
    failure: Option<DeviceError>,
    /// How many wakes of those taken ahead were yielded when the rest was taken back last.
    yielded: usize,
    /// How the device failed when the round that is under way read it.
    failed_in_round: Option<DeviceError>,
    /// The error of a round that was dropped, which the next call that can fails with.
    owed: Option<Error>,
    restriction: Option<DomId>,
    /// The context is gone; only channels are left.
    ended: bool,
    /// Somebody asked from inside a hook that the device be read.
    drive_after_hook: bool,
    nested: Nested,
    /// The event loop stopped to watch the device by itself, and was not asked again since.
    is_lost: bool,
    news: News,
}

impl<R: Registrar> Context<R> {
    /// A context on an event loop that it makes itself. It opens nothing yet.
    ///
    /// It belongs to the calling process. Where the backend cannot notice a fork, the first bind
    /// fails with the error of its [`open`](crate::Open::open).
    ///
    /// # Errors
    /// [`Error::NewLoop`] where the loop cannot be made.
    pub fn new(backend: impl Into<Backend>) -> Result<Context<R>, Error>
    where
        R: NewLoop,
    {
        let registrar = R::new_loop().map_err(Error::NewLoop)?;
        Ok(Context::with_registrar(backend, registrar))
    }

    /// A context on this event loop. It opens nothing yet.
    ///
    /// It belongs to the calling process. Where the backend cannot notice a fork, the first bind
    /// fails with the error of its [`open`](crate::Open::open).
    pub fn with_registrar(backend: impl Into<Backend>, registrar: R) -> Context<R> {
        let backend = backend.into();
        let process = backend.process();
        Context::made_by(process, backend, registrar)
    }

    fn made_by(process: Process, backend: Backend, registrar: R) -> Context<R> {
        let context = Context {
            shared: Arc::new(Shared {
                handles: AtomicUsize::new(1),
                observer: backend.observer().map(Observe::context),
                backend,
                trigger: registrar.trigger(),
                registrar,
                statuses: Mutex::default(),
                process,
                state: Mutex::new(State {
                    machine: Machine::new(),
                    callbacks: Callbacks::default(),
                    device: None,
                    failure: None,
                    yielded: 0,
                    failed_in_round: None,
                    owed: None,
                    restriction: None,
                    ended: false,
                    drive_after_hook: false,
                    nested: Nested::default(),
                    is_lost: false,
                    news: News::default(),
                }),
                ahead: Ahead::default(),
                watching: AtomicBool::new(false),
                owes_error: AtomicBool::new(false),
                returned: Condvar::default(),
                settling: Mutex::default(),
                in_hook: OwnerThread::default(),
                in_round: RoundOwner::default(),
                in_check: OwnerThread::default(),
            }),
        };
        context.shared.registrar.attach(context.driver());
        context
    }

    /// Waits for the next wake of a channel, once: a [round](Self::dispatch) hands it out. Waiting
    /// again changes nothing.
    ///
    /// Where an event came since the last wake, while the channel had no waiter, its wake is queued
    /// for the next round, and the event loop is woken for it. If this thread is in a round, that
    /// round hands it out.
    ///
    /// A port whose event was read before is unmasked: at the end of the round if this
    /// thread is in one, at once otherwise.
    ///
    /// # Errors
    /// This wait did not begin, and another one goes on. [`Error::NotBound`];
    /// [`Error::AlreadyWaited`] where a task or a thread that blocks waits for the channel;
    /// [`Error::Register`] where the event loop refuses the device, [`Error::Deregister`] where it
    /// does not let go of one that it lost; [`Error::Device`] or [`Error::NotUnmasked`] where the port
    /// cannot be unmasked; [`Error::Reentrant`]; [`Error::Inherited`].
    #[inline]
    pub fn wait(&self, id: ChannelId) -> Result<(), Error> {
        self.shared.wait(id, Owner::NEXT)
    }

    /// Waits for each wake of a channel, until the wait is [cancelled](Self::cancel) or the channel is
    /// gone; the way to receive a stream of events at the least cost. A wait that is under way
    /// becomes one for each.
    ///
    /// After each wake the port is unmasked again at the end of the round that handed it out, all
    /// ports of a round by one call of the device.
    ///
    /// ```
    /// use evtchn_core::{Context, DomId};
    /// use evtchn_sim::{Sim, SimLoop};
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

    /// Ends a wait, and says whether there was one. A wake that was queued for it is kept for the
    /// next wait. A task or a thread that blocks for the channel gets [`Error::Cancelled`].
    ///
    /// After it returned, the callback of the channel is not running on another thread; so it
    /// must not be called while holding a lock that the callback takes.
    ///
    /// # Errors
    /// The wait goes on: [`Error::NotBound`]; [`Error::Deregister`] where the event loop does not let
    /// go of the device; [`Error::Reentrant`]; [`Error::Inherited`].
    pub fn cancel(&self, id: ChannelId) -> Result<bool, Error> {
        self.shared.cancel(id)
    }

    /// Whether the calling process has this context only because it was forked from the one that
    /// made it. Then every call gives [`Error::Inherited`]. It takes no lock and makes
    /// no system call.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.shared.is_inherited()
    }

    /// How long the event loop may sleep: zero while there are wakes that no readiness of the
    /// device announces, or the error of a round that was dropped; otherwise for ever.
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

    /// Begins a round, when the event loop says that the device is ready or when
    /// [`next_timeout`](Self::next_timeout) is zero. It is safe to come for nothing.
    ///
    /// # Errors
    /// [`Error::Busy`] while another thread has a round, and inside a callback; [`Error::Reentrant`];
    /// [`Error::Inherited`]; once, the error of a [round](Round) that was dropped.
    #[inline]
    pub fn dispatch(&self) -> Result<Round<'_, R>, Error> {
        self.dispatch_at_most(Round::<R>::BUDGET)
    }

    /// [`dispatch`](Self::dispatch) with a budget: a round ends after that many wakes, with
    /// [`Outcome::More`] where more are ready.
    ///
    /// # Errors
    /// [`Error::Busy`] while another thread has a round, and inside a callback; [`Error::Reentrant`];
    /// [`Error::Inherited`]; once, the error of a [round](Round) that was dropped.
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

    /// Where the device stands with the event loop. In a forked child it is
    /// [`Closed`](Link::Closed): the device is the parent's.
    #[must_use]
    pub fn link(&self) -> Link {
        if self.shared.is_inherited() {
            return Link::Closed;
        }
        self.shared.lock().machine.link()
    }

    /// Why the device failed, if the one that was opened last did. Its channels are
    /// [`NotBound`](Error::NotBound).
    ///
    /// ```
    /// use evtchn_core::{Cause, Context, DomId, Error};
    /// use evtchn_sim::{Call, Errno, Sim, SimLoop};
    ///
    /// let opener = Sim::new(1).open(DomId::DOM0);
    /// let ctx = Context::with_registrar(opener.clone(), SimLoop::level());
    /// let channel = ctx.bind_unbound_port(DomId::SELF)?;
    /// channel.wait()?;
    /// opener.fail_next(Call::Pending, Errno::EIO);
    /// let mut round = ctx.dispatch()?;
    /// assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    /// assert!(round.finish().is_err());
    /// assert!(matches!(channel.notify(), Err(Error::NotBound(_))));
    /// let failure = ctx.failure().ok_or("it failed")?;
    /// assert_eq!(failure.code(), Some(Errno::EIO.raw()));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn failure(&self) -> Option<DeviceError> {
        if self.shared.is_inherited() {
            return None;
        }
        self.shared.lock().failure.clone()
    }

    /// Counts of what happened so far. In a forked child they are all 0.
    #[must_use]
    pub fn stats(&self) -> Stats {
        if self.shared.is_inherited() {
            return Stats::default();
        }
        self.shared.lock().machine.stats
    }

    /// The event loop's registrar.
    #[must_use]
    pub fn registrar(&self) -> &R {
        &self.shared.registrar
    }
}

impl<R: Registrar> Shared<R> {
    fn is_due(&self) -> bool {
        !self.is_inherited()
            && (self.owes_error.load(Ordering::Relaxed) || self.lock().machine.has_work())
    }

    fn count_unreported(&self) {
        // A forked child has nobody to count for, and the lock may be held for ever.
        if !self.is_inherited() {
            self.lock().machine.stats.unreported += 1;
        }
    }
}

impl<R: Registrar> Clone for Context<R> {
    /// One more handle of the same context. The last one that is dropped tears it down.
    fn clone(&self) -> Context<R> {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Context {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<R: Registrar> fmt::Debug for Context<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shared.is_inherited() {
            let mut context = f.debug_struct("Context");
            return context.field("is_inherited", &true).finish_non_exhaustive();
        }
        let state = self.shared.lock();
        f.debug_struct("Context")
            .field("link", &state.machine.link())
            .field("bound", &state.machine.bound().count())
            .finish_non_exhaustive()
    }
}
