//! What goes on around the channels of a job, on any backend.

use std::time::Duration;

use anyhow::Result;
use evtchn::{Cause, DeviceError, PortStatuses};

use super::end::End;
use crate::output::Announce;

/// The event loop, which reports.
pub(crate) type Loop = Announce;
/// A channel of a scene.
pub(crate) type Channel = evtchn::Channel<Loop>;
/// The context that a scene plays in.
pub(crate) type Context = evtchn::Context<Loop>;

/// A channel that is watched.
pub(crate) struct Watched {
    /// The channel.
    pub(crate) channel: Channel,
    /// The other end.
    pub(crate) end: End,
    /// The other end, to print.
    pub(crate) remote: String,
    /// Which of the scene's [`Notifier`]s is at the other end.
    pub(crate) notifier: usize,
}

impl Watched {
    /// A channel with its other end, and the place of the notifier there.
    pub(crate) fn new(channel: Channel, end: End, notifier: usize) -> Watched {
        Watched {
            channel,
            end,
            remote: end.to_string(),
            notifier,
        }
    }
}

/// Who notifies a group of channels.
pub(crate) struct Notifier {
    /// Who, as the summary calls them.
    pub(crate) name: String,
    /// How many notifies they sent; `None` where the notifier is not ours.
    pub(crate) sent: Option<u64>,
}

/// What to do with a channel after its wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Wait for the next one.
    WaitAgain,
    /// That was what was waited for.
    Rest,
}

/// What goes on around the channels: who notifies them, when, and how time passes.
///
/// Channels are named by their place in the list that the job was begun with.
pub(crate) trait Scene {
    /// Who says what the ports of this domain are.
    ///
    /// # Errors
    /// Nobody does here, or not to this user.
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError>;

    /// Lets time pass until a round of dispatch is due, but not longer than `timeout` and not
    /// beyond `until` on the clock of the output, and says which channels are to be waited for from
    /// then on.
    ///
    /// # Errors
    /// What went wrong around the channels.
    fn next(
        &mut self,
        channels: &[Watched],
        timeout: Option<Duration>,
        until: Option<Duration>,
    ) -> Result<Vec<usize>>;

    /// Looks at what a wake was about.
    ///
    /// # Errors
    /// What went wrong around the channels.
    fn look(&mut self, which: usize, channel: &Channel, cause: Cause) -> Result<Then>;

    /// Who notified how often.
    fn notifiers(&self) -> Vec<Notifier>;

    /// Closes the other ends.
    ///
    /// # Errors
    /// Those of the other ends' devices.
    fn end(&mut self) -> Result<()>;
}
