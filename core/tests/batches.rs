//! Wakes taken in batches, and waits for each wake.
#![expect(clippy::unwrap_used, reason = "helpers that only tests call")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{FakeLoop, Tester};
use evtchn_core::{
    Cause, Channel, Context, DomId, Error, ErrorKind, Link, Outcome, Port, Trigger, Wake, WakeBuf,
};

const GUEST: DomId = DomId::new(7);

type Ctx = Context<FakeLoop>;
type Ours = Channel<FakeLoop>;

/// Channels with a wait on each.
fn waiting<const N: usize>() -> (Tester, Ctx, [Ours; N]) {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [(); N].map(|()| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    tester.log();
    (tester, ctx, channels)
}

/// Channels with a wait for each wake.
fn waiting_for_each<const N: usize>() -> (Tester, Ctx, [Ours; N]) {
    let (tester, ctx, channels) = waiting();
    for channel in &channels {
        channel.wait_each().unwrap();
    }
    (tester, ctx, channels)
}

fn wake(channel: &Ours, cause: Cause) -> Wake {
    let channel = channel.id();
    Wake { channel, cause }
}

fn ports(wakes: &[Wake]) -> Vec<Port> {
    wakes.iter().map(Wake::port).collect()
}

#[test]
fn a_batch_fills_its_buffer_and_the_round_keeps_the_rest() {
    let (tester, ctx, channels) = waiting::<5>();
    let all = channels.each_ref().map(Channel::port);
    tester.batch(&all);
    let mut buf = WakeBuf::with_capacity(2);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(ports(round.fill(&mut buf)), all[..2]);
    assert_eq!(round.next().unwrap().port(), all[2]);
    assert_eq!(ports(round.fill(&mut buf)), all[3..]);
    assert!(round.fill(&mut buf).is_empty());
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!((ctx.link(), ctx.stats().wakes), (Link::Idle, 5));
}

#[test]
fn a_batch_keeps_to_the_budget_of_its_round() {
    let (tester, ctx, channels) = waiting_for_each::<5>();
    let all = channels.each_ref().map(Channel::port);
    tester.batch(&all);
    let mut buf = WakeBuf::default();
    let mut round = ctx.dispatch_at_most(3).unwrap();
    assert_eq!(ports(round.fill(&mut buf)), all[..3]);
    assert!(round.fill(&mut buf).is_empty());
    assert_eq!(round.finish().unwrap(), Outcome::More);
    assert_eq!(ports(ctx.dispatch().unwrap().fill(&mut buf)), all[3..]);
}

#[test]
fn waits_for_each_of_a_batch_are_unmasked_in_one_write_without_a_registration() {
    let (tester, ctx, channels) = waiting_for_each::<3>();
    let all = channels.each_ref().map(Channel::port);
    let mut buf = WakeBuf::default();
    for wakes in 1..4 {
        tester.batch(&all);
        let mut round = ctx.dispatch().unwrap();
        assert_eq!(ports(round.fill(&mut buf)), all);
        assert!(round.fill(&mut buf).is_empty());
        assert_eq!(round.finish().unwrap(), Outcome::Done);
        assert_eq!(tester.log(), ["read", "write [1, 2, 3]"]);
        assert_eq!((ctx.link(), ctx.stats().wakes), (Link::Watching, 3 * wakes));
    }
    assert_eq!(ctx.next_timeout(), None);
    for channel in &channels {
        channel.wait().unwrap();
        assert!(channel.cancel().unwrap(), "it waits");
    }
    assert_eq!(tester.log(), ["deregister"]);
}

#[test]
fn a_batch_of_an_edge_triggered_loop_reads_until_nothing_is_left() {
    let (tester, ctx, channels) = waiting::<2>();
    drop((ctx, channels));
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channels = [(); 2].map(|()| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    for channel in &channels {
        tester.batch(&[channel.port()]);
    }
    tester.log();
    let mut buf = WakeBuf::default();
    let mut round = ctx.dispatch().unwrap();
    for channel in &channels {
        assert_eq!(ports(round.fill(&mut buf)), [channel.port()]);
    }
    assert!(round.fill(&mut buf).is_empty());
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["read", "read", "read", "deregister"]);
}

#[test]
fn a_cancel_after_the_batch_keeps_its_port_masked() {
    let (tester, ctx, channels) = waiting_for_each::<2>();
    tester.batch(&channels.each_ref().map(Channel::port));
    let mut buf = WakeBuf::default();
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.fill(&mut buf).len(), 2);
    channels[0].cancel().unwrap();
    round.finish().unwrap();
    assert_eq!(tester.log(), ["read", "write [2]"]);
    channels[1].cancel().unwrap();
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn an_overflow_comes_in_a_batch_and_ends_no_wait_for_each() {
    let (tester, ctx, channels) = waiting_for_each::<3>();
    tester.fail("read", ErrorKind::Overflow);
    let mut buf = WakeBuf::default();
    let mut round = ctx.dispatch().unwrap();
    let wakes = round.fill(&mut buf);
    assert_eq!(ports(wakes), channels.each_ref().map(Channel::port));
    assert!(wakes.iter().all(|wake| wake.cause == Cause::Overflow));
    round.finish().unwrap();
    assert_eq!(tester.log(), ["read", "reset", "write [1, 2, 3]"]);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_failed_device_ends_every_wait_for_each_in_a_batch() {
    let (tester, ctx, channels) = waiting_for_each::<3>();
    tester.fail("read", ErrorKind::Other);
    let mut buf = WakeBuf::default();
    let mut round = ctx.dispatch().unwrap();
    let wakes = round.fill(&mut buf);
    assert_eq!(ports(wakes), channels.each_ref().map(Channel::port));
    assert!(wakes.iter().all(|wake| wake.cause == Cause::Gone));
    assert!(matches!(round.finish(), Err(Error::Device(_))));
    assert_eq!(tester.log(), ["read", "deregister"]);
    assert_eq!(ctx.link(), Link::Faulted);
    let _bound_again = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(ctx.link(), Link::Idle, "no channel waits");
}

#[test]
fn a_batch_leaves_out_foreign_ports_and_ports_without_a_wait() {
    let (tester, ctx, channels) = waiting::<4>();
    channels[1].cancel().unwrap();
    let stranger = Port::new(999).unwrap();
    let [a, b, c, d] = channels.each_ref().map(Channel::port);
    tester.batch(&[a, stranger, b, c, c, d]);
    let mut buf = WakeBuf::default();
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(ports(round.fill(&mut buf)), [a, c, d]);
    round.finish().unwrap();
    let stats = ctx.stats();
    assert_eq!((stats.wakes, stats.foreign), (3, 1));
    assert_eq!((stats.latched, stats.spurious), (1, 1));
    // What was latched comes with the next round.
    channels[1].wait().unwrap();
    let kept: Vec<_> = ctx.dispatch().unwrap().collect();
    assert_eq!(kept, [wake(&channels[1], Cause::Event)]);
}

#[test]
fn callbacks_with_a_wait_for_each_are_called_for_every_event_until_a_cancel() {
    let (tester, ctx, channels) = waiting_for_each::<2>();
    let ctx = Arc::new(ctx);
    let calls = Arc::new(AtomicUsize::new(0));
    for channel in &channels {
        let (ctx, calls) = (Arc::downgrade(&ctx), Arc::clone(&calls));
        let count = move |wake: Wake| {
            if calls.fetch_add(1, Ordering::Relaxed) == 5 {
                ctx.upgrade().unwrap().cancel(wake.channel).unwrap();
            }
        };
        channel.set_callback(count).unwrap();
    }
    for rounds in 1..4 {
        tester.batch(&channels.each_ref().map(Channel::port));
        let outcome = ctx.dispatch_callbacks().unwrap();
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(calls.load(Ordering::Relaxed), 2 * rounds);
    }
    // The last callback cancelled the second channel, so its port is not unmasked.
    let both = ["read", "write [1, 2]"];
    let last = ["read", "write [1]"];
    assert_eq!(tester.log(), [both, both, last].concat());
    channels[0].wait().unwrap();
    channels[0].cancel().unwrap();
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_batch_buffer_may_have_any_capacity() {
    let (tester, ctx, channels) = waiting_for_each::<2>();
    for capacity in [0, 1, 2, usize::MAX] {
        tester.batch(&channels.each_ref().map(Channel::port));
        let mut buf = WakeBuf::with_capacity(capacity);
        let mut round = ctx.dispatch().unwrap();
        let mut taken = 0;
        while let wakes @ [_, ..] = round.fill(&mut buf) {
            taken += wakes.len();
        }
        round.finish().unwrap();
        assert_eq!(taken, 2, "{capacity}");
    }
}

#[test]
fn each_channel_of_a_failed_device_is_woken_though_a_callback_binds_their_numbers_again() {
    let (tester, ctx, channels) = waiting::<3>();
    let woken = Arc::new(AtomicUsize::new(0));
    let anew = Arc::new(std::sync::Mutex::new(Vec::new()));
    let ctx = Arc::new(ctx);
    for channel in &channels {
        let (ctx, anew) = (Arc::downgrade(&ctx), Arc::clone(&anew));
        let woken = Arc::clone(&woken);
        let reconnect = move |wake: Wake| {
            assert_eq!(wake.cause, Cause::Gone);
            woken.fetch_add(1, Ordering::Relaxed);
            let ctx = ctx.upgrade().unwrap();
            let mut anew = anew.lock().unwrap();
            while anew.len() < 3 {
                let channel = ctx.bind_unbound_port(GUEST).unwrap();
                channel.set_callback(|_| ()).unwrap();
                anew.push(channel);
            }
        };
        channel.set_callback(reconnect).unwrap();
    }
    tester.script().ports = (1..=3).collect();
    tester.fail("read", ErrorKind::Other);
    ctx.dispatch_callbacks().unwrap_err();
    assert_eq!(woken.load(Ordering::Relaxed), 3);
    for channel in channels {
        assert!(channel.remove_callback().unwrap(), "it stays until then");
        assert!(!channel.remove_callback().unwrap());
    }
    let anew = std::mem::take(&mut *anew.lock().unwrap());
    for channel in anew {
        assert!(channel.remove_callback().unwrap());
    }
}
