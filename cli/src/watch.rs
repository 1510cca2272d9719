//! `evtchn watch`: binds event channels, waits on them and prints each event.

mod environment;
mod exec;
pub(crate) mod job;
mod record;
pub(crate) mod sim;
mod source;
mod summary;
mod xen;

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, value_parser};
use evtchn::xen::{DEVICE_PATH, XenOpen};
use evtchn::{DomId, RemotePort, Virq};

use crate::exit::exit_codes;
use crate::log;
use crate::options::{self, Backend, interval, time, usage_error};
use crate::output::Format;
use exec::Exec;
use job::Options;
use record::Recording;
use source::{Filter, Source};

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn watch                                        8 simulated guests, no Xen needed
  evtchn watch --seed 7 --guests 100 --json           another run of 100 guests, for programs
  evtchn watch --backend xen --loopback 16            16 channels of this domain to itself
  evtchn watch --backend xen --virq DOM_EXC           a virtual interrupt, until Ctrl-C
  evtchn watch --backend xen --unbound 3 --once       print a port for domain 3, wait for one event
  evtchn watch --backend xen --interdomain 3:7 --check-peers 10s
  evtchn watch --backend xen --interdomain 3:7 --exec 'logger -t guest awake'
  evtchn watch --record FILE                          a trace for evtchn replay

",
    exit_codes!()
);

/// Bind event channels, wait on them, print each event, and sum up.
///
/// Without options it runs on the simulator: a toolstack in domain 0 waits for the suspend
/// acknowledgements of some guests, in virtual time. With `--backend xen` it uses /dev/xen/evtchn of
/// this machine: it binds channels of this domain to itself, or watches all sources that --virq,
/// --interdomain and --unbound name. Ctrl-C tears everything down and prints the summary.
///
/// On a terminal it shows a table of the channels. In a pipe, and with --no-table, --json or --exec,
/// it prints a line for each event.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Watch {
    /// Where the channels are
    #[arg(long, value_enum, default_value_t = Backend::Sim)]
    backend: Backend,
    /// End after N events [default: 3000; none with --timeout, or if only --virq, --interdomain or
    /// --unbound are watched]
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
    #[arg(long, value_name = "WHICH")]
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
    /// Simulator: same seed, same output [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Simulator: number of guests [default: 8]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=4096))]
    guests: Option<u16>,
    /// Simulator: each guest dies after N notifies [default: never]
    #[arg(long, value_name = "N", requires = "check_peers")]
    dies_after: Option<u64>,
    /// Xen: N channels of this domain to itself, driven by a second handle [default: 8; none if
    /// other sources are watched]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    loopback: Option<u16>,
    /// Xen: a virtual interrupt (may be repeated)
    #[arg(long, value_name = "NAME|N")]
    virq: Vec<Virq>,
    /// Xen: bind to a port that another domain offers (may be repeated)
    #[arg(long, value_name = "DOM:PORT", value_parser = options::remote)]
    interdomain: Vec<RemotePort>,
    /// Xen: offer a port to another domain and print its number (may be repeated)
    #[arg(long, value_name = "DOM", value_parser = options::domid)]
    unbound: Vec<DomId>,
    /// Xen: the device [default: /dev/xen/evtchn]
    #[arg(long, value_name = "PATH")]
    device: Option<PathBuf>,
    /// Write a trace of the run to FILE, for evtchn replay.
    ///
    /// An existing file is replaced once everything is bound, and kept if that fails. FILE may be a
    /// pipe or a device too.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Watch {
    const EVENTS: u64 = 3000;

    /// The first option that needs the other backend, and that backend.
    fn misplaced_option(&self) -> Option<(&'static str, &'static str)> {
        let given = match self.backend {
            Backend::Sim => [
                ("--loopback", self.loopback.is_some()),
                ("--virq", !self.virq.is_empty()),
                ("--interdomain", !self.interdomain.is_empty()),
                ("--unbound", !self.unbound.is_empty()),
                ("--device", self.device.is_some()),
            ]
            .to_vec(),
            Backend::Xen => [
                ("--seed", self.seed.is_some()),
                ("--guests", self.guests.is_some()),
                ("--dies-after", self.dies_after.is_some()),
            ]
            .to_vec(),
        };
        let needed = match self.backend {
            Backend::Sim => "xen",
            Backend::Xen => "sim",
        };
        let misplaced = given.into_iter().find(|(_, is_given)| *is_given);
        misplaced.map(|(option, _)| (option, needed))
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
            only: self.only.clone(),
            exec: self.exec.clone(),
        }
    }

    /// Runs it. Ends the program if an option needs the other backend.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn run(self) -> Result<()> {
        if let Some((option, backend)) = self.misplaced_option() {
            let message = format!("{option} needs --backend {backend}");
            usage_error::<Watch>("evtchn watch", ErrorKind::ArgumentConflict, message);
        }
        match self.backend {
            Backend::Sim => {
                let setup = sim::Setup {
                    seed: self.seed.unwrap_or(0),
                    guests: self.guests.unwrap_or(8),
                    dies_after: self.dies_after,
                };
                let options = self.options(Some(Watch::EVENTS));
                let recording = Recording::sim(self.record.as_deref(), setup.seed)?;
                let ran = sim::run(setup, options, self.format(), &recording);
                let ended = recording.finish();
                ran.and(ended)
            }
            Backend::Xen => {
                let sources = self.sources();
                let is_without_loopback = self.loopback.is_none() && !sources.is_empty();
                let (loopback, events) = if is_without_loopback {
                    (0, None)
                } else {
                    (8, Some(Watch::EVENTS))
                };
                let options = self.options(events);
                let format = self.format();
                let setup = xen::Setup {
                    loopback: self.loopback.unwrap_or(loopback),
                    sources,
                    opener: XenOpen::at(self.device.unwrap_or_else(|| DEVICE_PATH.into())),
                };
                let recording = Recording::xen(self.record.as_deref())?;
                let ran = xen::run(&setup, options, format, &recording);
                let ended = recording.finish();
                ran.and(ended)
            }
        }
    }
}
