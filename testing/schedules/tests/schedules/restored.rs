//! A guest that was restored, while several threads use its context (I21).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evtchn_core::{Cause, Error};
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Rig, Wire};

scenarios! {
    ;
    small
    restore_beside_a_block_ends_it,
    restore_that_a_bind_an_unbind_and_a_round_notice_ends_each_wait_once,
    restore_that_a_drop_and_a_wait_notice_ends_the_wait,
}

/// Runs rounds until nothing is left, and checks that a new channel works and that nothing from before was released.
fn expect_to_work(rig: &Rig, wire: &Wire) {
    while rig.context.next_timeout().is_some() {
        assert!(rig.turn());
    }
    wire.wait();
    rig.peer.send(wire);
    let causes: Vec<_> = rig
        .context
        .dispatch()
        .unwrap()
        .map(|wake| wake.cause)
        .collect();
    assert_eq!(causes, [Cause::Event]);
    assert_eq!(rig.old_ports_released(), 0);
}

fn restore_that_a_bind_an_unbind_and_a_round_notice_ends_each_wait_once() {
    let rig = Rig::in_a_guest();
    let counts = [0; 2].map(|_| Arc::new(AtomicUsize::new(0)));
    let waiting = counts.each_ref().map(|count| {
        let count = Arc::clone(count);
        let wire = rig.calling(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        wire.wait();
        wire
    });
    let unbound = rig.wire();
    rig.restore();
    let bound = thread::scope(|scope| {
        scope.spawn(|| unbound.into_channel().unbind().unwrap());
        let binding = scope.spawn(|| rig.bind());
        rig.turn();
        binding.join().unwrap()
    });
    expect_to_work(&rig, &rig.connect(bound));
    let counts = counts.map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 1]);
    drop(waiting);
    assert_eq!(rig.old_ports_released(), 0);
}

fn restore_that_a_drop_and_a_wait_notice_ends_the_wait() {
    let rig = Rig::in_a_guest();
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    let wire = rig.calling(move || {
        counting.fetch_add(1, Ordering::SeqCst);
    });
    let dropped = rig.wire();
    rig.restore();
    let waits = thread::scope(|scope| {
        scope.spawn(|| drop(dropped));
        let waiting = scope.spawn(|| match wire.channel.wait() {
            Ok(()) => 1,
            Err(Error::NotBound(_)) => 0,
            Err(error) => panic!("{error}"),
        });
        waiting.join().unwrap()
    });
    rig.sense();
    expect_to_work(&rig, &rig.wire());
    assert_eq!(count.load(Ordering::SeqCst), waits);
}

fn restore_beside_a_block_ends_it() {
    let rig = Rig::in_a_guest();
    let wire = rig.wire();
    thread::scope(|scope| {
        let blocked = scope.spawn(|| wire.channel.block().unwrap());
        rig.restore();
        rig.sense();
        assert_eq!(blocked.join().unwrap(), Cause::Resumed);
    });
    expect_to_work(&rig, &rig.wire());
}
