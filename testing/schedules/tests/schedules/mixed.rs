//! Random calls on all threads, for what the other scenarios do not cover (I1, I4, I8).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Cx, Poll, Waker};

use evtchn_core::{Error, Outcome};
use evtchn_sim::SimLoop;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Channel, Rig, Wire};

scenarios! {
    calls_of_three_threads_leave_every_channel_usable,
    calls_of_three_threads_leave_every_channel_of_an_edge_triggered_loop_usable;
    small
}

const CALLS: usize = 4;

fn calls_of_three_threads_leave_every_channel_usable() {
    mix(&Rig::new());
}

fn calls_of_three_threads_leave_every_channel_of_an_edge_triggered_loop_usable() {
    mix(&Rig::with(SimLoop::edge()));
}

fn mix(rig: &Rig) {
    let wires = [rig.wire(), rig.wire(), rig.wire()];
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..CALLS {
                    let which = thread_rng().gen_range(0..wires.len());
                    call(rig, &wires[which]);
                }
            });
        }
    });
    for wire in &wires {
        wire.cancel();
    }
    assert!(!rig.is_registered());
    for wire in &wires {
        fires(rig, wire);
    }
    assert!(!rig.is_registered());
    drop(wires);
    rig.context.teardown().unwrap();
    assert_eq!(rig.open_files(), 0);
}

/// Makes one call, and checks that its answer is allowed.
fn call(rig: &Rig, wire: &Wire) {
    let channel = &wire.channel;
    match thread_rng().gen_range(0..14) {
        0..3 => wait(channel),
        3 => {
            let _ended = channel.cancel().unwrap();
        }
        4 => match channel.try_cancel() {
            Ok(_) | Err(Error::CallbackRuns(_)) => {}
            Err(error) => panic!("{error}"),
        },
        5 => rig.peer.send(wire),
        6 => drop(rig.turn()),
        7 => match rig.context.dispatch_at_most(1) {
            Ok(mut round) => {
                let _woken = round.next();
                assert!(matches!(round.finish(), Ok(Outcome::Done | Outcome::More)));
            }
            Err(Error::Busy) => {}
            Err(error) => panic!("{error}"),
        },
        8 => match channel.block_while(None, || false) {
            Ok(_) | Err(Error::Cancelled | Error::AlreadyWaited(_)) => {}
            other => panic!("{other:?}"),
        },
        9 => {
            let again = Arc::downgrade(channel);
            let waits = move |_| {
                if let Some(channel) = again.upgrade() {
                    wait(&channel);
                }
            };
            channel.set_callback(waits).unwrap();
        }
        10 => task(channel),
        11 => stream(channel),
        12 => match rig.context.drive() {
            Ok(Outcome::Done | Outcome::More) => {}
            Err(error) => panic!("{error}"),
        },
        _ => {
            rig.wire().wait();
            let torn = rig.context.teardown();
            assert!(matches!(torn, Err(Error::StillInUse(_))));
        }
    }
}

/// A task that is polled once and dropped.
fn task(channel: &Channel) {
    let mut woken = pin!(channel.woken());
    match woken.as_mut().poll(&mut Cx::from_waker(Waker::noop())) {
        Poll::Pending | Poll::Ready(Ok(_) | Err(Error::Cancelled | Error::AlreadyWaited(_))) => {}
        Poll::Ready(Err(error)) => panic!("{error}"),
    }
}

/// A stream that is polled twice and dropped, at rest or not.
fn stream(channel: &Channel) {
    let mut wakes = match channel.wakes() {
        Ok(wakes) => wakes,
        Err(Error::AlreadyWaited(_)) => return,
        Err(error) => panic!("{error}"),
    };
    for _ in 0..2 {
        match wakes.poll_wake(&mut Cx::from_waker(Waker::noop())) {
            Poll::Pending | Poll::Ready(Some(Ok(_)) | None) => {}
            Poll::Ready(Some(Err(error))) => panic!("{error}"),
        }
    }
}

fn wait(channel: &Channel) {
    match channel.wait() {
        Ok(()) | Err(Error::AlreadyWaited(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// An event and a wait, in this order, bring a wake.
fn fires(rig: &Rig, wire: &Wire) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&calls);
    let count = move |_| {
        counts.fetch_add(1, Ordering::SeqCst);
    };
    wire.channel.set_callback(count).unwrap();
    rig.peer.send(wire);
    wire.wait();
    while rig.context.next_timeout().is_some() || rig.event_loop.sim.ready() {
        assert!(rig.turn());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
