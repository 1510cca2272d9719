//! The cases, played on any implementation, and what they cost.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    library, raw,
    reactors::{self, Waiting},
    tally::Tally,
};

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Notify one channel, wait for it, unmask it
    Pingpong,
    /// Notify all, then handle all and unmask them
    Burst,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Implementation {
    /// This library, wakes as values in batches, on `PollLoop`
    Evtchn,
    /// This library, wakes as values one after the other, on `PollLoop`
    EvtchnEach,
    /// This library, all notifies of a burst in one call, wakes as values, on `PollLoop`
    EvtchnMany,
    /// This library, wakes to callbacks, on `PollLoop`
    EvtchnCallback,
    /// This library, wakes to handlers under a policy, on `PollLoop`
    EvtchnHandlers,
    /// This library, wakes as values, on mio
    EvtchnMio,
    /// This library, wakes as values, on the crate `polling`
    EvtchnPolling,
    /// This library, one stream of all wakes, on async-io
    EvtchnAsyncIo,
    /// This library, one stream of all wakes, on tokio
    EvtchnTokio,
    /// This library, a task with a stream for each channel, on tokio
    EvtchnTokioStreams,
    /// This library, a task with a future for each wake for each channel, on tokio
    EvtchnTokioFutures,
    /// A loop by hand: a read that blocks, one write
    Raw,
    /// The same with a poll in front
    Rawpoll,
}

/// One run.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    #[arg(value_enum)]
    implementation: Implementation,
    #[arg(value_enum)]
    case: Case,
    /// Number of channels
    pub(crate) channels: usize,
    /// Number of rounds that count
    rounds: u32,
    /// Write a line before the rounds that count and one after them, which mark them in a trace
    #[arg(long)]
    marks: bool,
}

/// What stands around that part of a trace that counts.
pub(crate) const BEGIN: &str = "begin";
pub(crate) const END: &str = "end";

/// Rounds before the counted ones, so that every buffer has grown and every page is mapped.
const WARM_UP: u32 = 2;

/// One implementation with its channels, every waiter waiting.
pub(crate) trait Scene {
    /// Sets `A[index]` pending.
    fn notify(&self, index: usize) -> Result<()>;

    /// Sets the first `count` of them pending.
    fn notify_all(&self, count: usize) -> Result<()> {
        (0..count).try_for_each(|index| self.notify(index))
    }

    /// Waits until so many deliveries were counted in all, and each port is unmasked.
    async fn handle(&mut self, total: usize) -> Result<()>;
}

/// What the rounds cost together.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    notify: Duration,
    drain: Duration,
    total: Duration,
}

impl Plan {
    /// Plays it and prints a line per part: implementation, case, channels, part, cost per event.
    pub(crate) fn run(&self) -> Result<()> {
        let is_pair = self.case == Case::Pingpong;
        ensure!(
            !is_pair || self.channels == 1,
            "ping-pong is on one channel"
        );
        ensure!(self.rounds > 0 && self.channels > 0, "nothing to measure");
        let cost = match self.implementation {
            Implementation::Evtchn => finished(self.on(library::Looped::batches(self.channels)?))?,
            Implementation::EvtchnEach => finished(self.on(library::Looped::each(self.channels)?))?,
            Implementation::EvtchnMany => finished(self.on(library::Looped::many(self.channels)?))?,
            Implementation::EvtchnCallback => {
                finished(self.on(library::Looped::callbacks(self.channels)?))?
            }
            Implementation::EvtchnHandlers => {
                finished(self.on(library::Handled::new(self.channels)?))?
            }
            Implementation::EvtchnMio => finished(self.on(reactors::Mio::new(self.channels)?))?,
            Implementation::EvtchnAsyncIo => reactors::on_async_io(self)?,
            Implementation::EvtchnPolling => {
                finished(self.on(reactors::Polling::new(self.channels)?))?
            }
            Implementation::EvtchnTokio => reactors::on_tokio(self)?,
            Implementation::EvtchnTokioStreams => reactors::on_tokio_tasks(self, Waiting::Stream)?,
            Implementation::EvtchnTokioFutures => reactors::on_tokio_tasks(self, Waiting::Future)?,
            Implementation::Raw => finished(self.on(raw::Raw::new(self.channels, false)?))?,
            Implementation::Rawpoll => finished(self.on(raw::Raw::new(self.channels, true)?))?,
        };
        self.print(&cost);
        Ok(())
    }

    /// Plays it with an implementation that was set up.
    pub(crate) async fn on<S: Scene>(
        &self,
        (mut scene, tally): (S, impl AsRef<Tally>),
    ) -> Result<Cost> {
        let tally = tally.as_ref();
        match self.case {
            Case::Pingpong => self.ping_pong(&mut scene, tally).await,
            Case::Burst => self.burst(&mut scene, tally).await,
        }
    }

    /// The clock is read twice in all: a reading is no small part of a round trip.
    async fn ping_pong(&self, scene: &mut impl Scene, tally: &Tally) -> Result<Cost> {
        let mut begun = Instant::now();
        for round in 0..WARM_UP + self.rounds {
            if round == WARM_UP {
                self.mark(BEGIN);
                begun = Instant::now();
            }
            scene.notify(0)?;
            scene.handle(round as usize + 1).await?;
            ensure!(tally.total() == round as usize + 1, "a wake too many");
        }
        let total = begun.elapsed();
        self.mark(END);
        tally.check(WARM_UP + self.rounds)?;
        Ok(Cost {
            total,
            ..Cost::default()
        })
    }

    async fn burst(&self, scene: &mut impl Scene, tally: &Tally) -> Result<Cost> {
        let mut cost = Cost::default();
        for round in 1..=WARM_UP + self.rounds {
            if round == WARM_UP + 1 {
                self.mark(BEGIN);
            }
            let begun = Instant::now();
            scene.notify_all(self.channels)?;
            let notified = Instant::now();
            scene.handle(round as usize * self.channels).await?;
            let handled = Instant::now();
            tally.check(round)?;
            if round > WARM_UP {
                cost.notify += notified - begun;
                cost.drain += handled - notified;
                cost.total += handled - begun;
            }
        }
        self.mark(END);
        Ok(cost)
    }

    fn mark(&self, line: &str) {
        if self.marks {
            println!("{line}");
        }
    }

    fn print(&self, cost: &Cost) {
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value()
                .map(|value| value.get_name().to_owned())
                .unwrap_or_default()
        };
        let implementation = name(&|| self.implementation.to_possible_value());
        let case = name(&|| self.case.to_possible_value());
        let parts = match self.case {
            Case::Pingpong => &[("total", cost.total)][..],
            Case::Burst => &[
                ("total", cost.total),
                ("drain", cost.drain),
                ("notify", cost.notify),
            ],
        };
        let events = f64::from(self.rounds) * self.channels as f64;
        for (part, cost) in parts {
            let per_event = cost.as_secs_f64() * 1e9 / events;
            println!(
                "{implementation} {case} {} {part} {per_event:.1}",
                self.channels
            );
        }
    }
}

/// The outcome of a future that waits for nothing but system calls that block.
fn finished<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => bail!("an implementation without a reactor waits for one"),
    }
}
