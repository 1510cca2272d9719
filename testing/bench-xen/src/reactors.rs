//! This library on third-party event loops.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use anyhow::{Context as _, Result};
use evtchn::{
    Channel, Context, NewLoop, Port, Registrar, Wakes, async_io::AsyncIoRegistrar,
    mio::MioRegistrar, polling::PollingRegistrar, tokio::TokioRegistrar, xen::XenOpen,
};
use polling::{Events, Poller};
use tokio::{sync::Notify, task::JoinSet};

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

/// Wakes as values, on mio.
#[derive(Debug)]
pub(crate) struct Mio {
    poll: mio::Poll,
    events: mio::Events,
    ctx: Context<MioRegistrar>,
    channels: Channels<MioRegistrar>,
    tally: Arc<Tally>,
}

impl Mio {
    pub(crate) fn new(channels: usize) -> Result<(Mio, Arc<Tally>)> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0))?);
        let event_loop = MioRegistrar::new(poll.registry(), mio::Token(1), waker)?;
        let ctx = Context::with_registrar(XenOpen::default(), event_loop);
        let channels = Channels::new(&ctx, channels)?;
        channels.wait(&ctx)?;
        let tally = channels.tally();
        let scene = Mio {
            poll,
            events: mio::Events::with_capacity(8),
            ctx,
            channels,
            tally: Arc::clone(&tally),
        };
        Ok((scene, tally))
    }
}

impl Scene for Mio {
    fn notify(&self, index: usize) -> Result<()> {
        self.channels.notify(index)
    }

    async fn handle(&mut self, total: usize) -> Result<()> {
        while self.tally.total() < total {
            self.poll.poll(&mut self.events, self.ctx.next_timeout())?;
            let mut round = self.ctx.dispatch()?;
            for wake in &mut round {
                self.tally.count(wake.port().as_raw());
            }
            round.finish()?;
        }
        Ok(())
    }
}

/// Plays on async-io, whose reactor this thread runs.
pub(crate) fn on_async_io(plan: &Plan) -> Result<Cost> {
    async_io::block_on(async {
        plan.on(Streamed::<AsyncIoRegistrar>::new(plan.channels)?)
            .await
    })
}

/// Plays in a runtime of tokio on this thread.
pub(crate) fn on_tokio(plan: &Plan) -> Result<Cost> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().build()?;
    runtime.block_on(async {
        plan.on(Streamed::<TokioRegistrar>::new(plan.channels)?)
            .await
    })
}

/// One task with a stream of the wakes of every channel.
#[derive(Debug)]
struct Streamed<R: Registrar> {
    _ctx: Context<R>,
    wakes: Wakes<R>,
    channels: Channels<R>,
    tally: Arc<Tally>,
}

impl<R: NewLoop> Streamed<R> {
    fn new(channels: usize) -> Result<(Streamed<R>, Arc<Tally>)> {
        let ctx = Context::<R>::new(XenOpen::default())?;
        let channels = Channels::new(&ctx, channels)?;
        let mut wakes = ctx.wakes();
        for our in &channels.ours {
            wakes.add(our.id())?;
        }
        let tally = channels.tally();
        let scene = Streamed {
            _ctx: ctx,
            wakes,
            channels,
            tally: Arc::clone(&tally),
        };
        Ok((scene, tally))
    }
}

impl<R: Registrar> Scene for Streamed<R> {
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

/// How a task waits for its channel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    /// By a stream, whose wait stands.
    Stream,
    /// By a future for each wake.
    Future,
}

/// Plays in a runtime of tokio on this thread, with a task for each channel.
pub(crate) fn on_tokio_tasks(plan: &Plan, waiting: Waiting) -> Result<Cost> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().build()?;
    runtime.block_on(async { plan.on(Tasks::new(plan.channels, waiting)?).await })
}

/// A task for each channel.
#[derive(Debug)]
struct Tasks {
    _ctx: Context<TokioRegistrar>,
    theirs: Vec<Channel<TokioRegistrar>>,
    shared: Arc<Shared>,
    _tasks: JoinSet<Result<()>>,
}

/// What the tasks share with the one that notifies.
#[derive(Debug)]
struct Shared {
    tally: Arc<Tally>,
    /// How many deliveries there will be in all when this is over.
    total: AtomicUsize,
    over: Notify,
}

impl Shared {
    fn count(&self, port: Port) {
        self.tally.count(port.as_raw());
        if self.tally.total() == self.total.load(Ordering::Relaxed) {
            self.over.notify_one();
        }
    }
}

impl Tasks {
    fn new(channels: usize, waiting: Waiting) -> Result<(Tasks, Arc<Tally>)> {
        let ctx = Context::<TokioRegistrar>::new(XenOpen::default())?;
        let channels = Channels::new(&ctx, channels)?;
        let tally = channels.tally();
        let shared = Arc::new(Shared {
            tally: Arc::clone(&tally),
            total: AtomicUsize::new(0),
            over: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        let (ours, theirs) = channels.into_ends();
        for our in ours {
            let shared = Arc::clone(&shared);
            match waiting {
                Waiting::Stream => tasks.spawn(stream(our, shared)),
                Waiting::Future => tasks.spawn(future(our, shared)),
            };
        }
        let scene = Tasks {
            _ctx: ctx,
            theirs,
            shared,
            _tasks: tasks,
        };
        Ok((scene, tally))
    }
}

async fn stream(our: Channel<TokioRegistrar>, shared: Arc<Shared>) -> Result<()> {
    let mut wakes = our.wakes()?;
    while let Some(wake) = wakes.next().await {
        shared.count(wake?.port());
    }
    Ok(())
}

async fn future(our: Channel<TokioRegistrar>, shared: Arc<Shared>) -> Result<()> {
    while !our.woken().await?.is_end() {
        shared.count(our.port());
    }
    Ok(())
}

impl Scene for Tasks {
    fn notify(&self, index: usize) -> Result<()> {
        Ok(self.theirs[index].notify()?)
    }

    async fn handle(&mut self, total: usize) -> Result<()> {
        self.shared.total.store(total, Ordering::Relaxed);
        if self.shared.tally.total() < total {
            self.shared.over.notified().await;
        }
        Ok(())
    }
}
