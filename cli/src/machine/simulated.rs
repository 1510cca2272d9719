//! A simulated machine. Its time is virtual, and its seed decides all that is left open.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evtchn::sim::{self, Errno, Sim, SimLoop, SimOpen, SimPrivcmd};
use evtchn::{BlockError, Blocked, Context, DomId, RemotePort};

use super::peer::Peer;
use super::{ChannelOf, Machine, Role};
use crate::options::Place;
use crate::output::Output;
use crate::stop::Stop;

/// See the [module](self).
pub(crate) struct Simulated {
    sim: Sim,
    context: Context<SimOpen, SimLoop>,
    output: Output,
    stop: Stop,
    /// What domain 0 has bound before the command does anything.
    before: Vec<String>,
    peer: Option<Peer>,
}

impl Simulated {
    /// A machine with nothing but domain 0.
    ///
    /// # Errors
    /// The kernel has no room for the handler of a signal.
    pub(crate) fn new(place: &Place) -> Result<Simulated> {
        let sim = Sim::new(place.seed());
        let sim_loop = SimLoop::level().on(&sim);
        let clock = sim.clone();
        Ok(Simulated {
            context: Context::new(sim.open(DomId::DOM0), sim_loop),
            output: Output::new(place.format(), move || clock.now()),
            stop: Stop::on_signal(|| ()).context("cannot watch for signals")?,
            before: bound(&sim),
            sim,
            peer: None,
        })
    }
}

/// The ports of domain 0 that are not free, and the open files, as the machine has them.
fn bound(sim: &Sim) -> Vec<String> {
    let dump = sim.dump();
    let of_dom0 = dump.lines().filter(|line| line.starts_with("d0"));
    // Whether something is pending there is no matter of who has bound it.
    let ports = of_dom0.map(|line| line.split(" pending").next().unwrap_or(line));
    ports.map(str::to_owned).collect()
}

impl Machine for Simulated {
    type Open = SimOpen;
    type Loop = SimLoop;
    type Statuses = SimPrivcmd;

    fn context(&self) -> &Context<SimOpen, SimLoop> {
        &self.context
    }

    fn statuses(&self) -> Result<SimPrivcmd, sim::Error> {
        Ok(self.sim.privcmd(DomId::DOM0))
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }

    fn ahead(&self, time: Duration) -> Duration {
        self.sim.now() + time
    }

    fn now(&self) -> Duration {
        self.sim.now()
    }

    fn block(&self, channel: &ChannelOf<Simulated>, deadline: Option<Duration>) -> Result<Blocked> {
        match channel.block_while(deadline, || !self.stop.is_requested()) {
            Err(BlockError::Sleep(error)) if error.errno == Errno::EDEADLK => Ok(Blocked::Stopped),
            blocked => Ok(blocked?),
        }
    }

    fn echo(&mut self) -> Result<RemotePort> {
        let (peer, remote) = Peer::at_home(&self.sim)?;
        self.peer = Some(peer);
        Ok(remote)
    }

    fn play(&mut self, role: Role) -> Result<()> {
        self.peer = Some(Peer::new(&self.sim, role)?);
        Ok(())
    }

    fn heard(&self) -> Option<u32> {
        self.peer.as_ref().and_then(Peer::heard)
    }

    fn is_still(&self) -> bool {
        self.sim.with(|world| world.next_deadline()).is_none()
    }

    fn end(&mut self) -> Result<Vec<String>> {
        if let Some(peer) = self.peer.take() {
            peer.end()?;
        }
        let mut left = bound(&self.sim);
        left.retain(|line| !self.before.contains(line));
        Ok(left)
    }
}
