//! Queued wakes, in rounds of values and of callbacks.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::time::Duration;

use crate::support::{FakeLoop, Tester};
use evtchn_core::{
    Cause, Channel, ChannelId, Context, DomId, Error, ErrorKind, Link, Outcome, Wake,
};

const GUEST: DomId = DomId::new(7);

/// What one round hands out.
fn causes(ctx: &Context<FakeLoop>) -> Vec<(ChannelId, Cause)> {
    ctx.dispatch()
        .unwrap()
        .map(|wake| (wake.channel, wake.cause))
        .collect()
}

#[test]
fn a_round_of_callbacks_keeps_and_counts_wakes_without_a_callback() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [called, other] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    called.set_callback(|_| ()).unwrap();
    for round in 1..4 {
        for channel in [&called, &other] {
            channel.wait().unwrap();
        }
        tester.batch(&[other.port(), called.port()]);
        ctx.dispatch_callbacks().unwrap();
        let stats = ctx.stats();
        assert_eq!((stats.latched, stats.wakes), (round, 2 * round - 1));
        other.wait().unwrap();
        assert_eq!(causes(&ctx), [(other.id(), Cause::Event)]);
    }
}

/// A channel that has a kept event, and one that waits.
fn kept_and_waiting(tester: &Tester, ctx: &Context<FakeLoop>) -> [Channel<FakeLoop>; 2] {
    let [kept, waiting] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    waiting.wait().unwrap();
    tester.batch(&[kept.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 0);
    assert_eq!(ctx.stats().latched, 1);
    tester.log();
    [kept, waiting]
}

#[test]
fn a_wait_on_a_latched_event_wakes_the_loop_once_and_the_next_round_hands_it_out() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [kept, _waiting] = kept_and_waiting(&tester, &ctx);
    for _ in 0..2 {
        kept.wait().unwrap();
        assert_eq!(tester.log(), ["wake"]);
        assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
        kept.wait().unwrap();
        assert_eq!(tester.log(), [""; 0], "it waits already");
        // A cancel keeps it for the next wait.
        assert!(kept.cancel().unwrap());
        assert!(!kept.cancel().unwrap());
        assert_eq!(ctx.next_timeout(), None);
    }
    kept.wait().unwrap();
    assert_eq!(causes(&ctx), [(kept.id(), Cause::Event)]);
    assert_eq!(causes(&ctx), [], "it came once");
    assert_eq!((ctx.stats().wakes, ctx.next_timeout()), (1, None));
}

#[test]
fn a_wait_on_a_latched_event_in_a_round_is_a_wake_of_that_round() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [kept, waiting] = kept_and_waiting(&tester, &ctx);
    tester.batch(&[waiting.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(waiting.id()));
    kept.wait().unwrap();
    let (channel, cause) = (kept.id(), Cause::Event);
    assert_eq!(round.next(), Some(Wake { channel, cause }));
    assert_eq!(round.next(), None);
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert!(!tester.log().contains(&"wake".into()));
}

#[test]
fn queued_wakes_are_counted_when_they_are_handed_out_or_kept() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [0; 4].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for round in 1..4 {
        for channel in &channels {
            channel.wait().unwrap();
        }
        tester.batch(&channels.each_ref().map(Channel::port));
        drop(ctx.dispatch_at_most(0).unwrap());
        // The first one is read and handed out, the others are queued behind it.
        assert_eq!(ctx.dispatch_at_most(1).unwrap().count(), 1);
        assert_eq!(ctx.dispatch_at_most(1).unwrap().count(), 1);
        // No channel has a callback: the rest is latched.
        ctx.dispatch_callbacks().unwrap();
        let stats = ctx.stats();
        assert_eq!((stats.wakes, stats.latched), (4 * round - 2, 2 * round));
        for channel in &channels[2..] {
            channel.wait().unwrap();
        }
        let kept = [&channels[2], &channels[3]].map(|it| (it.id(), Cause::Event));
        assert_eq!(causes(&ctx), kept);
    }
}

#[test]
fn a_round_that_reads_nothing_leaves_a_level_triggered_loop_nothing_to_do() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.log();
    let outcome = ctx.dispatch_at_most(0).unwrap().finish().unwrap();
    assert_eq!((outcome, ctx.next_timeout()), (Outcome::Done, None));
    assert_eq!(tester.log(), [""; 0], "the loop says it again");
}

#[test]
fn a_teardown_ends_the_wakes_of_a_failed_device() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    assert!(ctx.drive().is_err());
    drop(channel);
    assert!(ctx.next_timeout().is_some(), "it is still queued");
    ctx.teardown().unwrap();
    assert_eq!(ctx.next_timeout(), None);
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(
        (ctx.dispatch().unwrap().count(), ctx.next_timeout()),
        (0, None)
    );
}

#[test]
fn wakes_of_one_failed_device_outlive_the_failure_of_the_next() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut dead = Vec::new();
    for _ in 0..2 {
        let channel = ctx.bind_unbound_port(GUEST).unwrap();
        channel.wait().unwrap();
        tester.fail("read", ErrorKind::Gone);
        assert!(ctx.drive().is_err());
        dead.push(channel);
    }
    let woken: Vec<_> = ctx.dispatch().unwrap().map(|wake| wake.channel).collect();
    assert_eq!(woken, [dead[0].id(), dead[1].id()]);
    assert_eq!(ctx.next_timeout(), None);
}

#[test]
fn a_failed_device_leaves_no_wait() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    assert!(ctx.drive().is_err());
    tester.log();
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    // The loop is woken for the wake with `Gone`, and nothing is registered.
    assert_eq!(tester.log(), ["open", "bind", "wake"]);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_reopened_device_is_not_read_for_stale_entries_of_the_old_one() {
    let tester = Tester::new();
    let ctx = tester.context();
    ctx.bind_unbound_port(GUEST).unwrap().unbind().unwrap();
    ctx.teardown().unwrap();
    tester.log();
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(tester.log(), ["open", "bind"]);
}

/// The thread that runs the round is awake and takes what the bind read.
#[test]
fn a_bind_inside_a_round_does_not_wake_the_loop() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [first, second, mut third] = [0; 3].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in [&first, &second] {
        channel.wait().unwrap();
    }
    tester.batch(&[first.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.channel), Some(first.id()));
    third.unbind().unwrap();
    tester.batch(&[second.port()]);
    tester.log();
    let _fourth = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(tester.log(), ["read", "bind"]);
    assert_eq!(round.next().map(|wake| wake.channel), Some(second.id()));
}

#[test]
fn one_read_has_room_for_every_port_that_is_bound() {
    let tester = Tester::new();
    tester.script().ports = (1..=100).collect();
    let ctx = tester.context();
    let bind = |_| ctx.bind_unbound_port(GUEST).unwrap();
    let channels: Vec<_> = (0..100).map(bind).collect();
    for channel in &channels {
        channel.wait().unwrap();
    }
    let ports: Vec<_> = channels.iter().map(Channel::port).collect();
    tester.batch(&ports);
    tester.log();
    assert_eq!(ctx.dispatch().unwrap().count(), 100);
    assert_eq!(tester.log(), ["read", "deregister"]);
}

#[test]
fn bindings_of_one_number_differ_in_their_generation() {
    let tester = Tester::new();
    tester.script().ports = [5, 5, 6].into();
    let ctx = tester.context();
    let first = ctx.bind_unbound_port(GUEST).unwrap().id();
    let second = ctx.bind_unbound_port(GUEST).unwrap().id();
    let third = ctx.bind_unbound_port(GUEST).unwrap().id();
    assert_eq!(first.port(), second.port());
    assert!(first.generation() < second.generation());
    assert!(second.generation() < third.generation());
    let binding = second.generation();
    assert_eq!(second.to_string(), format!("port 5 (binding {binding})"));
}

#[test]
fn an_unbound_channel_with_a_notifier_is_still_in_use() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let notifier = channel.notifier();
    drop(channel);
    let Error::StillInUse(left) = ctx.teardown().unwrap_err() else {
        panic!("nothing is left");
    };
    assert_eq!((left.channels, left.held), (vec![], 1));
    drop(notifier);
    ctx.teardown().unwrap();
}
