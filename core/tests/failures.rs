//! What a failed step leaves behind, step by step.

use std::sync::{Arc, Mutex};

use crate::support::Tester;
use evtchn_core::{
    BindError, CancelError, Cause, Channel, DispatchError, DomId, ErrorKind, Link, LinkError,
    NotifyError, Outcome, RestrictError, TeardownError, Trigger, TryCancelError, UnbindError, Wait,
    WaitError,
};

const GUEST: DomId = DomId::new(7);
const LEFT_WAITING: &str =
    "still in use: channels on ports [1], waited for [1]; 0 unbound channels still held";

#[test]
fn failed_open_leaves_the_context_closed() {
    let tester = Tester::new();
    let ctx = tester.context();
    tester.fail("open", ErrorKind::NoDevice);
    let error = ctx.bind_unbound_port(GUEST).unwrap_err();
    assert!(matches!(error, BindError::Open(_)), "{error:?}");
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
    assert!(matches!(error, BindError::Bind(_)), "{error:?}");
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
fn a_port_that_was_to_be_enabled_again_when_its_device_failed_is_written_to_none() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    tester.script().ports = [5, 6].into();
    let ctx = tester.context();
    let first = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(first.wait().unwrap(), Wait::Pending);
    tester.batch(&[first.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Event));
    assert_eq!(first.wait().unwrap(), Wait::Pending);
    tester.fail("read", ErrorKind::Gone);
    tester.log();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    assert!(matches!(round.finish(), Err(DispatchError::Device(_))));
    assert_eq!(tester.log(), ["read", "deregister"]);
    assert_eq!(ctx.next_timeout(), None);
    // Neither to the one that is opened next, where the number is somebody else's.
    let second = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(second.wait().unwrap(), Wait::Pending);
    tester.batch(&[second.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    let log = tester.log();
    assert!(!log.iter().any(|step| step.starts_with("write")), "{log:?}");
}

#[test]
fn failed_register_leaves_nobody_waiting() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    tester.fail("register", ErrorKind::Other);
    let error = channel.wait().unwrap_err();
    assert!(
        matches!(error, WaitError::Link(LinkError::Register(_))),
        "{error:?}"
    );
    assert_eq!(ctx.link(), Link::Idle);
    tester.log();
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
    assert_eq!(tester.log(), ["register"]);
}

#[test]
fn failed_deregister_leaves_the_cancelled_waiter_waiting() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = channel.wait().unwrap();
    tester.fail("deregister", ErrorKind::Other);
    let error = channel.cancel().unwrap_err();
    assert!(
        matches!(error, CancelError::Link(LinkError::Deregister(_))),
        "{error:?}"
    );
    assert_eq!(ctx.link(), Link::Watching);
    tester.batch(&[channel.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(channel.id()));
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn failed_write_back_of_a_lone_wait_is_taken_back() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    tester.fail("write", ErrorKind::NoMemory);
    let error = channel.wait().unwrap_err();
    assert!(matches!(error, WaitError::Unmask { .. }), "{error:?}");
    assert_eq!(ctx.link(), Link::Idle);
    tester.log();
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
    assert_eq!(tester.log(), ["register", "write [1]"]);
}

#[test]
fn partial_write_back_is_finished_by_the_next_round() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels: Vec<_> = (0..3)
        .map(|_| ctx.bind_unbound_port(GUEST).unwrap())
        .collect();
    let ports: Vec<_> = channels.iter().map(Channel::port).collect();
    for channel in &channels {
        let _ = channel.wait().unwrap();
    }
    tester.batch(&ports);
    tester.log();
    tester.script().write_takes = 1;
    tester.fail("write", ErrorKind::NoMemory);
    let mut round = ctx.dispatch().unwrap();
    for wake in &mut round {
        let _ = ctx.wait(wake.channel).unwrap();
    }
    let error = round.finish().unwrap_err();
    assert!(
        matches!(error, DispatchError::Unmask { ports: 3, .. }),
        "{error:?}"
    );
    assert_eq!(ctx.next_timeout(), Some(std::time::Duration::ZERO));
    assert_eq!(tester.log(), ["read", "write [1]", "wake"]);
    assert_eq!(ctx.dispatch().unwrap().finish().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["write [1]", "write [2]", "write [3]"]);
    assert_eq!(ctx.next_timeout(), None);
}

#[test]
fn a_port_cancelled_before_its_write_back_is_not_written() {
    let tester = Tester::new();
    let ctx = tester.context();
    let one = ctx.bind_unbound_port(GUEST).unwrap();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = (one.wait().unwrap(), two.wait().unwrap());
    tester.batch(&[one.port(), two.port()]);
    tester.log();
    let mut round = ctx.dispatch().unwrap();
    for wake in &mut round {
        let _ = ctx.wait(wake.channel).unwrap();
    }
    one.cancel().unwrap();
    // Waited on twice in one round, it is still written once.
    two.cancel().unwrap();
    let _ = two.wait().unwrap();
    round.finish().unwrap();
    assert_eq!(tester.log(), ["read", "write [2]"]);
}

#[test]
fn device_failure_tells_each_waiter_once_and_the_next_bind_reopens() {
    let tester = Tester::new();
    let ctx = tester.context();
    ctx.restrict(GUEST).unwrap();
    let waiting = ctx.bind_unbound_port(GUEST).unwrap();
    let silent = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = waiting.wait().unwrap();
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
    assert!(matches!(error, DispatchError::Device(_)), "{error:?}");
    assert_eq!(ctx.link(), Link::Faulted);
    assert!(matches!(silent.wait(), Err(WaitError::NotBound(_))));
    drop((waiting, silent));
    // What still works of a failed device gives its ports back.
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
    let _ = channel.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    drop(channel);
    tester.log();
    tester.fail("restrict", ErrorKind::Other);
    let error = ctx.bind_unbound_port(GUEST).unwrap_err();
    assert!(matches!(error, BindError::Restrict(_)), "{error:?}");
    assert_eq!(ctx.link(), Link::Faulted);
    assert_eq!(tester.log(), ["open", "restrict 7", "close"]);
}

#[test]
fn restricting_twice_is_refused() {
    let tester = Tester::new();
    let ctx = tester.context();
    ctx.restrict(GUEST).unwrap();
    let error = ctx.restrict(DomId::new(8)).unwrap_err();
    assert!(matches!(error, RestrictError::Already(GUEST)), "{error:?}");
}

#[test]
fn failed_unbind_gives_the_channel_back_as_it_was() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = channel.wait().unwrap();
    tester.fail("unbind", ErrorKind::Other);
    let Err(UnbindError::Unbind { channel, .. }) = channel.unbind() else {
        panic!("the unbind was told to fail");
    };
    assert_eq!(ctx.link(), Link::Watching);
    channel.notify().unwrap();
    channel.unbind().unwrap();
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_notifier_of_a_channel_whose_unbind_failed_still_notifies() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let notifier = channel.notifier().unwrap();
    tester.fail("unbind", ErrorKind::Other);
    let Err(UnbindError::Unbind { channel, .. }) = channel.unbind() else {
        panic!("the unbind was told to fail");
    };
    notifier.notify().unwrap();
    channel.unbind().unwrap();
    assert!(matches!(notifier.notify(), Err(NotifyError::NotBound(_))));
}

#[test]
fn a_failing_drop_is_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = channel.wait().unwrap();
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
    let _ = channel.wait().unwrap();
    tester.fail("deregister", ErrorKind::Other);
    tester.fail("deregister", ErrorKind::Other);
    drop(channel);
    let error = ctx.teardown().unwrap_err();
    assert!(
        matches!(error, TeardownError::Link(LinkError::Deregister(_))),
        "{error:?}"
    );
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
    let _ = channel.wait().unwrap();
    tester.log();
    drop(ctx);
    assert!(matches!(channel.wait(), Err(WaitError::NotBound(_))));
    channel.notify().unwrap();
    drop(channel);
    assert_eq!(
        tester.log(),
        ["deregister", "notify 1", "unbind 1", "close"]
    );
}

#[test]
fn a_failed_deregister_takes_a_cancel_back_that_does_not_wait() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
    tester.fail("deregister", ErrorKind::Other);
    let error = channel.try_cancel().unwrap_err();
    assert!(matches!(
        error,
        TryCancelError::Cancel(CancelError::Link(LinkError::Deregister(_)))
    ));
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
        answers.push(matches!(
            inner.wait(id),
            Err(WaitError::Link(LinkError::Reentrant))
        ));
        answers.push(matches!(
            inner.cancel(id),
            Err(CancelError::Link(LinkError::Reentrant))
        ));
        answers.push(matches!(
            inner.try_cancel(id),
            Err(TryCancelError::Cancel(CancelError::Link(
                LinkError::Reentrant
            )))
        ));
        answers.push(matches!(
            inner.bind_unbound_port(GUEST),
            Err(BindError::Reentrant)
        ));
        answers.push(matches!(
            inner.dispatch(),
            Err(DispatchError::Link(LinkError::Reentrant))
        ));
        answers.push(matches!(
            inner.teardown(),
            Err(TeardownError::Link(LinkError::Reentrant))
        ));
    }));
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
    assert_eq!(*seen.lock().unwrap(), [true; 6]);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_hook_that_panics_leaves_the_context_usable() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    tester.script().on_register = Some(Box::new(|| panic!("as told")));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| channel.wait()));
    assert!(panicked.is_err());
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn an_edge_triggered_round_reads_until_nothing_is_left() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = channel.wait().unwrap();
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
    let _ = channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    tester.log();
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    assert_eq!(tester.log(), ["read", "deregister"]);
}

#[test]
fn an_edge_triggered_round_that_ends_early_says_more() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let other = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = (channel.wait().unwrap(), other.wait().unwrap());
    tester.batch(&[channel.port()]);
    let mut round = ctx.dispatch_at_most(1).unwrap();
    assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
    assert_eq!(round.next(), None);
    assert_eq!(round.finish().unwrap(), Outcome::More);
    assert_eq!(ctx.next_timeout(), Some(std::time::Duration::ZERO));
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
    let _ = channel.wait().unwrap();
    tester.fail("read", ErrorKind::Interrupted);
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
}

#[test]
fn a_port_taken_over_behind_our_back_ends_the_old_channel() {
    let tester = Tester::new();
    tester.script().ports = [5, 5].into();
    let ctx = tester.context();
    let old = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = old.wait().unwrap();
    let new = ctx.bind_unbound_port(GUEST).unwrap();
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
fn events_of_ports_that_are_not_ours_are_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let _ = channel.wait().unwrap();
    tester
        .script()
        .batches
        .push_back(vec![0, 77, u32::MAX, 1 << 31]);
    assert_eq!(ctx.dispatch().unwrap().count(), 0);
    assert_eq!(ctx.stats().foreign, 4);
}
