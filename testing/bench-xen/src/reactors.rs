//! This library on third-party event loops.

use std::{future::poll_fn, sync::Arc, task::Poll};

use anyhow::{Context as _, Result};
use evtchn::{Context, Wakes, polling::PollingRegistrar, tokio::TokioRegistrar, xen::XenOpen};
use polling::{Events, Poller};

use crate::{
    library::Channels,
    play::{Cost, Plan, Scene},
    tally::Tally,
};

/// Wakes as values, on the crate `polling`.
#[derive(Debug)]
pub(crate) struct Polling {
    poller: Arc<Poller>,
    events: Events,
    ctx: Context<PollingRegistrar>,
    channels: Channels<PollingRegistrar>,
    tally: Arc<Tally>,
}

impl Polling {
    pub(crate) fn new(channels: usize) -> Result<(Polling, Arc<Tally>)> {
        let poller = Arc::new(Poller::new()?);
        let event_loop = PollingRegistrar::new(Arc::clone(&poller), 0)?;
        let ctx = Context::with_registrar(XenOpen::default(), event_loop);
        let channels = Channels::new(&ctx, channels)?;
        channels.wait(&ctx)?;
        let tally = channels.tally();
        let scene = Polling {
            poller,
            events: Events::new(),
            ctx,
            channels,
            tally: Arc::clone(&tally),
        };
        Ok((scene, tally))
    }
}

impl Scene for Polling {
    fn notify(&self, index: usize) -> Result<()> {
        self.channels.notify(index)
    }

    async fn handle(&mut self, total: usize) -> Result<()> {
        while self.tally.total() < total {
            self.events.clear();
            self.poller
                .wait(&mut self.events, self.ctx.next_timeout())?;
            let mut round = self.ctx.dispatch()?;
            for wake in &mut round {
                self.tally.count(wake.port().as_raw());
                self.ctx.wait(wake.channel)?;
            }
            round.finish()?;
        }
        Ok(())
    }
}

/// Plays in a runtime of tokio on this thread.
pub(crate) fn on_tokio(plan: &Plan) -> Result<Cost> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().build()?;
    runtime.block_on(async { plan.on(Tokio::new(plan.channels)?).await })
}

/// One task with a stream of the wakes of every channel.
#[derive(Debug)]
struct Tokio {
    _ctx: Context<TokioRegistrar>,
    wakes: Wakes<TokioRegistrar>,
    channels: Channels<TokioRegistrar>,
    tally: Arc<Tally>,
}

impl Tokio {
    fn new(channels: usize) -> Result<(Tokio, Arc<Tally>)> {
        let ctx = Context::<TokioRegistrar>::new(XenOpen::default())?;
        let channels = Channels::new(&ctx, channels)?;
        let mut wakes = ctx.wakes();
        for our in &channels.ours {
            wakes.add(our.id())?;
        }
        let tally = channels.tally();
        let scene = Tokio {
            _ctx: ctx,
            wakes,
            channels,
            tally: Arc::clone(&tally),
        };
        Ok((scene, tally))
    }
}

impl Scene for Tokio {
    fn notify(&self, index: usize) -> Result<()> {
        self.channels.notify(index)
    }

    async fn handle(&mut self, total: usize) -> Result<()> {
        while self.tally.total() < total {
            let wake = self.wakes.next().await.context("the stream ended")??;
            self.tally.count(wake.port().as_raw());
        }
        // The ports are unmasked when the stream has nothing left.
        let next = poll_fn(|cx| Poll::Ready(self.wakes.poll_wake(cx))).await;
        anyhow::ensure!(next.is_pending(), "a wake too many");
        Ok(())
    }
}
