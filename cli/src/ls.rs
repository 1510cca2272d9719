//! `evtchn ls`: what the ports of domains are, as Xen tells it.

mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind as Wrong;
use clap::{Args, value_parser};
use evtchn::poll::PollLoop;
use evtchn::xen::Privcmd;
use evtchn::{DomId, ErrorKind, PortStatuses};

use crate::exit::{exit_codes, unasked};
use crate::options::{Backend, time};
use crate::output::Format;
use crate::stop::Stop;
use crate::watch::job::Wish;
use crate::watch::sim::{self, Cast};
use table::{Printer, Table};

/// List the ports of domains: what each of them is bound to, and which vCPU is told of its events.
///
/// It asks Xen through /dev/xen/privcmd, so it sees the ports of every program and of the kernel.
/// A control domain may ask about every domain, any other about itself. The simulated machine is
/// that of `evtchn watch`, and --watch has a list for each of its wakes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// The domains [default: all that this one may ask about]
    #[arg(value_name = "DOMID")]
    domains: Vec<DomId>,
    /// Where the domains are
    #[arg(long, value_enum, default_value_t = Backend::Xen)]
    backend: Backend,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// List again and again, and mark what came (+), went (-) and changed (~); as JSON, only that
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
    /// Simulator: how many guests [default: 8]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=4096))]
    guests: Option<u16>,
    /// Simulator: after how many notifies each guest dies, which the toolstack looks for every 10ms
    /// [default: never]
    #[arg(long, value_name = "N")]
    dies_after: Option<u64>,
    /// Simulator: after how many wakes of `evtchn watch` with these options [default: 0]
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
    /// How often the simulated toolstack looks after its guests.
    const CHECK_PEERS: Duration = Duration::from_millis(10);

    /// Lists.
    ///
    /// # Errors
    /// The first failure, with what to do about it.
    pub(crate) fn run(self) -> Result<()> {
        if let Some((option, backend)) = self.stray() {
            let message = format!("{option} needs --backend {backend}");
            crate::wrong::<Ls>("evtchn ls", Wrong::ArgumentConflict, message);
        }
        match self.backend {
            Backend::Sim => self.simulated(),
            Backend::Xen => self.real(),
        }
    }

    /// The first option that was given for the other backend, and that backend.
    fn stray(&self) -> Option<(&'static str, &'static str)> {
        match self.backend {
            Backend::Sim if self.interval.is_some() => Some(("--interval", "xen")),
            Backend::Xen if self.seed.is_some() => Some(("--seed", "sim")),
            Backend::Xen if self.guests.is_some() => Some(("--guests", "sim")),
            Backend::Xen if self.dies_after.is_some() => Some(("--dies-after", "sim")),
            Backend::Xen if self.step.is_some() => Some(("--step", "sim")),
            Backend::Sim | Backend::Xen => None,
        }
    }

    /// Runs the job of `evtchn watch`, and lists when so many of its wakes have come.
    fn simulated(&self) -> Result<()> {
        let cast = Cast {
            seed: self.seed.unwrap_or(0),
            guests: self.guests.unwrap_or(8),
            dies_after: self.dies_after,
        };
        let wish = Wish {
            check_peers: self.dies_after.map(|_| Ls::CHECK_PEERS),
            ..Wish::default()
        };
        let mut lists = Lists::new(self);
        let mut to_come = self.step.unwrap_or(0);
        sim::look_on(cast, wish, |privcmd| {
            if to_come == 0 {
                return lists.next(privcmd);
            }
            to_come -= 1;
            Ok(true)
        })?;
        if lists.before.is_none() {
            bail!(
                "no guest lives to that step: --step is {} too many",
                to_come + 1
            );
        }
        Ok(())
    }

    fn real(&self) -> Result<()> {
        let privcmd = Privcmd::open().map_err(unasked)?;
        let mut lists = Lists::new(self);
        if !self.watch {
            return lists.next(&privcmd).map(drop);
        }
        let pause = PollLoop::new().context("cannot make an event loop")?;
        let paused = pause.clone();
        let stop = Stop::on_signal(move || paused.wake()).context("cannot watch for signals")?;
        let interval = self.interval.unwrap_or(Duration::from_secs(1));
        while lists.next(&privcmd)? {
            if !stop.is_requested() {
                pause.wait(Some(interval)).context("cannot pause")?;
            }
            if stop.is_requested() {
                break;
            }
        }
        Ok(())
    }

    /// What the ports are. A domain that was named exists, unless it `may_be_gone`.
    fn look<S: PortStatuses>(&self, statuses: &S, may_be_gone: bool) -> Result<Table> {
        let mut table = Table::new();
        let all = (0..DomId::FIRST_RESERVED.as_raw()).map(DomId::new);
        let asked: Vec<DomId> = match self.domains.is_empty() {
            true => all.collect(),
            false => self.domains.clone(),
        };
        for domid in asked {
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
                        ErrorKind::NoDevice | _ => return Err(unasked(error)),
                    },
                };
                table.insert((domid, port), status);
            }
        }
        Ok(table)
    }
}

/// Lists, one after the other.
struct Lists<'a> {
    ls: &'a Ls,
    printer: Printer,
    /// The one before.
    before: Option<Table>,
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
            before: None,
            left: ls.count.unwrap_or(u64::MAX),
        }
    }

    /// Lists. Says whether there is to be another list.
    fn next<S: PortStatuses>(&mut self, statuses: &S) -> Result<bool> {
        let table = self.ls.look(statuses, self.before.is_some())?;
        let is_read = self.printer.print(&table, self.before.as_ref())?;
        self.before = Some(table);
        self.left -= 1;
        Ok(is_read && self.ls.watch && self.left > 0)
    }
}
