//! The loops that have a `sleep` of their own: poll(2) in one call, `polling`, `mio`.

use std::error::Error;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use evtchn_loops::{MioRegistrar, PollingRegistrar};
use evtchn_xen::PollLoop;
use mio::{Token, Waker};
use polling::Poller;

use super::device::Backend;
use super::rig::{AttachedOf, ContextOf, Each, Rig, Taste, dispatch, epoll_has, sleep_of};

/// `evtchn_xen::PollLoop`.
pub(crate) struct OnPollLoop<B: Backend> {
    poll_loop: PollLoop,
    attached: Vec<AttachedOf<B, Self>>,
}

impl<B: Backend> Rig<B> for OnPollLoop<B> {
    type Adapter = PollLoop;

    const NAME: &'static str = "poll_loop";
    const WATCHES_ONE: bool = true;

    fn new() -> Self {
        OnPollLoop {
            poll_loop: PollLoop::new().unwrap(),
            attached: Vec::new(),
        }
    }

    fn adapter(&mut self) -> PollLoop {
        self.poll_loop.clone()
    }

    fn attach(&mut self, context: &Arc<ContextOf<B, Self>>, taste: Taste) {
        self.attached
            .push(AttachedOf::<B, Self>::new(context, taste));
    }

    fn detach(&mut self) {
        self.attached.clear();
    }

    fn turn(
        &mut self,
        timeout: Duration,
        each: &mut Each<B, Self>,
    ) -> Result<bool, Box<dyn Error>> {
        let sleep = sleep_of(&self.attached, timeout);
        let readiness = self.poll_loop.wait(Some(sleep))?;
        let is_ready = readiness.ready || readiness.woken;
        dispatch::<B, Self>(&self.attached, |_| is_ready, each)
    }

    fn watches(&self, _: RawFd) -> bool {
        let counters = self.poll_loop.counters();
        counters.registers > counters.deregisters
    }
}

/// The `polling` crate.
pub(crate) struct OnPolling<B: Backend> {
    poller: Arc<Poller>,
    events: polling::Events,
    adapters: usize,
    attached: Vec<AttachedOf<B, Self>>,
}

impl<B: Backend> Rig<B> for OnPolling<B> {
    type Adapter = PollingRegistrar;

    const NAME: &'static str = "polling";

    fn new() -> Self {
        OnPolling {
            poller: Arc::new(Poller::new().unwrap()),
            events: polling::Events::new(),
            adapters: 0,
            attached: Vec::new(),
        }
    }

    fn adapter(&mut self) -> PollingRegistrar {
        self.adapters += 1;
        PollingRegistrar::new(Arc::clone(&self.poller), self.adapters).unwrap()
    }

    fn attach(&mut self, context: &Arc<ContextOf<B, Self>>, taste: Taste) {
        self.attached
            .push(AttachedOf::<B, Self>::new(context, taste));
    }

    fn detach(&mut self) {
        self.attached.clear();
    }

    fn turn(
        &mut self,
        timeout: Duration,
        each: &mut Each<B, Self>,
    ) -> Result<bool, Box<dyn Error>> {
        let sleep = sleep_of(&self.attached, timeout);
        self.events.clear();
        self.poller.wait(&mut self.events, Some(sleep))?;
        dispatch::<B, Self>(&self.attached, |it| it.is_ready(&self.events), each)
    }

    fn watches(&self, fd: RawFd) -> bool {
        epoll_has(&*self.poller, fd)
    }
}

/// The `mio` crate.
pub(crate) struct OnMio<B: Backend> {
    poll: mio::Poll,
    waker: Arc<Waker>,
    events: mio::Events,
    adapters: usize,
    attached: Vec<AttachedOf<B, Self>>,
}

const WAKER: Token = Token(0);

impl<B: Backend> Rig<B> for OnMio<B> {
    type Adapter = MioRegistrar;

    const NAME: &'static str = "mio";

    fn new() -> Self {
        let poll = mio::Poll::new().unwrap();
        OnMio {
            waker: Arc::new(Waker::new(poll.registry(), WAKER).unwrap()),
            poll,
            events: mio::Events::with_capacity(8),
            adapters: 0,
            attached: Vec::new(),
        }
    }

    fn adapter(&mut self) -> MioRegistrar {
        self.adapters += 1;
        let token = Token(self.adapters);
        MioRegistrar::new(self.poll.registry(), token, Arc::clone(&self.waker)).unwrap()
    }

    fn attach(&mut self, context: &Arc<ContextOf<B, Self>>, taste: Taste) {
        self.attached
            .push(AttachedOf::<B, Self>::new(context, taste));
    }

    fn detach(&mut self) {
        self.attached.clear();
    }

    fn turn(
        &mut self,
        timeout: Duration,
        each: &mut Each<B, Self>,
    ) -> Result<bool, Box<dyn Error>> {
        let sleep = sleep_of(&self.attached, timeout);
        self.poll.poll(&mut self.events, Some(sleep))?;
        dispatch::<B, Self>(&self.attached, |it| it.is_ready(&self.events), each)
    }

    fn watches(&self, fd: RawFd) -> bool {
        epoll_has(&self.poll, fd)
    }
}
