//! Tasks that wait for channels, polled by hand.
#![cfg(feature = "std")]
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Cx, Poll, Wake as Waking, Waker};

use evtchn_core::{
    Cause, Channel, Context, DomId, ErrorKind, Link, Outcome, TaskError, Trigger, Wait, WaitError,
    Wakes, Woken,
};
use support::{FakeLoop, FakeOpen, Tester};

const GUEST: DomId = DomId::new(7);

type Ctx = Context<FakeOpen, FakeLoop>;

/// A waker that counts.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Waking for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn bell() -> (Arc<Bell>, Waker) {
    let bell = Arc::new(Bell::default());
    (Arc::clone(&bell), Waker::from(bell))
}

impl Bell {
    fn rings(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Cx::from_waker(waker))
}

fn next(wakes: &mut Wakes<FakeOpen, FakeLoop>, waker: &Waker) -> Poll<Option<Cause>> {
    let polled = wakes.poll_wake(&mut Cx::from_waker(waker));
    polled.map(|wake| wake.map(|wake| wake.unwrap().cause))
}

fn bound() -> (Tester, Ctx, Channel<FakeOpen, FakeLoop>) {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    tester.log();
    (tester, ctx, channel)
}

/// An event comes, and the reactor has it read.
fn event(tester: &Tester, ctx: &Ctx, channel: &Channel<FakeOpen, FakeLoop>) {
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
}

fn is_cancelled(
    polled: &Poll<Result<Cause, TaskError<impl std::error::Error, impl std::error::Error>>>,
) -> bool {
    matches!(polled, Poll::Ready(Err(TaskError::Cancelled)))
}

#[test]
fn a_task_is_registered_from_its_first_poll_to_its_wake() {
    let (tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut woken = channel.woken();
    assert_eq!(ctx.link(), Link::Idle);
    for _ in 0..3 {
        assert!(poll(&mut woken, &waker).is_pending());
        assert_eq!(ctx.link(), Link::Watching);
        event(&tester, &ctx, &channel);
        assert_eq!(bell.rings(), 1);
        assert_eq!(ctx.link(), Link::Watching, "its wake is not taken");
        assert!(matches!(
            poll(&mut woken, &waker),
            Poll::Ready(Ok(Cause::Event))
        ));
        assert_eq!(ctx.link(), Link::Idle);
    }
    let turn = ["register", "read", "deregister"].map(String::from);
    let rearmed = ["register", "write [1]", "read", "deregister"].map(String::from);
    assert_eq!(tester.log(), [&turn[..], &rearmed, &rearmed].concat());
}

#[test]
fn a_future_that_is_dropped_while_it_waits_leaves_nothing() {
    let (tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    drop(woken);
    assert_eq!(ctx.link(), Link::Idle);
    event(&tester, &ctx, &channel);
    assert_eq!(bell.rings(), 0);
    assert_eq!(Arc::strong_count(&bell), 2, "its waker is gone");
    assert_eq!(channel.wait().unwrap(), Wait::Ready(Cause::Event));
}

#[test]
fn a_wake_outlives_the_future_that_did_not_take_it() {
    let (tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut first = channel.woken();
    assert!(poll(&mut first, &waker).is_pending());
    event(&tester, &ctx, &channel);
    assert_eq!(bell.rings(), 1);
    drop(first);
    assert_eq!(ctx.link(), Link::Idle);
    let mut second = channel.woken();
    assert!(matches!(
        poll(&mut second, &waker),
        Poll::Ready(Ok(Cause::Event))
    ));
    assert!(poll(&mut second, &waker).is_pending(), "it came once");
}

#[test]
fn a_future_that_is_never_polled_changes_nothing() {
    let (tester, _ctx, channel) = bound();
    drop(channel.woken());
    assert!(tester.log().is_empty());
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
}

#[test]
fn only_the_last_waker_is_woken() {
    let (tester, ctx, channel) = bound();
    let ((old_bell, old), (new_bell, new)) = (bell(), bell());
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &old).is_pending());
    assert!(poll(&mut woken, &new).is_pending());
    event(&tester, &ctx, &channel);
    assert_eq!((old_bell.rings(), new_bell.rings()), (0, 1));
    assert_eq!(Arc::strong_count(&old_bell), 2);
}

#[test]
fn a_channel_has_one_waiter_of_whatever_kind() {
    let (_tester, ctx, channel) = bound();
    let (_bell, waker) = bell();
    let refused = |woken: &mut Woken<_, _>| {
        let polled = poll(woken, &waker);
        matches!(
            polled,
            Poll::Ready(Err(TaskError::Wait(WaitError::AlreadyWaited(_))))
        )
    };
    let mut first = channel.woken();
    assert!(poll(&mut first, &waker).is_pending());
    assert!(refused(&mut channel.woken()));
    assert!(matches!(channel.wakes(), Err(WaitError::AlreadyWaited(_))));
    assert!(matches!(channel.wait(), Err(WaitError::AlreadyWaited(_))));
    channel.set_callback(|_| ()).unwrap();
    assert!(matches!(channel.wait(), Err(WaitError::AlreadyWaited(_))));
    assert!(poll(&mut first, &waker).is_pending(), "it still waits");
    drop(first);
    channel.remove_callback().unwrap();
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
    assert!(refused(&mut channel.woken()));
    assert_eq!(ctx.link(), Link::Watching, "the other one waits on");
}

#[test]
fn a_round_leaves_the_wake_of_a_task_to_it() {
    let (tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let other = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(other.wait().unwrap(), Wait::Pending);
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    tester.batch(&[channel.port(), other.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().unwrap().channel, other.id());
    assert_eq!(bell.rings(), 1);
    assert_eq!(round.next(), None);
    round.finish().unwrap();
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Event))
    ));
}

#[test]
fn what_the_reactor_reads_for_a_round_is_queued_and_the_loop_told() {
    let (tester, ctx, channel) = bound();
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
    tester.log();
    event(&tester, &ctx, &channel);
    assert_eq!(tester.log(), ["read", "wake"]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
}

#[test]
fn one_read_wakes_each_of_a_thousand_tasks_once() {
    let tester = Tester::new();
    tester.script().ports = (1..=1_000).collect();
    let ctx = tester.context();
    let channels: Vec<_> = (0..1_000)
        .map(|_| ctx.bind_unbound_port(GUEST).unwrap())
        .collect();
    let bells: Vec<_> = channels.iter().map(|_| bell()).collect();
    let mut woken: Vec<_> = channels.iter().map(Channel::woken).collect();
    for (woken, (_, waker)) in woken.iter_mut().zip(&bells) {
        assert!(poll(woken, waker).is_pending());
    }
    tester.batch(&channels.iter().map(Channel::port).collect::<Vec<_>>());
    ctx.drive().unwrap();
    for (woken, (bell, waker)) in woken.iter_mut().zip(&bells) {
        assert_eq!(bell.rings(), 1);
        assert!(matches!(poll(woken, waker), Poll::Ready(Ok(Cause::Event))));
    }
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn an_overflow_wakes_every_task_with_the_cause() {
    let (tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    tester.fail("read", ErrorKind::Overflow);
    ctx.drive().unwrap();
    assert_eq!(bell.rings(), 1);
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Overflow))
    ));
}

#[test]
fn a_device_that_fails_is_gone_for_every_task_and_closed() {
    let (tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    tester.fail("read", ErrorKind::Gone);
    assert!(ctx.drive().is_err());
    assert_eq!(bell.rings(), 1);
    assert_eq!(ctx.link(), Link::Faulted);
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Gone))
    ));
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Err(TaskError::Wait(_)))
    ));
}

#[test]
fn a_channel_that_is_unbound_while_a_task_waits_is_gone() {
    let (_tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    channel.unbind().unwrap();
    assert_eq!((bell.rings(), ctx.link()), (1, Link::Idle));
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Gone))
    ));
}

#[test]
fn a_task_is_told_of_a_cancel_and_of_the_end_of_the_context() {
    let (_tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    channel.cancel().unwrap();
    assert_eq!((bell.rings(), ctx.link()), (1, Link::Idle));
    assert!(is_cancelled(&poll(&mut woken, &waker)));
    assert!(poll(&mut woken, &waker).is_pending());
    drop(ctx);
    assert_eq!(bell.rings(), 1);
    assert!(is_cancelled(&poll(&mut woken, &waker)));
}

#[test]
fn a_wait_that_fails_leaves_nobody_waiting() {
    let (tester, ctx, channel) = bound();
    let (_bell, waker) = bell();
    tester.fail("register", ErrorKind::Other);
    let mut woken = channel.woken();
    let polled = poll(&mut woken, &waker);
    assert!(matches!(
        polled,
        Poll::Ready(Err(TaskError::Wait(WaitError::Link(_))))
    ));
    assert_eq!(ctx.link(), Link::Idle);
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
}

#[test]
fn a_stream_registers_once_and_writes_back_as_it_comes_to_rest() {
    let (tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut wakes = channel.wakes().unwrap();
    assert!(next(&mut wakes, &waker).is_pending());
    for _ in 0..3 {
        event(&tester, &ctx, &channel);
        assert_eq!(bell.rings(), 1);
        assert_eq!(next(&mut wakes, &waker), Poll::Ready(Some(Cause::Event)));
        assert!(next(&mut wakes, &waker).is_pending());
    }
    let turn = ["read", "write [1]"].map(String::from);
    let log = [&["register".into()][..], &turn, &turn, &turn].concat();
    assert_eq!(tester.log(), log);
    drop(wakes);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_stream_of_many_channels_rings_once_and_writes_once() {
    let (tester, ctx, one) = bound();
    let (bell, waker) = bell();
    let other = ctx.bind_unbound_port(GUEST).unwrap();
    let mut wakes = ctx.wakes();
    assert_eq!(
        next(&mut wakes, &waker),
        Poll::Ready(None),
        "it has no channel"
    );
    wakes.add(one.id()).unwrap();
    wakes.add(other.id()).unwrap();
    assert!(next(&mut wakes, &waker).is_pending());
    tester.batch(&[other.port(), one.port()]);
    tester.log();
    ctx.drive().unwrap();
    assert_eq!(bell.rings(), 1);
    let mut ports = Vec::new();
    while let Poll::Ready(Some(wake)) = wakes.poll_wake(&mut Cx::from_waker(&waker)) {
        ports.push(wake.unwrap().port());
    }
    assert_eq!(ports, [other.port(), one.port()]);
    assert_eq!(tester.log(), ["read", "write [2, 1]"]);
}

#[test]
fn a_stream_ends_with_its_last_channel_and_stays_ended() {
    let (_tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let mut wakes = channel.wakes().unwrap();
    assert!(next(&mut wakes, &waker).is_pending());
    channel.unbind().unwrap();
    assert_eq!(bell.rings(), 1);
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(Some(Cause::Gone)));
    for _ in 0..2 {
        assert_eq!(next(&mut wakes, &waker), Poll::Ready(None));
    }
    let second = ctx.bind_unbound_port(GUEST).unwrap();
    wakes.add(second.id()).unwrap();
    drop(ctx);
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(None));
}

#[test]
fn a_wake_that_a_stream_did_not_take_is_kept() {
    let (tester, ctx, channel) = bound();
    let mut wakes = channel.wakes().unwrap();
    event(&tester, &ctx, &channel);
    assert!(wakes.remove(channel.id()) && !wakes.remove(channel.id()));
    assert_eq!(ctx.link(), Link::Idle);
    wakes.add(channel.id()).unwrap();
    let (_bell, waker) = bell();
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(Some(Cause::Event)));
    assert!(next(&mut wakes, &waker).is_pending(), "it came once");
}

#[test]
fn a_write_back_that_fails_is_told_and_tried_again() {
    let (tester, ctx, channel) = bound();
    let (_bell, waker) = bell();
    let mut wakes = channel.wakes().unwrap();
    event(&tester, &ctx, &channel);
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(Some(Cause::Event)));
    tester.fail("write", ErrorKind::Other);
    let polled = wakes.poll_wake(&mut Cx::from_waker(&waker));
    assert!(matches!(polled, Poll::Ready(Some(Err(_)))));
    tester.log();
    assert!(next(&mut wakes, &waker).is_pending());
    assert_eq!(tester.log(), ["write [1]"]);
}

/// What a reactor may do: it sees the device ready while it is registered.
#[test]
fn a_drive_from_inside_a_hook_happens_after_it() {
    let (tester, ctx, channel) = bound();
    let (bell, waker) = bell();
    let driver = ctx.driver();
    tester.script().on_register = Some(Box::new(move || assert_eq!(driver.drive(), Outcome::Done)));
    tester.batch(&[channel.port()]);
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    assert_eq!(tester.log(), ["register", "read"]);
    assert_eq!(bell.rings(), 1);
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Event))
    ));
}

#[test]
fn a_storm_on_an_edge_triggered_loop_ends_a_drive_with_more() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
    for _ in 0..300 {
        tester.batch(&[channel.port()]);
    }
    assert_eq!(ctx.drive().unwrap(), Outcome::More);
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
}

#[test]
fn a_driver_does_not_keep_its_context() {
    let (tester, ctx, channel) = bound();
    let driver = ctx.driver();
    drop((channel, ctx));
    assert_eq!(tester.log(), ["unbind 1", "close"]);
    assert_eq!(driver.drive(), Outcome::Done);
    assert!(tester.log().is_empty());
}

#[test]
fn a_forked_child_takes_no_wake_and_drops_in_silence() {
    let (tester, _ctx, channel) = bound();
    let (_bell, waker) = bell();
    let (mut woken, other) = (channel.woken(), _ctx.bind_unbound_port(GUEST).unwrap());
    let mut wakes = other.wakes().unwrap();
    assert!(poll(&mut woken, &waker).is_pending());
    tester.script().process = 2;
    tester.log();
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Err(TaskError::Wait(_)))
    ));
    let polled = wakes.poll_wake(&mut Cx::from_waker(&waker));
    assert!(matches!(polled, Poll::Ready(Some(Err(_)))));
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(None));
    assert!(_ctx.drive().is_err());
    drop((woken, wakes));
    assert!(tester.log().is_empty());
}
