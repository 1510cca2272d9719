//! What goes wrong with a round.

use std::error::Error;

use super::LinkError;

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
    #[error("the event-channel device failed: {0}")]
    Device(D),
    /// Some ports could not be enabled again. The next round tries again.
    #[error("cannot enable {ports} ports again: {source}")]
    Unmask {
        /// How many are still to be written.
        ports: usize,
        /// Why.
        r#source: D,
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
