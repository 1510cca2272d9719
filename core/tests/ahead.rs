//! Wakes that a round takes ahead: whatever happens to a channel before its wake is yielded holds.
#![expect(clippy::unwrap_used, reason = "helpers that only tests call")]

use std::thread;

use crate::support::{FakeLoop, Tester};
use evtchn_core::{Channel, ChannelId, ChannelMap, Context, DomId, ErrorKind, Outcome, Port, Wake};

const GUEST: DomId = DomId::new(7);

type Ctx = Context<FakeLoop>;
type Ours = Channel<FakeLoop>;

/// Channels with a wait for each wake, and an event of each that is not yet read.
fn fired(channels: usize) -> (Tester, Ctx, Vec<Ours>) {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels: Vec<_> = (0..channels)
        .map(|_| ctx.bind_unbound_port(GUEST).unwrap())
        .collect();
    for channel in &channels {
        channel.wait_each().unwrap();
    }
    tester.batch(&ports(&channels));
    tester.log();
    (tester, ctx, channels)
}

fn ports(channels: &[Ours]) -> Vec<Port> {
    channels.iter().map(Channel::port).collect()
}

/// What one round yields.
fn round(ctx: &Ctx) -> Vec<Port> {
    ctx.dispatch().unwrap().map(|wake| wake.port()).collect()
}

fn port(wake: Option<Wake>) -> Option<Port> {
    wake.map(|wake| wake.port())
}

#[test]
fn a_round_yields_more_wakes_than_it_takes_ahead_at_once_each_once() {
    let (tester, ctx, channels) = fired(99);
    for _ in 0..3 {
        assert_eq!(round(&ctx), ports(&channels));
        assert_eq!(tester.log().len(), 2, "one read and one write");
        tester.batch(&ports(&channels));
    }
    assert_eq!(ctx.stats().wakes, 3 * 99);
}

#[test]
fn a_channel_that_the_round_cancels_is_not_yielded_and_its_event_is_kept() {
    let (tester, ctx, channels) = fired(4);
    let mut round_of_four = ctx.dispatch().unwrap();
    assert_eq!(port(round_of_four.next()), Some(channels[0].port()));
    assert!(channels[2].cancel().unwrap());
    let rest: Vec<_> = round_of_four.by_ref().map(|wake| wake.port()).collect();
    assert_eq!(rest, [channels[1].port(), channels[3].port()]);
    assert_eq!(round_of_four.finish().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["read", "write [1, 2, 4]"]);
    channels[2].wait().unwrap();
    assert_eq!(round(&ctx), [channels[2].port()]);
}

#[test]
fn a_channel_that_the_round_has_yielded_is_masked_after_its_cancel() {
    let (tester, ctx, channels) = fired(3);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(port(round.nth(1)), Some(channels[1].port()));
    assert!(channels[1].cancel().unwrap());
    assert_eq!(port(round.next()), Some(channels[2].port()));
    round.finish().unwrap();
    assert_eq!(tester.log(), ["read", "write [1, 3]"]);
}

#[test]
fn a_channel_that_the_round_unbinds_is_not_yielded() {
    let (_tester, ctx, mut channels) = fired(4);
    let mut round = ctx.dispatch().unwrap();
    round.next().unwrap();
    channels[1].unbind().unwrap();
    drop(channels.pop());
    assert_eq!(port(round.next()), Some(channels[2].port()));
    assert_eq!(round.next(), None);
    round.finish().unwrap();
    assert_eq!(ctx.stats().foreign, 2, "words of ports that are unbound");
}

#[test]
fn a_channel_that_waits_again_in_the_round_is_yielded_once() {
    let (tester, ctx, channels) = fired(3);
    let mut yielded = Vec::new();
    let mut round = ctx.dispatch().unwrap();
    for wake in &mut round {
        yielded.push(wake.port());
        for channel in &channels {
            channel.wait_each().unwrap();
        }
    }
    round.finish().unwrap();
    assert_eq!(yielded, ports(&channels));
    assert_eq!(tester.log(), ["read", "write [1, 2, 3]"]);
}

#[test]
fn a_wake_that_was_taken_ahead_is_kept_if_the_round_goes_on_with_other_channels() {
    let (tester, ctx, channels) = fired(5);
    let mut some = ChannelMap::new();
    for channel in [&channels[1], &channels[3], &channels[4]] {
        some.insert(channel.id(), channel.port());
    }
    let mut mixed = ctx.dispatch().unwrap();
    assert_eq!(port(mixed.next()), Some(channels[0].port()));
    let mut yielded = Vec::new();
    while let Some((wake, value)) = mixed.next_of(&mut some) {
        assert_eq!(wake.port(), *value);
        yielded.push(wake.port());
    }
    assert_eq!(
        yielded,
        some.channels().map(ChannelId::port).collect::<Vec<_>>()
    );
    assert_eq!(mixed.finish().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["read", "write [1, 2, 4, 5]"]);
    channels[2].wait().unwrap();
    assert_eq!(round(&ctx), [channels[2].port()]);
    assert_eq!(ctx.stats().wakes, 5);
}

#[test]
fn a_cancel_on_another_thread_is_seen_before_the_next_wake() {
    let (_tester, ctx, channels) = fired(3);
    let mut round = ctx.dispatch().unwrap();
    round.next().unwrap();
    let cancel = || channels[1].cancel().unwrap();
    assert!(thread::scope(|scope| scope.spawn(cancel).join().unwrap()));
    assert_eq!(port(round.next()), Some(channels[2].port()));
    assert_eq!(round.next(), None);
}

#[test]
fn what_a_dropped_round_did_not_yield_comes_with_the_next_round() {
    let (tester, ctx, channels) = fired(4);
    let first = ctx.dispatch().unwrap().next();
    assert_eq!(port(first), Some(channels[0].port()));
    assert_eq!(tester.log(), ["read", "write [1]", "wake"]);
    assert_eq!(round(&ctx), ports(&channels[1..]));
    assert_eq!(ctx.stats().wakes, 4);
}

#[test]
fn a_round_yields_as_many_as_its_budget() {
    let (_tester, ctx, channels) = fired(5);
    let mut three = ctx.dispatch_at_most(3).unwrap();
    let yielded: Vec<_> = three.by_ref().map(|wake| wake.port()).collect();
    assert_eq!(yielded, ports(&channels[..3]));
    assert_eq!(three.finish().unwrap(), Outcome::More);
    assert_eq!(round(&ctx), ports(&channels[3..]));
}

#[test]
fn the_counts_have_what_was_yielded_and_no_more() {
    let (_tester, ctx, _channels) = fired(4);
    let mut round = ctx.dispatch().unwrap();
    for yielded in 1..5 {
        round.next().unwrap();
        assert_eq!(ctx.stats().wakes, yielded);
    }
}

#[test]
fn an_overflow_found_in_the_round_wakes_each_channel_that_was_not_yielded_once() {
    let (tester, ctx, channels) = fired(3);
    let mut round = ctx.dispatch().unwrap();
    round.next().unwrap();
    tester.fail("read", ErrorKind::Overflow);
    // A bind after an unbind reads what the driver has.
    drop(ctx.bind_unbound_port(GUEST).unwrap());
    drop(ctx.bind_unbound_port(GUEST).unwrap());
    let mut rest: Vec<_> = round.by_ref().map(|wake| wake.port()).collect();
    rest.sort_unstable();
    assert_eq!(rest, ports(&channels), "the first one may have fired again");
    round.finish().unwrap();
}

#[test]
fn a_round_that_began_inside_another_takes_over_what_that_did_not_yield() {
    let (_tester, ctx, channels) = fired(4);
    let mut outer = ctx.dispatch().unwrap();
    outer.next().unwrap();
    let mut inner = ctx.dispatch().unwrap();
    assert_eq!(port(inner.next()), Some(channels[1].port()));
    drop(inner);
    let rest: Vec<_> = outer.map(|wake| wake.port()).collect();
    assert_eq!(rest, ports(&channels[2..]));
}
