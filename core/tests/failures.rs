//! What a failed step leaves behind, step by step.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::{Arc, Mutex};

use crate::support::{FakeLoop, Tester};
use evtchn_core::{
    Cause, Channel, Context, DeviceCall, DeviceError, DomId, Error, ErrorKind, Link, Outcome,
    Trigger,
};

const GUEST: DomId = DomId::new(7);
const LEFT_WAITING: &str =
    "still in use: channels on ports [1], of which [1] have a waiter; notifiers of 0 channels";

/// The call of the device that failed.
fn failed_call(error: &Error) -> Option<DeviceCall> {
    error.device().map(DeviceError::call)
}

#[test]
fn failed_open_leaves_the_context_closed() {
    let tester = Tester::new();
    let ctx = tester.context();
    tester.fail("open", ErrorKind::NoDevice);
    let error = ctx.bind_unbound_port(GUEST).unwrap_err();
    assert_eq!(failed_call(&error), Some(DeviceCall::Open), "{error:?}");
    assert_eq!(ctx.link(), Link::Closed);
    ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(ctx.stats().opens, 1);
}

#[test]
fn failed_first_bind_closes_the_device_again() {
    let tester = Tester::new();
    let ctx = tester.context();
    tester.fail("bind", ErrorKind::NoSpace);
    let error = ctx.bind_unbound_port(GUEST).unwrap_err();
    let bind = DeviceCall::BindUnboundPort(GUEST);
    assert_eq!(failed_call(&error), Some(bind), "{error:?}");
    assert_eq!(ctx.link(), Link::Closed);
    assert_eq!(tester.log(), ["open", "bind", "close"]);
}

#[test]
fn failed_second_bind_leaves_the_device_open() {
    let tester = Tester::new();
    let ctx = tester.context();
    let _first = ctx.bind_unbound_port(GUEST).unwrap();
    tester.fail("bind", ErrorKind::NoSpace);
    ctx.bind_unbound_port(GUEST).unwrap_err();
    assert_eq!(tester.log(), ["open", "bind", "bind"]);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_port_of_a_failed_device_is_unmasked_on_no_device() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    tester.script().ports = [5, 6].into();
    let ctx = tester.context();
    let first = ctx.bind_unbound_port(GUEST).unwrap();
    first.wait().unwrap();
    tester.batch(&[first.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Event));
    first.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    tester.log();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    assert!(matches!(round.finish(), Err(Error::Device(_))));
    assert_eq!(tester.log(), ["read", "deregister"]);
    assert_eq!(ctx.next_timeout(), None);
    // Nor on the next device, where another channel has the number.
    let second = ctx.bind_unbound_port(GUEST).unwrap();
    second.wait().unwrap();
    tester.batch(&[second.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    let log = tester.log();
    assert!(!log.iter().any(|step| step.starts_with("write")), "{log:?}");
}

#[test]
fn failed_register_leaves_no_wait() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    tester.fail("register", ErrorKind::Other);
    let error = channel.wait().unwrap_err();
    assert!(matches!(error, Error::Register(_)), "{error:?}");
    assert_eq!(ctx.link(), Link::Idle);
    tester.log();
    channel.wait().unwrap();
    assert_eq!(tester.log(), ["register"]);
}

#[test]
fn failed_deregister_leaves_the_wait() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("deregister", ErrorKind::Other);
    let error = channel.cancel().unwrap_err();
    assert!(matches!(error, Error::Deregister(_)), "{error:?}");
    assert_eq!(ctx.link(), Link::Watching);
    tester.batch(&[channel.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(channel.id()));
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn failed_unmask_takes_back_a_wait_outside_a_round() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    tester.fail("write", ErrorKind::NoMemory);
    let error = channel.wait().unwrap_err();
    let (first, count) = (channel.port(), 1);
    let unmask = DeviceCall::Unmask { first, count };
    assert_eq!(failed_call(&error), Some(unmask), "{error:?}");
    assert_eq!(ctx.link(), Link::Idle);
    tester.log();
    channel.wait().unwrap();
    assert_eq!(tester.log(), ["register", "write [1]"]);
}

#[test]
fn partial_unmask_is_finished_by_the_next_round() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels: Vec<_> = (0..3)
        .map(|_| ctx.bind_unbound_port(GUEST).unwrap())
        .collect();
    let ports: Vec<_> = channels.iter().map(Channel::port).collect();
    for channel in &channels {
        channel.wait().unwrap();
    }
    tester.batch(&ports);
    tester.log();
    tester.script().write_takes = 1;
    tester.fail("write", ErrorKind::NoMemory);
    let mut round = ctx.dispatch().unwrap();
    for wake in &mut round {
        ctx.wait(wake.channel).unwrap();
    }
    let error = round.finish().unwrap_err();
    let (first, count) = (ports[0], 3);
    let unmask = DeviceCall::Unmask { first, count };
    assert_eq!(failed_call(&error), Some(unmask), "{error:?}");
    assert_eq!(ctx.next_timeout(), Some(std::time::Duration::ZERO));
    assert_eq!(tester.log(), ["read", "write [1]", "wake"]);
    assert_eq!(ctx.dispatch().unwrap().finish().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["write [1]", "write [2]", "write [3]"]);
    assert_eq!(ctx.next_timeout(), None);
}

#[test]
fn a_port_cancelled_before_its_unmask_is_not_written() {
    let tester = Tester::new();
    let ctx = tester.context();
    let one = ctx.bind_unbound_port(GUEST).unwrap();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    one.wait().unwrap();
    two.wait().unwrap();
    tester.batch(&[one.port(), two.port()]);
    tester.log();
    let mut round = ctx.dispatch().unwrap();
    for wake in &mut round {
        ctx.wait(wake.channel).unwrap();
    }
    one.cancel().unwrap();
    // Waited on twice in one round, it is still written once.
    two.cancel().unwrap();
    two.wait().unwrap();
    round.finish().unwrap();
    assert_eq!(tester.log(), ["read", "write [2]"]);
}

#[test]
fn device_failure_wakes_each_waiter_once_and_the_next_bind_reopens() {
    let tester = Tester::new();
    let ctx = tester.context();
    ctx.restrict(GUEST).unwrap();
    let waiting = ctx.bind_unbound_port(GUEST).unwrap();
    let silent = ctx.bind_unbound_port(GUEST).unwrap();
    waiting.wait().unwrap();
    tester.log();
    tester.fail("read", ErrorKind::Gone);
    let mut round = ctx.dispatch().unwrap();
    let wakes: Vec<_> = round.by_ref().collect();
    assert_eq!(wakes.len(), 1);
    assert_eq!(
        (wakes[0].channel, wakes[0].cause),
        (waiting.id(), Cause::Gone)
    );
    let error = round.finish().unwrap_err();
    assert_eq!(failed_call(&error), Some(DeviceCall::Pending), "{error:?}");
    assert_eq!(ctx.link(), Link::Faulted);
    assert!(matches!(silent.wait(), Err(Error::NotBound(_))));
    drop((waiting, silent));
    // A failed device still takes unbinds.
    let log = ["read", "deregister", "unbind 1", "unbind 2", "close"];
    assert_eq!(tester.log(), log);

    let _again = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(tester.log(), ["open", "restrict 7", "bind"]);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_device_that_cannot_be_restricted_again_stays_faulted() {
    let tester = Tester::new();
    let ctx = tester.context();
    ctx.restrict(GUEST).unwrap();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    drop(channel);
    tester.log();
    tester.fail("restrict", ErrorKind::Other);
    let error = ctx.bind_unbound_port(GUEST).unwrap_err();
    let restrict = DeviceCall::Restrict(GUEST);
    assert_eq!(failed_call(&error), Some(restrict), "{error:?}");
    assert_eq!(ctx.link(), Link::Faulted);
    assert_eq!(tester.log(), ["open", "restrict 7", "close"]);
}

#[test]
fn restricting_twice_is_refused() {
    let tester = Tester::new();
    let ctx = tester.context();
    ctx.restrict(GUEST).unwrap();
    let error = ctx.restrict(DomId::new(8)).unwrap_err();
    assert!(matches!(error, Error::Restricted(GUEST)), "{error:?}");
}

/// A context whose last round was dropped and failed to unmask.
fn after_a_dropped_round(tester: &Tester) -> (Context<FakeLoop>, Channel<FakeLoop>) {
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    tester.fail("write", ErrorKind::NoMemory);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(channel.id()));
    channel.wait().unwrap();
    tester.log();
    drop(round);
    (ctx, channel)
}

#[test]
fn the_error_of_a_dropped_round_is_returned_once_by_the_next_round() {
    let tester = Tester::new();
    let (ctx, channel) = after_a_dropped_round(&tester);
    assert_eq!(tester.log().last().map(String::as_str), Some("wake"));
    assert_eq!(ctx.next_timeout(), Some(std::time::Duration::ZERO));
    let (first, count) = (channel.port(), 1);
    let unmask = Some(DeviceCall::Unmask { first, count });
    let error = ctx.dispatch().unwrap_err();
    assert_eq!(failed_call(&error), unmask, "{error:?}");
    assert_eq!(tester.log(), [""; 0]);
    assert_eq!(ctx.dispatch().unwrap().finish().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["write [1]"]);
    assert_eq!((ctx.next_timeout(), ctx.stats().unreported), (None, 0));
}

#[test]
fn the_error_of_a_dropped_round_is_returned_once_by_a_teardown() {
    let tester = Tester::new();
    let (ctx, channel) = after_a_dropped_round(&tester);
    drop(channel);
    let error = ctx.teardown().unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
    ctx.teardown().unwrap();
    assert_eq!((ctx.link(), ctx.stats().unreported), (Link::Closed, 0));
}

#[test]
fn a_failed_deregister_takes_back_a_try_cancel() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("deregister", ErrorKind::Other);
    let error = channel.try_cancel().unwrap_err();
    assert!(matches!(error, Error::Deregister(_)));
    assert_eq!(ctx.link(), Link::Watching);
    assert_eq!(ctx.teardown().unwrap_err().to_string(), LEFT_WAITING);
    channel.try_cancel().unwrap();
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_hook_that_calls_back_is_refused() {
    let tester = Tester::new();
    let ctx = Arc::new(tester.context());
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let id = channel.id();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inner, answers) = (Arc::clone(&ctx), Arc::clone(&seen));
    tester.script().on_register = Some(Box::new(move || {
        let mut answers = answers.lock().unwrap();
        answers.push(matches!(inner.wait(id), Err(Error::Reentrant)));
        answers.push(matches!(inner.cancel(id), Err(Error::Reentrant)));
        answers.push(matches!(inner.try_cancel(id), Err(Error::Reentrant)));
        answers.push(matches!(
            inner.bind_unbound_port(GUEST),
            Err(Error::Reentrant)
        ));
        answers.push(matches!(inner.dispatch(), Err(Error::Reentrant)));
        answers.push(matches!(inner.teardown(), Err(Error::Reentrant)));
    }));
    channel.wait().unwrap();
    assert_eq!(*seen.lock().unwrap(), [true; 6]);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_hook_that_panics_leaves_the_context_usable() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    tester.script().on_register = Some(Box::new(|| panic!("as scripted")));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| channel.wait()));
    assert!(panicked.is_err());
    channel.wait().unwrap();
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_number_that_the_device_gives_out_twice_ends_the_older_channel() {
    let tester = Tester::new();
    tester.script().ports = [5, 5].into();
    let ctx = tester.context();
    let old = ctx.bind_unbound_port(GUEST).unwrap();
    old.wait().unwrap();
    let mut new = ctx.bind_unbound_port(GUEST).unwrap();
    let wakes: Vec<_> = ctx.dispatch().unwrap().collect();
    assert_eq!(wakes.len(), 1);
    assert_eq!((wakes[0].channel, wakes[0].cause), (old.id(), Cause::Gone));
    tester.log();
    drop(old);
    assert_eq!(tester.log(), [""; 0], "the number belongs to the new one");
    new.unbind().unwrap();
    assert_eq!(tester.log(), ["unbind 5"]);
}

#[test]
fn foreign_events_are_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester
        .script()
        .batches
        .push_back(vec![0, 77, u32::MAX, 1 << 31]);
    assert_eq!(ctx.dispatch().unwrap().count(), 0);
    assert_eq!(ctx.stats().foreign, 4);
}
