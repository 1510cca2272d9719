//! `evtchn ls`: what the ports of domains are, as Xen tells it.

mod story;
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind as Wrong;
use clap::{Args, value_parser};
use evtchn::xen::{self, PollLoop, Privcmd};
use evtchn::{DomId, Error as _, ErrorKind, PortStatuses};

use crate::options::{Backend, time};
use crate::output::Format;
use crate::stop::Stop;
use story::Story;
use table::{Printer, Table};

/// List the ports of domains: what each of them is bound to, and which vCPU is told of its events.
///
/// It asks Xen through /dev/xen/privcmd, so it sees the ports of every program and of the kernel.
/// A control domain may ask about every domain, any other about itself.
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
    /// Simulator: how many guests come and go [default: 8]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=4096))]
    guests: Option<u16>,
    /// Simulator: so many binds and closes after the start, of four per guest [default: two per
    /// guest, when all are connected]
    #[arg(long, value_name = "N")]
    step: Option<u64>,
}

const EXAMPLES: &str = "\
Examples:
  evtchn ls                                           every domain of this machine
  evtchn ls 0 --json                                  domain 0, for programs
  evtchn ls 0 7 --watch                               two domains, and what changes there
  evtchn ls --backend sim --guests 3 --step 4         a simulated machine, no Xen needed

Exit code 0: it ended as it should. 1: it failed. 2: wrong arguments.";

impl Ls {
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
            Backend::Xen if self.step.is_some() => Some(("--step", "sim")),
            Backend::Sim | Backend::Xen => None,
        }
    }

    /// Time is virtual: a list per step, until nothing happens any more.
    fn simulated(&self) -> Result<()> {
        let guests = self.guests.unwrap_or(8);
        let step = self.step.unwrap_or(2 * u64::from(guests));
        let mut story = Story::begin(self.seed.unwrap_or(0), guests)?;
        for _ in 0..step {
            if !story.step()? {
                break;
            }
        }
        let privcmd = story.privcmd();
        self.list(&privcmd, || story.step())
    }

    fn real(&self) -> Result<()> {
        let privcmd = Privcmd::open().map_err(advise)?;
        if !self.watch {
            return self.list(&privcmd, || Ok(false));
        }
        let pause = PollLoop::new().context("cannot make an event loop")?;
        let roused = pause.clone();
        let stop = Stop::on_signal(move || roused.wake()).context("cannot watch for signals")?;
        let interval = self.interval.unwrap_or(Duration::from_secs(1));
        self.list(&privcmd, || {
            if !stop.is_requested() {
                pause.wait(Some(interval)).context("cannot pause")?;
            }
            Ok(!stop.is_requested())
        })
    }

    /// Lists once, and with `--watch` again as long as `next` says so.
    fn list<S>(&self, statuses: &S, mut next: impl FnMut() -> Result<bool>) -> Result<()>
    where
        S: PortStatuses,
    {
        let format = match self.json {
            true => Format::Json,
            false => Format::Text,
        };
        let mut printer = Printer::new(format, self.watch);
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut table = self.look(statuses, false)?;
        let mut goes_on = printer.print(&table, None)?;
        while self.watch && goes_on && left > 1 && next()? {
            left -= 1;
            let before = table;
            table = self.look(statuses, true)?;
            goes_on = printer.print(&table, Some(&before))?;
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
                        ErrorKind::NoDevice | _ => return Err(error.into()),
                    },
                };
                table.insert((domid, port), status);
            }
        }
        Ok(table)
    }
}

/// The failure of the first call, with what to do about it.
fn advise(error: xen::Error) -> anyhow::Error {
    let kind = error.kind();
    if kind == ErrorKind::NoDevice {
        anyhow!("{error}; --backend sim shows a simulated machine")
    } else if kind == ErrorKind::NotPermitted {
        anyhow!("{error}; run it as root")
    } else {
        error.into()
    }
}
