//! `evtchn ping`: how long a notify and its answer take.

mod no_answer;
mod report;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, value_parser};
use evtchn::{Cause, Channel, RemotePort};
use hdrhistogram::Histogram;

use crate::completions::candidates;
use crate::exit::{bind_failed, exit_codes, restored};
use crate::machine::{Blocked, Machine, Real, Role, Simulated, finish, notify, pause};
use crate::options::{self, Backend, CommonOptions, ON_SIM, time};
use crate::output::screen::Screen;
use crate::progress;
use no_answer::NoAnswer;
use report::Report;

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn ping                             from this domain to itself and back
  evtchn ping 3:17                        to `evtchn listen 0 --echo` in domain 3, at port 17
  evtchn ping --count 100000 --json       for programs
  evtchn ping --backend sim --seed 7      the same output each time, no Xen needed

",
    exit_codes!()
);

/// Measure how long a notify and its answer take.
///
/// It prints the minimum, the median, the 99th percentile and the maximum, and a histogram. Without
/// DOM:PORT a second handle of this process answers. On the simulator time is virtual, so the figures
/// say nothing about speed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ping {
    /// The port that answers, such as 3:17 or self:17
    #[arg(value_name = "DOM:PORT", value_parser = options::remote, add = candidates::offers())]
    remote: Option<RemotePort>,
    /// Number of round trips
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u64).range(1..))]
    count: u64,
    /// Time before each round trip
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    interval: Duration,
    /// How long to wait for an answer.
    ///
    /// If none comes, it asks Xen for the reason, through /dev/xen/privcmd. The exit code is 5 if the
    /// peer closed its end or died; it is 6 if the peer is present, or if Xen cannot be asked.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    timeout: Duration,
    /// The guest dies after N answers [default: never]
    #[arg(long, value_name = "N", requires = "remote", help_heading = ON_SIM)]
    dies_after: Option<u32>,
    #[command(flatten)]
    common: CommonOptions,
}

impl Ping {
    /// Runs it.
    ///
    /// # Errors
    /// The first error.
    pub(crate) fn run(&self) -> Result<()> {
        match self
            .common
            .backend::<Ping>("evtchn ping", self.dies_after.is_some())
        {
            Backend::Xen => self.on(Real::new(&self.common)?),
            Backend::Sim => self.on(Simulated::new(&self.common)?),
        }
    }

    fn on<M: Machine>(&self, mut machine: M) -> Result<()> {
        let remote = match self.remote {
            Some(remote) => {
                machine.start_peer(Role::Echo(remote, self.dies_after))?;
                remote
            }
            None => machine.start_echo()?,
        };
        let bound = machine.context().bind_interdomain(remote);
        let channel = bound.map_err(bind_failed)?;
        let mut times = Histogram::new(3).context("cannot make a histogram")?;
        let is_answered = self.measure(&machine, &channel, &mut times);
        // Xen can be asked only while the channel is bound.
        let no_answer = matches!(is_answered, Ok(false)).then(|| NoAnswer::of(&channel));
        let report = Report {
            remote,
            times,
            place: machine.output().place().clone(),
            columns: Screen::columns(),
        };
        machine.output().summary(&report, Report::object);
        finish(machine, channel)?;
        is_answered?;
        let Some(no_answer) = no_answer else {
            return Ok(());
        };
        let (time, answers, count) = (self.timeout, report.times.len(), self.count);
        Err(no_answer.exit().because(format!(
            "no answer from {remote} in {time:?} after {answers} of {count}: {no_answer}"
        )))
    }

    /// Makes the round trips. Returns whether each notify was answered in time.
    fn measure<M: Machine>(
        &self,
        machine: &M,
        channel: &Channel<M::Loop>,
        times: &mut Histogram<u64>,
    ) -> Result<bool> {
        // The bind itself sets the port pending, which is not an answer.
        if !self.wait_for_answer(machine, channel)?.is_in_time() {
            return Ok(false);
        }
        let progress = progress::line(Some(self.count), "round trips");
        for _ in 0..self.count {
            if !self.interval.is_zero() && !pause(machine, channel, self.interval)? {
                break;
            }
            let start = machine.now();
            notify(channel)?;
            match self.wait_for_answer(machine, channel)? {
                Answer::InTime => {}
                Answer::Late => return Ok(false),
                Answer::Stopped => break,
            }
            let took = machine.now().saturating_sub(start);
            times.record(u64::try_from(took.as_nanos())?)?;
            progress.inc(1);
        }
        Ok(true)
    }

    fn wait_for_answer<M: Machine>(
        &self,
        machine: &M,
        channel: &Channel<M::Loop>,
    ) -> Result<Answer> {
        let until = machine.now() + self.timeout;
        match machine.block(channel, Some(until))? {
            Blocked::Woken(Cause::Gone) => bail!("the port is no longer bound"),
            Blocked::Woken(Cause::Resumed) => Err(restored(channel.port(), "")),
            Blocked::Woken(_) => Ok(Answer::InTime),
            Blocked::TimedOut => Ok(Answer::Late),
            Blocked::Stopped => Ok(Answer::Stopped),
        }
    }
}

/// The outcome of a notify.
enum Answer {
    InTime,
    Late,
    /// The user requested the end.
    Stopped,
}

impl Answer {
    const fn is_in_time(&self) -> bool {
        !matches!(self, Answer::Late)
    }
}
