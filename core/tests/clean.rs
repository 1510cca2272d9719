//! Nothing is left of a device that closed or failed, of a registration that ended, or of an unmask
//! without a wait.

use std::time::Duration;

use crate::support::Tester;
use evtchn_core::{Cause, DomId, ErrorKind, Link, Outcome, Trigger};

const GUEST: DomId = DomId::new(7);

/// The next registration reports the edge again. If the edge were kept, the loop would never sleep.
#[test]
fn an_unread_edge_is_forgotten_when_the_device_is_deregistered() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    for _ in 0..300 {
        tester.batch(&[channel.port()]);
    }
    assert_eq!(ctx.drive().unwrap(), Outcome::More);
    // Its wake is queued, and the device may have more.
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    channel.cancel().unwrap();
    assert_eq!(ctx.link(), Link::Idle);
    assert_eq!(ctx.next_timeout(), None);
}

#[test]
fn a_new_device_is_not_read_before_its_first_bind() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.unbind().unwrap();
    ctx.teardown().unwrap();
    tester.log();
    let _channel = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(tester.log(), ["open", "bind"]);
}

#[test]
fn a_device_opened_after_a_hand_over_is_not_read_before_its_first_bind() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channels = [ctx.bind_unbound_port(GUEST).unwrap()];
    channels[0].wait().unwrap();
    let parts = ctx.hand_over(&mut channels).unwrap();
    tester.log();
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(tester.log(), ["open", "bind"]);
    assert_eq!((ctx.link(), ctx.next_timeout()), (Link::Idle, None));
    drop((parts, channels));
    assert_eq!(tester.log(), ["close"], "the ports are its owner's");
}

#[test]
fn events_read_from_one_device_do_not_wake_channels_of_the_next() {
    let tester = Tester::new();
    let ctx = tester.context();
    tester.script().ports = [5, 5].into();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    channel.unbind().unwrap();
    ctx.teardown().unwrap();
    // The same number.
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    assert_eq!(ctx.dispatch().unwrap().count(), 0);
    assert_eq!(ctx.stats().foreign, 0);
}

/// The loop would never sleep again.
#[test]
fn a_failed_device_leaves_no_event_in_the_queue() {
    let tester = Tester::new();
    let ctx = tester.context();
    let bound = [0; 3].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &bound {
        channel.wait().unwrap();
    }
    tester.batch(&[bound[0].port(), bound[1].port()]);
    let mut round = ctx.dispatch_at_most(1).unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Event));
    assert_eq!(round.finish().unwrap(), Outcome::More);
    // The second is queued. A bind reads, since something was unbound.
    let [first, ..] = &bound;
    first.wait().unwrap();
    ctx.bind_unbound_port(GUEST).unwrap().unbind().unwrap();
    tester.fail("read", ErrorKind::Gone);
    ctx.bind_unbound_port(GUEST).unwrap_err();
    let mut causes: Vec<_> = ctx.dispatch().unwrap().map(|wake| wake.cause).collect();
    causes.dedup();
    assert_eq!(causes, [Cause::Gone]);
    assert_eq!(ctx.next_timeout(), None);
    assert_eq!(ctx.dispatch().unwrap().finish().unwrap(), Outcome::Done);
}

/// The loop would never sleep again.
#[test]
fn a_failed_unmask_is_forgotten_with_the_context() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    let mut round = ctx.dispatch().unwrap();
    let wake = round.next().unwrap();
    ctx.wait(wake.channel).unwrap();
    tester.fail("write", ErrorKind::NoMemory);
    round.finish().unwrap_err();
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    channel.unbind().unwrap();
    ctx.teardown().unwrap();
    assert_eq!(ctx.next_timeout(), None);
}

/// Then only the channels hold the device.
#[test]
fn a_teardown_in_the_round_of_a_fault_closes_the_failed_device() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    ctx.teardown().unwrap();
    assert_eq!(ctx.link(), Link::Closed);
    round.finish().unwrap_err();
    drop(channel);
    assert_eq!(tester.log().last().map(String::as_str), Some("close"));
}
