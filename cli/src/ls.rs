//! `evtchn ls`: lists the ports of domains with what Xen reports about them.

mod query;
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, value_parser};
use evtchn::poll::PollLoop;
use evtchn::xen::{PRIVCMD_PATH, Privcmd};
use evtchn::{DomId, PortStatuses};

use crate::exit::{exit_codes, query_failed};
use crate::options::{Backend, ON_SIM, ON_XEN, Place, domid, time};
use crate::output::Format;
use crate::stop::Stop;
use crate::watch::job::Options;
use crate::watch::sim::{self, Setup};
use table::{Printer, Table};

/// List the ports of domains: what each is bound to, and which vCPU gets its events.
///
/// It asks Xen through /dev/xen/privcmd, so it sees the ports of every program and of the kernel.
/// A control domain may ask about every domain, any other domain about itself. The simulated machine
/// is that of `evtchn watch`; there --watch prints a list for each wake.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// The domains, each by its id or `self` [default: domain 0 and all that are connected to it,
    /// directly or through others; in a guest the guest itself]
    #[arg(value_name = "DOM", value_parser = domid)]
    domains: Vec<DomId>,
    /// Ask about every id that a domain can have, which takes some seconds
    #[arg(long, conflicts_with = "domains")]
    all: bool,
    /// Where the domains are [default: xen on a Xen domain, else sim]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// List repeatedly, and mark ports that appeared (+), disappeared (-) or changed (~); with --json,
    /// print only these after the first list
    #[arg(long)]
    watch: bool,
    /// With --watch: the time between two lists [default: 1s]
    #[arg(long, value_name = "TIME", requires = "watch", value_parser = time,
        help_heading = ON_XEN)]
    interval: Option<Duration>,
    /// With --watch: end after N lists
    #[arg(long, value_name = "N", requires = "watch",
        value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    count: Option<u64>,
    /// Same seed, same output [default: 0]
    #[arg(long, value_name = "N", help_heading = ON_SIM)]
    seed: Option<u64>,
    /// Number of guests [default: 8]
    #[arg(long, value_name = "N", help_heading = ON_SIM, value_parser = value_parser!(u16).range(1..=4096))]
    guests: Option<u16>,
    /// Each guest dies after N notifies; the toolstack checks for that every 10ms [default: never]
    #[arg(long, value_name = "N", help_heading = ON_SIM)]
    dies_after: Option<u64>,
    /// List after N wakes of `evtchn watch` with these options [default: 0]
    #[arg(long, value_name = "N", help_heading = ON_SIM)]
    step: Option<u64>,
}

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn ls                           on Xen: this domain and those connected to it
  evtchn ls self --json               this domain, for programs
  evtchn ls 0 7 --watch               two domains, and what changes there
  evtchn ls --guests 3 --step 4       a simulated machine, no Xen needed

",
    exit_codes!()
);

impl Ls {
    /// How often the simulated toolstack checks its guests.
    const CHECK_PEERS: Duration = Duration::from_millis(10);

    /// Runs it.
    ///
    /// # Errors
    /// The first failure, with advice.
    pub(crate) fn run(self) -> Result<()> {
        match self.backend() {
            Backend::Sim => self.simulated(),
            Backend::Xen => self.real(),
        }
    }

    /// The backend. Ends the program if an option needs the other one.
    fn backend(&self) -> Backend {
        use Backend::{Sim, Xen};
        let options = [
            ("--interval", Xen, self.interval.is_some()),
            ("--seed", Sim, self.seed.is_some()),
            ("--guests", Sim, self.guests.is_some()),
            ("--dies-after", Sim, self.dies_after.is_some()),
            ("--step", Sim, self.step.is_some()),
        ];
        Backend::of::<Ls>("evtchn ls", self.backend, &options)
    }

    /// Runs the job of `evtchn watch`, and lists after the given number of wakes.
    fn simulated(&self) -> Result<()> {
        let setup = Setup {
            seed: self.seed.unwrap_or(0),
            guests: self.guests.unwrap_or(8),
            dies_after: self.dies_after,
        };
        let options = Options {
            check_peers: self.dies_after.map(|_| Ls::CHECK_PEERS),
            ..Options::default()
        };
        let mut lists = Lists::new(self, Place::Sim(setup.seed));
        let mut wakes_left = self.step.unwrap_or(0);
        sim::observe(setup, options, |privcmd| {
            if wakes_left == 0 {
                return lists.next(privcmd);
            }
            wakes_left -= 1;
            Ok(true)
        })?;
        if lists.previous.is_none() {
            bail!(
                "no guest lives until that step: --step is {} too many",
                wakes_left + 1
            );
        }
        Ok(())
    }

    fn real(&self) -> Result<()> {
        let privcmd = Privcmd::open().map_err(query_failed)?;
        let mut lists = Lists::new(self, Place::Xen(PRIVCMD_PATH.into()));
        if !self.watch {
            return lists.next(&privcmd).map(drop);
        }
        let poll_loop = PollLoop::new().context("cannot make an event loop")?;
        let stop_loop = poll_loop.clone();
        let stop = Stop::on_signal(move || stop_loop.wake()).context("cannot watch for signals")?;
        let interval = self.interval.unwrap_or(Duration::from_secs(1));
        while lists.next(&privcmd)? {
            if !stop.is_requested() {
                poll_loop.wait(Some(interval)).context("cannot pause")?;
            }
            if stop.is_requested() {
                break;
            }
        }
        Ok(())
    }
}

/// Prints lists, one after the other.
struct Lists<'a> {
    ls: &'a Ls,
    printer: Printer,
    /// The previous list.
    previous: Option<Table>,
    left: u64,
}

impl<'a> Lists<'a> {
    fn new(ls: &'a Ls, place: Place) -> Lists<'a> {
        let format = match ls.json {
            true => Format::Json,
            false => Format::Text,
        };
        Lists {
            ls,
            printer: Printer::new(format, place, ls.watch),
            previous: None,
            left: ls.count.unwrap_or(u64::MAX),
        }
    }

    /// Prints a list. Returns whether another one follows.
    fn next<S: PortStatuses>(&mut self, statuses: &S) -> Result<bool> {
        let Ls { domains, all, .. } = self.ls;
        let table = match (&domains[..], all) {
            ([], false) => query::connected(statuses)?,
            ([], true) => query::every(statuses)?,
            (domains, _) => query::named(statuses, domains, self.previous.is_some())?,
        };
        let is_read = self.printer.print(&table, self.previous.as_ref())?;
        self.previous = Some(table);
        self.left -= 1;
        Ok(is_read && self.ls.watch && self.left > 0)
    }
}
