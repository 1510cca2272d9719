//! The errors of a dispatcher.

use evtchn_core::{ChannelId, Error};

/// A channel could not be added. No new wait was started.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use std::sync::Arc;
/// # use evtchn::crossbeam::Dispatcher;
/// # use evtchn::poll::PollLoop;
/// # use evtchn::sim::Sim;
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Arc::new(Context::<PollLoop>::new(sim.open(DomId::DOM0))?);
/// # let channel = Arc::new(ctx.bind_unbound_port(guest.domid())?);
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// # let dispatcher = Dispatcher::new(Arc::clone(&ctx), NonZeroUsize::MIN);
/// use evtchn::crossbeam::AddError;
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
    /// The dispatcher has `capacity` channels, counting removed ones that still have a delivery.
    #[error("the dispatcher is full: it has {capacity} channels")]
    Full {
        /// How many channels it can have.
        capacity: usize,
    },
    /// The channel was added before.
    #[error("{0} is in the dispatcher already")]
    Twice(ChannelId),
    /// The run is over.
    #[error("the dispatcher has ended")]
    Ended,
    /// The context refused the callback or the wait.
    #[error(transparent)]
    Context(#[from] Error),
}

/// A run could not begin, ended by itself, or could not end every wait.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use std::sync::Arc;
/// # use evtchn::crossbeam::Dispatcher;
/// # use evtchn::poll::PollLoop;
/// # use evtchn::sim::Sim;
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Arc::new(Context::<PollLoop>::new(sim.open(DomId::DOM0))?);
/// # let channel = Arc::new(ctx.bind_unbound_port(guest.domid())?);
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// # let dispatcher = Dispatcher::new(Arc::clone(&ctx), NonZeroUsize::MIN);
/// use evtchn::crossbeam::RunError;
///
/// dispatcher.spawn()?.stop()?;
/// assert!(matches!(dispatcher.run(), Err(RunError::Running))); // a dispatcher runs once
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The dispatcher runs, or has run, already.
    #[error("the dispatcher runs already, or has run before")]
    Running,
    /// A round failed, or the event loop could not sleep.
    #[error(transparent)]
    Context(#[from] Error),
    /// When a delivery was dropped, the dispatcher could not wait for its channel again. This ended
    /// the run. [`Delivery::done`](super::Delivery::done) returns this error itself instead, and
    /// can be called again.
    #[error("cannot wait for {channel} again: {error}")]
    Wait {
        /// The channel.
        channel: ChannelId,
        /// The error of the wait.
        error: Error,
    },
    /// The event loop could not deregister the device.
    #[error("cannot end the wait for {channel}: {error}")]
    Cancel {
        /// The channel.
        channel: ChannelId,
        /// The error of the cancel.
        error: Error,
    },
}
