//! The job of `evtchn watch`, on any backend: wait, take wakes round by round, tear down, sum up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use evtchn::{Cause, ChannelId, Link, Port, PortStatuses, Round};
use indicatif::ProgressBar;

use super::environment::{AfterWake, Context, Environment, Loop, Notifier, Watched};
use super::exec::Exec;
use super::record::Recording;
use super::summary::{Summary, Tally};
use crate::exit::{Exit, call_failed, query_failed, restored, timed_out};
use crate::output::screen::Screen;
use crate::output::{Line, Output, cause_name};
use crate::progress;
use crate::source::{Filter, Source};
use crate::stop::Stop;

/// What a job needs, apart from its channels and its environment.
pub(crate) struct Job<'a> {
    /// Its output.
    pub(crate) output: &'a Output,
    /// Whether it is to end early.
    pub(crate) stop: &'a Stop,
    /// The options of the user.
    pub(crate) options: Options,
    /// Its trace, if one is recorded.
    pub(crate) recording: &'a Recording,
    /// Called before the first wake and after each.
    pub(crate) observer: Option<Observer<'a>>,
}

/// A function that is called before the first wake and after each; false ends the job.
pub(crate) type Observer<'a> = Box<dyn FnMut() -> Result<bool> + 'a>;

/// The options that do not depend on the backend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The number of wakes after which it ends.
    pub(crate) events: Option<u64>,
    /// The time after which it ends.
    pub(crate) timeout: Option<Duration>,
    /// The time between two checks of the peers.
    pub(crate) check_peers: Option<Duration>,
    /// Whether to bind again after a restore of this domain.
    pub(crate) rebind: bool,
    /// The channels whose wakes are reported and counted; all if it is empty.
    pub(crate) only: Vec<Filter>,
    /// The command that runs for each of these wakes.
    pub(crate) exec: Option<Exec>,
}

impl Options {
    fn selects(&self, port: Port, source: Source) -> bool {
        self.only.is_empty() || self.only.iter().any(|filter| filter.matches(port, source))
    }
}

/// Waits on the channels, reports the wakes, and leaves nothing behind.
///
/// It ends after the wakes or the time of the options, on a signal, when the reader of its output is
/// gone, and when every peer is gone.
///
/// # Errors
/// The first failure of the context, the environment or the observer. [`Exit::TimedOut`] if the time
/// is over before the wakes have come, and [`Exit::NoPeer`] if all peers are gone and there is no
/// observer.
pub(crate) fn watch(
    context: &Context,
    channels: Vec<Watched>,
    environment: &mut dyn Environment,
    job: Job<'_>,
) -> Result<()> {
    let Job {
        output,
        stop,
        options,
        recording,
        observer,
    } = job;
    let indexes = channels.iter().zip(0..);
    let checks = options.check_peers.map(|every| {
        Ok::<_, anyhow::Error>(PeerChecks {
            statuses: environment.statuses().map_err(query_failed)?,
            every,
            next: output.now() + every,
        })
    });
    let job = RunningJob {
        context,
        checks: checks.transpose()?,
        gone: BTreeSet::new(),
        restored: Vec::new(),
        indexes: indexes
            .map(|(it, index)| (it.channel.id(), index))
            .collect(),
        wakes: vec![0; environment.notifiers(&[]).len()],
        counted: channels
            .iter()
            .map(|it| options.selects(it.channel.port(), it.source).then_some(0))
            .collect(),
        left: options.events.unwrap_or(u64::MAX),
        progress: progress(&options, observer.is_some()),
        observer,
        options,
        channels,
        environment,
        output,
        stop,
    };
    if job.counted.iter().all(Option::is_none) {
        bail!("--only selects none of the channels");
    }
    recording.begin()?;
    job.run()
}

/// A counter on the terminal if stdout goes elsewhere and there is no observer.
fn progress(options: &Options, has_observer: bool) -> ProgressBar {
    if has_observer || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    progress::line(options.events, "wakes")
}

/// When the peers are checked, and what reports their status.
struct PeerChecks {
    statuses: Box<dyn PortStatuses>,
    every: Duration,
    next: Duration,
}

/// A job under way.
struct RunningJob<'a> {
    context: &'a Context,
    checks: Option<PeerChecks>,
    /// Channels to a remote port that a check found gone, so that no event can come.
    gone: BTreeSet<usize>,
    /// Channels that ended because this domain was restored.
    restored: Vec<usize>,
    channels: Vec<Watched>,
    indexes: BTreeMap<ChannelId, usize>,
    environment: &'a mut dyn Environment,
    output: &'a Output,
    stop: &'a Stop,
    observer: Option<Observer<'a>>,
    options: Options,
    /// Selected wakes so far, for each notifier of the environment.
    wakes: Vec<u64>,
    /// Wakes so far, for each channel that the options select.
    counted: Vec<Option<u64>>,
    /// Wakes that are still to come.
    left: u64,
    progress: ProgressBar,
}

impl RunningJob<'_> {
    fn run(mut self) -> Result<()> {
        for (watched, counted) in self.channels.iter().zip(&self.counted) {
            if counted.is_some() {
                let (port, source) = (watched.channel.port(), watched.source);
                self.output.line(Line::Bound { port, source });
            }
        }
        self.call_observer()?;
        let mut is_late = false;
        while self.left > 0
            && !is_late
            && !self.has_no_peer()
            && !self.stop.is_requested()
            && !self.output.is_over()
        {
            let timeout = self.context.next_timeout();
            let check = self.checks.as_ref().map(|checks| checks.next);
            let until = check.into_iter().chain(self.options.timeout).min();
            let begin = self.environment.advance(&self.channels, timeout, until)?;
            self.round(&begin)?;
            self.rebind()?;
            self.check()?;
            let deadline = self.options.timeout;
            is_late = deadline.is_some_and(|deadline| self.output.now() >= deadline);
        }
        let (left, has_no_peer) = (self.left, self.has_no_peer());
        let is_short = self.options.events.is_some() && is_late;
        let has_observer = self.observer.is_some();
        self.tear_down()?;
        if left > 0 && has_no_peer && !has_observer {
            return Err(Exit::NoPeer.because(
                "every peer closed its end or died; run `evtchn listen` there for a new port",
            ));
        }
        if left > 0 && is_short {
            return Err(Exit::TimedOut.because(timed_out(left)));
        }
        Ok(())
    }

    /// Calls the observer, which may end the job.
    fn call_observer(&mut self) -> Result<()> {
        if let Some(observer) = &mut self.observer {
            if !observer()? {
                self.left = 0;
            }
        }
        Ok(())
    }

    /// Whether the peer of every channel is gone.
    fn has_no_peer(&self) -> bool {
        self.gone.len() == self.channels.len()
    }

    /// Checks the peers if that is due. Channels whose peer changed wake in the next round.
    fn check(&mut self) -> Result<()> {
        let now = self.output.now();
        if let Some(checks) = &mut self.checks {
            if checks.next <= now {
                checks.next = now + checks.every;
                let checked = self.context.check_peers_with(&*checks.statuses);
                checked.map_err(call_failed)?;
            }
        }
        Ok(())
    }

    /// One round of dispatch. Waits begin inside it, so that their ports are unmasked together.
    fn round(&mut self, begin: &[usize]) -> Result<()> {
        let budget = usize::try_from(self.left).unwrap_or(usize::MAX);
        let budget = budget.min(Round::<Loop>::BUDGET);
        let mut round = self.context.dispatch_at_most(budget)?;
        for &which in begin {
            self.wait(which)?;
        }
        while self.left > 0 {
            let Some(wake) = round.next() else { break };
            if let Some(&which) = self.indexes.get(&wake.channel) {
                if self.woke(which, wake.cause)? == AfterWake::WaitAgain {
                    self.wait(which)?;
                }
            }
        }
        round.finish()?;
        Ok(())
    }

    /// Binds the channels again that ended because this domain was restored, if the options say so.
    fn rebind(&mut self) -> Result<()> {
        for which in std::mem::take(&mut self.restored) {
            let Watched {
                channel, source, ..
            } = &mut self.channels[which];
            let (before, source) = (channel.id(), *source);
            if !self.options.rebind {
                let advice = "; --rebind binds its source again";
                return Err(restored(before.port(), advice));
            }
            *channel = self.environment.bind(self.context, source)?;
            let (id, port) = (channel.id(), channel.port());
            self.indexes.remove(&before);
            self.indexes.insert(id, which);
            if self.counted[which].is_some() {
                self.output.line(Line::Bound { port, source });
            }
            self.wait(which)?;
        }
        Ok(())
    }

    /// Waits for a channel, unless the last wake has come.
    fn wait(&self, which: usize) -> Result<()> {
        if self.left > 0 {
            self.channels[which].channel.wait()?;
        }
        Ok(())
    }

    /// Reports a wake and handles it.
    fn woke(&mut self, which: usize, cause: Cause) -> Result<AfterWake> {
        let Watched {
            channel,
            source,
            notifier,
        } = &self.channels[which];
        let (port, source) = (channel.port(), *source);
        if let Some(wakes) = &mut self.counted[which] {
            self.wakes[*notifier] += 1;
            self.output.line(Line::Wake {
                port,
                source,
                cause,
            });
            *wakes += 1;
            // No notify caused these.
            if !matches!(
                cause,
                Cause::PeerGone | Cause::PeerConnected | Cause::Resumed
            ) {
                self.left -= 1;
                self.progress.inc(1);
            }
            // After Ctrl-C the rest of a long round runs no more commands.
            if let Some(exec) = &mut self.options.exec {
                if !self.stop.is_requested() {
                    self.output.flush();
                    exec.run(port, source, cause_name(cause), *wakes)?;
                }
            }
        }
        self.call_observer()?;
        let channel = &self.channels[which].channel;
        match cause {
            // `finish` of the round returns the error of the device.
            Cause::Gone => Ok(AfterWake::Stop),
            Cause::Resumed => {
                self.gone.remove(&which);
                self.restored.push(which);
                Ok(AfterWake::Stop)
            }
            Cause::PeerGone => {
                if matches!(self.channels[which].source, Source::Remote(_)) {
                    self.gone.insert(which);
                }
                self.environment.handle_wake(which, channel, cause)
            }
            Cause::Event | Cause::Overflow | Cause::PeerConnected | Cause::Adopted | _ => {
                self.gone.remove(&which);
                self.environment.handle_wake(which, channel, cause)
            }
        }
    }

    /// Ends everything in order: waits, channels, their other ends, the device.
    fn tear_down(self) -> Result<()> {
        self.progress.finish_and_clear();
        for Watched { channel, .. } in &self.channels {
            channel.cancel().context("cannot end a wait")?;
        }
        for Watched { mut channel, .. } in self.channels {
            channel.unbind()?;
        }
        self.environment.close()?;
        self.context.teardown()?;
        let selected: Vec<bool> = self.counted.iter().map(Option::is_some).collect();
        let notifiers = self.environment.notifiers(&selected);
        let tally = |(Notifier { name, sent }, wakes)| {
            Some(Tally {
                name: name?,
                notifies: sent,
                wakes,
            })
        };
        let summary = Summary {
            place: self.output.place().clone(),
            columns: Screen::columns(),
            tallies: notifiers
                .into_iter()
                .zip(self.wakes)
                .filter_map(tally)
                .collect(),
            runs: self.options.exec.as_ref().map(Exec::runs),
            stats: self.context.stats(),
            is_closed: self.context.link() == Link::Closed,
        };
        self.output.summary(&summary, Summary::object);
        self.output.finish().context("cannot write the output")
    }
}
