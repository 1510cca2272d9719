//! `evtchn ls`: lists the ports of domains with what Xen reports about them.

mod dump;
mod holders;
mod live;
mod looks;
mod object;
pub(crate) mod query;
pub(crate) mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{Args, value_parser};
use evtchn::poll::PollLoop;
use evtchn::xen::{PRIVCMD_PATH, Privcmd};
use evtchn::{DomId, PortStatuses};

use crate::completions::candidates;
use crate::exit::{Exit, exit_codes, query_failed};
use crate::options::{Backend, ON_SIM, ON_XEN, Place, domid, time, usage_error};
use crate::output::Format;
use crate::stop::Stop;
use crate::watch::job::Options;
use crate::watch::sim::{self, Setup};
use dump::Dump;
use live::Looks;
use table::{Printer, Table};

/// List the ports of domains, from Xen, from a dump of Xen, or from the simulator.
///
/// It says what each port is bound to and which vCPU gets its events; a dump also says which ports are
/// pending, masked and stuck. It asks Xen through /dev/xen/privcmd, so it sees the ports of every program
/// and of the kernel.
/// A control domain may ask about every domain, any other domain about itself. The simulated machine
/// is that of `evtchn watch`; there --watch prints a list for each wake.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// The domains, each by its id or `self` [default: domain 0 and all that are connected to it,
    /// directly or through others; in a guest the guest itself]
    #[arg(value_name = "DOM", value_parser = domid, add = candidates::domains())]
    domains: Vec<DomId>,
    /// Ask about every id that a domain can have, which takes some seconds
    #[arg(long, conflicts_with = "domains")]
    all: bool,
    /// Where the domains are [default: xen on a Xen domain, else sim]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// List the ports of a dump of Xen's debug key e, which also says which are pending and masked.
    ///
    /// FILE is what `xl dmesg` or a serial console printed, and may be quoted in a mail; - is stdin. If it
    /// has several dumps, the last one is listed and compared with the one before it, which tells a port
    /// that is stuck from one that is only busy.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "backend", "dies_after", "guests", "interval",
            "live", "seed", "step", "watch"])]
    from: Option<PathBuf>,
    /// Make such a dump with `xl debug-keys e`, and another one after --interval.
    ///
    /// A port that is pending and masked in both, and in some more that follow at once, is stuck: the
    /// program or kernel that has it does not unmask it. Below the list are the processes of this domain that have the device.
    #[arg(long, help_heading = ON_XEN, conflicts_with = "all")]
    live: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// List repeatedly, and mark ports that appeared (+), disappeared (-) or changed (~); with --json,
    /// print only these after the first list
    #[arg(long)]
    watch: bool,
    /// With --watch or --live: the time between two lists or looks [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = ON_XEN)]
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
  evtchn ls --live                    on Xen: which ports are stuck, by its debug key e
  evtchn ls --from dump.txt           the same from a dump of that key, on any machine
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
        if self.interval.is_some() && !self.watch && !self.live {
            let message = "--interval needs --watch or --live".to_owned();
            usage_error::<Ls>("evtchn ls", ErrorKind::MissingRequiredArgument, message);
        }
        if let Some(file) = &self.from {
            return self.dumped(file);
        }
        match self.backend() {
            Backend::Sim => self.simulated(),
            Backend::Xen if self.live => self.live(),
            Backend::Xen => self.real(),
        }
    }

    /// The backend. Ends the program if an option needs the other one.
    fn backend(&self) -> Backend {
        use Backend::{Sim, Xen};
        let options = [
            ("--live", Xen, self.live),
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
            guests: self.guests.unwrap_or(Setup::default().guests),
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
        self.repeat(|| lists.next(&privcmd))
    }

    /// Calls it once every interval, until it returns false or the user requests the end.
    fn repeat(&self, mut next: impl FnMut() -> Result<bool>) -> Result<()> {
        let poll_loop = PollLoop::new().context("cannot make an event loop")?;
        let stop_loop = poll_loop.clone();
        let stop = Stop::on_signal(move || stop_loop.wake()).context("cannot watch for signals")?;
        let interval = self.interval.unwrap_or(Duration::from_secs(1));
        while next()? {
            if !stop.is_requested() {
                poll_loop.wait(Some(interval)).context("cannot pause")?;
            }
            if stop.is_requested() {
                break;
            }
        }
        Ok(())
    }

    /// Lists the last dump of a file.
    fn dumped(&self, file: &Path) -> Result<()> {
        let Looks { before, last, note } = live::from_file(file)?;
        let place = Place::Dump(file.to_owned());
        let last = self.selected(last)?;
        let before = before.map(|before| before.ports);
        let last = looks::judged(before.as_ref(), last);
        let mut lists = Lists::new(self, place);
        lists.dump(before.is_some(), last, note, &[]).map(drop)
    }

    /// Lists dumps of Xen: the second of two, or with `--watch` one after the other.
    fn live(&self) -> Result<()> {
        let mut lists = Lists::new(self, Place::Live);
        let mut before: Option<Table> = None;
        self.repeat(|| {
            let (dump, note) = live::look()?;
            let dump = self.selected(dump)?;
            let ports = dump.ports.clone();
            let is_first = before.is_none();
            if is_first && !self.watch {
                before = Some(ports);
                return Ok(true);
            }
            let dump = self.confirmed(before.as_ref(), dump)?;
            let holders = holders::lines(Path::new("/"));
            let goes_on = lists.dump(before.is_some(), dump, note, &holders)?;
            before = Some(ports);
            Ok(goes_on)
        })
    }

    /// A dump with verdicts, for which it looks again while a port seems stuck.
    fn confirmed(&self, before: Option<&Table>, dump: Dump) -> Result<Dump> {
        let mut dump = looks::judged(before, dump);
        for _ in 0..looks::AGAIN {
            if !looks::is_in_doubt(&dump.ports) {
                break;
            }
            // The questions themselves take long enough for others to run meanwhile.
            let (look, _) = live::look()?;
            looks::confirm(&mut dump.ports, &look.ports);
        }
        Ok(dump)
    }

    /// A dump of the named domains.
    fn selected(&self, mut dump: Dump) -> Result<Dump> {
        let domains: Vec<DomId> = self
            .domains
            .iter()
            .map(|it| match *it {
                // A dump of this machine is made in domain 0.
                DomId::SELF if self.live => DomId::DOM0,
                domid => domid,
            })
            .collect();
        let has = |domid: &DomId| dump.ports.keys().any(|(of, _)| of == domid);
        if let Some(missing) = domains.iter().find(|domid| !has(domid)) {
            let message = format!("the dump has no port of domain {missing}");
            return Err(Exit::NoPeer.because(message));
        }
        if !domains.is_empty() {
            dump.ports.retain(|(domid, _), _| domains.contains(domid));
            dump.polling.retain(|domid, _| domains.contains(domid));
        }
        Ok(dump)
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
        self.print(table, &[])
    }

    /// Prints the list of a dump. Returns whether another one follows.
    fn dump(
        &mut self,
        has_two_looks: bool,
        dump: Dump,
        note: Option<String>,
        holders: &[String],
    ) -> Result<bool> {
        let mut notes = looks::notes(&dump, has_two_looks, holders);
        notes.extend(note);
        self.print(dump.ports, &notes)
    }

    fn print(&mut self, table: Table, notes: &[String]) -> Result<bool> {
        let is_read = self.printer.print(&table, self.previous.as_ref(), notes)?;
        self.previous = Some(table);
        self.left -= 1;
        Ok(is_read && self.ls.watch && self.left > 0)
    }
}
