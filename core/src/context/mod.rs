//! The machine behind locks, carrying out over the seam what the tables say.
//!
//! Lock order: `settling`, then `state`. Registrar hooks and the opening of the device run under
//! `settling` alone and never under `state`; callers' code runs under neither. `state` is held
//! over the calls of the device that bind, unbind, read and write back, so that a port is in the
//! table before its first event is looked up. `notify` takes no lock.

mod batch;
mod block;
mod callback;
mod cancel;
mod channel;
mod drive;
mod error;
mod handlers;
mod handover;
mod io;
mod nested;
mod peers;
mod round;
mod settle;
mod stream;
mod task;
mod teardown;
mod wait;

use std::fmt;
use std::time::Duration;

use crate::hal::{EventChannel, Open, Registrar, Trigger};
use crate::ids::{DomId, Port, RemotePort, Virq};
use crate::machine::link::Link;
use crate::machine::peers::Peer;
use crate::machine::port::Cause;
use crate::machine::{ChannelId, Machine, Stats};
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, MutexGuard, Occupant};
use crate::trace::News;
use callback::Callbacks;
use nested::Nested;

pub use batch::WakeBuf;
pub use block::{BlockError, BlockResult, Blocked, SleepError};
pub use channel::{Channel, Notifier};
pub use drive::Driver;
pub use error::{
    BindError, CancelError, DispatchError, Leftover, LinkError, NotifyError, RestrictError,
    TeardownError, TryCancelError, UnbindError, WaitError,
};
pub use handlers::{Call, Eoi, HandleError, HandleResult, Handlers};
pub use handover::{HandOverError, IntoPartsError, Parts};
pub use peers::{CheckError, CheckResult, PeerError};
pub use round::{Outcome, Round};
pub use stream::Wakes;
pub use task::{TaskError, Woken, WokenResult};

/// The error of the device that `O` opens.
pub type DeviceError<O> = <<O as Open>::Device as EventChannel>::Error;
/// The error of the registrar `R` for the device that `O` opens.
pub type LoopError<O, R> = <R as Registrar<<O as Open>::Device>>::Error;

/// What a bind gives.
pub type BindResult<O, T> = Result<T, BindError<DeviceError<O>>>;
/// What a call that begins or ends a round gives.
pub type DispatchResult<O, R, T> = Result<T, DispatchError<DeviceError<O>, LoopError<O, R>>>;
/// What an unbind gives.
pub type UnbindResult<O, R> =
    Result<(), UnbindError<Channel<O, R>, DeviceError<O>, LoopError<O, R>>>;

/// What a wait came to.
///
/// ```
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn_core::{Cause, Wait};
///
/// let other = ctx.bind_unbound_port(guest.domid())?;
/// assert_eq!(other.wait()?, Wait::Pending); // so rounds read the device
/// guest.send(theirs)?;
/// assert_eq!(ctx.dispatch()?.count(), 0); // nobody waited for it, and it is kept
/// assert_eq!(channel.wait()?, Wait::Ready(Cause::Event));
/// assert_eq!(channel.wait()?, Wait::Pending);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a wait that is ready at once brings no wake later"]
pub enum Wait {
    /// The wake will come in a round.
    Pending,
    /// An event had come while nobody waited: this is the wake. Nobody waits now.
    Ready(Cause),
}

/// Event channels of one device, opened at the first bind and registered with one event loop
/// while somebody waits.
///
/// Every method may be called from any thread; one thread at a time holds a [`Round`].
///
/// It belongs to the process that made it. In a forked child each call is an error that says so
/// (`Inherited`) and touches neither device nor event loop, and dropping context and channels
/// closes the child's descriptor and nothing else: the parent's channels go on.
///
/// ```
/// use evtchn_core::{Context, DomId, Link, Wait};
/// use evtchn_sim::{Sim, SimLoop};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1); // on a host: evtchn_xen::XenOpen::default() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let event_loop = SimLoop::level();
/// let ctx = Context::new(sim.open(DomId::DOM0), event_loop.clone());
/// assert_eq!(ctx.link(), Link::Closed);
///
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// assert_eq!(channel.wait()?, Wait::Pending);
/// guest.send(theirs)?;
/// assert!(event_loop.ready());
/// let mut round = ctx.dispatch()?;
/// for wake in &mut round {
///     channel.notify()?; // an answer
///     assert_eq!(ctx.wait(wake.channel)?, Wait::Pending);
/// }
/// round.finish()?;
///
/// channel.unbind()?;
/// ctx.teardown()?;
/// # Ok(())
/// # }
/// ```
pub struct Context<O: Open, R: Registrar<O::Device>> {
    shared: Arc<Shared<O, R>>,
}

/// What the context and its channels share.
struct Shared<O: Open, R: Registrar<O::Device>> {
    opener: O,
    registrar: R,
    trigger: Trigger,
    /// The process that made it; `NOBODY` where the device was inherited even then.
    process: u64,
    state: Mutex<State<O::Device>>,
    /// What the link in the state says, for those who need no lock to know.
    watching: AtomicBool,
    /// A callback returned that somebody waits for.
    returned: Condvar,
    /// Serializes the hooks of the registrar.
    settling: Mutex<()>,
    /// The thread that is inside a hook.
    in_hook: Occupant,
    /// The thread that holds the round.
    in_round: Occupant,
    /// The thread that looks after the peers.
    in_check: Occupant,
}

/// The number that no process has ([`Open::process`]).
const NOBODY: u64 = u64::MAX;

struct State<D> {
    machine: Machine,
    callbacks: Callbacks,
    device: Option<Arc<D>>,
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

/// The four ways to get a port.
#[derive(Debug, Clone, Copy)]
enum Source {
    Unbound(DomId),
    Interdomain(RemotePort),
    Virq(Virq),
    Static(Port),
}

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// A context that opens nothing yet.
    ///
    /// It belongs to the calling process, as [`Open::process`] numbers it. Where the backend cannot
    /// notice a fork, the first bind fails with the error of its [`open`](Open::open).
    pub fn new(opener: O, registrar: R) -> Context<O, R> {
        let process = opener.process();
        Context::made_by(process, opener, registrar)
    }

    fn made_by(process: u64, opener: O, registrar: R) -> Context<O, R> {
        Context {
            shared: Arc::new(Shared {
                opener,
                trigger: registrar.trigger(),
                registrar,
                process,
                state: Mutex::new(State {
                    machine: Machine::new(),
                    callbacks: Callbacks::default(),
                    device: None,
                    restriction: None,
                    ended: false,
                    drive_after_hook: false,
                    nested: Nested::default(),
                    is_lost: false,
                    news: News::default(),
                }),
                watching: AtomicBool::new(false),
                returned: Condvar::default(),
                settling: Mutex::default(),
                in_hook: Occupant::default(),
                in_round: Occupant::default(),
                in_check: Occupant::default(),
            }),
        }
    }

    /// Allocates a port that `remote` may bind to. Xen takes the id of a domain that does not exist
    /// too, and the port waits for one that gets this id later.
    ///
    /// # Errors
    /// [`BindError`]; nothing changed. On a [restricted](Self::restrict) device it always fails.
    pub fn bind_unbound_port(&self, remote: DomId) -> BindResult<O, Channel<O, R>> {
        self.bind(Source::Unbound(remote))
    }

    /// Binds to a port that its owner allocated for us. The new channel has a wake at once.
    ///
    /// # Errors
    /// [`BindError`]; nothing changed.
    pub fn bind_interdomain(&self, remote: RemotePort) -> BindResult<O, Channel<O, R>> {
        self.bind(Source::Interdomain(remote))
    }

    /// Binds a virtual interrupt. One that Xen sends to another domain, as it does with the global
    /// ones, binds before Xen 4.21 all the same and never fires.
    ///
    /// # Errors
    /// [`BindError`]; nothing changed. On a [restricted](Self::restrict) device it always fails.
    pub fn bind_virq(&self, virq: Virq) -> BindResult<O, Channel<O, R>> {
        self.bind(Source::Virq(virq))
    }

    /// Takes over a port that was set up at boot (static event channel, Linux 6.6). The caller has
    /// to know that `port` is one: the kernel does not refuse every number that is not. An unbind
    /// leaves it open in Xen.
    ///
    /// # Errors
    /// [`BindError`]; nothing changed.
    pub fn bind_static(&self, port: Port) -> BindResult<O, Channel<O, R>> {
        self.bind(Source::Static(port))
    }

    /// Waits for the next wake of a channel, once. Waiting again changes nothing.
    ///
    /// A port whose event was read before is enabled again: at the end of the round if this
    /// thread is in one, at once otherwise.
    ///
    /// # Errors
    /// [`WaitError`]; who waits, what is registered and which ports are enabled is as before.
    #[inline]
    pub fn wait(&self, id: ChannelId) -> Result<Wait, WaitError<DeviceError<O>, LoopError<O, R>>> {
        self.shared.wait(id)
    }

    /// Ends a wait. A channel that nobody waits for is left alone. A wake that was queued for it
    /// is kept for the next wait. A thread that blocks for the channel is told, and comes back with
    /// [`Blocked::Cancelled`].
    ///
    /// After it returned, the callback of the channel is not running on another thread; so it
    /// must not be called while holding a lock that the callback takes.
    ///
    /// # Errors
    /// [`CancelError`]; the wait goes on.
    pub fn cancel(&self, id: ChannelId) -> Result<(), CancelError<LoopError<O, R>>> {
        self.shared.cancel(id)
    }

    /// Whether the calling process has this context only because it was forked from the one that
    /// made it. Then every call is an error that says so (`Inherited`). It takes no lock and makes
    /// no system call.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.shared.is_inherited()
    }

    /// How long the event loop may sleep: zero while there are wakes that no readiness of the
    /// device announces, otherwise for ever.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        (!self.shared.is_inherited() && self.shared.lock().machine.has_work())
            .then_some(Duration::ZERO)
    }

    /// Restricts the device to `domid`, for good: from now on it binds to ports that this domain
    /// offers ([`bind_interdomain`](Self::bind_interdomain)) and to nothing else.
    /// [`bind_unbound_port`](Self::bind_unbound_port) is refused too, for this domain like for
    /// every other, and so is [`bind_virq`](Self::bind_virq) (`EACCES`; Linux
    /// drivers/xen/evtchn.c, evtchn_ioctl). So bind those first. What is bound already stays bound
    /// and usable, of whatever domain.
    ///
    /// A device that is opened later is restricted before anything else.
    ///
    /// # Errors
    /// [`RestrictError`]; nothing changed.
    pub fn restrict(&self, domid: DomId) -> Result<(), RestrictError<DeviceError<O>>> {
        if self.shared.is_inherited() {
            return Err(RestrictError::Inherited);
        }
        let mut state = self.shared.lock();
        if let Some(already) = state.restriction {
            return Err(RestrictError::Already(already));
        }
        match &state.device {
            Some(device) => device.restrict(domid).map_err(RestrictError::Device)?,
            // A device opened later would refuse it, and every bind with it.
            None if domid == DomId::DOM0 || domid >= DomId::FIRST_RESERVED => {
                return Err(RestrictError::NoTarget(domid));
            }
            None => {}
        }
        state.restriction = Some(domid);
        Ok(())
    }

    /// Begins a round, when the event loop says that the device is ready or when
    /// [`next_timeout`](Self::next_timeout) is zero. It is safe to come for nothing.
    ///
    /// # Errors
    /// [`DispatchError::Busy`] while another round is under way.
    #[inline]
    pub fn dispatch(&self) -> DispatchResult<O, R, Round<'_, O, R>> {
        self.dispatch_at_most(Round::<O, R>::BUDGET)
    }

    /// [`dispatch`](Self::dispatch) with a budget: a round ends after that many wakes, with
    /// [`Outcome::More`] where more are ready.
    ///
    /// # Errors
    /// [`DispatchError::Busy`] while another round is under way.
    #[inline]
    pub fn dispatch_at_most(&self, wakes: usize) -> DispatchResult<O, R, Round<'_, O, R>> {
        Round::begin(&self.shared, wakes)
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

    fn bind(&self, source: Source) -> BindResult<O, Channel<O, R>> {
        let shared = &self.shared;
        if shared.is_inherited() {
            return Err(BindError::Inherited);
        }
        if shared.is_in_hook() {
            return Err(BindError::Reentrant);
        }
        let settling = shared.settling.lock();
        let (before, device) = shared.open(&settling)?;
        let mut state = shared.lock();
        let bound = state.bind(&device, source, shared.trigger);
        let (has_ready, rouse) = (state.machine.has_ready(), state.machine.take_rouse(None));
        drop(state);
        if bound.is_err() && !before.is_open() {
            shared.close_again(before, &settling);
        }
        drop(settling);
        // Owned before a hook is called, which may panic.
        let channel = bound.map(|id| Channel::new(Arc::clone(shared), device, id));
        // A round of this thread finds what is ready; a thread that blocks has to be told.
        shared.wake_in_loop(has_ready && !shared.in_round.is_me(), rouse, None);
        // The bind stands or fell already; a link that does not follow is tried again.
        if shared.settle().is_err() {
            shared.count_unreported();
        }
        channel
    }
}

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State<O::Device>> {
        self.state.lock()
    }

    fn count_unreported(&self) {
        // A forked child has nobody to count for, and the lock may be held for ever.
        if !self.is_inherited() {
            self.lock().machine.stats.unreported += 1;
        }
    }
}

impl<D: EventChannel> State<D> {
    fn bind(
        &mut self,
        device: &D,
        source: Source,
        trigger: Trigger,
    ) -> Result<ChannelId, BindError<D::Error>> {
        if self.machine.is_dirty() {
            self.drain(trigger).map_err(BindError::Drain)?;
        }
        let port = match source {
            Source::Unbound(remote) => device.bind_unbound_port(remote),
            Source::Interdomain(remote) => device.bind_interdomain(remote),
            Source::Virq(virq) => device.bind_virq(virq),
            Source::Static(port) => device.bind_static(port).map(|()| port),
        };
        let id = self.machine.bind(port.map_err(BindError::Bind)?);
        if let Source::Interdomain(remote) = source {
            self.machine.set_peer(id, Peer::Seen(remote));
        }
        Ok(id)
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for Context<O, R> {
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
