//! The `calloop` crate, which sleeps and dispatches in one call.

use std::cell::Cell;
use std::error::Error;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use calloop::{
    EventLoop, EventSource, Poll, PostAction, Readiness, RegistrationToken, Token, TokenFactory,
};
use evtchn_core::Wake;
use evtchn_loops::{CalloopRegistrar, CalloopSource};

use super::device::Backend;
use super::rig::{ContextOf, Each, LoopOf, Rig, Taste, epoll_has};

pub(crate) struct OnCalloop<B: Backend> {
    event_loop: EventLoop<'static, Each<B, Self>>,
    adapters: Vec<CalloopRegistrar>,
    sources: Vec<RegistrationToken>,
    processed: Rc<Cell<u32>>,
}

impl<B: Backend> Rig<B> for OnCalloop<B> {
    type Adapter = CalloopRegistrar;

    const NAME: &'static str = "calloop";

    fn new() -> Self {
        OnCalloop {
            event_loop: EventLoop::try_new().unwrap(),
            adapters: Vec::new(),
            sources: Vec::new(),
            processed: Rc::default(),
        }
    }

    fn adapter(&mut self) -> CalloopRegistrar {
        let adapter = CalloopRegistrar::new().unwrap();
        self.adapters.push(adapter.clone());
        adapter
    }

    fn attach(&mut self, context: &Arc<ContextOf<B, Self>>, taste: Taste) {
        let adapter = &context.registrar().adapter;
        let mut source = CalloopSource::new(ContextOf::<B, Self>::clone(context), adapter).unwrap();
        source = source.at_most(taste.at_most);
        if taste.calls {
            source = source.calling();
        }
        let counted: Counted<B> = Counted {
            source,
            processed: Rc::clone(&self.processed),
        };
        let handle = self.event_loop.handle();
        let inserted = handle.insert_source(counted, |wake, context, each| each(context, wake));
        self.sources.push(inserted.map_err(|it| it.error).unwrap());
    }

    fn detach(&mut self) {
        for source in mem::take(&mut self.sources) {
            self.event_loop.handle().remove(source);
        }
    }

    fn turn(
        &mut self,
        timeout: Duration,
        each: &mut Each<B, Self>,
    ) -> Result<bool, Box<dyn Error>> {
        let before = self.processed.get();
        self.event_loop.dispatch(timeout, each)?;
        Ok(self.processed.get() != before)
    }

    fn watches(&self, fd: RawFd) -> bool {
        let mut ours = self.adapters.iter().map(|it| it.as_fd().as_raw_fd());
        epoll_has(&self.event_loop, fd) || ours.any(|epoll| epoll_has(&epoll, fd))
    }
}

/// A source that counts how often it had something to process.
struct Counted<B: Backend> {
    source: CalloopSource<LoopOf<B, OnCalloop<B>>>,
    processed: Rc<Cell<u32>>,
}

impl<B: Backend> EventSource for Counted<B> {
    type Event = Wake;
    type Metadata = ContextOf<B, OnCalloop<B>>;
    type Ret = ();
    type Error = Box<dyn Error + Send + Sync>;

    const NEEDS_EXTRA_LIFECYCLE_EVENTS: bool = true;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        callback: F,
    ) -> Result<PostAction, Self::Error>
    where
        F: FnMut(Wake, &mut Self::Metadata),
    {
        self.processed.set(self.processed.get() + 1);
        Ok(self.source.process_events(readiness, token, callback)?)
    }

    fn register(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.source.register(poll, tokens)
    }

    fn reregister(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.source.reregister(poll, tokens)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.source.unregister(poll)
    }

    fn before_sleep(&mut self) -> calloop::Result<Option<(Readiness, Token)>> {
        self.source.before_sleep()
    }
}
