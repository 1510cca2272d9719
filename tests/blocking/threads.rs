//! On a `poll(2)` loop, with threads that may come before, during or after the sleep.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use evtchn::Link;
use evtchn::poll::PollLoop;

use super::WOKEN;
use crate::common::Rig;

fn polled() -> (Rig<PollLoop>, PollLoop) {
    let event_loop = PollLoop::new().unwrap();
    (Rig::on(event_loop.clone()), event_loop)
}

/// Returns when a thread is about to poll, or does already.
fn until_a_thread_polls(event_loop: &PollLoop, polls: u64) {
    while event_loop.counters().polls < polls {
        thread::yield_now();
    }
}

#[test]
fn a_peer_on_another_thread_ends_a_block() {
    let (rig, event_loop) = polled();
    let wire = rig.wire();
    thread::scope(|scope| {
        scope.spawn(|| {
            until_a_thread_polls(&event_loop, 1);
            wire.fire();
        });
        wire.expect_block(WOKEN);
    });
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn a_cancel_on_another_thread_ends_a_block() {
    let (rig, event_loop) = polled();
    let wire = rig.wire();
    thread::scope(|scope| {
        scope.spawn(|| {
            until_a_thread_polls(&event_loop, 1);
            wire.channel.cancel().unwrap();
        });
        wire.expect_cancelled();
    });
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn a_flag_and_a_wake_from_another_thread_end_a_block() {
    let (rig, event_loop) = polled();
    let wire = rig.wire();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            until_a_thread_polls(&event_loop, 1);
            stop.store(true, Ordering::Relaxed);
            event_loop.wake();
        });
        let goes_on = || !stop.load(Ordering::Relaxed);
        let blocked = wire.channel.block_while(None, goes_on).unwrap();
        assert_eq!(blocked, None);
    });
}

#[test]
fn two_blocked_threads_and_a_dispatching_one_get_their_own_wakes() {
    const ROUNDS: usize = 300;
    let (rig, event_loop) = polled();
    let wires = [rig.wire(), rig.wire(), rig.wire()];
    let [one, two, third] = &wires;
    // All threads meet before the next round begins.
    let meet = Barrier::new(4);
    thread::scope(|scope| {
        for wire in [one, two] {
            let meet = &meet;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    wire.expect_block(WOKEN);
                    meet.wait();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                // The wait queues its wake at once if a blocked thread has already read the event.
                third.wait();
                let mut wakes = 0;
                while wakes == 0 {
                    event_loop.wait(rig.context.next_timeout()).unwrap();
                    wakes = rig.context.dispatch().unwrap().count();
                }
                assert_eq!(wakes, 1);
                meet.wait();
            }
        });
        for round in 0..ROUNDS {
            let order = [round % 3, (round + 1) % 3, (round + 2) % 3];
            order.iter().for_each(|which| wires[*which].fire());
            meet.wait();
        }
    });
    assert_eq!(rig.context.stats().wakes, 3 * ROUNDS as u64);
    assert_eq!(rig.context.link(), Link::Idle);
}
