//! Waits when the event loop loses the device.

use evtchn_core::Error;

use super::*;

/// Two channels: a task waits for one, a round for the other.
fn waited() -> (Tester, Ctx, [Channel<FakeLoop>; 2]) {
    let (tester, ctx, first) = bound();
    let second = ctx.bind_unbound_port(GUEST).unwrap();
    (tester, ctx, [first, second])
}

#[test]
fn waits_end_with_an_error_when_the_loop_loses_the_device_and_refuses_it() {
    let (tester, ctx, [first, second]) = waited();
    let third = ctx.bind_unbound_port(GUEST).unwrap();
    let (counter, waker) = counting_waker();
    let (stream_counter, streaming) = counting_waker();
    let mut woken = first.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    let mut wakes = second.wakes().unwrap();
    assert!(next(&mut wakes, &streaming).is_pending());
    third.wait().unwrap();
    tester.log();

    // Once in the driver, once in each of the three calls that look, and once at the end of the
    // first wait.
    for _ in 0..5 {
        tester.fail("register", ErrorKind::Gone);
    }
    ctx.driver().lost();
    assert_eq!(tester.log(), ["deregister", "register", "wake"]);
    assert_eq!((counter.count(), stream_counter.count()), (1, 1));
    assert_eq!(ctx.link(), Link::Idle);
    let polled = poll(&mut woken, &waker);
    assert!(matches!(polled, Poll::Ready(Err(Error::Register(_)))));
    let polled = wakes.poll_wake(&mut Cx::from_waker(&streaming));
    assert!(matches!(polled, Poll::Ready(Some(Err(Error::Register(_))))));
    let round = ctx.dispatch().unwrap().finish();
    assert!(matches!(round, Err(Error::Register(_))));

    // Once the loop takes the device again, the remaining waits go on.
    assert!(next(&mut wakes, &streaming).is_pending());
    assert_eq!(ctx.link(), Link::Watching);
    tester.batch(&[second.port(), third.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    assert_eq!(
        next(&mut wakes, &streaming),
        Poll::Ready(Some(Cause::Event))
    );
}

#[test]
fn waits_go_on_when_the_loop_loses_the_device_and_takes_it_again() {
    let (tester, ctx, [first, second]) = waited();
    let (counter, waker) = counting_waker();
    let mut woken = first.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    second.wait().unwrap();
    tester.log();
    ctx.driver().lost();
    assert_eq!(tester.log(), ["deregister", "register", "wake"]);
    assert_eq!(counter.count(), 1);
    assert!(poll(&mut woken, &waker).is_pending());
    assert!(tester.log().is_empty());
    event(&tester, &ctx, &first);
    assert_eq!(counter.count(), 1);
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Event))
    ));
}

#[test]
fn a_wait_fails_when_the_loop_loses_the_device_while_registering_it() {
    let (tester, ctx, [first, _]) = waited();
    let (driver, again) = (ctx.driver(), tester.clone());
    tester.script().on_register = Some(Box::new(move || driver.lost()));
    tester.script().on_deregister = Some(Box::new(move || {
        again.fail("register", ErrorKind::Gone);
    }));
    tester.log();
    let failed = first.wait();
    assert!(matches!(failed, Err(Error::Register(_))));
    assert_eq!(tester.log(), ["register", "deregister", "register"]);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn losing_an_unregistered_device_changes_nothing() {
    let (tester, ctx, [first, _]) = waited();
    let driver = ctx.driver();
    tester.log();
    driver.lost();
    assert_eq!(tester.log(), ["wake"]);
    // The loop has had no device before this wait, so it lost none.
    first.wait().unwrap();
    assert_eq!(tester.log(), ["register"]);
    first.cancel().unwrap();
    drop((first, ctx));
    tester.log();
    driver.lost();
    assert!(tester.log().is_empty());
}

#[test]
fn a_forked_child_ignores_a_lost_device() {
    let (tester, ctx, [first, _]) = waited();
    first.wait().unwrap();
    tester.log();
    tester.script().process += 1;
    ctx.driver().lost();
    tester.script().process -= 1;
    assert!(tester.log().is_empty());
    assert_eq!(ctx.link(), Link::Watching);
}

/// Otherwise it would be registered twice.
#[test]
fn a_lost_device_that_cannot_be_deregistered_is_tried_again() {
    let (tester, ctx, [first, _]) = waited();
    first.wait().unwrap();
    tester.log();
    tester.fail("deregister", ErrorKind::Other);
    ctx.driver().lost();
    assert_eq!(tester.log(), ["deregister", "wake"]);
    ctx.dispatch().unwrap().finish().unwrap();
    let mut log = tester.log();
    log.retain(|call| call != "read");
    assert_eq!(log, ["deregister", "register"]);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_repeated_wait_that_fails_leaves_the_first_one() {
    let (tester, ctx, [first, _]) = waited();
    first.wait().unwrap();
    tester.fail("register", ErrorKind::Gone);
    ctx.driver().lost();
    tester.fail("register", ErrorKind::Gone);
    first.wait().unwrap_err();
    ctx.dispatch().unwrap().finish().unwrap();
    assert_eq!(ctx.link(), Link::Watching, "it still waits");
}
