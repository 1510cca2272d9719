//! Tasks on `async-io`.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::future::Future;

use crate::tasks::{Opener, Runtime as _, cases};
use evtchn_core::Context;
use evtchn_loops::AsyncIoRegistrar;

struct AsyncIo;

impl AsyncIo {
    fn all() -> [AsyncIo; 1] {
        [AsyncIo]
    }
}

impl crate::tasks::Runtime for AsyncIo {
    type Loop = AsyncIoRegistrar;

    fn context(opener: Opener) -> Context<AsyncIoRegistrar> {
        Context::new(opener).unwrap()
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        async_io::block_on(future)
    }

    async fn called(event_loop: &AsyncIoRegistrar) {
        event_loop.called().await;
    }
}

cases!(AsyncIo);

#[test]
fn an_adapter_that_the_program_makes_drives_its_context() {
    let event_loop = AsyncIoRegistrar::new();
    AsyncIo.block_on(
        crate::tasks::an_adapter_of_the_program_drives_the_context::<AsyncIo>(event_loop),
    );
}
