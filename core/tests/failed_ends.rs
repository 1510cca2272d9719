//! Unbinds, drops and teardowns, with calls that fail.

use crate::support::Tester;
use evtchn_core::{DeviceCall, DeviceError, DomId, Error, ErrorKind, Link};

const GUEST: DomId = DomId::new(7);

#[test]
fn failed_unbind_leaves_the_channel_as_it_was() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("unbind", ErrorKind::Other);
    let error = channel.unbind().unwrap_err();
    let unbind = DeviceCall::Unbind(channel.port());
    assert_eq!(error.device().map(DeviceError::call), Some(unbind));
    assert_eq!(ctx.link(), Link::Watching);
    channel.notify().unwrap();
    channel.unbind().unwrap();
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_notifier_of_a_channel_whose_unbind_failed_still_notifies() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    let notifier = channel.notifier();
    tester.fail("unbind", ErrorKind::Other);
    channel.unbind().unwrap_err();
    notifier.notify().unwrap();
    channel.unbind().unwrap();
    assert!(matches!(notifier.notify(), Err(Error::NotBound(_))));
}

#[test]
fn a_failing_drop_is_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("unbind", ErrorKind::Other);
    tester.fail("deregister", ErrorKind::Other);
    drop(channel);
    assert_eq!(ctx.stats().unreported, 2);
    ctx.dispatch().unwrap().finish().unwrap();
    assert_eq!(ctx.link(), Link::Idle);
    ctx.teardown().unwrap();
}

#[test]
fn failed_teardown_leaves_the_device_open() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("deregister", ErrorKind::Other);
    tester.fail("deregister", ErrorKind::Other);
    drop(channel);
    let error = ctx.teardown().unwrap_err();
    assert!(matches!(error, Error::Deregister(_)), "{error:?}");
    assert_eq!(ctx.link(), Link::Watching);
    ctx.teardown().unwrap();
    assert_eq!(ctx.link(), Link::Closed);
    assert_eq!(tester.log().last().map(String::as_str), Some("close"));
}

#[test]
fn a_dropped_context_deregisters_before_it_closes() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.log();
    drop(ctx);
    assert!(matches!(channel.wait(), Err(Error::NotBound(_))));
    channel.notify().unwrap();
    drop(channel);
    assert_eq!(
        tester.log(),
        ["deregister", "notify 1", "unbind 1", "close"]
    );
}
