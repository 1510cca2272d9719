//! The machine of a command that blocks for one channel: this machine, or a simulated one.

mod peer;
mod peer_checks;
mod real;
mod simulated;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use evtchn::{Backend, Cause, Channel, Context, Link, RemotePort, Sleep};

use crate::exit::call_failed;
use crate::output::Output;
use crate::stop::Stop;

pub(crate) use peer::Role;
pub(crate) use peer_checks::PeerChecks;
pub(crate) use real::Real;
pub(crate) use simulated::Simulated;

/// See the [module](self).
pub(crate) trait Machine {
    /// The event loop that the command sleeps in.
    type Loop: Sleep;

    /// The context of the command.
    fn context(&self) -> &Context<Self::Loop>;

    /// The backend, which opens the device and reports the status of ports.
    fn backend(&self) -> &Backend;

    /// The output.
    fn output(&self) -> &Output;

    /// Whether the user requested the end.
    fn stop(&self) -> &Stop;

    /// The time since the command began.
    fn now(&self) -> Duration;

    /// Blocks for the next wake of a channel, at most until this time since the command began. It ends
    /// early if the user requests the end, or if nothing more can happen on a simulated machine.
    ///
    /// # Errors
    /// Those of the device and the event loop.
    fn block(&self, channel: &Channel<Self::Loop>, until: Option<Duration>) -> Result<Blocked>;

    /// Starts a peer in this domain, which offers a port and answers every notify with another.
    ///
    /// # Errors
    /// Those of the device and the event loop.
    fn start_echo(&mut self) -> Result<RemotePort>;

    /// Starts a peer with this role, on a simulated machine only.
    ///
    /// # Errors
    /// Those of the simulator.
    fn start_peer(&mut self, role: Role) -> Result<()>;

    /// The number of events that the peer has handled, on a simulated machine only.
    fn handled_events(&self) -> Option<u32>;

    /// Whether nothing more will happen by itself; never on a real machine.
    fn is_idle(&self) -> bool;

    /// Ends the peer, and returns what is still bound in this domain.
    ///
    /// # Errors
    /// Those of the device and the event loop.
    fn end(&mut self) -> Result<Vec<String>>;
}

/// The outcome of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// A wake came.
    Woken(Cause),
    /// The time was over.
    TimedOut,
    /// The user requested the end, or nothing more can happen.
    Stopped,
}

/// Unbinds the channel, tears down the context, and ends the peer and the output.
///
/// # Errors
/// The first error; it is one if anything is still bound.
pub(crate) fn finish<M: Machine>(mut machine: M, mut channel: Channel<M::Loop>) -> Result<()> {
    channel.unbind()?;
    machine.context().teardown()?;
    let left = machine.end()?;
    if machine.context().link() != Link::Closed || !left.is_empty() {
        return Err(anyhow!("still bound: {}", left.join(", ")));
    }
    let finished = machine.output().finish();
    finished.context("cannot write the output")
}

/// Pauses for this time and ignores wakes. Returns whether the command goes on.
///
/// # Errors
/// Those of the device and the event loop.
pub(crate) fn pause<M: Machine>(
    machine: &M,
    channel: &Channel<M::Loop>,
    time: Duration,
) -> Result<bool> {
    let until = machine.now() + time;
    loop {
        match machine.block(channel, Some(until))? {
            Blocked::Woken(_) => {}
            Blocked::TimedOut => return Ok(!machine.stop().is_requested()),
            Blocked::Stopped => return Ok(false),
        }
    }
}

/// Notifies the other end.
///
/// # Errors
/// Those of the device.
pub(crate) fn notify(channel: &Channel<impl Sleep>) -> Result<()> {
    channel.notify().map_err(call_failed)
}
