//! The reactors of async runtimes. The reactor drives the context there, and a program with rounds
//! awaits `called` and then dispatches.

use std::any::Any;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io::{PipeWriter, Write, pipe};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::ptr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Cx, Poll, Wake, Waker};
use std::time::Duration;

use evtchn_core::Registrar;

use super::bench::GUARD;
use super::device::Backend;
use super::rig::{
    Attached, AttachedOf, ContextOf, Each, Rig, Taste, dispatch, epoll_has, epoll_of, sleep_of,
};

/// An async runtime and its adapter.
pub(crate) trait Runtime<B: Backend>: 'static {
    type Loop: Registrar;
    /// A pipe that the reactor has.
    type Bell: 'static;

    const NAME: &'static str;
    /// The reactor also turns while the case does something else.
    const TURNS_ALONE: bool;
    /// There is one reactor for the whole process.
    const ONE_FOR_ALL: bool = false;
    /// Waits end with an error once it is dropped.
    const ENDS_WAITS: bool = false;

    fn start() -> Self;
    fn event_loop(&self) -> Self::Loop;
    fn called(event_loop: &Self::Loop) -> impl Future<Output = ()>;
    fn block_on<F: Future>(&self, future: F) -> F::Output;
    fn timer(duration: Duration) -> impl Future<Output = ()>;
    fn bell(&self, pipe: OwnedFd) -> Self::Bell;
    /// Ready once the reactor reported bytes, all of which it takes.
    fn poll_rung(bell: &mut Self::Bell, cx: &mut Cx<'_>) -> Poll<()>;
}

pub(crate) struct OnTasks<B: Backend, T: Runtime<B>> {
    runtime: T,
    attached: Vec<AttachedOf<B, Self>>,
    /// The reactor reports this after all that was there before it rang.
    bell: T::Bell,
    rope: PipeWriter,
    epoll: RawFd,
    reads: u64,
    backend: PhantomData<B>,
}

impl<B: Backend, T: Runtime<B>> OnTasks<B, T> {
    fn contexts(&self) -> Vec<Arc<ContextOf<B, Self>>> {
        let contexts = self.attached.iter().filter_map(Attached::context);
        contexts.collect()
    }

    /// Polls a future that must not be ready.
    pub(crate) fn start<F: Future + Unpin>(&self, future: &mut F) {
        let polled = poll_fn(|cx| Poll::Ready(pin!(&mut *future).poll(cx)));
        assert!(self.runtime.block_on(polled).is_pending());
    }

    /// What the future comes to.
    pub(crate) fn soon<F: Future>(&self, future: F) -> F::Output {
        let (mut future, mut guard) = (pin!(future), pin!(T::timer(GUARD)));
        let output = self.runtime.block_on(poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            guard.as_mut().poll(cx).map(|()| None)
        }));
        output.unwrap_or_else(|| panic!("it is not woken"))
    }

    /// Lets the reactor report all that is there.
    fn catch_up(&mut self) {
        let (bell, rope) = (&mut self.bell, &mut self.rope);
        let mut has_rung = false;
        self.runtime.block_on(poll_fn(|cx| {
            let rung = T::poll_rung(bell, cx);
            // It listens first, so what it reports then is this ring.
            if !has_rung {
                assert!(rung.is_pending());
                rope.write_all(&[0]).unwrap();
                has_rung = true;
            }
            rung
        }));
    }
}

/// How often the device was read or returned an overflow.
fn reads<B: Backend, A: Rig<B>>(contexts: &[Arc<ContextOf<B, A>>]) -> u64 {
    let stats = contexts.iter().map(|context| context.stats());
    stats
        .map(|it| it.reads + it.empty_reads + it.overflows)
        .sum()
}

/// The contexts whose adapters were called; nothing is ready where none was.
fn poll_called<'a, B: Backend, T: Runtime<B>>(
    contexts: &'a [Arc<ContextOf<B, OnTasks<B, T>>>],
    cx: &mut Cx<'_>,
) -> Poll<Vec<&'a T::Loop>> {
    let adapters = contexts.iter().map(|it| &it.registrar().adapter);
    let called = adapters.filter(|it| pin!(T::called(it)).poll(cx).is_ready());
    let called: Vec<_> = called.collect();
    if called.is_empty() {
        return Poll::Pending;
    }
    Poll::Ready(called)
}

impl<B: Backend, T: Runtime<B>> Rig<B> for OnTasks<B, T> {
    type Adapter = T::Loop;

    const NAME: &'static str = T::NAME;
    const ONE_FOR_ALL: bool = T::ONE_FOR_ALL;
    const ENDS_WAITS: bool = T::ENDS_WAITS;

    fn new() -> Self {
        let runtime = T::start();
        let (reader, rope) = pipe().unwrap();
        let fd = reader.as_raw_fd();
        let bell = runtime.bell(reader.into());
        OnTasks {
            runtime,
            attached: Vec::new(),
            bell,
            rope,
            epoll: epoll_of(fd),
            reads: 0,
            backend: PhantomData,
        }
    }

    fn adapter(&mut self) -> T::Loop {
        self.runtime.event_loop()
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
        self.catch_up();
        let contexts = self.contexts();
        // An event that is not for a round calls no adapter.
        let was_read = reads::<B, Self>(&contexts) != self.reads;
        let mut timer = pin!(async {
            if !sleep.is_zero() && !was_read {
                T::timer(sleep).await;
            }
        });
        let called = self.runtime.block_on(poll_fn(|cx| {
            let called = poll_called::<B, T>(&contexts, cx);
            if called.is_pending() && timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Vec::new());
            }
            called
        }));
        let is_called = |it: &T::Loop| called.iter().any(|called| ptr::eq(*called, it));
        let any = dispatch::<B, Self>(&self.attached, is_called, each)?;
        self.reads = reads::<B, Self>(&contexts);
        Ok(any || was_read && !sleep.is_zero())
    }

    fn watches(&self, fd: RawFd) -> bool {
        epoll_has(&self.epoll, fd)
    }

    fn quiet(&self) -> Option<Box<dyn Any>> {
        if !T::TURNS_ALONE {
            return None;
        }
        let (reader, mut rope) = pipe().unwrap();
        let mut bell = self.runtime.bell(reader.into());
        let ((enter, entered), (go_on, gone_on)) = (channel(), channel());
        let gate = Waker::from(Arc::new(Gate {
            enter,
            gone_on: Mutex::new(gone_on),
        }));
        assert!(T::poll_rung(&mut bell, &mut Cx::from_waker(&gate)).is_pending());
        rope.write_all(&[0]).unwrap();
        entered.recv().unwrap();
        Some(Box::new((go_on, bell, rope)))
    }
}

/// Stops the reactor that wakes it, until the other end is dropped.
struct Gate {
    enter: Sender<()>,
    gone_on: Mutex<Receiver<()>>,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        let gone_on = self.gone_on.lock().unwrap_or_else(PoisonError::into_inner);
        let _gone = self.enter.send(());
        let _dropped = gone_on.recv();
    }
}
