//! The job itself, on any backend: wait, take wakes round by round, tear down, sum up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use evtchn::{Cause, ChannelId, Link, Port, PortStatuses, Round};
use indicatif::ProgressBar;

use super::end::{End, Only};
use super::exec::Exec;
use super::record::Recording;
use super::scene::{Context, Loop, Notifier, Scene, Then, Watched};
use super::summary::{Summary, Tally};
use crate::exit::{Exit, late, unasked};
use crate::output::{Line, Output, cause_name};
use crate::progress;
use crate::stop::Stop;

/// What a job is begun with, apart from its scene.
pub(crate) struct Orders<'a> {
    /// Where it reports.
    pub(crate) output: &'a Output,
    /// Whether it is to end early.
    pub(crate) stop: &'a Stop,
    /// When it ends, which channels count, and what is run for each of their wakes.
    pub(crate) wish: Wish,
    /// The trace of it, if one is recorded.
    pub(crate) recording: &'a Recording,
    /// Who looks on.
    pub(crate) onlooker: Option<Onlooker<'a>>,
}

/// Looks before the first wake and after each, and says whether it goes on.
pub(crate) type Onlooker<'a> = Box<dyn FnMut() -> Result<bool> + 'a>;

/// What the user asked for, wherever the channels are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// After how many wakes it ends.
    pub(crate) events: Option<u64>,
    /// After how much time it ends.
    pub(crate) timeout: Option<Duration>,
    /// How often it looks after the peers.
    pub(crate) check_peers: Option<Duration>,
    /// Channels whose wakes are reported and counted; all without.
    pub(crate) only: Vec<Only>,
    /// What is run for each of these wakes.
    pub(crate) exec: Option<Exec>,
}

impl Wish {
    fn names(&self, here: Port, end: End) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.names(here, end))
    }
}

/// Waits on the channels, reports the wakes, and leaves nothing behind.
///
/// It ends after the wakes or the time that were ordered, when it is told to stop, when nobody
/// reads its output any more, and when every peer was found gone.
///
/// # Errors
/// The first failure of the context, the scene or the onlooker; and where the time was up before
/// the wakes or, unless somebody looks on, every peer gone.
pub(crate) fn watch(
    context: &Context,
    channels: Vec<Watched>,
    scene: &mut dyn Scene,
    orders: Orders<'_>,
) -> Result<()> {
    let Orders {
        output,
        stop,
        wish,
        recording,
        onlooker,
    } = orders;
    let places = channels.iter().zip(0..);
    let checks = wish.check_peers.map(|every| {
        Ok::<_, anyhow::Error>(Checks {
            statuses: scene.statuses().map_err(unasked)?,
            every,
            next: output.now() + every,
        })
    });
    let job = Job {
        context,
        checks: checks.transpose()?,
        gone: BTreeSet::new(),
        places: places.map(|(it, place)| (it.channel.id(), place)).collect(),
        wakes: vec![0; scene.notifiers().len()],
        counted: channels
            .iter()
            .map(|it| wish.names(it.channel.port(), it.end).then_some(0))
            .collect(),
        left: wish.events.unwrap_or(u64::MAX),
        progress: progress(&wish, onlooker.is_some()),
        onlooker,
        wish,
        channels,
        scene,
        output,
        stop,
    };
    if job.counted.iter().all(Option::is_none) {
        bail!("--only names none of the channels");
    }
    recording.begin()?;
    job.run()
}

/// A line on a terminal whose stdout goes elsewhere, unless somebody else reports.
fn progress(wish: &Wish, has_onlooker: bool) -> ProgressBar {
    if has_onlooker || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    progress::line(wish.events, "wakes")
}

/// When the peers are looked after, and who says what became of them.
struct Checks {
    statuses: Box<dyn PortStatuses>,
    every: Duration,
    next: Duration,
}

struct Job<'a> {
    context: &'a Context,
    checks: Option<Checks>,
    /// Channels to a port of another domain that was found gone: nothing comes there any more.
    gone: BTreeSet<usize>,
    channels: Vec<Watched>,
    places: BTreeMap<ChannelId, usize>,
    scene: &'a mut dyn Scene,
    output: &'a Output,
    stop: &'a Stop,
    onlooker: Option<Onlooker<'a>>,
    wish: Wish,
    /// Wakes so far, for each of the scene's notifiers.
    wakes: Vec<u64>,
    /// Wakes so far, for each channel that counts.
    counted: Vec<Option<u64>>,
    /// Wakes still to come.
    left: u64,
    progress: ProgressBar,
}

impl Job<'_> {
    fn run(mut self) -> Result<()> {
        for (watched, counted) in self.channels.iter().zip(&self.counted) {
            if counted.is_some() {
                let (port, remote) = (watched.channel.port(), &watched.remote);
                self.output.line(Line::Bound { port, remote });
            }
        }
        self.look_on()?;
        let mut is_late = false;
        while self.left > 0
            && !is_late
            && !self.is_deserted()
            && !self.stop.is_requested()
            && !self.output.is_over()
        {
            let timeout = self.context.next_timeout();
            let check = self.checks.as_ref().map(|checks| checks.next);
            let until = check.into_iter().chain(self.wish.timeout).min();
            let begin = self.scene.next(&self.channels, timeout, until)?;
            self.round(&begin)?;
            self.check()?;
            let deadline = self.wish.timeout;
            is_late = deadline.is_some_and(|deadline| self.output.now() >= deadline);
        }
        let (left, is_deserted) = (self.left, self.is_deserted());
        let is_short = self.wish.events.is_some() && is_late;
        let has_onlooker = self.onlooker.is_some();
        self.conclude()?;
        if left > 0 && is_deserted && !has_onlooker {
            let says = "every peer closed its end or died; `evtchn listen` there offers a new port";
            return Err(Exit::NoPeer.because(says));
        }
        if left > 0 && is_short {
            return Err(Exit::TimedOut.because(late(left)));
        }
        Ok(())
    }

    /// Lets the onlooker look. Where it has seen enough, no wake is to come any more.
    fn look_on(&mut self) -> Result<()> {
        if let Some(look) = &mut self.onlooker
            && !look()?
        {
            self.left = 0;
        }
        Ok(())
    }

    /// Whether there is no peer any more.
    fn is_deserted(&self) -> bool {
        self.gone.len() == self.channels.len()
    }

    /// Asks about the peers, if it is time. What there is to tell of them wakes their channels in
    /// the next round.
    fn check(&mut self) -> Result<()> {
        let now = self.output.now();
        if let Some(checks) = &mut self.checks
            && checks.next <= now
        {
            checks.next = now + checks.every;
            self.context.check_peers_with(&*checks.statuses)?;
        }
        Ok(())
    }

    /// One round of dispatch. Waits are begun inside it, so that they are unmasked together.
    fn round(&mut self, begin: &[usize]) -> Result<()> {
        let budget = usize::try_from(self.left).unwrap_or(usize::MAX);
        let budget = budget.min(Round::<Loop>::BUDGET);
        let mut round = self.context.dispatch_at_most(budget)?;
        for &which in begin {
            self.wait(which)?;
        }
        while self.left > 0
            && let Some(wake) = round.next()
        {
            if let Some(&which) = self.places.get(&wake.channel)
                && self.woke(which, wake.cause)? == Then::WaitAgain
            {
                self.wait(which)?;
            }
        }
        round.finish()?;
        Ok(())
    }

    /// Waits for a channel, unless that was the last wake.
    fn wait(&self, which: usize) -> Result<()> {
        if self.left > 0 {
            self.channels[which].channel.wait()?;
        }
        Ok(())
    }

    /// Reports a wake and looks at what it was about.
    fn woke(&mut self, which: usize, cause: Cause) -> Result<Then> {
        let Watched {
            channel,
            remote,
            notifier,
            ..
        } = &self.channels[which];
        let port = channel.port();
        self.wakes[*notifier] += 1;
        if let Some(wakes) = &mut self.counted[which] {
            self.output.line(Line::Wake {
                port,
                remote,
                cause,
            });
            *wakes += 1;
            // Nobody has sent these.
            if !matches!(cause, Cause::PeerGone | Cause::PeerConnected) {
                self.left -= 1;
                self.progress.inc(1);
            }
            // A round may have many more wakes than the user has patience.
            if let Some(exec) = &mut self.wish.exec
                && !self.stop.is_requested()
            {
                self.output.flush();
                exec.run(port, remote, cause_name(cause), *wakes)?;
            }
        }
        self.look_on()?;
        let channel = &self.channels[which].channel;
        match cause {
            // The end of the round says what became of the device.
            Cause::Gone => Ok(Then::Rest),
            Cause::PeerGone => {
                if matches!(self.channels[which].end, End::Remote(_)) {
                    self.gone.insert(which);
                }
                self.scene.look(which, channel, cause)
            }
            Cause::Event | Cause::Overflow | Cause::PeerConnected | Cause::Adopted | _ => {
                self.gone.remove(&which);
                self.scene.look(which, channel, cause)
            }
        }
    }

    /// Takes everything down in order: waits, channels, their other ends, the device.
    fn conclude(self) -> Result<()> {
        self.progress.finish_and_clear();
        for Watched { channel, .. } in &self.channels {
            channel.cancel().context("cannot end a wait")?;
        }
        for Watched { mut channel, .. } in self.channels {
            channel.unbind()?;
        }
        self.scene.end()?;
        self.context.teardown()?;
        let notifiers = self.scene.notifiers().into_iter().zip(self.wakes);
        let summary = Summary {
            tallies: notifiers
                .map(|(Notifier { name, sent }, wakes)| Tally {
                    name,
                    notifies: sent,
                    wakes,
                })
                .collect(),
            ran: self.wish.exec.as_ref().map(Exec::ran),
            stats: self.context.stats(),
            is_closed: self.context.link() == Link::Closed,
        };
        self.output.summary(&summary, Summary::object);
        self.output.finish().context("cannot write the output")
    }
}
