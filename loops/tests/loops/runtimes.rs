//! The async runtimes that have an adapter.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::task::{Context as Cx, Poll};
use std::time::Duration;

use async_io::{Async, Timer};
use evtchn_loops::{AsyncIoRegistrar, TokioRegistrar};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Builder;

use super::device::Backend;
use super::on_tasks::Runtime;

/// tokio, whose reactor turns on one thread or on one of two others.
pub(crate) struct Tokio<const HAS_THREADS: bool>(tokio::runtime::Runtime);

impl<B: Backend, const HAS_THREADS: bool> Runtime<B> for Tokio<HAS_THREADS> {
    type Loop = TokioRegistrar;
    type Bell = Receiver;

    const NAME: &'static str = if HAS_THREADS {
        "tokio_threads"
    } else {
        "tokio"
    };
    const TURNS_ALONE: bool = HAS_THREADS;
    const ENDS_WAITS: bool = true;

    fn start() -> Self {
        let mut builder = if HAS_THREADS {
            Builder::new_multi_thread()
        } else {
            Builder::new_current_thread()
        };
        let runtime = builder.worker_threads(2).enable_all().build();
        Tokio(runtime.unwrap())
    }

    fn event_loop(&self) -> TokioRegistrar {
        TokioRegistrar::with_handle(self.0.handle().clone())
    }

    fn called(event_loop: &TokioRegistrar) -> impl Future<Output = ()> {
        event_loop.called()
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    async fn timer(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn bell(&self, pipe: OwnedFd) -> Self::Bell {
        let _inside = self.0.enter();
        Receiver::from_owned_fd(pipe).unwrap()
    }

    fn poll_rung(bell: &mut Self::Bell, cx: &mut Cx<'_>) -> Poll<()> {
        let mut rung = Poll::Pending;
        while let Poll::Ready(ready) = bell.poll_read_ready(cx) {
            ready.unwrap();
            while matches!(bell.try_read(&mut [0; 8]), Ok(1..)) {
                rung = Poll::Ready(());
            }
        }
        rung
    }
}

/// `async-io`, which has a reactor for the whole process, and a thread for it.
pub(crate) struct AsyncIo;

impl<B: Backend> Runtime<B> for AsyncIo {
    type Loop = AsyncIoRegistrar;
    type Bell = Async<OwnedFd>;

    const NAME: &'static str = "async_io";
    const TURNS_ALONE: bool = true;
    const ONE_FOR_ALL: bool = true;

    fn start() -> Self {
        AsyncIo
    }

    fn event_loop(&self) -> AsyncIoRegistrar {
        AsyncIoRegistrar::new()
    }

    fn called(event_loop: &AsyncIoRegistrar) -> impl Future<Output = ()> {
        event_loop.called()
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        async_io::block_on(future)
    }

    async fn timer(duration: Duration) {
        Timer::after(duration).await;
    }

    fn bell(&self, pipe: OwnedFd) -> Self::Bell {
        Async::new(pipe).unwrap()
    }

    fn poll_rung(bell: &mut Self::Bell, cx: &mut Cx<'_>) -> Poll<()> {
        let mut rung = Poll::Pending;
        while let Poll::Ready(ready) = bell.poll_readable(cx) {
            ready.unwrap();
            while matches!(rustix::io::read(bell.get_ref(), &mut [0; 8]), Ok(1..)) {
                rung = Poll::Ready(());
            }
        }
        rung
    }
}
