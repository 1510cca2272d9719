//! A simulated machine. Its time is virtual, and its seed makes all random decisions.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evtchn::sim::{Errno, Sim, SimLoop};
use evtchn::{Backend, Channel, Context, DomId, RemotePort};

use super::peer::Peer;
use super::{Blocked, Machine, Role};
use crate::options::{CommonOptions, Place};
use crate::output::Output;
use crate::stop::Stop;

/// See the [module](self).
pub(crate) struct Simulated {
    sim: Sim,
    context: Context<SimLoop>,
    backend: Backend,
    output: Output,
    stop: Stop,
    /// The ports of domain 0 that were bound at the start.
    bound_at_start: Vec<String>,
    peer: Option<Peer>,
}

impl Simulated {
    /// A machine with only domain 0.
    ///
    /// # Errors
    /// If the kernel cannot create the handler of a signal.
    pub(crate) fn new(options: &CommonOptions) -> Result<Simulated> {
        let sim = Sim::new(options.seed());
        let sim_loop = SimLoop::level().on(&sim);
        let backend = Backend::from(sim.open(DomId::DOM0));
        let clock = sim.clone();
        Ok(Simulated {
            context: Context::with_registrar(backend.clone(), sim_loop),
            backend,
            output: Output::new(options.format(), Place::Sim(options.seed()), move || {
                clock.now()
            }),
            stop: Stop::on_signal(|| ()).context("cannot watch for signals")?,
            bound_at_start: bound(&sim),
            sim,
            peer: None,
        })
    }
}

/// The ports of domain 0 that are not free, and its open files, as the simulator dumps them.
fn bound(sim: &Sim) -> Vec<String> {
    let dump = sim.dump();
    let of_dom0 = dump.lines().filter(|line| line.starts_with("d0"));
    // Whether a port is pending does not matter here.
    let ports = of_dom0.map(|line| line.split(" pending").next().unwrap_or(line));
    ports.map(str::to_owned).collect()
}

impl Machine for Simulated {
    type Loop = SimLoop;

    fn context(&self) -> &Context<SimLoop> {
        &self.context
    }

    fn backend(&self) -> &Backend {
        &self.backend
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }

    fn now(&self) -> Duration {
        self.sim.now()
    }

    fn block(&self, channel: &Channel<SimLoop>, until: Option<Duration>) -> Result<Blocked> {
        let goes_on = || !self.stop.is_requested();
        Ok(match channel.block_while(until, goes_on) {
            Ok(Some(cause)) => Blocked::Woken(cause),
            Ok(None) if self.stop.is_requested() => Blocked::Stopped,
            Ok(None) => Blocked::TimedOut,
            Err(error) if Errno::of(&error) == Some(Errno::EDEADLK) => Blocked::Stopped,
            Err(error) => return Err(error.into()),
        })
    }

    fn start_echo(&mut self) -> Result<RemotePort> {
        let (peer, remote) = Peer::in_dom0(&self.sim)?;
        self.peer = Some(peer);
        Ok(remote)
    }

    fn start_peer(&mut self, role: Role) -> Result<()> {
        self.peer = Some(Peer::new(&self.sim, role)?);
        Ok(())
    }

    fn handled_events(&self) -> Option<u32> {
        self.peer.as_ref().and_then(Peer::handled_events)
    }

    fn is_idle(&self) -> bool {
        self.sim.with(|world| world.next_deadline()).is_none()
    }

    fn end(&mut self) -> Result<Vec<String>> {
        if let Some(peer) = self.peer.take() {
            peer.end()?;
        }
        let mut left = bound(&self.sim);
        left.retain(|line| !self.bound_at_start.contains(line));
        Ok(left)
    }
}
