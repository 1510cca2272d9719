//! One error enum per operation: each variant is a step that failed and says what state is left.
//!
//! `D` is the device's error, `R` the registrar's.

use std::error::Error;
use std::fmt;

use crate::ids::{DomId, Port};
use crate::machine::{ChannelId, NotBound};

/// The event loop failed, or called back in.
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
/// use evtchn_core::{LinkError, WaitError};
/// use evtchn_sim::{Call, Errno};
///
/// ctx.registrar().fail_next(Call::Register, Errno::ENOMEM);
/// let error = channel.wait().unwrap_err();
/// assert!(matches!(error, WaitError::Link(LinkError::Register(why)) if why.errno == Errno::ENOMEM));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError<R: Error + 'static> {
    /// The event loop refused the device.
    #[error("the event loop refused the device")]
    Register(#[source] R),
    /// The event loop did not let go of the device; it is still registered. The next call on the
    /// context tries again.
    #[error("the event loop did not let go of the device")]
    Deregister(#[source] R),
    /// A hook panicked while a panic was unwinding already. (Otherwise its panic goes on to the
    /// caller.) It counts as having done nothing.
    #[error("a hook of the event loop panicked")]
    Panicked,
    /// Called from inside a hook of the registrar, or from the opening of the device. Nothing was
    /// done.
    #[error("a registrar hook must not call back into its context")]
    Reentrant,
    /// Called in a forked child: the context belongs to the parent. Nothing was done.
    #[error("the context belongs to the process that this one was forked from")]
    Inherited,
}

/// A bind failed. No port was bound.
///
/// ```
/// use evtchn_core::{BindError, Context, DomId, Port, RemotePort};
/// use evtchn_sim::{Errno, Sim, SimLoop};
///
/// let ctx = Context::new(Sim::new(1).open(DomId::DOM0), SimLoop::level());
/// let nobody = RemotePort { domid: DomId::new(77), port: Port::MAX };
/// let error = ctx.bind_interdomain(nobody).unwrap_err();
/// assert!(matches!(error, BindError::Bind(why) if why.errno == Errno::ESRCH));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError<D: Error + 'static> {
    /// The device could not be opened. The next bind tries again.
    #[error("cannot open the event-channel device")]
    Open(#[source] D),
    /// The new device could not be restricted to the domain asked for, and was closed again.
    #[error("cannot restrict the event-channel device")]
    Restrict(#[source] D),
    /// What an earlier unbind may have left in the driver could not be read away first.
    #[error("cannot read old events away before the bind")]
    Drain(#[source] D),
    /// The bind itself failed. A device that was opened for it is closed again.
    #[error(transparent)]
    Bind(D),
    /// Called from inside a hook of the registrar, or the opening of the device.
    #[error("a registrar hook must not call back into its context")]
    Reentrant,
    /// Called in a forked child.
    #[error("the context belongs to the process that this one was forked from")]
    Inherited,
}

/// A wait failed. Nobody waits that did not wait before.
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
/// use evtchn_core::WaitError;
///
/// let id = channel.id();
/// channel.unbind()?;
/// assert!(matches!(ctx.wait(id), Err(WaitError::NotBound(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError<D: Error + 'static, R: Error + 'static> {
    /// The channel was unbound, or its device failed.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// The next wake of the channel is somebody else's. Cancel that wait first.
    #[error("{0} is waited for already")]
    AlreadyWaited(ChannelId),
    /// The event loop refused the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
    /// The port could not be enabled again. A later wait tries again.
    #[error("cannot enable port {port} again")]
    Unmask {
        /// The port.
        port: Port,
        /// Why.
        #[source]
        source: D,
    },
    /// The driver took no port. A later wait tries again.
    #[error("the device did not take port {port} to enable it again")]
    NotWritten {
        /// The port.
        port: Port,
    },
}

/// A cancel failed. Who waited still waits.
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
/// use evtchn_core::CancelError;
///
/// let id = channel.id();
/// channel.unbind()?;
/// assert!(matches!(ctx.cancel(id), Err(CancelError::NotBound(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError<R: Error + 'static> {
    /// The channel was unbound, or its device failed.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// The event loop did not let go of the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
}

/// A cancel that does not wait for callbacks failed. Who waited still waits.
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
/// use evtchn_core::TryCancelError;
///
/// let _pending = channel.wait()?;
/// match channel.try_cancel() {
///     Ok(()) => {}
///     Err(TryCancelError::Running(id)) => println!("{id} is being called; try again later"),
///     Err(TryCancelError::Cancel(error)) => return Err(error.into()),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryCancelError<R: Error + 'static> {
    /// The channel's callback runs on another thread. Nothing was done.
    #[error("the callback of {0} runs on another thread")]
    Running(ChannelId),
    /// As a cancel that waits.
    #[error(transparent)]
    Cancel(#[from] CancelError<R>),
}

impl<R: Error + 'static> From<NotBound> for TryCancelError<R> {
    fn from(error: NotBound) -> TryCancelError<R> {
        CancelError::from(error).into()
    }
}

impl<R: Error + 'static> From<LinkError<R>> for TryCancelError<R> {
    fn from(error: LinkError<R>) -> TryCancelError<R> {
        CancelError::from(error).into()
    }
}

/// A notify failed. Nothing was sent.
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
/// use evtchn_core::NotifyError;
///
/// let notifier = channel.notifier().expect("it is bound");
/// channel.unbind()?;
/// assert!(matches!(notifier.notify(), Err(NotifyError::NotBound(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError<D: Error + 'static> {
    /// The channel was unbound.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// Called in a forked child.
    #[error("the channel belongs to the process that this one was forked from")]
    Inherited,
    /// The device refused.
    #[error(transparent)]
    Device(D),
}

/// An unbind failed.
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
/// use evtchn_core::UnbindError;
/// use evtchn_sim::{Call, Fault, Errno};
///
/// sim.install(Fault::fail(Call::Unbind, Errno::EINTR).nth(1));
/// let Err(UnbindError::Unbind { channel, .. }) = channel.unbind() else {
///     panic!("it was made to fail");
/// };
/// channel.unbind()?; // as it was, so it can be tried again
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnbindError<C: fmt::Debug, D: Error + 'static, R: Error + 'static> {
    /// The device refused; the channel is as it was and comes back to its owner.
    #[error("cannot unbind")]
    Unbind {
        /// The channel.
        channel: C,
        /// Why.
        #[source]
        source: D,
    },
    /// The channel is unbound, but the event loop did not let go of the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
    /// Called from inside a hook of the registrar; the channel comes back to its owner.
    #[error("a registrar hook must not call back into its context")]
    Reentrant(C),
    /// Called in a forked child; the channel comes back to its owner, to be dropped.
    #[error("the channel belongs to the process that this one was forked from")]
    Inherited(C),
}

/// A round failed, or could not begin. Wakes that it handed out are good; what was read and not
/// handed out is in the ready queue.
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
/// use evtchn_core::DispatchError;
///
/// let round = ctx.dispatch()?;
/// assert!(matches!(ctx.dispatch(), Err(DispatchError::Busy)));
/// round.finish()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError<D: Error + 'static, R: Error + 'static> {
    /// Another round of this context is under way.
    #[error("another round of this context is under way")]
    Busy,
    /// The device failed and was closed. Every channel is dead, and every waiter gets a wake
    /// with [`Cause::Gone`](crate::Cause::Gone). The next bind opens a new device.
    #[error("the event-channel device failed")]
    Device(#[source] D),
    /// Some ports could not be enabled again. The next round tries again.
    #[error("cannot enable {ports} ports again")]
    Unmask {
        /// How many are still to be written.
        ports: usize,
        /// Why.
        #[source]
        source: D,
    },
    /// The device took no more ports to enable again. The next round tries again.
    #[error("the device did not take {ports} ports to enable them again")]
    NotWritten {
        /// How many are still to be written.
        ports: usize,
    },
    /// The event loop failed at the end of the round. The next call on the context tries again.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
}

/// The restriction could not be set.
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
/// use evtchn_core::RestrictError;
///
/// let other = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// assert!(matches!(other.restrict(DomId::DOM0), Err(RestrictError::NoTarget(_))));
/// ctx.restrict(guest.domid())?;
/// assert!(matches!(ctx.restrict(guest.domid()), Err(RestrictError::Already(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestrictError<D: Error + 'static> {
    /// The context was restricted already, and stays so.
    #[error("already restricted to domain {0}")]
    Already(DomId),
    /// No device can be restricted to this domain: it is domain 0, or a reserved id (Linux
    /// drivers/xen/evtchn.c, evtchn_ioctl).
    #[error("domain {0} cannot be the target of a restriction")]
    NoTarget(DomId),
    /// Called in a forked child.
    #[error("the context belongs to the process that this one was forked from")]
    Inherited,
    /// The device refused.
    #[error(transparent)]
    Device(D),
}

/// What keeps a context from being torn down.
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
/// use evtchn_core::TeardownError;
///
/// let _pending = channel.wait()?;
/// let Err(TeardownError::Leftover(left)) = ctx.teardown() else {
///     panic!("the channel is bound");
/// };
/// assert_eq!(left.channels, [channel.port()]);
/// assert_eq!((left.waiting, left.held), (vec![channel.port()], 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// Ports of the channels that are still bound.
    pub channels: Vec<Port>,
    /// Those of them that somebody waits for.
    pub waiting: Vec<Port>,
    /// How many channels that are no longer bound are still held, by a
    /// [`Notifier`](crate::Notifier) or by their owner.
    pub held: usize,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "still in use: channels on ports {:?}, waited for {:?}; {} unbound channels still held",
            self.channels.iter().map(|p| p.as_raw()).collect::<Vec<_>>(),
            self.waiting.iter().map(|p| p.as_raw()).collect::<Vec<_>>(),
            self.held
        )
    }
}

/// A teardown failed. Everything is as it was and usable.
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
/// use evtchn_core::TeardownError;
///
/// assert!(matches!(ctx.teardown(), Err(TeardownError::Leftover(_))));
/// channel.unbind()?; // all is as it was
/// ctx.teardown()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeardownError<R: Error + 'static> {
    /// Somebody still uses the context.
    #[error("{0}")]
    Leftover(Leftover),
    /// The event loop did not let go of the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
}
