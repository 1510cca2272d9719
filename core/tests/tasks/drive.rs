//! Reading without rounds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

#[test]
fn a_drive_queues_wakes_of_rounds_and_wakes_the_loop() {
    let (tester, ctx, channel) = bound();
    channel.wait().unwrap();
    tester.log();
    event(&tester, &ctx, &channel);
    assert_eq!(tester.log(), ["read", "wake"]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
}

/// A reactor may do this: it sees the device ready while registering it.
#[test]
fn a_drive_from_inside_a_hook_happens_after_it() {
    let (tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let driver = ctx.driver();
    tester.script().on_register = Some(Box::new(move || assert_eq!(driver.drive(), Outcome::Done)));
    tester.batch(&[channel.port()]);
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    assert_eq!(tester.log(), ["register", "read"]);
    assert_eq!(counter.count(), 1);
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Event))
    ));
}

#[test]
fn a_drive_in_a_storm_on_an_edge_triggered_loop_returns_more() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    for _ in 0..300 {
        tester.batch(&[channel.port()]);
    }
    assert_eq!(
        ctx.dispatch_at_most(0).unwrap().finish().unwrap(),
        Outcome::More
    );
    assert_eq!(ctx.drive().unwrap(), Outcome::More);
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    assert_eq!(ctx.next_timeout(), None);
}

/// No wait is for a round, so the unread rest of the drive is all that is left to do.
#[test]
fn an_unread_rest_keeps_the_loop_awake() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, Waker::noop()).is_pending());
    for _ in 0..300 {
        tester.batch(&[channel.port()]);
    }
    assert_eq!(ctx.drive().unwrap(), Outcome::More);
    assert!(ctx.next_timeout().is_some());
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
    assert_eq!(ctx.next_timeout(), None);
}

/// The next registration reports the rest again.
#[test]
fn an_unread_rest_of_a_deregistered_device_keeps_no_loop_awake() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, Waker::noop()).is_pending());
    for _ in 0..300 {
        tester.batch(&[channel.port()]);
    }
    assert_eq!(ctx.drive().unwrap(), Outcome::More);
    drop(woken);
    assert_eq!((ctx.link(), ctx.next_timeout()), (Link::Idle, None));
}

#[test]
fn a_driver_does_not_keep_its_context_alive() {
    let (tester, ctx, channel) = bound();
    let driver = ctx.driver();
    drop((channel, ctx));
    assert_eq!(tester.log(), ["unbind 1", "close"]);
    assert_eq!(driver.drive(), Outcome::Done);
    assert!(tester.log().is_empty());
}

/// The hook got `Done`, so it does not drive again for the rest.
#[test]
fn a_postponed_drive_reads_until_nothing_is_left() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let driver = ctx.driver();
    tester.script().on_register = Some(Box::new(move || assert_eq!(driver.drive(), Outcome::Done)));
    for _ in 0..300 {
        tester.batch(&[channel.port()]);
    }
    channel.wait().unwrap();
    assert!(tester.script().batches.is_empty());
}

#[test]
fn a_drive_requested_by_a_hook_that_panics_happens() {
    let (tester, ctx, channel) = bound();
    let driver = ctx.driver();
    tester.script().on_register = Some(Box::new(move || assert_eq!(driver.drive(), Outcome::Done)));
    tester.script().panic.push("register");
    let waited = catch_unwind(AssertUnwindSafe(|| channel.wait()));
    assert!(waited.is_err());
    // The drive registers too, because that wait is still there.
    let log = ["register", "read", "register", "deregister"];
    assert_eq!(tester.log(), log);
}

/// This hook is not called after a wait, but by a bind that finds the device failed.
#[test]
fn a_drive_requested_while_a_failed_device_is_deregistered_happens() {
    let (tester, ctx, channel) = bound();
    let driver = ctx.driver();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    tester.script().on_deregister =
        Some(Box::new(move || assert_eq!(driver.drive(), Outcome::Done)));
    tester.log();
    let _second = ctx.bind_unbound_port(GUEST).unwrap();
    let log = tester.log();
    assert_eq!(log, ["deregister", "open", "bind", "read"]);
}

#[test]
fn a_drive_returns_the_failure_of_the_device_though_its_hook_fails_too() {
    let (tester, ctx, channel) = bound();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    tester.fail("deregister", ErrorKind::Other);
    assert!(matches!(ctx.drive(), Err(Error::Device(_))));
    assert_eq!((ctx.link(), ctx.stats().unreported), (Link::Faulted, 1));
}
