//! What goes wrong with a notify.

use std::error::Error;

use crate::machine::NotBound;

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
    #[error("the event-channel device belongs to the process that this one was forked from")]
    Inherited,
    /// The device refused.
    #[error(transparent)]
    Device(D),
}
