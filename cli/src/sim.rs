//! `evtchn sim`: one simulated machine for several processes.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use clap::{ArgGroup, Args, value_parser};
use evtchn::sim::remote::{RemoteSim, Server};

use crate::exit::exit_codes;
use crate::output::print;
use crate::plain::Plain;
use crate::stop::Stop;

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn sim --listen /tmp/machine              a machine with domain 0 and guests 1, 2, 3
  evtchn sim --listen /tmp/machine --guests 1   domain 0 and guest 1
  evtchn sim --dump /tmp/machine                what is bound and open on it

  export EVTCHN_SIM=/tmp/machine                for C programs, with the library of the simulator:
  LD_PRELOAD=libxenevtchn-sim.so.1 ./backend
  EVTCHN_SIM_DOMID=1 LD_PRELOAD=libxenevtchn-sim.so.1 ./frontend

",
    exit_codes!()
);

/// Serve a simulated machine, on which several processes run, in the same domain or in several.
///
/// Each process opens its event-channel device over the socket, in C with libxenevtchn-sim.so.1, in Rust
/// with `evtchn::sim::remote`. If a process ends, in whatever way, what it had bound is unbound, as
/// on Xen. The time of the machine is virtual, and passes only when a process asks for that. The first
/// line says that the socket is there. Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("what").required(true)))]
pub(crate) struct Sim {
    /// Serve a machine on a new Unix socket, which only this user can use, unless the umask says otherwise
    #[arg(long, value_name = "PATH", group = "what")]
    listen: Option<PathBuf>,
    /// Print each port and each open device of the machine that is served there
    #[arg(long, value_name = "PATH", group = "what", conflicts_with_all = ["guests", "seed"])]
    dump: Option<PathBuf>,
    /// Number of guests, which are the domains 1 to N
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u16).range(..=4096))]
    guests: u16,
    /// Same seed and same calls in the same order, same events
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl Sim {
    /// Runs it.
    ///
    /// # Errors
    /// If the socket cannot be made, or no server listens on it.
    pub(crate) fn run(&self) -> Result<()> {
        if let Some(path) = &self.listen {
            return self.serve(path);
        }
        let Some(path) = &self.dump else {
            unreachable!("one of the two is required");
        };
        let dump = RemoteSim::at(path).dump().map_err(io_error);
        let dump = dump.with_context(|| format!("no machine is served at {}", path.display()));
        print(dump?.as_bytes())
    }

    fn serve(&self, path: &Path) -> Result<()> {
        let sim = evtchn::sim::Sim::new(self.seed);
        for _ in 0..self.guests {
            sim.create_domain()
                .map_err(|errno| anyhow!("cannot create a guest: {errno}"))?;
        }
        let (stopped, stopper) = UnixStream::pair().context("cannot make a socket")?;
        let stop = Stop::on_signal(move || drop((&stopper).write(&[0])));
        let _stop = stop.context("cannot watch for signals")?;
        let server = Server::bind(path, &sim);
        let mut server = server.with_context(|| format!("cannot listen at {}", path.display()))?;
        print(format!("listening at {}\n", Plain(path.display())).as_bytes())?;
        server.run(stopped).context("cannot wait for requests")
    }
}

fn io_error(errno: evtchn::sim::Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw())
}
