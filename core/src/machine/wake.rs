//! A wake.

use super::id::ChannelId;
use super::port::Cause;
use crate::ids::Port;

/// A wake: the channel that fired, and why.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn::Cause;
///
/// channel.wait()?;
/// guest.send(theirs)?;
/// let wake = ctx.dispatch()?.next().expect("it was sent to");
/// assert_eq!((wake.channel, wake.cause), (channel.id(), Cause::Event));
/// assert_eq!(wake.port(), channel.port());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wake {
    /// The channel, to wait on again or to look up.
    pub channel: ChannelId,
    /// Why it woke.
    pub cause: Cause,
}

impl Wake {
    /// Fills places where there is no wake yet.
    pub(crate) const BLANK: Wake = Wake {
        channel: ChannelId::NEVER,
        cause: Cause::Gone,
    };

    /// The local port that fired.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.channel.port()
    }
}
