//! Ports that are not taken over as static ones.

use crate::ids::Port;
use crate::status::Status;

/// Why a port is not the end of a static channel that this context could take over
/// ([`Context::bind_static`](crate::Context::bind_static)). The device was not asked for it.
///
/// ```
/// use evtchn::sim::{Platform, Sim, SimLoop};
/// use evtchn::{Context, Error, NotStatic, Status, Virq};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::with_config(Platform::LINUX_6_12_ON_XEN_4_20.config(1));
/// let [ctx, other] = [(); 2].map(|()| {
///     Context::with_registrar(sim.open(evtchn::DomId::DOM0), SimLoop::level())
/// });
/// let channel = ctx.bind_virq(Virq::TBUF)?;
/// let port = channel.port();
///
/// let Err(Error::NotStatic(ours)) = ctx.bind_static(port) else {
///     panic!("the context has bound it");
/// };
/// assert_eq!(ours, NotStatic::Ours(port));
/// let Err(Error::NotStatic(theirs)) = other.bind_static(port) else {
///     panic!("it is the port of a VIRQ");
/// };
/// assert_eq!(theirs, NotStatic::Is(port, Status::Virq { virq: Virq::TBUF }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotStatic {
    /// A channel of this context has it.
    #[error(
        "cannot bind static port {0}: a channel of this context has it; use that channel, or \
         unbind it first"
    )]
    Ours(Port),
    /// Xen says that it is this, and a static port is the end of a channel between domains.
    #[error(
        "cannot bind static port {0}: Xen says that it is {1}, which no static port is; look up the \
         number where the channel was set up, in the device tree or in the toolstack"
    )]
    Is(Port, Status),
    /// Xen keeps it for itself.
    #[error(
        "cannot bind static port {0}: Xen keeps it for itself; look up the number where the \
         channel was set up, in the device tree or in the toolstack"
    )]
    Hidden(Port),
}

impl NotStatic {
    /// The port.
    #[must_use]
    pub const fn port(self) -> Port {
        match self {
            NotStatic::Ours(port) | NotStatic::Is(port, _) | NotStatic::Hidden(port) => port,
        }
    }

    /// What speaks against this port, if it is in this state.
    #[cfg(feature = "std")]
    pub(crate) fn of(port: Port, state: Status) -> Result<(), NotStatic> {
        match state {
            // Its peer may have died, or not have been set up yet.
            Status::Interdomain { .. } | Status::Unbound { .. } => Ok(()),
            Status::Closed | Status::Pirq { .. } | Status::Virq { .. } | Status::Ipi => {
                Err(NotStatic::Is(port, state))
            }
        }
    }
}
