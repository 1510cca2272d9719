//! The counters, the texts, and small things that hold for every context.

use std::time::Duration;

use crate::support::Tester;
use evtchn_core::{Cause, Channel, DomId, Error, ErrorKind, Link, Outcome, Port, Wake};

const GUEST: DomId = DomId::new(7);

#[test]
fn registrations_wakes_reads_and_writes_are_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    for _ in 0..3 {
        channel.wait().unwrap();
        tester.batch(&[channel.port()]);
        assert_eq!(ctx.dispatch().unwrap().count(), 1);
    }
    let stats = ctx.stats();
    assert_eq!((stats.opens, stats.registers, stats.deregisters), (1, 3, 3));
    assert_eq!((stats.reads, stats.empty_reads, stats.writes), (3, 0, 2));
    assert_eq!((stats.wakes, stats.latched, stats.spurious), (3, 0, 0));
    assert_eq!((stats.faults, stats.unreported), (0, 0));
}

#[test]
fn latched_and_spurious_events_are_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [kept, other] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for round in 1..4 {
        other.wait().unwrap();
        tester.batch(&[kept.port(), kept.port(), other.port()]);
        assert_eq!(ctx.dispatch().unwrap().count(), 1);
        kept.wait().unwrap();
        let wakes: Vec<_> = ctx.dispatch().unwrap().collect();
        let (channel, cause) = (kept.id(), Cause::Event);
        assert_eq!(wakes, [Wake { channel, cause }]);
        kept.wait().unwrap();
        assert!(kept.cancel().unwrap());
        let stats = ctx.stats();
        assert_eq!((stats.latched, stats.spurious), (round, round));
        assert_eq!(stats.wakes, 2 * round);
    }
}

#[test]
fn overflows_and_what_they_latch_are_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [0; 3].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for round in 1..3 {
        channels[0].wait().unwrap();
        tester.fail("read", ErrorKind::Overflow);
        assert_eq!(ctx.dispatch().unwrap().count(), 1);
        assert_eq!(ctx.stats().overflows, round);
        // Both from the other two: a latched event stays latched.
        assert_eq!(ctx.stats().latched, 2);
    }
}

#[test]
fn wakes_of_one_failed_device_come_before_those_of_the_next() {
    let tester = Tester::new();
    let ctx = tester.context();
    let gone = |round: usize| {
        let channels = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
        for channel in &channels {
            channel.wait().unwrap();
        }
        tester.fail("read", ErrorKind::Gone);
        let mut budget = ctx.dispatch_at_most(round).unwrap();
        let wakes = budget.by_ref().map(|wake| (wake.channel, wake.cause));
        let wakes: Vec<_> = wakes.collect();
        assert!(matches!(budget.finish(), Err(Error::Device(_))));
        (channels.map(|it| (it.id(), Cause::Gone)), wakes)
    };
    let ([one, other], woken) = gone(1);
    assert_eq!(woken, [one]);
    let ([third, fourth], woken) = gone(usize::MAX);
    assert_eq!(woken, [other, third, fourth]);
    assert_eq!(ctx.stats().faults, 2);
    assert_eq!(ctx.next_timeout(), None);
}

/// Wakes are queued when the device fails in the read that a bind begins with.
#[test]
fn a_device_that_fails_during_a_bind_wakes_each_waiter_once_with_gone() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [0; 3].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    let [fired, silent, taken] = &channels;
    for channel in &channels {
        channel.wait().unwrap();
    }
    tester.batch(&[taken.port(), fired.port()]);
    assert_eq!(ctx.dispatch_at_most(1).unwrap().count(), 1);
    ctx.bind_unbound_port(GUEST).unwrap().unbind().unwrap();
    tester.fail("read", ErrorKind::Gone);
    ctx.bind_unbound_port(GUEST).unwrap_err();
    let woken = |ctx: &evtchn_core::Context<_>| -> Vec<_> {
        let round = ctx.dispatch_at_most(1).unwrap();
        round.map(|wake| (wake.channel, wake.cause)).collect()
    };
    assert_eq!(woken(&ctx), [(fired.id(), Cause::Gone)]);
    // The next device fails in the same way before the other one is woken.
    ctx.bind_unbound_port(GUEST).unwrap().unbind().unwrap();
    tester.fail("read", ErrorKind::Gone);
    ctx.bind_unbound_port(GUEST).unwrap_err();
    assert_eq!(woken(&ctx), [(silent.id(), Cause::Gone)]);
    assert_eq!(woken(&ctx), []);
    assert_eq!(ctx.next_timeout(), None);
}

#[test]
fn a_teardown_drops_wakes_of_a_failed_device() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    tester.fail("read", ErrorKind::Gone);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    assert!(matches!(round.finish(), Err(Error::Device(_))));
    drop(channels);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    ctx.teardown().unwrap();
    assert_eq!(ctx.next_timeout(), None);
    assert_eq!(ctx.dispatch().unwrap().count(), 0);
}

#[test]
fn a_wait_outside_a_round_unmasks_at_once_while_the_device_is_registered() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [one, other] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in [&one, &other] {
        channel.wait().unwrap();
    }
    tester.batch(&[one.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    assert_eq!(ctx.link(), Link::Watching);
    tester.log();
    one.wait().unwrap();
    assert_eq!(tester.log(), ["write [1]"]);
}

#[test]
fn a_restriction_that_no_device_takes_is_refused_before_the_open() {
    let tester = Tester::new();
    let ctx = tester.context();
    for domid in [DomId::DOM0, DomId::FIRST_RESERVED, DomId::new(u16::MAX)] {
        let refused = ctx.restrict(domid).unwrap_err();
        assert!(matches!(refused, Error::NoTarget(it) if it == domid));
    }
    ctx.restrict(DomId::new(0x7fef)).unwrap();
}

/// An unbind marks the device as dirty; the next bind reads once and clears the mark.
#[test]
fn only_the_first_bind_after_an_unbind_reads() {
    let tester = Tester::new();
    let ctx = tester.context();
    let _kept = ctx.bind_unbound_port(GUEST).unwrap();
    ctx.bind_unbound_port(GUEST).unwrap().unbind().unwrap();
    tester.log();
    let _next = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    assert_eq!(tester.log(), ["read", "bind", "bind"]);
}

#[test]
fn a_full_read_is_followed_by_another() {
    let tester = Tester::new();
    tester.script().ports = (1..=200).collect();
    let ctx = tester.context();
    let channels: Vec<_> = (0..64)
        .map(|_| ctx.bind_unbound_port(GUEST).unwrap())
        .collect();
    for channel in &channels {
        channel.wait().unwrap();
    }
    let ports: Vec<_> = channels.iter().map(Channel::port).collect();
    tester.batch(&ports);
    tester.log();
    assert_eq!(ctx.dispatch().unwrap().count(), 64);
    assert_eq!(tester.log(), ["read", "read", "deregister"]);
    // A read that is not full is the last one.
    tester.batch(&ports[1..]);
    let _waits: Vec<_> = channels.iter().map(|it| it.wait().unwrap()).collect();
    tester.log();
    assert_eq!(ctx.dispatch().unwrap().count(), 63);
    assert_eq!(tester.log(), ["read"]);
}

/// Foreign ports fill each read, so no wake uses up the budget.
#[test]
fn a_round_stops_reading_a_device_that_always_has_more() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    let room = 64;
    for _ in 0..200 {
        tester.script().batches.push_back(vec![99; room]);
    }
    assert_eq!(ctx.dispatch().unwrap().count(), 0);
    assert_eq!(ctx.stats().reads, 128);
    assert_eq!(ctx.dispatch().unwrap().count(), 0);
    assert_eq!((ctx.stats().reads, ctx.stats().empty_reads), (200, 1));
}

/// A cancelled port that was unmasked once is still unmasked.
#[test]
fn an_unmasked_port_is_not_unmasked_twice() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    tester.log();
    channel.wait().unwrap();
    channel.cancel().unwrap();
    channel.wait().unwrap();
    let once = ["register", "write [1]", "deregister", "register"];
    assert_eq!(tester.log(), once);
}

#[test]
fn a_cancel_of_one_queued_wake_leaves_the_others() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [0; 3].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    tester.batch(&channels.each_ref().map(Channel::port));
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|it| it.channel), Some(channels[0].id()));
    drop(round);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    channels[1].cancel().unwrap();
    let fired: Vec<_> = ctx.dispatch().unwrap().map(|it| it.channel).collect();
    assert_eq!(fired, [channels[2].id()]);
    channels[1].wait().unwrap();
    let kept: Vec<_> = ctx.dispatch().unwrap().collect();
    let (channel, cause) = (channels[1].id(), Cause::Event);
    assert_eq!(kept, [Wake { channel, cause }]);
}

#[test]
fn debug_and_display_name_ports_and_state() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    let notifier = channel.notifier();
    let id = format!("{:?}", channel.id());
    assert_eq!(format!("{channel:?}"), format!("Channel({id})"));
    assert_eq!(format!("{notifier:?}"), format!("Notifier({id})"));
    assert_eq!(
        format!("{ctx:?}"),
        "Context { link: Watching, bound: 1, .. }"
    );
    let round = ctx.dispatch().unwrap();
    assert_eq!(
        format!("{round:?}"),
        "Round { wakes_left: 4096, may_read: true, .. }"
    );
    drop(round);
    let Error::StillInUse(leftover) = ctx.teardown().unwrap_err() else {
        panic!("nothing is left");
    };
    assert_eq!(
        leftover.to_string(),
        "still in use: channels on ports [1], of which [1] have a waiter; notifiers of 0 channels"
    );
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn an_interrupted_read_is_made_again() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Interrupted);
    tester.batch(&[channel.port()]);
    tester.log();
    let wakes: Vec<_> = ctx.dispatch().unwrap().map(|wake| wake.cause).collect();
    assert_eq!(wakes, [Cause::Event]);
    assert_eq!(tester.log(), ["read", "read", "deregister"]);
}

#[test]
fn empty_reads_and_writes_of_a_round_are_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    for round in 1..4 {
        assert_eq!(ctx.dispatch().unwrap().count(), 0);
        tester.batch(&[channel.port()]);
        let mut wakes = ctx.dispatch().unwrap();
        assert_eq!(wakes.next().map(|wake| wake.channel), Some(channel.id()));
        channel.wait().unwrap();
        assert_eq!(wakes.finish().unwrap(), Outcome::Done);
        let stats = ctx.stats();
        assert_eq!((stats.empty_reads, stats.writes), (round, round));
        assert_eq!((stats.reads, stats.wakes), (round, round));
    }
}

#[test]
fn a_budget_is_used_up_wake_by_wake() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [0; 7].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    tester.batch(&channels.each_ref().map(Channel::port));
    for expected in [3, 3, 1] {
        let mut round = ctx.dispatch_at_most(3).unwrap();
        assert_eq!(round.by_ref().count(), expected);
        assert_eq!(
            round.finish().unwrap() == Outcome::More,
            expected == 3 && ctx.next_timeout().is_some()
        );
    }
}

#[test]
fn a_refused_hand_over_says_why() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [own, held] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    let foreign = tester.context().bind_unbound_port(GUEST).unwrap();
    let mut channels = vec![own];

    let refused = ctx.hand_over(&mut channels).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "still in use: channels on ports [2], of which [] have a waiter; notifiers of 0 channels"
    );

    channels.push(foreign);
    let refused = ctx.hand_over(&mut channels).unwrap_err();
    let foreign = channels.pop().unwrap();
    assert!(matches!(refused, Error::NotBound(id) if id == foreign.id()));

    let notifier = held.notifier();
    channels.push(held);
    let refused = ctx.hand_over(&mut channels).unwrap_err();
    let Error::StillInUse(left) = refused else {
        panic!("a notifier is left: {refused:?}");
    };
    assert_eq!((left.channels, left.held), (vec![], 1));

    // The channels are as they were before.
    for channel in &channels {
        channel.notify().unwrap();
    }
    drop(notifier);
    let parts = ctx.hand_over(&mut channels).unwrap();
    assert_eq!(
        parts.table.ports(),
        [1, 2].map(|raw| Port::new(raw).unwrap())
    );
    for channel in channels {
        let refused = channel.notify().unwrap_err();
        assert!(matches!(refused, Error::NotBound(id) if id == channel.id()));
    }
}

#[test]
fn a_notifier_of_an_unbound_channel_keeps_the_device() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [own, mut gone] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    let notifier = gone.notifier();
    gone.unbind().unwrap();
    let mut channels = [own];
    let refused = ctx.hand_over(&mut channels).unwrap_err();
    assert!(matches!(&refused, Error::StillInUse(left) if left.held == 1));
    drop(notifier);
    ctx.hand_over(&mut channels).unwrap();
}
