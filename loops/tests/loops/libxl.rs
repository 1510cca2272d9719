//! What libxl had to fix in its event loop after release; each case is named after what happens
//! here. Two more of them are in `alone`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evtchn_core::{EventChannel, PortBuf, Registrar};

use super::bench::Bench;
use super::calls::Calls;
use super::device::Backend;
use super::rig::{Each, Rig};

/// libxl bc7e8a2a81: a callback ran for a descriptor that was deregistered meanwhile.
pub(crate) fn a_readiness_after_the_cancel_calls_no_callback<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::calling(backend);
    let ([wire, other], calls) = (bench.wires(), Calls::default());
    calls.note(&wire);
    calls.note(&other);
    wire.wait();
    bench.fire(&wire);
    wire.channel.cancel().unwrap();
    bench.expect_idle();
    // Nor does a round that another waiter causes.
    other.wait();
    bench.fire(&other);
    bench.run_until(|| !calls.list().is_empty());
    bench.expect_idle();
    assert_eq!(calls.list(), [other.port()]);
}

/// libxl 56d2350bf5: an unexpected event of the descriptor was taken for an error.
pub(crate) fn a_readiness_without_an_event_is_harmless<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let wire = bench.wire();
    wire.wait();
    for _ in 0..3 {
        // Another reader was faster.
        let quiet = bench.rig.quiet();
        bench.fire(&wire);
        let device = bench.device();
        device.pending(&mut PortBuf::with_capacity(1)).unwrap();
        drop(quiet);
        Registrar::wake(bench.context.registrar());
        bench.expect_idle();
        bench.expect_hooks(1, 0);
        device.unmask(&[wire.port()]).unwrap();
        drop(device);
        bench.fire(&wire);
        assert_eq!(bench.rewait().len(), 1);
    }
}

/// libxl 5a533d0ba5: a thread in poll did not learn of a descriptor that another thread added.
pub(crate) fn a_wait_in_another_thread_reaches_a_loop_that_sleeps<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let wire = bench.wire();
    bench.expect_hooks(0, 0);
    let fired = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&fired);
    let each: Each<B, A> = Box::new(move |_, _| noted.store(true, Ordering::Relaxed));
    let act = |peer: &B::Device| {
        wire.wait();
        peer.notify(wire.peer).unwrap();
    };
    bench.while_asleep(act, each, || fired.load(Ordering::Relaxed));
    bench.expect_hooks(1, 1);
}

/// libxl ba7a0dbb37: nor of work without a descriptor.
pub(crate) fn a_callback_queued_in_another_thread_reaches_a_loop_that_sleeps<
    B: Backend,
    A: Rig<B>,
>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::calling(backend);
    let ([wire, other], calls) = (bench.wires(), Calls::default());
    other.wait();
    bench.fire(&wire);
    // Read for the one that waits, and latched.
    bench.run_until(|| true);
    calls.note(&wire);
    let act = |_: &B::Device| wire.wait();
    let is_done = || calls.list() == [wire.port()];
    bench.while_asleep(act, Bench::<B, A>::no_wakes(), is_done);
    bench.expect_hooks(1, 0);
}
