//! Wakes that a round takes ahead, beside calls on other threads (I3).

use evtchn_core::ChannelId;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Rig, Wire};

scenarios! {
    wait_beside_a_round_yields_each_wake_once,
    rounds_of_two_threads_yield_each_wake_once;
    small
    cancel_beside_a_round_is_seen_before_its_next_wake,
    unbind_beside_a_round_is_seen_before_its_next_wake,
}

/// Channels with a wait for each wake, which have all fired.
fn fired<const N: usize>(rig: &Rig) -> [Wire; N] {
    let wires = [(); N].map(|()| rig.wire());
    for wire in &wires {
        wire.channel.wait_each().unwrap();
        rig.peer.send(wire);
    }
    wires
}

fn ids(wires: &[Wire]) -> Vec<ChannelId> {
    wires.iter().map(|wire| wire.channel.id()).collect()
}

/// What one round yields. It must not yield `ended` once `is_ended` was set before it was asked.
fn round(rig: &Rig, ended: ChannelId, is_ended: &AtomicBool) -> Vec<ChannelId> {
    let mut yielded = Vec::new();
    let mut round = rig.context.dispatch().unwrap();
    loop {
        let was_ended = is_ended.load(Ordering::SeqCst);
        let Some(wake) = round.next() else { break };
        assert!(!was_ended || wake.channel != ended, "yielded after its end");
        yielded.push(wake.channel);
    }
    round.finish().unwrap();
    yielded
}

fn cancel_beside_a_round_is_seen_before_its_next_wake() {
    let rig = Rig::new();
    let wires = fired::<3>(&rig);
    let last = &wires[2].channel;
    let is_cancelled = AtomicBool::new(false);
    let mut yielded = thread::scope(|scope| {
        let looping = scope.spawn(|| round(&rig, last.id(), &is_cancelled));
        assert!(last.cancel().unwrap());
        is_cancelled.store(true, Ordering::SeqCst);
        looping.join().unwrap()
    });
    // Its event was yielded, or is kept.
    last.wait().unwrap();
    yielded.extend(rig.context.dispatch().unwrap().map(|wake| wake.channel));
    assert_eq!(yielded, ids(&wires), "each event once");
}

fn unbind_beside_a_round_is_seen_before_its_next_wake() {
    let rig = Rig::new();
    let [first, second, last] = fired::<3>(&rig);
    let mut last = last.into_channel();
    let all = [first.channel.id(), second.channel.id(), last.id()];
    let is_unbound = AtomicBool::new(false);
    let yielded = thread::scope(|scope| {
        let looping = scope.spawn(|| round(&rig, all[2], &is_unbound));
        last.unbind().unwrap();
        is_unbound.store(true, Ordering::SeqCst);
        looping.join().unwrap()
    });
    assert!(yielded == all || yielded == all[..2], "{yielded:?}");
}

fn wait_beside_a_round_yields_each_wake_once() {
    let rig = Rig::new();
    let wires = fired::<4>(&rig);
    let none = AtomicBool::new(false);
    let yielded = thread::scope(|scope| {
        let looping = scope.spawn(|| round(&rig, wires[0].channel.id(), &none));
        for wire in wires.iter().rev() {
            wire.channel.wait_each().unwrap();
        }
        looping.join().unwrap()
    });
    assert_eq!(yielded, ids(&wires));
}

/// A round is dropped while another thread begins the next one.
fn rounds_of_two_threads_yield_each_wake_once() {
    let rig = Rig::new();
    let wires = fired::<4>(&rig);
    let mut yielded = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let round = rig.context.dispatch();
            round.map_or(Vec::new(), |round| round.map(|wake| wake.channel).collect())
        });
        let two = rig.context.dispatch().map(|round| round.take(2));
        let mut yielded: Vec<_> = two.into_iter().flatten().map(|wake| wake.channel).collect();
        yielded.extend(other.join().unwrap());
        yielded
    });
    yielded.extend(rig.context.dispatch().unwrap().map(|wake| wake.channel));
    assert_eq!(yielded.len(), wires.len());
    yielded.sort_unstable_by_key(|id| id.port());
    assert_eq!(yielded, ids(&wires));
}
