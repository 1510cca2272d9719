//! A thread that runs the loop by `Context::next_round`: what ends its sleep, and when it reads before it sleeps.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use evtchn::sim::{Call, Errno, Fault, SimLoop};
use evtchn::{Cause, Error, Link, Outcome, Registrar, Sleep};

use crate::common::{Rig, Wire};

const SECOND: Duration = Duration::from_secs(1);
/// Sleeps before the first read that is tried before one.
const SLEEPS: usize = 127;

fn rig() -> (Rig<SimLoop>, Wire<SimLoop>) {
    let rig = Rig::on(SimLoop::level());
    let wire = rig.wire();
    wire.channel.wait_each().unwrap();
    (rig, wire)
}

/// How many wakes the next round has.
fn next(rig: &Rig<SimLoop>) -> usize {
    rig.context.next_round().unwrap().count()
}

/// Counts the sleeps of the loop from now on.
fn count_sleeps(rig: &Rig<SimLoop>) -> Arc<AtomicUsize> {
    let sleeps = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sleeps);
    let install = Fault::meanwhile(Call::Sleep, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    rig.context.registrar().install(install);
    sleeps
}

/// Sleeps until an event comes, so often that the next sleep has a read before it.
fn sleep_often(rig: &Rig<SimLoop>, wire: &Wire<SimLoop>) {
    for _ in 0..SLEEPS {
        let peer = wire.clone();
        rig.context.registrar().while_asleep(move || peer.fire());
        assert_eq!(next(rig), 1);
    }
}

#[test]
fn an_event_that_comes_during_the_sleep_is_handed_out() {
    let (rig, wire) = rig();
    let peer = wire.clone();
    rig.context.registrar().while_asleep(move || peer.fire());
    assert_eq!(next(&rig), 1);
}

#[test]
fn a_wake_that_came_between_two_rounds_ends_the_next_sleep_once() {
    let (rig, _wire) = rig();
    let event_loop = rig.context.registrar();
    event_loop.wake();
    event_loop.wake();
    assert_eq!(next(&rig), 0);
    let slept = rig.context.next_round();
    assert!(matches!(slept, Err(Error::Sleep(_))), "nothing ends it");
}

#[test]
fn there_is_no_round_when_the_time_is_over_and_later_events_are_kept() {
    let (rig, wire) = rig();
    let event_loop = rig.context.registrar();
    assert!(rig.context.next_round_for(SECOND).unwrap().is_none());
    assert_eq!(event_loop.now(), SECOND);
    let deadline = event_loop.deadline(2 * SECOND);
    assert!(rig.context.next_round_until(deadline).unwrap().is_none());
    assert_eq!(event_loop.now(), 3 * SECOND);
    wire.fire();
    let round = rig.context.next_round_for(Duration::ZERO).unwrap();
    assert_eq!(round.unwrap().count(), 1, "it came in time");
}

#[test]
fn what_is_left_of_a_round_is_handed_out_without_a_sleep() {
    let (rig, wire) = rig();
    let other = rig.wire();
    other.channel.wait_each().unwrap();
    wire.fire();
    other.fire();
    let mut round = rig.context.dispatch_at_most(1).unwrap();
    assert_eq!(round.by_ref().count(), 1);
    assert_eq!(round.finish().unwrap(), Outcome::More);
    let sleeps = count_sleeps(&rig);
    assert_eq!(next(&rig), 1);
    assert_eq!(sleeps.load(Ordering::Relaxed), 0);
}

#[test]
fn a_loop_that_finds_events_when_it_reads_early_sleeps_no_more() {
    let (rig, wire) = rig();
    sleep_often(&rig, &wire);
    let sleeps = count_sleeps(&rig);
    for _ in 0..100 {
        wire.fire();
        assert_eq!(next(&rig), 1);
    }
    assert_eq!(sleeps.load(Ordering::Relaxed), 0);
}

#[test]
fn an_early_read_that_finds_nothing_is_followed_by_the_sleep() {
    let (rig, wire) = rig();
    sleep_often(&rig, &wire);
    let empty = rig.context.stats().empty_reads;
    let peer = wire.clone();
    rig.context.registrar().while_asleep(move || peer.fire());
    assert_eq!(next(&rig), 1);
    assert_eq!(rig.context.stats().empty_reads, empty + 1);
    assert_eq!(rig.context.link(), Link::Watching);
}

#[test]
fn an_error_of_an_early_read_is_that_of_its_round() {
    let (rig, wire) = rig();
    sleep_often(&rig, &wire);
    rig.opener.fail_next(Call::Pending, Errno::EIO);
    let mut round = rig.context.next_round().unwrap();
    let cause = round.by_ref().map(|wake| wake.cause).collect::<Vec<_>>();
    assert_eq!(cause, [Cause::Gone]);
    let error = round.finish().unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
}

#[test]
fn an_early_read_leaves_the_event_of_a_task_to_it() {
    let (rig, wire) = rig();
    sleep_often(&rig, &wire);
    let other = rig.wire();
    let mut woken = pin!(other.channel.woken());
    let cx = &mut TaskContext::from_waker(Waker::noop());
    assert!(woken.as_mut().poll(cx).is_pending());
    other.fire();
    assert_eq!(next(&rig), 0);
    assert!(matches!(
        woken.as_mut().poll(cx),
        Poll::Ready(Ok(Cause::Event))
    ));
}

#[test]
fn a_block_reads_before_it_sleeps_where_that_finds_its_event() {
    let rig = Rig::on(SimLoop::level());
    let wire = rig.wire();
    for _ in 0..SLEEPS {
        let peer = wire.clone();
        rig.context.registrar().while_asleep(move || peer.fire());
        assert_eq!(wire.channel.block().unwrap(), Cause::Event);
    }
    let sleeps = count_sleeps(&rig);
    for _ in 0..100 {
        wire.fire();
        assert_eq!(wire.channel.block().unwrap(), Cause::Event);
    }
    assert_eq!(sleeps.load(Ordering::Relaxed), 0);
}
