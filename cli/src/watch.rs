//! `evtchn watch`: binds event channels, waits on them and prints each event.

mod environment;
mod exec;
pub(crate) mod job;
mod record;
pub(crate) mod sim;
mod summary;
mod xen;

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, value_parser};
use evtchn::xen::DEVICE_PATH;
use evtchn::{DomId, RemotePort, Virq};

use crate::completions::candidates;
use crate::exit::exit_codes;
use crate::log;
use crate::options::{self, Backend, ON_SIM, ON_XEN, interval, time, usage_error};
use crate::output::Format;
use crate::source::{Filter, Source};
use crate::timeline;
use exec::Exec;
use job::Options;
use record::{Recording, Wanted};

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn watch                                   without Xen: 8 simulated guests
  evtchn watch --seed 7 --guests 100 --json      another run of 100 guests, for programs
  evtchn watch --backend sim --record FILE       a trace for evtchn replay, on any machine
  evtchn watch --once --timeline run.svg         a picture of what it saw
On Xen:
  evtchn watch --virq DOM_EXC                    a virtual interrupt, until Ctrl-C
  evtchn watch --unbound 3 --once                print a port for domain 3, wait for one event
  evtchn watch --interdomain 3:7 --check-peers 10s
  evtchn watch --interdomain 3:7 --exec 'logger -t guest awake'
  evtchn watch --loopback 16                     16 channels of this domain to itself

",
    exit_codes!()
);

/// Bind event channels, wait on them, print each event, and sum up.
///
/// On a Xen domain it watches the sources that --virq, --interdomain, --unbound and --loopback name,
/// through /dev/xen/evtchn. On any other machine, and with an option of the simulator, it simulates a
/// toolstack in domain 0 that waits for the suspend acknowledgements of some guests, in virtual time.
/// The output says which of the two it is. Ctrl-C tears everything down and prints the summary.
///
/// On a terminal it shows a table of the channels. In a pipe, and with --no-table, --json or --exec,
/// it prints a line for each event.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Watch {
    /// Where the channels are [default: xen on a Xen domain, else sim]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// End after N events of the selected channels [default: 3000 on the simulator and with --loopback
    /// alone; none with --timeout]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// End after the first event
    #[arg(long, conflicts_with = "events")]
    once: bool,
    /// End after this time; with --events or --once the exit code is then 6
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
    /// Ask Xen about the peers once every TIME, through /dev/xen/privcmd.
    ///
    /// If a peer has connected, it prints a wake with cause peer_connected; if one has closed its end
    /// or died, a wake with cause peer_gone. --events does not count these. When all peers are gone,
    /// it ends with exit code 5. A domain that crashed and is kept (on_crash = "preserve") counts as
    /// present until it is destroyed.
    #[arg(long, value_name = "TIME", value_parser = interval)]
    check_peers: Option<Duration>,
    /// Report, count and run commands for these channels only (may be repeated): a local port (14), a
    /// domain (3:), a remote port (3:7), or a virtual interrupt (DOM_EXC)
    #[arg(long, value_name = "WHICH", add = candidates::filters())]
    only: Vec<Filter>,
    /// Run a command for each event, one at a time, with EVTCHN_PORT, EVTCHN_REMOTE, EVTCHN_CAUSE
    /// and EVTCHN_WAKES in its environment.
    ///
    /// CMD is split into words as by a shell, but no shell runs it. Its output goes to stderr. While
    /// it runs, nothing is read, so events that arrive meanwhile coalesce into one for each channel.
    #[arg(long, value_name = "CMD", value_parser = Exec::parse)]
    exec: Option<Exec>,
    /// Print lines on a terminal too
    #[arg(long)]
    no_table: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Same seed, same output [default: 0]
    #[arg(long, value_name = "N", help_heading = ON_SIM)]
    seed: Option<u64>,
    /// Number of guests [default: 8]
    #[arg(long, value_name = "N", help_heading = ON_SIM,
        value_parser = value_parser!(u16).range(1..=4096))]
    guests: Option<u16>,
    /// Each guest dies after N notifies [default: never]
    #[arg(long, value_name = "N", requires = "check_peers", help_heading = ON_SIM)]
    dies_after: Option<u64>,
    /// A virtual interrupt (may be repeated)
    #[arg(long, value_name = "NAME|N", help_heading = ON_XEN, value_parser = options::virqs())]
    virq: Vec<Virq>,
    /// Bind to a port that another domain offers (may be repeated)
    #[arg(long, value_name = "DOM:PORT", help_heading = ON_XEN, value_parser = options::remote,
        add = candidates::offers())]
    interdomain: Vec<RemotePort>,
    /// Offer a port to another domain and print its number (may be repeated)
    #[arg(long, value_name = "DOM", help_heading = ON_XEN, value_parser = options::domid,
        add = candidates::domains())]
    unbound: Vec<DomId>,
    /// N channels of this domain to itself, driven by a second handle
    #[arg(long, value_name = "N", help_heading = ON_XEN,
        value_parser = value_parser!(u16).range(1..))]
    loopback: Option<u16>,
    /// After this domain was saved and restored, or migrated, bind the sources again instead of ending.
    ///
    /// A restore prints a wake with cause restored for each channel, which --events does not count, and
    /// then what is bound again.
    #[arg(long, conflicts_with = "loopback", help_heading = ON_XEN)]
    rebind: bool,
    /// The device [default: /dev/xen/evtchn]
    #[arg(long, value_name = "PATH", help_heading = ON_XEN)]
    device: Option<PathBuf>,
    /// Write a trace of the run to FILE, for evtchn replay.
    ///
    /// An existing file is replaced once everything is bound, and kept if that fails. FILE may be a
    /// pipe or a device too.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Draw the run to FILE when it ends, as evtchn timeline does: FILE.svg, FILE.html or FILE.json.
    ///
    /// A run of any length has room in a .json, for ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
}

impl Watch {
    const EVENTS: u64 = 3000;

    /// The backend. Ends the program if an option needs the other one.
    fn backend(&self) -> Backend {
        use Backend::{Sim, Xen};
        let options = [
            ("--loopback", Xen, self.loopback.is_some()),
            ("--virq", Xen, !self.virq.is_empty()),
            ("--interdomain", Xen, !self.interdomain.is_empty()),
            ("--unbound", Xen, !self.unbound.is_empty()),
            ("--device", Xen, self.device.is_some()),
            ("--rebind", Xen, self.rebind),
            ("--seed", Sim, self.seed.is_some()),
            ("--guests", Sim, self.guests.is_some()),
            ("--dies-after", Sim, self.dies_after.is_some()),
        ];
        Backend::of::<Watch>("evtchn watch", self.backend, &options)
    }

    /// The sources apart from loopback.
    fn sources(&self) -> Vec<Source> {
        let virqs = self.virq.iter().copied().map(Source::Virq);
        let remotes = self.interdomain.iter().copied().map(Source::Remote);
        let unbound = self.unbound.iter().copied().map(Source::Unbound);
        virqs.chain(remotes).chain(unbound).collect()
    }

    fn format(&self) -> Format {
        // A dumb terminal has no cursor to move, and the table would overwrite the log.
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb") || log::is_on();
        if self.json {
            Format::Json
        } else if self.no_table || self.exec.is_some() || is_dumb || !io::stdout().is_terminal() {
            Format::Text
        } else {
            Format::Table
        }
    }

    /// The options of the job. Without others it ends after `events`.
    fn options(&self, events: Option<u64>) -> Options {
        let events = events.filter(|_| self.timeout.is_none());
        let events = if self.once {
            Some(1)
        } else {
            self.events.or(events)
        };
        Options {
            events,
            timeout: self.timeout,
            check_peers: self.check_peers,
            rebind: self.rebind,
            only: self.only.clone(),
            exec: self.exec.clone(),
        }
    }

    /// Runs it. Ends the program if an option needs the other backend, or if there is nothing to watch.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn run(self) -> Result<()> {
        match self.backend() {
            Backend::Sim => self.simulate(),
            Backend::Xen => self.watch(),
        }
    }

    /// The files that the run leaves. Ends the program if the name of the picture determines no format.
    fn wanted(&self) -> Wanted<'_> {
        let timeline = self.timeline.as_deref().map(|path| {
            let Some(format) = timeline::format(path) else {
                let message = format!(
                    "cannot tell the format: {} must end in .svg, .html or .json",
                    path.display()
                );
                usage_error::<Watch>("evtchn watch", ErrorKind::InvalidValue, message);
            };
            (path, format.into())
        });
        Wanted {
            record: self.record.as_deref(),
            timeline,
        }
    }

    fn simulate(self) -> Result<()> {
        let setup = sim::Setup {
            seed: self.seed.unwrap_or(0),
            guests: self.guests.unwrap_or(sim::Setup::default().guests),
            dies_after: self.dies_after,
        };
        let options = self.options(Some(Watch::EVENTS));
        let recording = Recording::sim(self.wanted(), setup.seed)?;
        let ran = sim::run(setup, options, self.format(), &recording);
        let ended = recording.finish();
        ran.and(ended)
    }

    fn watch(self) -> Result<()> {
        let sources = self.sources();
        if sources.is_empty() && self.loopback.is_none() {
            let message = "nothing to watch: name a source with --virq NAME, --interdomain DOM:PORT, \
                           --unbound DOM or --loopback N; --backend sim needs none";
            let kind = ErrorKind::MissingRequiredArgument;
            usage_error::<Watch>("evtchn watch", kind, message.to_owned());
        }
        let recording = Recording::xen(self.wanted())?;
        let events = sources.is_empty().then_some(Watch::EVENTS);
        let options = self.options(events);
        let format = self.format();
        let setup = xen::Setup {
            loopback: self.loopback.unwrap_or(0),
            sources,
            device: self.device.unwrap_or_else(|| DEVICE_PATH.into()),
        };
        let ran = xen::run(&setup, options, format, &recording);
        let ended = recording.finish();
        ran.and(ended)
    }
}
