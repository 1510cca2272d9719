//! Rounds that a program forgets to end, and a round begun while the thread has one.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::mem::ManuallyDrop;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::support::{FakeLoop, Tester};
use evtchn_core::{
    Cause, Channel, Context, DomId, Error, ErrorKind, Link, Outcome, Round, Trigger,
};

const GUEST: DomId = DomId::new(7);

type FakeChannel = Channel<FakeLoop>;

/// A context with two channels that wait, and the event of the first is there.
fn two_waiting(trigger: Trigger) -> (Tester, Context<FakeLoop>, [FakeChannel; 2]) {
    let tester = Tester::new();
    tester.script().trigger = trigger;
    let ctx = tester.context();
    let channels = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    tester.batch(&[channels[0].port()]);
    tester.log();
    (tester, ctx, channels)
}

/// As `std::mem::forget` does.
fn forget(round: Round<'_, FakeLoop>) {
    let _never_dropped = ManuallyDrop::new(round);
}

#[test]
fn the_next_dispatch_of_the_thread_ends_a_forgotten_round() {
    let (tester, ctx, [channel, other]) = two_waiting(Trigger::Level);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(channel.id()));
    channel.wait().unwrap();
    forget(round);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    assert_eq!(tester.log(), ["read"]);

    let round = ctx.dispatch().unwrap();
    assert_eq!(tester.log(), ["write [1]"]);
    tester.batch(&[other.port(), channel.port()]);
    assert_eq!(
        round.map(|wake| wake.port().as_raw()).collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(tester.log(), ["read", "deregister"]);
}

#[test]
fn the_wakes_left_in_a_forgotten_round_come_with_the_next() {
    let (tester, ctx, [channel, other]) = two_waiting(Trigger::Level);
    tester.script().batches.clear();
    tester.batch(&[channel.port(), other.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(channel.id()));
    forget(round);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(other.id()));
    assert_eq!(round.next(), None);
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn the_round_after_a_forgotten_one_reads_what_was_left() {
    let (_tester, ctx, [channel, _other]) = two_waiting(Trigger::Edge);
    forget(ctx.dispatch().unwrap());
    assert_eq!(ctx.next_timeout(), None);
    forget(ctx.dispatch().unwrap());
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(channel.id()));
}

#[test]
fn the_dispatch_that_ends_a_forgotten_round_returns_its_error() {
    let (tester, ctx, [channel, other]) = two_waiting(Trigger::Level);
    tester.script().batches.clear();
    tester.fail("read", ErrorKind::Other);
    let mut round = ctx.dispatch().unwrap();
    let gone = round.next().unwrap();
    assert_eq!((gone.channel, gone.cause), (channel.id(), Cause::Gone));
    forget(round);
    let failed = ctx.dispatch().unwrap_err();
    assert!(matches!(&failed, Error::Device(error) if error.kind() == ErrorKind::Other));
    let mut round = ctx.dispatch().unwrap();
    let gone = round.next().unwrap();
    assert_eq!((gone.channel, gone.cause), (other.id(), Cause::Gone));
    assert_eq!(round.finish().unwrap(), Outcome::Done);
}

#[test]
fn other_threads_are_busy_until_the_thread_of_a_forgotten_round_has_ended() {
    let (tester, ctx, [channel, _other]) = two_waiting(Trigger::Level);
    thread::scope(|scope| {
        let forgets = scope.spawn(|| {
            let mut round = ctx.dispatch().unwrap();
            let woken = round.next().map(|wake| wake.channel);
            channel.wait().unwrap();
            forget(round);
            let busy = thread::scope(|scope| {
                let elsewhere = scope.spawn(|| ctx.dispatch().map(drop));
                elsewhere.join().unwrap()
            });
            assert!(matches!(busy, Err(Error::Busy)));
            woken
        });
        assert_eq!(forgets.join().unwrap(), Some(channel.id()));
    });
    tester.log();
    assert_eq!(ctx.dispatch().unwrap().finish().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["write [1]"]);
}

/// A new thread is another owner, even if its thread-local storage has the address of the ended
/// one.
#[test]
fn a_new_thread_does_not_own_the_round_of_an_ended_one() {
    let (_tester, ctx, _channels) = two_waiting(Trigger::Level);
    for _ in 0..3 {
        thread::scope(|scope| {
            scope.spawn(|| drop(ctx.dispatch().unwrap()));
        });
        thread::scope(|scope| {
            let lives = scope.spawn(|| {
                let _round = ctx.dispatch().unwrap();
                thread::scope(|scope| {
                    let elsewhere = scope.spawn(|| ctx.dispatch().map(drop));
                    elsewhere.join().unwrap()
                })
            });
            assert!(matches!(lives.join().unwrap(), Err(Error::Busy)));
        });
    }
}

#[test]
fn a_round_goes_on_after_its_thread_began_and_ended_another() {
    let (tester, ctx, [channel, other]) = two_waiting(Trigger::Level);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(channel.id()));
    channel.wait().unwrap();
    tester.log();
    let inner = ctx.dispatch().unwrap();
    assert_eq!(tester.log(), ["write [1]"]);
    assert_eq!(inner.finish().unwrap(), Outcome::Done);
    tester.batch(&[other.port()]);
    assert_eq!(round.next().map(|wake| wake.channel), Some(other.id()));
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_replaced_round_hands_out_nothing_while_another_thread_has_a_round() {
    let (tester, ctx, [_channel, other]) = two_waiting(Trigger::Level);
    tester.script().batches.clear();
    let mut round = ctx.dispatch().unwrap();
    let ended = ctx.dispatch().unwrap();
    drop(ctx.dispatch().unwrap());
    tester.batch(&[other.port()]);
    let turns = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let other_round = ctx.dispatch().unwrap();
            turns.wait();
            turns.wait();
            assert_eq!(other_round.finish().unwrap(), Outcome::Done);
        });
        turns.wait();
        let meanwhile = (round.next(), ended.finish(), ctx.dispatch().map(drop));
        // Before the asserts: if one failed first, the other thread would wait for ever.
        turns.wait();
        assert!(matches!(
            meanwhile,
            (None, Ok(Outcome::Done), Err(Error::Busy))
        ));
    });
    assert_eq!(round.next().map(|wake| wake.channel), Some(other.id()));
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_round_of_callbacks_inside_a_round_of_values_leaves_its_wakes() {
    let (tester, ctx, [channel, other]) = two_waiting(Trigger::Level);
    tester.script().batches.clear();
    let mut round = ctx.dispatch().unwrap();
    let inner = ctx.clone();
    channel
        .set_callback(move |_| {
            // A round of callbacks cannot be forgotten, so a dispatch does not end it.
            assert!(matches!(inner.dispatch(), Err(Error::Busy)));
        })
        .unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch_callbacks().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["read"]);
    tester.batch(&[other.port()]);
    assert_eq!(round.next().map(|wake| wake.channel), Some(other.id()));
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!(ctx.link(), Link::Idle);
    assert!(channel.remove_callback().unwrap());
}
