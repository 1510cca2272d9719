//! Where the channels of a command are: this machine, or a simulated one. Each command blocks for
//! one channel.

mod checks;
mod peer;
mod real;
mod simulated;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use evtchn::{
    Blocked, Channel, Context, DomId, EventChannel, Link, Open, PortStatuses, RemotePort, Sleep,
};

use crate::exit::device;
use crate::output::Output;
use crate::stop::Stop;

pub(crate) use checks::Checks;
pub(crate) use peer::Role;
pub(crate) use real::Real;
pub(crate) use simulated::Simulated;

/// A channel of a machine.
pub(crate) type ChannelOf<M> = Channel<<M as Machine>::Open, <M as Machine>::Loop>;

/// See the [module](self).
pub(crate) trait Machine {
    /// Opens the device.
    type Open: Open<Device: EventChannel> + Send + Sync + 'static;
    /// The event loop that the command sleeps in.
    type Loop: Sleep<<Self::Open as Open>::Device> + 'static;
    /// Says what ports are.
    type Statuses: PortStatuses;

    /// The context of the command.
    fn context(&self) -> &Context<Self::Open, Self::Loop>;

    /// Who says what the ports of this domain are.
    ///
    /// # Errors
    /// Nobody does here, or not to this user.
    fn statuses(&self) -> Result<Self::Statuses, ErrorOf<Self>>;

    /// Where it reports.
    fn output(&self) -> &Output;

    /// Whether it is to end early.
    fn stop(&self) -> &Stop;

    /// The moment that is so far ahead.
    fn ahead(&self, time: Duration) -> DeadlineOf<Self>;

    /// The time since the command began.
    fn now(&self) -> Duration;

    /// Blocks for the next wake of a channel. The wish that the command ends also ends it, and so
    /// does the end of all that could happen on a simulated machine.
    ///
    /// # Errors
    /// Those of the device and the event loop.
    fn block(
        &self,
        channel: &ChannelOf<Self>,
        deadline: Option<DeadlineOf<Self>>,
    ) -> Result<Blocked>;

    /// Somebody in this domain who offers a port and answers every notify of it with another.
    ///
    /// # Errors
    /// Those of the device and the event loop.
    fn echo(&mut self) -> Result<RemotePort>;

    /// Somebody on the other side who does this, where the other side is simulated too.
    ///
    /// # Errors
    /// Those of the simulator.
    fn play(&mut self, role: Role) -> Result<()>;

    /// What the other side has heard, where it is simulated.
    fn heard(&self) -> Option<u32>;

    /// Whether all is done that could happen around the command: so only on a simulated machine.
    fn is_still(&self) -> bool;

    /// Takes the other side down, and says what of this domain is still bound.
    ///
    /// # Errors
    /// Those of the device and the event loop.
    fn end(&mut self) -> Result<Vec<String>>;
}

/// Why nobody says what ports are.
pub(crate) type ErrorOf<M> = <<M as Machine>::Statuses as PortStatuses>::Error;

/// A moment in the time of a machine.
pub(crate) type DeadlineOf<M> =
    <<M as Machine>::Loop as Sleep<<<M as Machine>::Open as Open>::Device>>::Deadline;

/// Unbinds the channel of a command, takes its machine down, and ends its output.
///
/// # Errors
/// The first failure; what is still bound is one.
pub(crate) fn finish<M: Machine>(mut machine: M, channel: ChannelOf<M>) -> Result<()> {
    channel.unbind()?;
    machine.context().teardown()?;
    let left = machine.end()?;
    if machine.context().link() != Link::Closed || !left.is_empty() {
        return Err(anyhow!("still bound: {}", left.join(", ")));
    }
    let finished = machine.output().finish();
    finished.context("cannot write the output")
}

/// Waits for so long, whatever the channel says meanwhile. Says whether the command goes on.
///
/// # Errors
/// Those of the device and the event loop.
pub(crate) fn rest<M: Machine>(
    machine: &M,
    channel: &ChannelOf<M>,
    time: Duration,
) -> Result<bool> {
    let deadline = machine.ahead(time);
    loop {
        match machine.block(channel, Some(deadline))? {
            Blocked::Woken(_) => {}
            Blocked::TimedOut => return Ok(!machine.stop().is_requested()),
            Blocked::Stopped | Blocked::Cancelled => return Ok(false),
        }
    }
}

/// The other end of a port that no domain has bound yet.
pub(crate) fn awaited(remote: DomId) -> String {
    format!("{remote}:?")
}

/// Notifies the other end.
///
/// # Errors
/// The device's.
pub(crate) fn notify<M: Machine>(channel: &ChannelOf<M>) -> Result<()> {
    channel.notify().map_err(|error| match error {
        evtchn::NotifyError::Device(source) => device(source),
        other @ (evtchn::NotifyError::NotBound(_) | _) => other.into(),
    })
}
