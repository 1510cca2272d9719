//! Binds and unbinds of many ports, by this library and by calls of the device alone.

use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use evtchn::{Context, DomId, EventChannel, poll::PollLoop, xen, xen::XenOpen};

/// What binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Binder {
    /// This library, each port waited for between bind and teardown
    Evtchn,
    /// One ioctl for each bind and one for each unbind
    Raw,
}

/// One run.
#[derive(Debug, clap::Args)]
pub(crate) struct Bind {
    #[arg(value_enum)]
    binder: Binder,
    /// Number of ports
    ports: u32,
    /// Number of rounds, each of which binds and unbinds all of them
    rounds: u32,
}

/// When the parts of a round began and ended.
#[derive(Debug)]
struct Times {
    begun: Instant,
    bound: Instant,
    /// Before the first unbind.
    ending: Instant,
    ended: Instant,
}

impl Bind {
    /// Plays it and prints a line per part, as [`Plan::run`](crate::play::Plan::run) does: cost per port.
    pub(crate) fn run(&self) -> Result<()> {
        let (mut bind, mut teardown) = (0.0, 0.0);
        for _ in 0..self.rounds {
            let times = match self.binder {
                Binder::Evtchn => self.by_context()?,
                Binder::Raw => self.by_hand()?,
            };
            bind += (times.bound - times.begun).as_secs_f64();
            teardown += (times.ended - times.ending).as_secs_f64();
        }
        let binder = match self.binder {
            Binder::Evtchn => "evtchn",
            Binder::Raw => "raw",
        };
        let ports = f64::from(self.rounds) * f64::from(self.ports);
        for (part, cost) in [("bind", bind), ("teardown", teardown)] {
            let per_port = cost * 1e9 / ports;
            println!("{binder} bind {} {part} {per_port:.1}", self.ports);
        }
        Ok(())
    }

    /// From the opening of the device to its closing.
    fn by_context(&self) -> Result<Times> {
        let ctx = Context::with_registrar(XenOpen::default(), PollLoop::new()?);
        let mut channels = Vec::with_capacity(self.ports as usize);
        let begun = Instant::now();
        for _ in 0..self.ports {
            channels.push(ctx.bind_unbound_port(DomId::DOM0)?);
        }
        let bound = Instant::now();
        for channel in &channels {
            channel.wait()?;
        }
        anyhow::ensure!(ctx.next_timeout().is_none(), "an unbound port fired");
        let ending = Instant::now();
        channels.clear();
        ctx.teardown()?;
        let ended = Instant::now();
        let stats = ctx.stats();
        anyhow::ensure!(stats.unreported == 0, "an unbind failed: {stats:?}");
        Ok(Times {
            begun,
            bound,
            ending,
            ended,
        })
    }

    fn by_hand(&self) -> Result<Times> {
        let mut ports = Vec::with_capacity(self.ports as usize);
        let begun = Instant::now();
        let device = xen::Device::open()?;
        for _ in 0..self.ports {
            ports.push(device.bind_unbound_port(DomId::DOM0)?);
        }
        let bound = Instant::now();
        for port in ports {
            device.unbind(port)?;
        }
        drop(device);
        Ok(Times {
            begun,
            bound,
            ending: bound,
            ended: Instant::now(),
        })
    }
}
