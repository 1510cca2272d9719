//! Ends of contexts, channels and loops, in any order.

use std::sync::Arc;
use std::time::Duration;

use evtchn_core::Link;

use super::bench::{Bench, hooks};
use super::device::Backend;
use super::rig::Rig;

pub(crate) fn teardown_leaves_nothing_and_the_next_bind_opens_again<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    for turn in 1..4 {
        let mut wire = bench.wire();
        let fd = bench.fd();
        wire.wait();
        bench.context.teardown().unwrap_err();
        bench.fire(&wire);
        bench.expect_wakes(&[&wire]);
        wire.channel.unbind().unwrap();
        bench.context.teardown().unwrap();
        assert!(!bench.is_open());
        assert!(!bench.rig.watches(fd));
        assert_eq!(hooks(&bench.log), (turn, turn));
        bench.expect_idle();
    }
}

pub(crate) fn a_context_dropped_first_leaves_channels_and_loop<B: Backend, A: Rig<B>>(backend: B) {
    let bench = Bench::<B, A>::new(backend);
    let mut wire = bench.wire();
    let fd = bench.fd();
    wire.wait();
    bench.fire(&wire);
    let (mut rig, context, log) = bench.into_parts();
    rig.detach();
    assert_eq!(Arc::strong_count(&context), 1);
    drop(context);
    assert_eq!(hooks(&log), (1, 1));
    assert!(!rig.watches(fd));
    let mut each = Bench::<B, A>::no_wakes();
    let _was_ready = rig.turn(Duration::ZERO, &mut each).unwrap();
    assert!(!rig.turn(Duration::ZERO, &mut each).unwrap());
    wire.channel.notify().unwrap();
    wire.channel.unbind().unwrap();
}

pub(crate) fn a_loop_dropped_first_leaves_a_context_that_ends_well<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let bench = Bench::<B, A>::new(backend);
    let [mut wire, mut other] = bench.wires();
    wire.wait();
    bench.fire(&wire);
    let (rig, context, log) = bench.into_parts();
    drop(rig);
    if A::ENDS_WAITS {
        other.channel.wait().unwrap_err();
        assert_eq!(context.link(), Link::Idle);
    } else {
        other.wait();
    }
    wire.channel.cancel().unwrap();
    other.channel.unbind().unwrap();
    assert_eq!(hooks(&log), (1, 1));
    wire.channel.unbind().unwrap();
    context.teardown().unwrap();
}

pub(crate) fn a_channel_dropped_first_ends_its_wait<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let [wire, other] = bench.wires();
    wire.wait();
    bench.fire(&wire);
    drop(wire);
    bench.expect_hooks(1, 1);
    bench.expect_idle();
    other.wait();
    bench.fire(&other);
    bench.expect_wakes(&[&other]);
    assert_eq!(bench.context.stats().unreported, 0);
}
