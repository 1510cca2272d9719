//! What goes wrong with a teardown.

use std::error::Error;
use std::fmt;

use super::LinkError;
use crate::ids::Port;

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
