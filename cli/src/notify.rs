//! `evtchn notify`: wakes whoever waits at a port of another domain.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, value_parser};
use evtchn::RemotePort;

use crate::exit::{exit_codes, no_peer};
use crate::machine::{Machine, Real, Role, Simulated, finish, notify, rest};
use crate::options::{self, Backend, Place, time};
use crate::output::Line;

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn notify 3:17                             port 17 of domain 3, once
  evtchn notify self:17                          a port of this domain
  evtchn notify 3:17 --count 10 --interval 1s    ten times
  evtchn notify --backend sim 3:17               a simulated guest, no Xen needed

",
    exit_codes!()
);

/// Wake whoever waits at a port that another domain offers.
///
/// It binds to the port, notifies, and unbinds. The bind takes the port: nobody else can bind to it meanwhile. After the unbind it waits for
/// this domain again. Notifies that come faster than the other side looks are one wake.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Notify {
    /// The port, such as 3:17 or self:17
    #[arg(value_name = "DOM:PORT", value_parser = options::remote)]
    remote: RemotePort,
    /// How often
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    count: u64,
    /// How long to wait between two
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    interval: Duration,
    #[command(flatten)]
    place: Place,
}

impl Notify {
    /// Runs it.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn run(&self) -> Result<()> {
        self.place.check::<Notify>("evtchn notify", None);
        match self.place.backend {
            Backend::Xen => self.on(Real::new(&self.place)?),
            Backend::Sim => self.on(Simulated::new(&self.place)?),
        }
    }

    fn on<M: Machine>(&self, mut machine: M) -> Result<()> {
        machine.play(Role::Listen(self.remote))?;
        let bound = machine.context().bind_interdomain(self.remote);
        let channel = bound.map_err(no_peer)?;
        let port = channel.port();
        let remote = &self.remote.to_string();
        machine.output().line(Line::Bound { port, remote });
        for left in (0..self.count).rev() {
            notify(&channel)?;
            machine.output().line(Line::Notified { port, remote });
            if left == 0 || machine.stop().is_requested() || machine.output().is_over() {
                break;
            }
            if !self.interval.is_zero() {
                machine.output().flush();
                if !rest(&machine, &channel, self.interval)? {
                    break;
                }
            }
        }
        if let Some(events) = machine.heard() {
            machine.output().line(Line::Heard { remote, events });
        }
        finish(machine, channel)
    }
}
