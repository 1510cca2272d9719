//! This library on its own loop: by values, one after the other or in batches, and by callbacks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use evtchn::{
    AfterHandler, Channel, ChannelId, Context, DomId, Handlers, Notifier, Outcome, Registrar,
    RemotePort, WakeBuf,
    poll::PollLoop,
    xen::{Multicall, XenOpen},
};

use crate::{play::Scene, tally::Tally};

/// Both ends of every channel, in one context.
#[derive(Debug)]
pub(crate) struct Channels<R: Registrar> {
    pub(crate) ours: Vec<Channel<R>>,
    theirs: Vec<Channel<R>>,
}

impl<R: Registrar> Channels<R> {
    /// Binds them. The B ends have no wait, so their events stay latched.
    pub(crate) fn new(ctx: &Context<R>, channels: usize) -> Result<Channels<R>> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..channels {
            let our = ctx.bind_unbound_port(DomId::DOM0)?;
            let remote = RemotePort {
                domid: DomId::DOM0,
                port: our.port(),
            };
            theirs.push(ctx.bind_interdomain(remote)?);
            ours.push(our);
        }
        Ok(Channels { ours, theirs })
    }

    pub(crate) fn notify(&self, index: usize) -> Result<()> {
        Ok(self.theirs[index].notify()?)
    }

    /// A handle on each B, for other threads.
    pub(crate) fn notifiers(&self) -> impl Iterator<Item = Notifier> {
        self.theirs.iter().map(Channel::notifier)
    }

    /// The A ends and the B ends.
    pub(crate) fn into_ends(self) -> (Vec<Channel<R>>, Vec<Channel<R>>) {
        (self.ours, self.theirs)
    }

    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::new(Tally::new(self.ours.iter().map(Channel::port).collect()))
    }

    /// Waits for every A of this context.
    pub(crate) fn wait(&self, ctx: &Context<R>) -> Result<()> {
        for our in &self.ours {
            our.wait_each()?;
            let has_wake = ctx.next_timeout().is_some();
            anyhow::ensure!(!has_wake, "{} fired by itself", our.port());
        }
        Ok(())
    }
}

/// A context that turns on a [`PollLoop`].
#[derive(Debug)]
pub(crate) struct Looped {
    pub(crate) event_loop: PollLoop,
    ctx: Context<PollLoop>,
    pub(crate) channels: Channels<PollLoop>,
    tally: Arc<Tally>,
    taking: Taking,
    /// How the last round ended.
    outcome: Outcome,
    /// The B ends, if they are notified in one call.
    batch: Vec<ChannelId>,
}

/// How wakes are taken.
#[derive(Debug)]
enum Taking {
    /// As values, one after the other.
    Each,
    /// As values, in batches.
    Batches(WakeBuf),
    Callbacks,
}

impl Looped {
    /// Wakes as values, one after the other.
    pub(crate) fn each(channels: usize) -> Result<(Looped, Arc<Tally>)> {
        Looped::new(channels, Taking::Each)
    }

    /// Wakes as values, in batches.
    pub(crate) fn batches(channels: usize) -> Result<(Looped, Arc<Tally>)> {
        Looped::new(channels, Taking::Batches(WakeBuf::default()))
    }

    /// Wakes as values, and many notifies in one call.
    pub(crate) fn many(channels: usize) -> Result<(Looped, Arc<Tally>)> {
        let opener = XenOpen::default().multicall(Multicall::WherePv);
        let (mut scene, tally) = Looped::on(opener, channels, Taking::Batches(WakeBuf::default()))?;
        scene.batch = scene.channels.theirs.iter().map(Channel::id).collect();
        Ok((scene, tally))
    }

    /// A callback per channel.
    pub(crate) fn callbacks(channels: usize) -> Result<(Looped, Arc<Tally>)> {
        let (scene, tally) = Looped::new(channels, Taking::Callbacks)?;
        for our in &scene.channels.ours {
            let tally = Arc::clone(&tally);
            our.set_callback(move |wake| tally.count(wake.port().as_raw()))?;
        }
        Ok((scene, tally))
    }

    fn new(channels: usize, taking: Taking) -> Result<(Looped, Arc<Tally>)> {
        Looped::on(XenOpen::default(), channels, taking)
    }

    fn on(opener: XenOpen, channels: usize, taking: Taking) -> Result<(Looped, Arc<Tally>)> {
        let event_loop = PollLoop::new()?;
        let ctx = Context::with_registrar(opener, event_loop.clone());
        let channels = Channels::new(&ctx, channels)?;
        channels.wait(&ctx)?;
        let tally = channels.tally();
        let scene = Looped {
            event_loop,
            ctx,
            channels,
            tally: Arc::clone(&tally),
            taking,
            outcome: Outcome::Done,
            batch: Vec::new(),
        };
        Ok((scene, tally))
    }

    /// Sleeps until something has come, handles what there is, and waits again.
    pub(crate) fn turn(&mut self) -> Result<()> {
        match &mut self.taking {
            Taking::Each => {
                let mut round = self.ctx.next_round()?;
                for wake in &mut round {
                    self.tally.count(wake.port().as_raw());
                }
                round.finish()?;
            }
            Taking::Batches(buf) => {
                let mut round = self.ctx.next_round()?;
                while let wakes @ [_, ..] = round.fill(buf) {
                    for wake in wakes {
                        self.tally.count(wake.port().as_raw());
                    }
                }
                round.finish()?;
            }
            Taking::Callbacks => {
                let timeout = match self.outcome {
                    Outcome::Done => None,
                    Outcome::More => Some(Duration::ZERO),
                };
                self.event_loop.wait(timeout)?;
                self.outcome = self.ctx.dispatch_callbacks()?;
            }
        }
        Ok(())
    }
}

impl Scene for Looped {
    fn notify(&self, index: usize) -> Result<()> {
        self.channels.notify(index)
    }

    fn notify_all(&self, count: usize) -> Result<()> {
        match self.batch.get(..count) {
            Some(batch) => Ok(self.ctx.notify_many(batch)?),
            None => (0..count).try_for_each(|index| self.notify(index)),
        }
    }

    async fn handle(&mut self, total: usize) -> Result<()> {
        while self.tally.total() < total {
            self.turn()?;
        }
        Ok(())
    }
}

/// Rounds with a handler for each channel, whose ports are unmasked when the handlers have returned.
pub(crate) struct Handled {
    event_loop: PollLoop,
    _ctx: Context<PollLoop>,
    handlers: Handlers<PollLoop>,
    channels: Channels<PollLoop>,
    tally: Arc<Tally>,
    begun: Instant,
}

impl Handled {
    pub(crate) fn new(channels: usize) -> Result<(Handled, Arc<Tally>)> {
        let event_loop = PollLoop::new()?;
        let ctx = Context::with_registrar(XenOpen::default(), event_loop.clone());
        let channels = Channels::new(&ctx, channels)?;
        let tally = channels.tally();
        let mut handlers = ctx.handlers();
        for our in &channels.ours {
            let tally = Arc::clone(&tally);
            let count = move |call: &mut evtchn::Call| tally.count(call.wake().port().as_raw());
            handlers.add(our.id(), AfterHandler, count)?;
        }
        let scene = Handled {
            event_loop,
            _ctx: ctx,
            handlers,
            channels,
            tally: Arc::clone(&tally),
            begun: Instant::now(),
        };
        Ok((scene, tally))
    }
}

impl Scene for Handled {
    fn notify(&self, index: usize) -> Result<()> {
        self.channels.notify(index)
    }

    async fn handle(&mut self, total: usize) -> Result<()> {
        while self.tally.total() < total {
            let timeout = self.handlers.next_timeout(self.begun.elapsed());
            self.event_loop.wait(timeout)?;
            self.handlers.round(self.begun.elapsed())?;
        }
        Ok(())
    }
}
