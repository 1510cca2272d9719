//! What can go wrong with a dispatcher.

use std::error::Error;

use evtchn_core::{
    CancelError, ChannelId, DeviceError, DispatchError, LinkError, LoopError, SleepError, WaitError,
};

/// What adding a channel gives.
pub type AddResult<O, R, T = ()> = Result<T, AddError<DeviceError<O>, LoopError<O, R>>>;
/// What a run, or the end of a wait, gives.
pub type RunResult<O, R, T = ()> = Result<T, RunFailed<O, R>>;
/// How a run of this context fails.
pub(super) type RunFailed<O, R> = RunError<DeviceError<O>, LoopError<O, R>, SleepError<O, R>>;

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
/// # let ctx = Arc::new(Context::new(sim.open(DomId::DOM0), PollLoop::new()?));
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
pub enum AddError<D: Error + 'static, R: Error + 'static> {
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
    /// The callback could not be set.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
    /// The wait could not begin.
    #[error(transparent)]
    Wait(#[from] WaitError<D, R>),
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
/// # let ctx = Arc::new(Context::new(sim.open(DomId::DOM0), PollLoop::new()?));
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
pub enum RunError<D, R, S>
where
    D: Error + 'static,
    R: Error + 'static,
    S: Error + 'static,
{
    /// It runs, or ran, already.
    #[error("a dispatcher runs once")]
    Running,
    /// The event loop could not sleep.
    #[error("cannot sleep for the event-channel device: {0}")]
    Sleep(S),
    /// A round failed.
    #[error(transparent)]
    Dispatch(#[from] DispatchError<D, R>),
    /// A channel could not be waited for again when its delivery was dropped, which ended the run.
    /// [`Delivery::done`](super::Delivery::done) says so itself instead, and can be tried again.
    #[error("cannot wait for {channel} again: {source}")]
    Wait {
        /// The channel.
        channel: ChannelId,
        /// Why.
        r#source: WaitError<D, R>,
    },
    /// The event loop did not let go of the device.
    #[error("cannot end the wait for {channel}: {source}")]
    Cancel {
        /// The channel.
        channel: ChannelId,
        /// Why.
        r#source: CancelError<R>,
    },
}
