//! A loop that sleeps, and other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use evtchn_core::EventChannel;

use super::bench::{Bench, hooks};
use super::calls::Calls;
use super::device::Backend;
use super::rig::{Each, Rig};

pub(crate) fn a_wake_before_the_sleep_ends_it<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::calling(backend);
    let ([wire, other], calls) = (bench.wires(), Calls::default());
    other.wait();
    bench.fire(&wire);
    // Read for the one that waits, and latched.
    bench.run_until(|| true);
    calls.note(&wire);
    // Now it is queued, and no readiness reports it.
    wire.wait();
    bench.run_until(|| calls.list() == [wire.port()]);
    bench.expect_hooks(1, 0);
}

pub(crate) fn an_event_reaches_a_loop_that_sleeps<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    let wire = bench.wire();
    wire.wait();
    bench.expect_idle();
    let fired = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&fired);
    let each: Each<B, A> = Box::new(move |_, _| noted.store(true, Ordering::Relaxed));
    let port = wire.peer;
    let act = |peer: &B::Device| peer.notify(port).unwrap();
    bench.while_asleep(act, each, || fired.load(Ordering::Relaxed));
    bench.expect_hooks(1, 1);
}

pub(crate) fn a_cancel_from_another_thread_deregisters_under_the_sleep<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let [wire, other] = bench.wires();
    wire.wait();
    bench.expect_idle();
    let log = Arc::clone(&bench.log);
    let fired = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&fired);
    let each: Each<B, A> = Box::new(move |_, _| noted.store(true, Ordering::Relaxed));
    let act = |peer: &B::Device| {
        wire.channel.cancel().unwrap();
        assert_eq!(hooks(&log), (1, 1));
        // The other thread ends the sleep.
        other.wait();
        peer.notify(wire.peer).unwrap();
        peer.notify(other.peer).unwrap();
    };
    bench.while_asleep(act, each, || fired.load(Ordering::Relaxed));
    bench.expect_hooks(2, 2);
    wire.wait();
    bench.expect_wakes(&[&wire]);
}

pub(crate) fn threads_that_wait_and_cancel_while_the_loop_runs_leave_nothing<
    B: Backend,
    A: Rig<B>,
>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let wires: [_; 3] = bench.wires();
    let (rig, peer) = (&mut bench.rig, &bench.peer);
    thread::scope(|scope| {
        let threads: Vec<_> = wires
            .iter()
            .map(|wire| {
                scope.spawn(move || {
                    for _ in 0..50 {
                        wire.channel.wait().unwrap();
                        peer.notify(wire.peer).unwrap();
                        wire.channel.cancel().unwrap();
                    }
                })
            })
            .collect();
        let mut each = Bench::<B, A>::no_wakes();
        while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            rig.turn(Duration::ZERO, &mut each).unwrap();
        }
    });
    // Whatever the last of them left.
    let mut each = Bench::<B, A>::no_wakes();
    let _was_ready = bench.rig.turn(Duration::ZERO, &mut each).unwrap();
    bench.expect_idle();
    let (registers, deregisters) = hooks(&bench.log);
    assert_eq!(registers, deregisters);
    assert!(!bench.rig.watches(bench.fd()));
    for wire in &wires {
        bench.fire(wire);
        // One wake, also where an event from before is kept.
        wire.wait();
        bench.expect_wakes(&[wire]);
    }
}
