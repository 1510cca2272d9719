//! Where the channels of a command are: this machine, or a simulated one. Each command blocks for
//! one channel.

mod checks;
mod peer;
mod real;
mod simulated;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use evtchn::{Backend, Cause, Channel, Context, DomId, Link, RemotePort, Sleep};

use crate::exit::refused;
use crate::output::Output;
use crate::stop::Stop;

pub(crate) use checks::Checks;
pub(crate) use peer::Role;
pub(crate) use real::Real;
pub(crate) use simulated::Simulated;

/// See the [module](self).
pub(crate) trait Machine {
    /// The event loop that the command sleeps in.
    type Loop: Sleep;

    /// The context of the command.
    fn context(&self) -> &Context<Self::Loop>;

    /// Opens the device, and says what the ports of this domain are.
    fn backend(&self) -> &Backend;

    /// Where it reports.
    fn output(&self) -> &Output;

    /// Whether it is to end early.
    fn stop(&self) -> &Stop;

    /// The time since the command began.
    fn now(&self) -> Duration;

    /// Blocks for the next wake of a channel, until this time since the command began. The wish that
    /// the command ends also ends it, and so does the end of all that could happen on a simulated
    /// machine.
    ///
    /// # Errors
    /// Those of the device and the event loop.
    fn block(&self, channel: &Channel<Self::Loop>, until: Option<Duration>) -> Result<Blocked>;

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

/// What a block came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// The wake.
    Woken(Cause),
    /// The time was up.
    TimedOut,
    /// The command is to end, or nothing more can happen.
    Stopped,
}

/// Unbinds the channel of a command, takes its machine down, and ends its output.
///
/// # Errors
/// The first failure; what is still bound is one.
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

/// Waits for so long, whatever the channel says meanwhile. Says whether the command goes on.
///
/// # Errors
/// Those of the device and the event loop.
pub(crate) fn rest<M: Machine>(
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

/// The other end of a port that no domain has bound yet.
pub(crate) fn awaited(remote: DomId) -> String {
    format!("{remote}:?")
}

/// Notifies the other end.
///
/// # Errors
/// The device's.
pub(crate) fn notify(channel: &Channel<impl Sleep>) -> Result<()> {
    channel.notify().map_err(refused)
}
