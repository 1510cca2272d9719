//! The adapters for the reactors of async runtimes.

use std::os::unix::net::UnixDatagram;

use evtchn_core::{Context, DomId, LoopError, Registrar};
use evtchn_loops::{AsyncIoRegistrar, TokioRegistrar};
use evtchn_sim::Sim;
use tokio::runtime::Builder;

use super::scenes::Forks;
use super::{Rig, fd_device, rig};

pub(crate) fn tokio_goes_on_after_a_child_dropped_the_adapter(forks: &Forks) {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let event_loop = TokioRegistrar::with_handle(runtime.handle().clone());
    let rig = rig(event_loop);
    let (rig, runtime) = forks.in_child((rig, runtime), |(rig, runtime)| {
        rig.refuse_and_drop();
        drop(runtime);
    });
    rig.fire();
    runtime.block_on(rig.ctx.registrar().called());
    rig.expect_a_wake();
}

pub(crate) fn async_io_goes_on_after_a_child_dropped_the_adapter(forks: &Forks) {
    let rig = forks.in_child(rig(AsyncIoRegistrar::new()), Rig::refuse_and_drop);
    rig.fire();
    async_io::block_on(rig.ctx.registrar().called());
    rig.expect_a_wake();
}

/// Why an adapter refuses a device that could be registered.
pub(crate) fn registers_no_device() -> LoopError {
    let opener = Sim::new(1).open(DomId::DOM0);
    let ctx = Context::with_registrar(opener, AsyncIoRegistrar::new());
    let (socket, _peer) = UnixDatagram::pair().unwrap();
    let device = fd_device::device(socket);
    ctx.registrar().register(&device).unwrap_err()
}
