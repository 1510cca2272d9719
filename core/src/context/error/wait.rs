//! What goes wrong with a wait and with its end.

use std::error::Error;

use super::LinkError;
use crate::ids::Port;
use crate::machine::{ChannelId, NotBound};

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
    #[error("cannot enable port {port} again: {source}")]
    Unmask {
        /// The port.
        port: Port,
        /// Why.
        r#source: D,
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
