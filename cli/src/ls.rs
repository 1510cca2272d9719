//! `evtchn ls`: lists the ports of domains with what Xen reports about them.

mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind as ClapKind;
use clap::{Args, value_parser};
use evtchn::poll::PollLoop;
use evtchn::xen::Privcmd;
use evtchn::{DomId, ErrorKind, PortStatuses};

use crate::exit::{exit_codes, query_failed};
use crate::options::{Backend, time};
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
    /// The domains [default: all that this domain may ask about]
    #[arg(value_name = "DOMID")]
    domains: Vec<DomId>,
    /// Where the domains are
    #[arg(long, value_enum, default_value_t = Backend::Xen)]
    backend: Backend,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// List repeatedly, and mark ports that appeared (+), disappeared (-) or changed (~); with --json,
    /// print only these after the first list
    #[arg(long)]
    watch: bool,
    /// With --watch: the time between two lists [default: 1s]
    #[arg(long, value_name = "TIME", requires = "watch", value_parser = time)]
    interval: Option<Duration>,
    /// With --watch: end after N lists
    #[arg(long, value_name = "N", requires = "watch",
        value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    count: Option<u64>,
    /// Simulator: same seed, same output [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Simulator: number of guests [default: 8]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=4096))]
    guests: Option<u16>,
    /// Simulator: each guest dies after N notifies; the toolstack checks for that every 10ms [default:
    /// never]
    #[arg(long, value_name = "N")]
    dies_after: Option<u64>,
    /// Simulator: list after N wakes of `evtchn watch` with these options [default: 0]
    #[arg(long, value_name = "N")]
    step: Option<u64>,
}

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn ls                                           every domain of this machine
  evtchn ls 0 --json                                  domain 0, for programs
  evtchn ls 0 7 --watch                               two domains, and what changes there
  evtchn ls --backend sim --guests 3 --step 4         a simulated machine, no Xen needed

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
        if let Some((option, backend)) = self.misplaced_option() {
            let message = format!("{option} needs --backend {backend}");
            crate::usage_error::<Ls>("evtchn ls", ClapKind::ArgumentConflict, message);
        }
        match self.backend {
            Backend::Sim => self.simulated(),
            Backend::Xen => self.real(),
        }
    }

    /// The first option that needs the other backend, and that backend.
    fn misplaced_option(&self) -> Option<(&'static str, &'static str)> {
        match self.backend {
            Backend::Sim if self.interval.is_some() => Some(("--interval", "xen")),
            Backend::Xen if self.seed.is_some() => Some(("--seed", "sim")),
            Backend::Xen if self.guests.is_some() => Some(("--guests", "sim")),
            Backend::Xen if self.dies_after.is_some() => Some(("--dies-after", "sim")),
            Backend::Xen if self.step.is_some() => Some(("--step", "sim")),
            Backend::Sim | Backend::Xen => None,
        }
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
        let mut lists = Lists::new(self);
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
        let mut lists = Lists::new(self);
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

    /// The status of all ports. It is an error if a named domain does not exist, unless it `may_be_gone`.
    fn query<S: PortStatuses>(&self, statuses: &S, may_be_gone: bool) -> Result<Table> {
        let mut table = Table::new();
        let all = (0..DomId::FIRST_RESERVED.as_raw()).map(DomId::new);
        let domids: Vec<DomId> = match self.domains.is_empty() {
            true => all.collect(),
            false => self.domains.clone(),
        };
        for domid in domids {
            for (port, answer) in statuses.ports(domid) {
                let status = match answer {
                    Ok(status) => Some(status),
                    Err(error) => match error.kind() {
                        ErrorKind::Hidden => None,
                        ErrorKind::NoSuchDomain if may_be_gone => break,
                        ErrorKind::NoSuchDomain | ErrorKind::NotPermitted
                            if self.domains.is_empty() =>
                        {
                            break;
                        }
                        ErrorKind::NoDevice | _ => return Err(query_failed(error)),
                    },
                };
                table.insert((domid, port), status);
            }
        }
        Ok(table)
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
    fn new(ls: &'a Ls) -> Lists<'a> {
        let format = match ls.json {
            true => Format::Json,
            false => Format::Text,
        };
        Lists {
            ls,
            printer: Printer::new(format, ls.watch),
            previous: None,
            left: ls.count.unwrap_or(u64::MAX),
        }
    }

    /// Prints a list. Returns whether another one follows.
    fn next<S: PortStatuses>(&mut self, statuses: &S) -> Result<bool> {
        let table = self.ls.query(statuses, self.previous.is_some())?;
        let is_read = self.printer.print(&table, self.previous.as_ref())?;
        self.previous = Some(table);
        self.left -= 1;
        Ok(is_read && self.ls.watch && self.left > 0)
    }
}
