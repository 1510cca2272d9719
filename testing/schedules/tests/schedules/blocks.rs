//! Threads that block for one channel each (I3, I4, I11, I15).

use std::sync::Arc;

use evtchn_core::{Cause, Error};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Bell, Channel, Rig};

scenarios! {
    block_beside_rounds_gets_its_own_wake,
    threads_that_block_for_two_channels_each_get_their_wake,
    wait_beside_a_block_gets_the_events_that_the_block_reads;
    small
    cancel_ends_a_block,
    end_of_the_context_ends_a_block,
    condition_that_becomes_false_ends_a_block,
}

/// Blocks, and records that the thread is about to sleep.
fn block(channel: &Channel, asleep: &Asleep) -> Result<Option<Cause>, Error> {
    let goes_on = || {
        asleep.is_near.store(true, Ordering::SeqCst);
        asleep.bell.ring();
        true
    };
    channel.block_while(None, goes_on)
}

#[derive(Default)]
struct Asleep {
    is_near: AtomicBool,
    bell: Bell,
}

impl Asleep {
    fn wait(&self) {
        let is_near = || self.is_near.load(Ordering::SeqCst);
        self.bell.wait_until(is_near);
    }
}

fn cancel_ends_a_block() {
    let rig = Rig::new();
    let (wire, asleep) = (rig.wire(), Asleep::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            let blocked = block(&wire.channel, &asleep);
            assert!(matches!(blocked, Err(Error::Cancelled)), "{blocked:?}");
        });
        asleep.wait();
        assert!(wire.cancel());
    });
    assert!(!rig.is_registered());
}

fn end_of_the_context_ends_a_block() {
    let mut rig = Rig::new();
    let (wire, asleep) = (rig.wire(), Asleep::default());
    let context = rig.take_context();
    thread::scope(|scope| {
        scope.spawn(|| {
            let blocked = block(&wire.channel, &asleep);
            assert!(matches!(blocked, Err(Error::Cancelled)), "{blocked:?}");
        });
        asleep.wait();
        drop(context);
        assert!(!rig.is_registered());
    });
    drop(wire);
    assert_eq!(rig.open_files(), 0);
}

fn condition_that_becomes_false_ends_a_block() {
    let rig = Rig::new();
    let wire = rig.wire();
    let goes_on = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            let blocked = wire
                .channel
                .block_while(None, || goes_on.load(Ordering::SeqCst));
            assert_eq!(blocked.unwrap(), None);
        });
        goes_on.store(false, Ordering::SeqCst);
        evtchn_core::Registrar::wake(&rig.event_loop);
    });
    assert!(!rig.is_registered());
}

fn block_beside_rounds_gets_its_own_wake() {
    let rig = Rig::new();
    let (count, bell) = (Arc::new(AtomicUsize::new(0)), Arc::new(Bell::default()));
    let (counts, rings) = (Arc::clone(&count), Arc::clone(&bell));
    let (blocked, called) = (
        rig.wire(),
        rig.calling(move || {
            counts.fetch_add(1, Ordering::SeqCst);
            rings.ring();
        }),
    );
    called.wait();
    thread::scope(|scope| {
        scope.spawn(|| rig.run());
        let blocking = scope.spawn(|| blocked.channel.block().unwrap());
        rig.peer.send(&called);
        rig.peer.send(&blocked);
        assert_eq!(blocking.join().unwrap(), Cause::Event);
        bell.wait_until(|| count.load(Ordering::SeqCst) == 1);
        rig.event_loop.stop();
    });
    assert!(!rig.is_registered());
}

fn threads_that_block_for_two_channels_each_get_their_wake() {
    let rig = Rig::new();
    let wires = [rig.wire(), rig.wire()];
    thread::scope(|scope| {
        for wire in &wires {
            scope.spawn(|| assert_eq!(wire.channel.block().unwrap(), Cause::Event));
        }
        wires.iter().for_each(|wire| rig.peer.send(wire));
    });
    assert!(!rig.is_registered());
}

/// Only the thread that blocks may have read the event, while the loop sleeps.
fn wait_beside_a_block_gets_the_events_that_the_block_reads() {
    let rig = Rig::new();
    let (blocked, waited) = (rig.wire(), rig.wire());
    waited.wait();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(blocked.channel.block().unwrap(), Cause::Event));
        scope.spawn(|| {
            let mut wakes = 0;
            while wakes == 0 {
                if rig.context.next_timeout().is_none() {
                    rig.event_loop.poll();
                }
                wakes += rig.context.dispatch().unwrap().count();
            }
            assert_eq!(wakes, 1);
            rig.peer.send(&blocked);
        });
        rig.peer.send(&waited);
    });
    assert!(!rig.is_registered());
}
