//! `evtchn notify`: notifies a port of another domain.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, value_parser};
use evtchn::RemotePort;

use crate::completions::candidates;
use crate::exit::{bind_failed, exit_codes};
use crate::machine::{Machine, Real, Role, Simulated, finish, notify, pause};
use crate::options::{self, Backend, CommonOptions, time};
use crate::output::Line;
use crate::source::Source;

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

/// Notify a port that another domain offers.
///
/// It binds to the port, notifies, and unbinds. Meanwhile no other process can bind to the port;
/// afterwards the port waits for this domain again. Notifies that come faster than the other side
/// handles them coalesce into one wake.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Notify {
    /// The port, such as 3:17 or self:17
    #[arg(value_name = "DOM:PORT", value_parser = options::remote, add = candidates::offers())]
    remote: RemotePort,
    /// Number of notifies
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    count: u64,
    /// Time between two notifies
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    interval: Duration,
    #[command(flatten)]
    common: CommonOptions,
}

impl Notify {
    /// Runs it.
    ///
    /// # Errors
    /// The first error.
    pub(crate) fn run(&self) -> Result<()> {
        match self.common.backend::<Notify>("evtchn notify", false) {
            Backend::Xen => self.on(Real::new(&self.common)?),
            Backend::Sim => self.on(Simulated::new(&self.common)?),
        }
    }

    fn on<M: Machine>(&self, mut machine: M) -> Result<()> {
        machine.start_peer(Role::Listen(self.remote))?;
        let bound = machine.context().bind_interdomain(self.remote);
        let channel = bound.map_err(bind_failed)?;
        let port = channel.port();
        let source = Source::Remote(self.remote);
        machine.output().line(Line::Bound { port, source });
        for left in (0..self.count).rev() {
            notify(&channel)?;
            machine.output().line(Line::Notified { port, source });
            if left == 0 || machine.stop().is_requested() || machine.output().is_over() {
                break;
            }
            if !self.interval.is_zero() {
                machine.output().flush();
                if !pause(&machine, &channel, self.interval)? {
                    break;
                }
            }
        }
        if let Some(events) = machine.handled_events() {
            machine.output().line(Line::Handled { source, events });
        }
        finish(machine, channel)
    }
}
