//! A wake that is caused by a call of another thread reaches a loop that blocks (I4, I15).

use std::sync::Arc;

use evtchn_core::Cause;
use evtchn_sim::SimLoop;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Bell, Place, Rig, Wire};

scenarios! {
    wait_of_another_thread_reaches_a_loop_that_blocks,
    wait_on_a_latched_channel_reaches_a_loop_that_blocks,
    wait_on_a_latched_channel_without_a_callback_reaches_a_loop_that_blocks,
    event_beside_a_repeated_wait_is_not_lost,
    port_that_another_thread_waits_on_again_fires_again,
    edges_that_come_beside_waits_are_not_lost,
    dispatchers_of_one_loop_lose_nothing,
    rest_of_a_round_reaches_the_loop_of_another_thread;
    small
    rounds_of_two_threads_call_each_channel_once,
}

/// Counts calls, and lets a thread wait for a number of them.
#[derive(Default)]
struct Count {
    calls: AtomicUsize,
    bell: Bell,
}

impl Count {
    fn add(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.bell.ring();
    }

    fn get(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Blocks until there were that many.
    fn reach(&self, calls: usize) {
        self.bell.wait_until(|| self.get() >= calls);
    }
}

/// A channel with a callback that counts its calls.
fn counted(rig: &Rig) -> (Wire, Arc<Count>) {
    let count = Arc::new(Count::default());
    let counts = Arc::clone(&count);
    (rig.calling(move || counts.add()), count)
}

/// Does `act` while another thread runs the loop, and then stops the loop.
fn beside_a_loop(rig: &Rig, act: impl FnOnce()) {
    thread::scope(|scope| {
        scope.spawn(|| rig.run());
        act();
        rig.event_loop.stop();
    });
}

fn wait_of_another_thread_reaches_a_loop_that_blocks() {
    let rig = Rig::new();
    let (wire, count) = counted(&rig);
    beside_a_loop(&rig, || {
        wire.wait();
        rig.peer.send(&wire);
        count.reach(1);
    });
    assert_eq!(count.get(), 1);
    assert!(!rig.is_registered());
}

fn wait_on_a_latched_channel_reaches_a_loop_that_blocks() {
    let rig = Rig::new();
    let (wire, count) = counted(&rig);
    rig.latch(&[&wire]);
    beside_a_loop(&rig, || {
        wire.wait();
        count.reach(1);
    });
    assert_eq!(count.get(), 1);
    assert!(!rig.is_registered());
}

fn wait_on_a_latched_channel_without_a_callback_reaches_a_loop_that_blocks() {
    let rig = Rig::new();
    let wire = rig.wire();
    rig.latch(&[&wire]);
    thread::scope(|scope| {
        let looping = scope.spawn(|| {
            let mut wakes = Vec::new();
            while wakes.is_empty() {
                if rig.context.next_timeout().is_none() {
                    rig.event_loop.poll();
                }
                let round = rig.context.dispatch().unwrap();
                wakes.extend(round.map(|wake| (wake.channel, wake.cause)));
            }
            wakes
        });
        wire.wait();
        let wakes = looping.join().unwrap();
        assert_eq!(wakes, [(wire.channel.id(), Cause::Event)]);
    });
    assert!(!rig.is_registered());
}

fn event_beside_a_repeated_wait_is_not_lost() {
    let rig = Rig::new();
    let count = Arc::new(Count::default());
    let (counts, context) = (Arc::clone(&count), Arc::downgrade(&rig.context));
    let wire = rig.wire();
    let set = wire.channel.set_callback(move |wake| {
        let context = context.upgrade().unwrap();
        context.wait(wake.channel).unwrap();
        counts.add();
    });
    set.unwrap();
    wire.wait();
    beside_a_loop(&rig, || {
        for turn in 1..4 {
            rig.peer.send(&wire);
            count.reach(turn);
        }
        wire.cancel();
    });
    assert_eq!(count.get(), 3);
    assert!(!rig.is_registered());
}

fn port_that_another_thread_waits_on_again_fires_again() {
    let rig = Rig::new();
    let (wire, count) = counted(&rig);
    beside_a_loop(&rig, || {
        for turn in 1..4 {
            wire.wait();
            rig.peer.send(&wire);
            count.reach(turn);
        }
    });
    assert_eq!(count.get(), 3);
    assert!(!rig.is_registered());
}

fn edges_that_come_beside_waits_are_not_lost() {
    let rig = Rig::with(SimLoop::edge());
    let [(one, ones), (two, twos)] = [counted(&rig), counted(&rig)];
    let fire = |wire: &Wire, count: &Count| {
        wire.wait();
        rig.peer.send(wire);
        count.reach(1);
    };
    beside_a_loop(&rig, || {
        thread::scope(|scope| {
            scope.spawn(|| fire(&one, &ones));
            scope.spawn(|| fire(&two, &twos));
        });
    });
    assert_eq!((ones.get(), twos.get()), (1, 1));
    assert!(!rig.is_registered());
}

fn dispatchers_of_one_loop_lose_nothing() {
    let rig = Rig::new();
    let (latched, latches) = counted(&rig);
    let (fired, fires) = counted(&rig);
    rig.latch(&[&latched]);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| rig.run());
        }
        latched.wait();
        fired.wait();
        rig.peer.send(&fired);
        latches.reach(1);
        fires.reach(1);
        rig.event_loop.stop();
    });
    assert_eq!((latches.get(), fires.get()), (1, 1));
    assert!(!rig.is_registered());
}

fn rounds_of_two_threads_call_each_channel_once() {
    let rig = Rig::new();
    let (place, calls) = (Arc::new(Place::default()), Arc::new(AtomicUsize::new(0)));
    let wires = [0; 2].map(|_| {
        let (place, calls) = (Arc::clone(&place), Arc::clone(&calls));
        rig.calling(move || {
            place.visit("callbacks", || calls.fetch_add(1, Ordering::SeqCst));
        })
    });
    for wire in &wires {
        wire.wait();
        rig.peer.send(wire);
    }
    let turns = thread::scope(|scope| {
        let turns = [0; 2].map(|_| scope.spawn(|| rig.turn()));
        turns.map(|turn| turn.join().unwrap())
    });
    assert!(turns[0] || turns[1], "one of them has the round");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert!(!rig.is_registered());
}

/// If a thread takes one wake of a round and drops the round, the thread with the loop gets the rest.
fn rest_of_a_round_reaches_the_loop_of_another_thread() {
    let rig = Rig::new();
    let count = Arc::new(Count::default());
    let wires = [0; 2].map(|_| {
        let counts = Arc::clone(&count);
        rig.calling(move || counts.add())
    });
    for wire in &wires {
        wire.wait();
        rig.peer.send(wire);
    }
    beside_a_loop(&rig, || {
        if let Ok(mut round) = rig.context.dispatch() {
            if round.next().is_some() {
                count.add();
            }
            assert!(round.finish().is_ok());
        }
        count.reach(2);
    });
    assert_eq!(count.get(), 2);
    assert!(!rig.is_registered());
}
