//! Tasks instead of rounds, on the loops that have them. `tests/tasks` has more, on the simulator.

use evtchn_core::Cause;

use super::bench::{Bench, Wire};
use super::device::Backend;
use super::on_tasks::{OnTasks, Runtime};

pub(crate) fn each_event_wakes_a_future<B: Backend, T: Runtime<B>>(backend: B) {
    let bench = Bench::<B, OnTasks<B, T>>::new(backend);
    let wire = bench.wire();
    for turn in 1..4 {
        let mut woken = wire.channel.woken();
        bench.expect_hooks(turn - 1, turn - 1);
        bench.rig.start(&mut woken);
        bench.expect_hooks(turn, turn - 1);
        bench.fire(&wire);
        assert_eq!(bench.rig.soon(woken).unwrap(), Cause::Event);
        bench.expect_hooks(turn, turn);
    }
}

pub(crate) fn an_overflow_wakes_every_future<B: Backend, T: Runtime<B>>(backend: B) {
    let bench = Bench::<B, OnTasks<B, T>>::new(backend);
    let wires: [_; 3] = bench.wires();
    for turn in 1..4 {
        let mut futures = wires.each_ref().map(|wire| wire.channel.woken());
        futures.iter_mut().for_each(|woken| bench.rig.start(woken));
        bench.overflow(&wires[0]);
        for woken in futures {
            assert_eq!(bench.rig.soon(woken).unwrap(), Cause::Overflow);
        }
        bench.expect_hooks(turn, turn);
    }
}

pub(crate) fn a_future_that_is_dropped_leaves_its_event_to_the_next_one<
    B: Backend,
    T: Runtime<B>,
>(
    backend: B,
) {
    let bench = Bench::<B, OnTasks<B, T>>::new(backend);
    let wire = bench.wire();
    let mut dropped = wire.channel.woken();
    bench.rig.start(&mut dropped);
    bench.fire(&wire);
    drop(dropped);
    bench.expect_hooks(1, 1);
    let woken = bench.rig.soon(wire.channel.woken());
    assert_eq!(woken.unwrap(), Cause::Event);
}

pub(crate) fn a_stream_of_channels_registers_once<B: Backend, T: Runtime<B>>(backend: B) {
    let bench = Bench::<B, OnTasks<B, T>>::new(backend);
    let wires: [_; 3] = bench.wires();
    let mut wakes = bench.context.wakes();
    for wire in &wires {
        wakes.add(wire.channel.id()).unwrap();
    }
    for _ in 0..5 {
        wires.iter().for_each(|wire| bench.fire(wire));
        let mut next = || bench.rig.soon(wakes.next()).unwrap().unwrap().port();
        let ports = [next(), next(), next()];
        assert_eq!(ports, wires.each_ref().map(Wire::port));
        bench.rig.start(&mut Box::pin(wakes.next()));
    }
    bench.expect_hooks(1, 0);
    drop(wakes);
    bench.expect_hooks(1, 1);
}
