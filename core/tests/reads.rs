//! How far a round reads, and what a bind, a drive and an overflow read beside it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context as Cx, Waker};
use std::time::Duration;

use crate::support::Tester;
use evtchn_core::{Cause, DomId, ErrorKind, Outcome, Trigger, WakeBuf};

const GUEST: DomId = DomId::new(7);

#[test]
fn an_edge_triggered_round_reads_until_nothing_is_left() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    tester.log();
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    assert_eq!(tester.log(), ["read", "read", "deregister"]);
}

#[test]
fn a_level_triggered_round_stops_at_a_short_read() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    tester.log();
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    assert_eq!(tester.log(), ["read", "deregister"]);
}

#[test]
fn an_edge_triggered_round_that_ends_early_returns_more() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let other = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    other.wait().unwrap();
    tester.batch(&[channel.port()]);
    let mut round = ctx.dispatch_at_most(1).unwrap();
    assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
    assert_eq!(round.next(), None);
    assert_eq!(round.finish().unwrap(), Outcome::More);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next(), None);
    assert_eq!(round.finish().unwrap(), Outcome::Done);
}

#[test]
fn an_interrupted_read_is_no_end_of_an_edge() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Interrupted);
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
}

/// What came between the overflow and the reset gives no edge.
#[test]
fn an_edge_triggered_round_reads_on_after_an_overflow() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.log();
    tester.fail("read", ErrorKind::Overflow);
    tester.batch(&[channel.port()]);
    let causes: Vec<_> = ctx.dispatch().unwrap().map(|wake| wake.cause).collect();
    assert_eq!(causes, [Cause::Overflow]);
    assert_eq!(tester.log()[..4], ["read", "reset", "read", "read"]);
}

#[test]
fn a_bind_in_a_round_keeps_the_wakes_that_the_round_has_read() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [first, second, third, mut gone] = [0; 4].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in [&first, &second, &third] {
        channel.wait().unwrap();
    }
    tester.batch(&[first.port(), second.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(first.id()));
    gone.unbind().unwrap();
    tester.batch(&[third.port()]);
    tester.log();
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    // The round goes on by itself, so the loop is not woken.
    assert_eq!(tester.log(), ["read", "bind"]);
    let rest: Vec<_> = round.by_ref().map(|wake| wake.channel).collect();
    assert_eq!(rest, [second.id(), third.id()]);
    round.finish().unwrap();
}

/// The wake is for a task, so no queued wake keeps the loop awake.
#[test]
fn a_loop_does_not_sleep_while_a_drive_has_left_an_edge_unread() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let other = ctx.bind_unbound_port(GUEST).unwrap();
    let cx = &mut Cx::from_waker(Waker::noop());
    let mut woken = pin!(channel.woken());
    assert!(woken.as_mut().poll(cx).is_pending());
    let mut waits = pin!(other.woken());
    assert!(waits.as_mut().poll(cx).is_pending());
    for _ in 0..300 {
        tester.batch(&[channel.port()]);
    }
    assert_eq!(ctx.drive().unwrap(), Outcome::More);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
    assert_eq!(ctx.next_timeout(), None);
}

#[test]
fn a_loop_is_woken_once_for_the_wakes_that_drives_queue() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [first, second] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in [&first, &second] {
        channel.wait().unwrap();
    }
    tester.log();
    tester.batch(&[first.port()]);
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["read", "wake"]);
    tester.batch(&[second.port()]);
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
    // The loop was woken for the first wake and finds both.
    assert_eq!(tester.log(), ["read"]);
    assert_eq!(ctx.dispatch().unwrap().count(), 2);
}

#[test]
fn a_failed_cancel_leaves_a_queued_wake_in_the_queue() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [channel, mut gone] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    channel.wait().unwrap();
    gone.unbind().unwrap();
    tester.batch(&[channel.port()]);
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    tester.fail("deregister", ErrorKind::Other);
    channel.cancel().unwrap_err();
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    let woke: Vec<_> = ctx.dispatch().unwrap().map(|wake| wake.channel).collect();
    assert_eq!(woke, [channel.id()]);
    assert_eq!(ctx.next_timeout(), None);
}

/// Later wakes are left to the next round, so that a round in a storm ends.
#[test]
fn a_round_whose_batch_came_to_its_end_takes_no_later_wake() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [first, second, mut gone] = [0; 3].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in [&first, &second] {
        channel.wait().unwrap();
    }
    tester.batch(&[first.port()]);
    let mut room = WakeBuf::with_capacity(8);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.fill(&mut room).len(), 1);
    gone.unbind().unwrap();
    tester.batch(&[second.port()]);
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    assert!(round.fill(&mut room).is_empty());
    assert_eq!(round.finish().unwrap(), Outcome::More);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.fill(&mut room)[0].channel, second.id());
    round.finish().unwrap();
}
