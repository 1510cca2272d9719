//! Waits for each wake, which go on until they are cancelled.
#![expect(clippy::unwrap_used, reason = "helpers that only tests call")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{FakeLoop, Tester};
use evtchn_core::{Cause, Channel, Context, DomId, Error, ErrorKind, Link, Port, Wake};

const GUEST: DomId = DomId::new(7);

type Ctx = Context<FakeLoop>;
type Ours = Channel<FakeLoop>;

/// Channels with a wait for each wake.
fn waiting_for_each<const N: usize>() -> (Tester, Ctx, [Ours; N]) {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [(); N].map(|()| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait_each().unwrap();
    }
    tester.log();
    (tester, ctx, channels)
}

fn ports<const N: usize>(channels: &[Ours; N]) -> [Port; N] {
    channels.each_ref().map(Channel::port)
}

/// What one round hands out.
fn round(ctx: &Ctx) -> Vec<Wake> {
    ctx.dispatch().unwrap().collect()
}

fn wake(channel: &Ours, cause: Cause) -> Wake {
    let channel = channel.id();
    Wake { channel, cause }
}

#[test]
fn a_wait_for_each_fires_at_every_event_and_is_registered_once() {
    let (tester, ctx, channels) = waiting_for_each::<3>();
    for _ in 0..3 {
        tester.batch(&ports(&channels));
        let woke: Vec<Port> = round(&ctx).iter().map(Wake::port).collect();
        assert_eq!(woke, ports(&channels));
        assert_eq!(tester.log(), ["read", "write [1, 2, 3]"]);
        assert_eq!((ctx.link(), ctx.next_timeout()), (Link::Watching, None));
    }
    for channel in &channels {
        assert!(channel.cancel().unwrap(), "it waits");
    }
    assert_eq!(tester.log(), ["deregister"]);
    assert!(!channels[0].cancel().unwrap(), "it does not wait any more");
}

#[test]
fn a_wait_for_one_beside_a_wait_for_each_ends_after_one_wake() {
    let (tester, ctx, [each, once]) = waiting_for_each();
    once.wait().unwrap();
    assert!(once.cancel().unwrap());
    once.wait().unwrap();
    tester.batch(&[once.port(), each.port()]);
    assert_eq!(round(&ctx).len(), 2);
    assert_eq!(tester.log().last().unwrap(), "write [1]");
    tester.batch(&[each.port()]);
    assert_eq!(round(&ctx), [wake(&each, Cause::Event)]);
    assert!(!once.cancel().unwrap());
}

#[test]
fn a_wait_becomes_one_for_each_until_it_is_cancelled() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    channel.wait_each().unwrap();
    channel.wait().unwrap();
    for _ in 0..3 {
        tester.batch(&[channel.port()]);
        assert_eq!(round(&ctx), [wake(&channel, Cause::Event)]);
    }
    assert!(channel.cancel().unwrap());
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(round(&ctx).len(), 1);
    assert!(
        !channel.cancel().unwrap(),
        "after the cancel it was for one"
    );
}

#[test]
fn a_latched_event_is_the_first_wake_of_a_wait_for_each() {
    let (tester, ctx, [other]) = waiting_for_each();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(round(&ctx), []);
    channel.wait_each().unwrap();
    assert_eq!(round(&ctx), [wake(&channel, Cause::Event)]);
    tester.batch(&[channel.port(), other.port()]);
    assert_eq!(round(&ctx).len(), 2);
}

#[test]
fn a_cancel_in_the_round_drops_the_wake_of_a_wait_for_each() {
    let (tester, ctx, [first, second]) = waiting_for_each();
    tester.batch(&[first.port(), second.port()]);
    let mut wakes = ctx.dispatch().unwrap();
    assert_eq!(wakes.next(), Some(wake(&first, Cause::Event)));
    assert!(first.cancel().unwrap() && second.cancel().unwrap());
    assert_eq!(wakes.next(), None);
    wakes.finish().unwrap();
    // Neither is unmasked, and neither has a wait.
    assert_eq!(tester.log(), ["read", "deregister"]);
    second.wait().unwrap();
    assert_eq!(
        round(&ctx),
        [wake(&second, Cause::Event)],
        "its event is kept"
    );
}

#[test]
fn an_overflow_ends_no_wait_for_each() {
    let (tester, ctx, channels) = waiting_for_each::<2>();
    tester.fail("read", ErrorKind::Overflow);
    let woke = round(&ctx);
    assert_eq!(
        woke,
        channels.each_ref().map(|it| wake(it, Cause::Overflow))
    );
    tester.log();
    tester.batch(&ports(&channels));
    assert_eq!(round(&ctx).len(), 2);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_device_that_failed_ends_a_wait_for_each() {
    let (tester, ctx, [channel]) = waiting_for_each();
    tester.fail("read", ErrorKind::Gone);
    let mut wakes = ctx.dispatch().unwrap();
    assert_eq!(wakes.next(), Some(wake(&channel, Cause::Gone)));
    assert!(matches!(wakes.finish(), Err(Error::Device(_))));
    assert!(matches!(channel.wait_each(), Err(Error::NotBound(_))));
    assert_eq!(round(&ctx), []);
}

#[test]
fn callbacks_are_called_for_each() {
    let (tester, ctx, channels) = waiting_for_each::<2>();
    let calls = Arc::<AtomicUsize>::default();
    for channel in &channels {
        let counted = Arc::clone(&calls);
        let count = move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        channel.set_callback(count).unwrap();
    }
    for turn in 1..4 {
        tester.batch(&ports(&channels));
        ctx.dispatch_callbacks().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 2 * turn);
        assert_eq!(tester.log(), ["read", "write [1, 2]"]);
    }
}

#[test]
fn a_round_of_callbacks_ends_the_wait_of_a_channel_without_a_callback() {
    let (tester, ctx, [channel]) = waiting_for_each();
    tester.batch(&[channel.port()]);
    ctx.dispatch_callbacks().unwrap();
    // As with a wait for one, the wake is latched again.
    assert_eq!((ctx.link(), ctx.stats().latched), (Link::Idle, 1));
    channel.wait().unwrap();
    assert_eq!(round(&ctx), [wake(&channel, Cause::Event)]);
    assert!(!channel.cancel().unwrap());
}

#[test]
fn a_cancel_that_the_loop_refuses_leaves_a_wait_for_each() {
    let (tester, ctx, [channel]) = waiting_for_each();
    tester.fail("deregister", ErrorKind::Other);
    assert!(matches!(channel.cancel(), Err(Error::Deregister(_))));
    for _ in 0..2 {
        tester.batch(&[channel.port()]);
        assert_eq!(round(&ctx), [wake(&channel, Cause::Event)]);
    }
}

#[test]
fn a_task_and_a_wait_for_each_exclude_one_another() {
    let (_tester, ctx, [channel]) = waiting_for_each();
    assert!(matches!(channel.wakes(), Err(Error::AlreadyWaited(_))));
    let other = ctx.bind_unbound_port(GUEST).unwrap();
    let wakes = other.wakes().unwrap();
    assert!(matches!(other.wait_each(), Err(Error::AlreadyWaited(_))));
    drop(wakes);
    other.wait_each().unwrap();
}

#[test]
fn a_failed_wait_for_each_leaves_the_earlier_wait_for_one() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    // The loop lost the device, and the deregister before the next register fails.
    tester.fail("deregister", ErrorKind::Other);
    ctx.driver().lost();
    tester.fail("deregister", ErrorKind::Other);
    assert!(matches!(channel.wait_each(), Err(Error::Deregister(_))));
    for wakes in [1, 0] {
        tester.batch(&[channel.port()]);
        assert_eq!(round(&ctx).len(), wakes, "the wait is for one");
    }
}
