//! What goes wrong with getting a port, keeping to one domain, and giving the port back.

use std::error::Error;
use std::fmt;

use super::LinkError;
use crate::ids::DomId;

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
    #[error("cannot open the event-channel device: {0}")]
    Open(D),
    /// The new device could not be restricted to the domain asked for, and was closed again.
    #[error("cannot restrict the event-channel device: {0}")]
    Restrict(D),
    /// What an earlier unbind may have left in the driver could not be read away first.
    #[error("cannot read old events away before the bind: {0}")]
    Drain(D),
    /// The bind itself failed. A device that was opened for it is closed again.
    #[error(transparent)]
    Bind(D),
    /// Called from inside a hook of the registrar, or the opening of the device.
    #[error("a registrar hook must not call back into its context")]
    Reentrant,
    /// Called in a forked child.
    #[error("the event-channel device belongs to the process that this one was forked from")]
    Inherited,
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
    #[error("the event-channel device belongs to the process that this one was forked from")]
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
    #[error("cannot unbind: {source}")]
    Unbind {
        /// The channel.
        channel: C,
        /// Why.
        r#source: D,
    },
    /// The channel is unbound, but the event loop did not let go of the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
    /// Called from inside a hook of the registrar; the channel comes back to its owner.
    #[error("a registrar hook must not call back into its context")]
    Reentrant(C),
    /// Called in a forked child; the channel comes back to its owner, to be dropped.
    #[error("the event-channel device belongs to the process that this one was forked from")]
    Inherited(C),
}
