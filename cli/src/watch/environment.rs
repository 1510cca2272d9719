//! What happens around the channels of a job, on any backend.

use std::time::Duration;

use anyhow::Result;
use evtchn::{Cause, DeviceError, PortStatuses};

use crate::output::ReportingRegistrar;
use crate::source::Source;

/// The event loop, which reports registrations.
pub(crate) type Loop = ReportingRegistrar;
/// A channel of a job.
pub(crate) type Channel = evtchn::Channel<Loop>;
/// The context of a job.
pub(crate) type Context = evtchn::Context<Loop>;

/// A channel that is watched.
pub(crate) struct Watched {
    /// The channel.
    pub(crate) channel: Channel,
    /// What it is bound to.
    pub(crate) source: Source,
    /// The index of the [`Notifier`] at the other end.
    pub(crate) notifier: usize,
}

impl Watched {
    /// A channel, its source, and the index of its notifier.
    pub(crate) fn new(channel: Channel, source: Source, notifier: usize) -> Watched {
        Watched {
            channel,
            source,
            notifier,
        }
    }
}

/// The notifier of a group of channels.
pub(crate) struct Notifier {
    /// Its name in the summary; `None` if none of its channels is selected.
    pub(crate) name: Option<String>,
    /// How many notifies it sent; `None` if the notifier is not ours.
    pub(crate) sent: Option<u64>,
}

/// What to do with a channel after its wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterWake {
    /// Wait for the next one.
    WaitAgain,
    /// Wait no longer.
    Stop,
}

/// What happens around the channels: it notifies them, and lets time pass.
///
/// A channel is identified by its index in the list of the job.
pub(crate) trait Environment {
    /// Opens what reports the status of ports.
    ///
    /// # Errors
    /// If this machine has no such interface, or this user may not use it.
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError>;

    /// Lets time pass until a round of dispatch is due, for `timeout` at most and until `until` on the
    /// clock of the output at most. Returns the channels whose wait begins then.
    ///
    /// # Errors
    /// Those of the environment.
    fn advance(
        &mut self,
        channels: &[Watched],
        timeout: Option<Duration>,
        until: Option<Duration>,
    ) -> Result<Vec<usize>>;

    /// Binds a source again, after this domain was restored.
    ///
    /// # Errors
    /// Those of the bind.
    fn bind(&self, context: &Context, source: Source) -> Result<Channel>;

    /// Handles a wake.
    ///
    /// # Errors
    /// Those of the environment.
    fn handle_wake(&mut self, which: usize, channel: &Channel, cause: Cause) -> Result<AfterWake>;

    /// The notifiers, with their counts of the channels that are selected; `selected` has an entry for
    /// each channel. One without a selected channel is there too, and empty.
    fn notifiers(&self, selected: &[bool]) -> Vec<Notifier>;

    /// Closes the other ends.
    ///
    /// # Errors
    /// Those of the devices of the other ends.
    fn close(&mut self) -> Result<()>;
}
