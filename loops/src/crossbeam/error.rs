//! What can go wrong with a dispatcher.

use evtchn_core::{ChannelId, Error};

/// A channel could not be added. Nobody waits that did not wait before.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use std::sync::Arc;
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_loops::Dispatcher;
/// # use evtchn_sim::Sim;
/// # use evtchn_xen::PollLoop;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Arc::new(Context::<PollLoop>::new(sim.open(DomId::DOM0))?);
/// # let channel = Arc::new(ctx.bind_unbound_port(guest.domid())?);
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// # let dispatcher = Dispatcher::new(Arc::clone(&ctx), NonZeroUsize::MIN);
/// use evtchn_loops::AddError;
///
/// dispatcher.add(Arc::clone(&channel))?;
/// assert!(matches!(dispatcher.add(channel), Err(AddError::Twice(_))));
/// let other = Arc::new(ctx.bind_unbound_port(DomId::SELF)?);
/// assert!(matches!(dispatcher.add(other), Err(AddError::Full { capacity: 1 })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// There are as many channels as there may be, those included that were removed and have a
    /// delivery left.
    #[error("the dispatcher has all of its {capacity} channels")]
    Full {
        /// How many there may be.
        capacity: usize,
    },
    /// The channel was added already.
    #[error("the dispatcher has {0} already")]
    Twice(ChannelId),
    /// The run is over.
    #[error("the dispatcher has ended")]
    Ended,
    /// The context refused the callback or the wait.
    #[error(transparent)]
    Context(#[from] Error),
}

/// A run ended by itself, or with something left.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use std::sync::Arc;
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_loops::Dispatcher;
/// # use evtchn_sim::Sim;
/// # use evtchn_xen::PollLoop;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Arc::new(Context::<PollLoop>::new(sim.open(DomId::DOM0))?);
/// # let channel = Arc::new(ctx.bind_unbound_port(guest.domid())?);
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// # let dispatcher = Dispatcher::new(Arc::clone(&ctx), NonZeroUsize::MIN);
/// use evtchn_loops::RunError;
///
/// dispatcher.spawn()?.stop()?;
/// assert!(matches!(dispatcher.run(), Err(RunError::Running))); // it runs once
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It runs, or ran, already.
    #[error("a dispatcher runs once")]
    Running,
    /// A round failed, or the event loop could not sleep.
    #[error(transparent)]
    Context(#[from] Error),
    /// A channel could not be waited for again when its delivery was dropped, which ended the run.
    /// [`Delivery::done`](super::Delivery::done) says so itself instead, and can be tried again.
    #[error("cannot wait for {channel} again: {error}")]
    Wait {
        /// The channel.
        channel: ChannelId,
        /// Why.
        error: Error,
    },
    /// The event loop did not let go of the device.
    #[error("cannot end the wait for {channel}: {error}")]
    Cancel {
        /// The channel.
        channel: ChannelId,
        /// Why.
        error: Error,
    },
}
