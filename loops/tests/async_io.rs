//! Tasks on `async-io`.

use std::future::Future;

use crate::tasks::{Opener, Runtime as _, cases};
use evtchn_core::Context;
use evtchn_loops::AsyncIoLoop;

struct AsyncIo;

impl AsyncIo {
    fn all() -> [AsyncIo; 1] {
        [AsyncIo]
    }
}

impl crate::tasks::Runtime for AsyncIo {
    type Loop = AsyncIoLoop;

    fn context(opener: Opener) -> Context<Opener, AsyncIoLoop> {
        AsyncIoLoop::context(opener)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        async_io::block_on(future)
    }

    async fn called(event_loop: &AsyncIoLoop) {
        event_loop.called().await;
    }
}

cases!(AsyncIo);

#[test]
fn an_adapter_without_its_context_registers_nothing() {
    let event_loop = AsyncIoLoop::new();
    AsyncIo.block_on(crate::tasks::without_its_context_nothing_is_registered::<
        AsyncIo,
    >(event_loop));
}
