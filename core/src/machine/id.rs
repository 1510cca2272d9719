//! Identifies one binding.

use alloc::format;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::ids::Port;

/// Identifies one binding of a port: the port number, and a generation that no other binding of the
/// number has.
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
/// use std::collections::BTreeMap;
///
/// // The key for what a program knows of its channels.
/// let mut names = BTreeMap::from([(channel.id(), "console")]);
/// channel.wait()?;
/// guest.send(theirs)?;
/// let wake = ctx.dispatch()?.next().expect("it was sent to");
/// assert_eq!(names.remove(&wake.channel), Some("console"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    port: Port,
    generation: u64,
}

impl ChannelId {
    /// The id of no channel.
    pub(crate) const NEVER: ChannelId = ChannelId {
        port: Port::MAX,
        generation: 0,
    };

    /// The id of a new binding.
    #[inline]
    pub(super) fn begin(port: Port) -> ChannelId {
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        ChannelId { port, generation }
    }

    /// The generation that the next binding gets. Every binding so far has a lower one.
    pub(super) fn next_generation() -> u64 {
        GENERATIONS.load(Ordering::Relaxed)
    }

    /// The id with this port and generation.
    #[inline]
    pub(crate) const fn of(port: Port, generation: u64) -> ChannelId {
        ChannelId { port, generation }
    }

    /// The local port.
    #[must_use]
    pub const fn port(self) -> Port {
        self.port
    }

    /// The number of the binding; no other binding of this process has it.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.generation
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (port, generation) = (self.port, self.generation);
        f.pad(&format!("port {port} (binding {generation})"))
    }
}

/// The id is that of no binding of this context, or of one that was unbound. Callers get it as
/// [`Error::NotBound`](crate::Error::NotBound).
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let mut channel = ctx.bind_unbound_port(guest.domid())?;
/// use evtchn::Error;
///
/// channel.unbind()?;
/// let Err(Error::NotBound(id)) = ctx.wait(channel.id()) else {
///     panic!("it is unbound");
/// };
/// assert_eq!(id, channel.id());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not bound here")]
pub(crate) struct NotBound(pub(crate) ChannelId);

/// One count for all contexts, so that no context takes the id of another for its own.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);
