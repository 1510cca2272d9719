//! `evtchn listen`: offers a port to another domain and reports each wake.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, value_parser};
use evtchn::{Cause, DomId};

use crate::exit::{Exit, exit_codes, late, refused};
use crate::machine::{Blocked, Checks, Machine, Real, Role, Simulated, awaited, finish, notify};
use crate::options::{Backend, Place, domid, interval, time};
use crate::output::Line;

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn listen 3                      a port for domain 3: its number is in the first line
  evtchn listen 0 --echo               in a guest, for `evtchn ping` in domain 0
  evtchn listen 3 --once --timeout 5s  one wake within five seconds, or exit code 6
  evtchn listen 3 --check-peers 10s    and say within ten seconds that a peer connected or went
  evtchn listen --backend sim 3        a simulated guest, no Xen needed

",
    exit_codes!()
);

/// Offer a port to another domain and print each wake of it.
///
/// The first line has the number of the port. The other domain binds to the port, with `evtchn notify` or `evtchn ping` for example. When it
/// unbinds or dies, the port waits for the next one of that domain; Xen tells nobody, but with
/// --check-peers it is asked. A new domain may have the id of one that died. Ctrl-C ends it in order.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Listen {
    /// Which domain may bind to the port: its id, or `self`
    #[arg(value_name = "DOM", value_parser = domid)]
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
    /// End after this time; with --once or --count that is exit code 6
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
    /// Ask Xen this often about the peer, through /dev/xen/privcmd.
    ///
    /// One that connected is a wake with cause peer_connected, and one that closed its end or died a
    /// wake with cause peer_gone. Neither counts, and after both the port waits for the next event
    /// or peer. One that comes and goes between two looks is not seen, and a domain that crashed
    /// and is kept (preserve) is there until it is destroyed.
    #[arg(long, value_name = "TIME", value_parser = interval)]
    check_peers: Option<Duration>,
    /// Simulator: how often the guest notifies before it dies [default: 5]
    #[arg(long, value_name = "N")]
    dies_after: Option<u32>,
    #[command(flatten)]
    place: Place,
}

impl Listen {
    /// Runs it.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn run(&self) -> Result<()> {
        let simulated = self.dies_after.map(|_| "--dies-after");
        self.place.check::<Listen>("evtchn listen", simulated);
        match self.place.backend {
            Backend::Xen => self.on(Real::new(&self.place)?),
            Backend::Sim => self.on(Simulated::new(&self.place)?),
        }
    }

    fn on<M: Machine>(&self, mut machine: M) -> Result<()> {
        let bound = machine.context().bind_unbound_port(self.domid);
        let channel = bound.map_err(refused)?;
        let port = channel.port();
        let remote = &awaited(self.domid);
        machine.output().line(Line::Bound { port, remote });
        machine.play(Role::Notify(self.domid, port, self.dies_after.unwrap_or(5)))?;

        let mut checks = Checks::new(&machine, self.check_peers)?;
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
                        remote,
                        cause,
                    };
                    machine.output().line(wake);
                    // Nobody has sent these.
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
            return Err(Exit::TimedOut.because(late(left)));
        }
        Ok(())
    }
}
