//! A thread that blocks for one channel: what ends the block, which wakes it takes, and what it
//! leaves.
//!
//! The simulator's loop scripts what happens during the sleep.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod failures;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evtchn::sim::{Call, Errno, SimLoop};
use evtchn::{Cause, Error, Link, Port, Sleep};

use crate::common::{Rig, Wire};

const SECOND: Duration = Duration::from_secs(1);

/// Methods of the rig for tests of blocking.
impl<R: Sleep> Rig<R> {
    fn unreported(&self) -> u64 {
        self.context.stats().unreported
    }
}

impl<R: Sleep> Wire<R> {
    #[track_caller]
    fn expect_block(&self, cause: Cause) {
        assert_eq!(self.channel.block().unwrap(), cause);
    }

    #[track_caller]
    fn expect_cancelled(&self) {
        let error = self.channel.block().unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error:?}");
    }
}

const WOKEN: Cause = Cause::Event;

fn scripted() -> (Rig<SimLoop>, SimLoop) {
    let event_loop = SimLoop::level();
    (Rig::on(event_loop.clone()), event_loop)
}

#[track_caller]
fn expect_no_wait(rig: &Rig<SimLoop>) {
    let event_loop = rig.context.registrar();
    assert!(!event_loop.is_registered());
    assert_eq!(rig.context.link(), Link::Idle);
    assert_eq!(event_loop.violations(), []);
}

#[test]
fn an_event_that_comes_during_the_sleep_ends_it() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let peer = wire.clone();
    event_loop.while_asleep(move || peer.fire());
    wire.expect_block(WOKEN);
    expect_no_wait(&rig);
    assert_eq!(event_loop.now(), Duration::ZERO);
}

#[test]
fn a_signal_does_not_move_the_deadline() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let clock = event_loop.clone();
    event_loop.while_asleep(move || clock.pass(3 * SECOND));
    event_loop.fail_nth(Call::Sleep, 2, Errno::EINTR);
    event_loop.fail_nth(Call::Sleep, 3, Errno::EINTR);
    let blocked = wire.channel.block_until(10 * SECOND).unwrap();
    assert_eq!(blocked, None);
    assert_eq!(event_loop.now(), 10 * SECOND);
    expect_no_wait(&rig);
}

#[test]
fn the_condition_is_asked_after_a_signal() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    event_loop.while_asleep(move || handler.store(true, Ordering::Relaxed));
    let goes_on = || !stop.load(Ordering::Relaxed);
    let blocked = wire.channel.block_while(None, goes_on).unwrap();
    assert_eq!(blocked, None);
    expect_no_wait(&rig);
}

#[test]
fn a_cancel_ends_a_block_and_the_channel_is_free_for_the_next_wait() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let other = wire.clone();
    event_loop.while_asleep(move || {
        assert!(other.channel.cancel().unwrap());
        other.wait();
    });
    wire.expect_cancelled();
    // The wait of the channel whose thread cancelled goes on.
    assert_eq!(rig.context.link(), Link::Watching);
    wire.fire();
    assert_eq!(rig.context.dispatch().unwrap().count(), 1);
    expect_no_wait(&rig);
}

#[test]
fn a_cancel_after_the_event_keeps_it_for_the_next_wait() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let (other, context) = (wire.clone(), Arc::clone(&rig.context));
    event_loop.while_asleep(move || {
        other.fire();
        assert_eq!(context.dispatch().unwrap().count(), 0);
        other.channel.cancel().unwrap();
    });
    wire.expect_cancelled();
    rig.expect_kept(&wire.channel, Cause::Event);
    expect_no_wait(&rig);
}

#[test]
fn a_round_leaves_the_wake_of_a_block_to_the_blocked_thread() {
    let (rig, event_loop) = scripted();
    let [own, other] = [rig.wire(), rig.wire()];
    other.wait();
    let (context, wires) = (Arc::clone(&rig.context), [own.clone(), other.clone()]);
    event_loop.while_asleep(move || {
        wires.iter().for_each(Wire::fire);
        let fired: Vec<Port> = context.dispatch().unwrap().map(|it| it.port()).collect();
        assert_eq!(fired, [wires[1].port()]);
    });
    own.expect_block(WOKEN);
    expect_no_wait(&rig);
}

#[test]
fn a_callback_is_not_called_for_the_wake_of_a_block() {
    let (rig, event_loop) = scripted();
    let [own, other] = [rig.wire(), rig.wire()];
    let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
    for wire in [&own, &other] {
        let calls = Arc::clone(&calls);
        let set = wire
            .channel
            .set_callback(move |it| calls.lock().unwrap().push(it.port()));
        set.unwrap();
    }
    other.wait();
    let (context, wires) = (Arc::clone(&rig.context), [own.clone(), other.clone()]);
    event_loop.while_asleep(move || {
        wires.iter().for_each(Wire::fire);
        context.dispatch_callbacks().unwrap();
    });
    own.expect_block(WOKEN);
    assert_eq!(*calls.lock().unwrap(), [other.port()]);
}

#[test]
fn a_dropped_context_ends_a_block() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let context = std::sync::Mutex::new(Some(rig.context));
    event_loop.while_asleep(move || drop(context.lock().unwrap().take()));
    wire.expect_cancelled();
    assert_eq!(event_loop.counts().wakes, 1, "it might sleep on");
    assert!(!event_loop.is_registered());
    assert_eq!(event_loop.violations(), []);
}

/// A bind reads old events first, and their wakes may be for a block or for a round.
#[test]
fn a_bind_that_reads_wakes_of_a_block_and_of_a_round_wakes_the_loop() {
    let (rig, event_loop) = scripted();
    let [own, other, gone] = [rig.wire(), rig.wire(), rig.wire()];
    other.wait();
    let mut gone = Arc::into_inner(gone.channel).unwrap();
    let (context, wires) = (Arc::clone(&rig.context), [own.clone(), other.clone()]);
    let (guest, seen) = (rig.guest.domid(), event_loop.clone());
    event_loop.while_asleep(move || {
        wires.iter().for_each(Wire::fire);
        gone.unbind().unwrap();
        let before = seen.counts().wakes;
        let _bound = context.bind_unbound_port(guest).unwrap();
        assert_eq!(seen.counts().wakes, before + 1);
    });
    own.expect_block(WOKEN);
    assert_eq!(rig.context.dispatch().unwrap().count(), 1);
}

/// The round finds its own wakes, but the blocked thread has to be woken.
#[test]
fn a_bind_inside_a_round_that_reads_the_wake_of_a_block_wakes_the_blocked_thread() {
    let (rig, event_loop) = scripted();
    let [own, gone] = [rig.wire(), rig.wire()];
    let mut gone = Arc::into_inner(gone.channel).unwrap();
    let (context, wire) = (Arc::clone(&rig.context), own.clone());
    let (guest, seen) = (rig.guest.domid(), event_loop.clone());
    event_loop.while_asleep(move || {
        let round = context.dispatch().unwrap();
        gone.unbind().unwrap();
        wire.fire();
        let before = seen.counts().wakes;
        let _bound = context.bind_unbound_port(guest).unwrap();
        assert_eq!(seen.counts().wakes, before + 1);
        round.finish().unwrap();
    });
    own.expect_block(WOKEN);
}

#[test]
fn blocks_beside_a_queued_wake_do_not_fill_the_queue() {
    let (rig, event_loop) = scripted();
    let [own, other] = [rig.wire(), rig.wire()];
    other.wait();
    other.fire();
    for _ in 0..1_000 {
        own.fire();
        own.expect_block(WOKEN);
    }
    // The loop was woken once, when the wake was queued.
    assert_eq!(event_loop.counts().wakes, 1);
    let fired: Vec<Port> = rig
        .context
        .dispatch()
        .unwrap()
        .map(|it| it.port())
        .collect();
    assert_eq!(fired, [other.port()]);
}

#[test]
fn a_block_on_an_edge_triggered_loop_takes_no_edge_from_rounds() {
    let event_loop = SimLoop::edge();
    let rig = Rig::on(event_loop.clone());
    let [own, other] = [rig.wire(), rig.wire()];
    other.wait();
    own.fire();
    own.expect_block(WOKEN);
    other.fire();
    assert!(event_loop.ready());
    assert_eq!(rig.context.dispatch().unwrap().count(), 1);
}
