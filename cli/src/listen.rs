//! `evtchn listen`: offers a port to another domain and reports each wake.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, value_parser};
use evtchn::{Cause, Channel, DomId};

use crate::completions::candidates;
use crate::exit::{Exit, call_failed, exit_codes, restored, timed_out};
use crate::machine::{Blocked, Machine, PeerChecks, Real, Role, Simulated, finish, notify};
use crate::options::{Backend, CommonOptions, ON_SIM, domid, interval, time};
use crate::output::Line;
use crate::source::Source;

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn listen 3                      a port for domain 3; the first line has its number
  evtchn listen 0 --echo               in a guest, for `evtchn ping` in domain 0
  evtchn listen 3 --once --timeout 5s  one wake within five seconds, or exit code 6
  evtchn listen 3 --check-peers 10s    check every ten seconds whether a peer connected or left
  evtchn listen --backend sim 3        a simulated guest, no Xen needed

",
    exit_codes!()
);

/// Offer a port to another domain and print each wake.
///
/// The first line has the number of the port. The other domain binds to the port, for example with
/// `evtchn notify` or `evtchn ping`. When that peer unbinds or dies, the port waits for the next peer
/// of the domain. Xen sends no event then; --check-peers asks Xen. A new domain may get the id of one
/// that died. Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Listen {
    /// Which domain may bind to the port: its id, or `self`
    #[arg(value_name = "DOM", value_parser = domid, add = candidates::domains())]
    domid: DomId,
    /// Notify back after each wake
    #[arg(long)]
    echo: bool,
    /// End after the first wake
    #[arg(long, conflicts_with = "count")]
    once: bool,
    /// End after N wakes
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time; with --once or --count the exit code is then 6
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
    /// Ask Xen about the peer once every TIME, through /dev/xen/privcmd.
    ///
    /// If a peer has connected, it prints a wake with cause peer_connected; if the peer closed its end
    /// or died, a wake with cause peer_gone. --once and --count do not count these, and the port waits
    /// for the next event or peer. A check does not see a peer that connects and leaves between two
    /// checks. A domain that crashed and is kept (on_crash = "preserve") counts as present until it is
    /// destroyed.
    #[arg(long, value_name = "TIME", value_parser = interval)]
    check_peers: Option<Duration>,
    /// After this domain was saved and restored, or migrated, offer a new port instead of ending.
    ///
    /// A restore prints a wake with cause restored, which --once and --count do not count, and then the
    /// number of the new port. The peer has to bind to that.
    #[arg(long)]
    rebind: bool,
    /// The guest dies after N notifies [default: 5]
    #[arg(long, value_name = "N", help_heading = ON_SIM)]
    dies_after: Option<u32>,
    #[command(flatten)]
    common: CommonOptions,
}

impl Listen {
    /// Runs it.
    ///
    /// # Errors
    /// The first error.
    pub(crate) fn run(&self) -> Result<()> {
        match self
            .common
            .backend::<Listen>("evtchn listen", self.dies_after.is_some())
        {
            Backend::Xen => self.on(Real::new(&self.common)?),
            Backend::Sim => self.on(Simulated::new(&self.common)?),
        }
    }

    fn on<M: Machine>(&self, mut machine: M) -> Result<()> {
        let source = Source::Unbound(self.domid);
        let mut channel = self.bind(&machine)?;
        let mut port = channel.port();
        machine.start_peer(Role::Notify(self.domid, port, self.dies_after.unwrap_or(5)))?;

        let mut checks = PeerChecks::new(&machine, self.check_peers)?;
        let deadline = self.timeout.map(|time| machine.now() + time);
        let count = if self.once { Some(1) } else { self.count };
        let mut left = count.unwrap_or(u64::MAX);
        let mut is_late = false;
        while left > 0 && !machine.output().is_over() {
            machine.output().flush();
            match checks.block(&machine, &channel, deadline)? {
                Blocked::Woken(Cause::Gone) => bail!("port {port} is no longer bound"),
                Blocked::Woken(cause) => {
                    let wake = Line::Wake {
                        port,
                        source,
                        cause,
                    };
                    machine.output().line(wake);
                    if cause == Cause::Resumed {
                        if !self.rebind {
                            return Err(restored(port, "; --rebind goes on with a new one"));
                        }
                        channel = self.bind(&machine)?;
                        port = channel.port();
                        continue;
                    }
                    // No notify caused these.
                    if matches!(cause, Cause::PeerGone | Cause::PeerConnected) {
                        continue;
                    }
                    left -= 1;
                    if self.echo {
                        notify(&channel)?;
                    }
                }
                Blocked::TimedOut => {
                    is_late = count.is_some();
                    break;
                }
                Blocked::Stopped => break,
            }
        }
        finish(machine, channel)?;
        if is_late {
            return Err(Exit::TimedOut.because(timed_out(left)));
        }
        Ok(())
    }

    /// Offers a port, and prints its number.
    fn bind<M: Machine>(&self, machine: &M) -> Result<Channel<M::Loop>> {
        let bound = machine.context().bind_unbound_port(self.domid);
        let channel = bound.map_err(call_failed)?;
        let (port, source) = (channel.port(), Source::Unbound(self.domid));
        machine.output().line(Line::Bound { port, source });
        Ok(channel)
    }
}
