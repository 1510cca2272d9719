//! `evtchn ping`: how long a notify and its answer take.

mod report;
mod silence;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, value_parser};
use evtchn::{Cause, Channel, RemotePort};
use hdrhistogram::Histogram;

use crate::exit::{exit_codes, no_peer};
use crate::machine::{Blocked, Machine, Real, Role, Simulated, finish, notify, rest};
use crate::options::{self, Backend, Place, time};
use crate::progress;
use report::Report;
use silence::Silence;

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn ping                             from this domain to itself, and back
  evtchn ping 3:17                        to `evtchn listen 0 --echo` in domain 3, at port 17
  evtchn ping --count 100000 --json       for programs
  evtchn ping --backend sim --seed 7      the same output each time, no Xen needed

",
    exit_codes!()
);

/// Measure how long a notify and its answer take.
///
/// It says the minimum, the median, the 99th percentile and the maximum, and draws a histogram.
/// Without DOM:PORT a second handle of this process answers. On the simulator the time is virtual:
/// it shows what the output looks like, not how fast anything is.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ping {
    /// The port of somebody who answers, such as 3:17 or self:17
    #[arg(value_name = "DOM:PORT", value_parser = options::remote)]
    remote: Option<RemotePort>,
    /// How many round trips
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u64).range(1..))]
    count: u64,
    /// How long to wait before each
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    interval: Duration,
    /// How long to wait for an answer.
    ///
    /// Where none comes, Xen is asked for the reason through /dev/xen/privcmd: a peer that closed
    /// its end or died is exit code 5, one that is silent 6, as is one that cannot be asked about.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    timeout: Duration,
    /// Simulator: after how many answers the guest dies [default: never]
    #[arg(long, value_name = "N", requires = "remote")]
    dies_after: Option<u32>,
    #[command(flatten)]
    place: Place,
}

impl Ping {
    /// Runs it.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn run(&self) -> Result<()> {
        let simulated = self.dies_after.map(|_| "--dies-after");
        self.place.check::<Ping>("evtchn ping", simulated);
        match self.place.backend {
            Backend::Xen => self.on(Real::new(&self.place)?),
            Backend::Sim => self.on(Simulated::new(&self.place)?),
        }
    }

    fn on<M: Machine>(&self, mut machine: M) -> Result<()> {
        let remote = match self.remote {
            Some(remote) => {
                machine.play(Role::Echo(remote, self.dies_after))?;
                remote
            }
            None => machine.echo()?,
        };
        let bound = machine.context().bind_interdomain(remote);
        let channel = bound.map_err(no_peer)?;
        let mut times = Histogram::new(3).context("cannot make a histogram")?;
        let is_answered = self.measure(&machine, &channel, &mut times);
        // As long as the channel is bound it can be asked about.
        let silence = matches!(is_answered, Ok(false)).then(|| Silence::of(&channel));
        let report = Report { remote, times };
        machine.output().summary(&report, Report::object);
        finish(machine, channel)?;
        is_answered?;
        let Some(silence) = silence else {
            return Ok(());
        };
        let (time, answers, count) = (self.timeout, report.times.len(), self.count);
        Err(silence.exit().because(format!(
            "no answer from {remote} in {time:?} after {answers} of {count}: {silence}"
        )))
    }

    /// Makes the round trips. Says whether each notify was answered in time.
    fn measure<M: Machine>(
        &self,
        machine: &M,
        channel: &Channel<M::Loop>,
        times: &mut Histogram<u64>,
    ) -> Result<bool> {
        // Xen sets a port pending that is bound to another domain's: that is no answer.
        if !self.answer(machine, channel)?.is_in_time() {
            return Ok(false);
        }
        let progress = progress::line(Some(self.count), "round trips");
        for _ in 0..self.count {
            if !self.interval.is_zero() && !rest(machine, channel, self.interval)? {
                break;
            }
            let start = machine.now();
            notify(channel)?;
            match self.answer(machine, channel)? {
                Answer::Came => {}
                Answer::Late => return Ok(false),
                Answer::Stopped => break,
            }
            let took = machine.now().saturating_sub(start);
            times.record(u64::try_from(took.as_nanos())?)?;
            progress.inc(1);
        }
        Ok(true)
    }

    fn answer<M: Machine>(&self, machine: &M, channel: &Channel<M::Loop>) -> Result<Answer> {
        let until = machine.now() + self.timeout;
        match machine.block(channel, Some(until))? {
            Blocked::Woken(Cause::Gone) => bail!("the port is no longer bound"),
            Blocked::Woken(_) => Ok(Answer::Came),
            Blocked::TimedOut => Ok(Answer::Late),
            Blocked::Stopped => Ok(Answer::Stopped),
        }
    }
}

/// What came of a notify.
enum Answer {
    Came,
    Late,
    /// The command is to end.
    Stopped,
}

impl Answer {
    const fn is_in_time(&self) -> bool {
        !matches!(self, Answer::Late)
    }
}
