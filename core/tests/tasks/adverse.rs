//! Wakers that call back, panic or fork, hooks that panic or call back, and tasks that end at the wrong moment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::*;

/// A waker that does something.
struct Does<F>(F);

impl<F: Fn() + Send + Sync + 'static> Waking for Does<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

pub(super) fn does(act: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(Does(act)))
}

fn panics() -> Waker {
    does(|| std::panic::resume_unwind(Box::new("as planned")))
}

/// A shared slot, from which a waker or a hook drops or polls its content.
fn place<T>(content: T) -> Arc<Mutex<Option<T>>> {
    Arc::new(Mutex::new(Some(content)))
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[test]
fn a_waker_that_panics_is_counted_and_the_others_are_woken() {
    let (tester, ctx, one) = bound();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    let (counter, waker) = counting_waker();
    let (mut first, mut second) = (one.woken(), two.woken());
    assert!(poll(&mut first, &panics()).is_pending());
    assert!(poll(&mut second, &waker).is_pending());
    tester.batch(&[one.port(), two.port()]);
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
    assert_eq!((counter.count(), ctx.stats().unreported), (1, 1));
    for woken in [&mut first, &mut second] {
        assert!(matches!(poll(woken, &waker), Poll::Ready(Ok(Cause::Event))));
    }
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_waker_that_panics_in_a_round_loses_no_wake() {
    let (tester, ctx, channel) = bound();
    let other = ctx.bind_unbound_port(GUEST).unwrap();
    other.wait().unwrap();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &panics()).is_pending());
    tester.batch(&[channel.port(), other.port()]);
    let woke: Vec<_> = ctx.dispatch().unwrap().map(|wake| wake.channel).collect();
    assert_eq!(woke, [other.id()]);
    assert_eq!(ctx.stats().unreported, 1);
}

#[test]
fn a_waker_may_poll_its_future_and_drop_it_inside_the_wake() {
    let (tester, ctx, channel) = bound();
    let woken = place(channel.woken());
    let got = Arc::new(Mutex::new(Vec::new()));
    let (mine, gets) = (Arc::clone(&woken), Arc::clone(&got));
    let waker = does(move || {
        let mut woken = take(&mine).unwrap();
        let polled = poll(&mut woken, Waker::noop());
        gets.lock()
            .unwrap()
            .push(matches!(polled, Poll::Ready(Ok(_))));
        assert!(poll(&mut woken, Waker::noop()).is_pending());
    });
    let mut first = take(&woken).unwrap();
    assert!(poll(&mut first, &waker).is_pending());
    *woken.lock().unwrap() = Some(first);
    event(&tester, &ctx, &channel);
    assert_eq!(*got.lock().unwrap(), [true]);
    assert_eq!((ctx.link(), ctx.stats().unreported), (Link::Idle, 0));
}

/// The waker of the first task drops the second task, and a third one gets its id.
#[test]
fn a_dropped_task_is_not_woken_and_neither_is_the_next_with_its_id() {
    let (tester, ctx, one) = bound();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    let (counter, waker) = counting_waker();
    let (mut first, mut third) = (one.woken(), two.woken());
    let second = place(two.woken());
    let drops = Arc::clone(&second);
    assert!(poll(&mut first, &does(move || drop(take(&drops)))).is_pending());
    assert!(poll(second.lock().unwrap().as_mut().unwrap(), &waker).is_pending());
    tester.batch(&[one.port(), two.port()]);
    ctx.drive().unwrap();
    assert_eq!(counter.count(), 0);
    assert_eq!(Arc::strong_count(&counter), 2, "its waker is gone");
    for (woken, waker) in [(&mut first, Waker::noop()), (&mut third, &waker)] {
        assert!(matches!(poll(woken, waker), Poll::Ready(Ok(Cause::Event))));
    }
    assert!(poll(&mut third, &waker).is_pending());
    assert_eq!(counter.count(), 0);
    event(&tester, &ctx, &two);
    assert_eq!(counter.count(), 1);
}

#[test]
fn a_future_whose_first_poll_panics_in_a_hook_does_not_wait() {
    let (tester, ctx, channel) = bound();
    let mut woken = channel.woken();
    tester.script().panic.push("register");
    let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut woken, Waker::noop())));
    assert!(polled.is_err());
    assert!(ctx.wakes().add(channel.id()).is_ok(), "it is free");
    assert_eq!(ctx.link(), Link::Idle);
    assert!(poll(&mut woken, Waker::noop()).is_pending());
}

#[test]
fn a_channel_whose_add_panics_in_a_hook_is_not_in_the_stream() {
    let (tester, ctx, channel) = bound();
    let mut wakes = ctx.wakes();
    tester.script().panic.push("register");
    let added = catch_unwind(AssertUnwindSafe(|| wakes.add(channel.id())));
    assert!(added.is_err());
    assert_eq!(wakes.channels().count(), 0);
    channel.wait().unwrap();
    assert_eq!(ctx.next_timeout(), None, "nothing was kept");
}

/// The deregister hook drops futures and removes channels.
#[test]
fn a_hook_may_drop_a_future_and_remove_a_channel_from_a_stream() {
    let (tester, ctx, channel) = bound();
    let second = ctx.bind_unbound_port(GUEST).unwrap();
    let (mut woken, mut wakes) = (channel.woken(), second.wakes().unwrap());
    assert!(poll(&mut woken, Waker::noop()).is_pending());
    let hooked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&hooked);
    let (id, woken) = (second.id(), place(woken));
    tester.script().on_deregister = Some(Box::new(move || {
        drop(take(&woken));
        assert!(wakes.remove(id));
        counts.fetch_add(1, Ordering::Relaxed);
    }));
    tester.fail("read", ErrorKind::Gone);
    assert!(ctx.drive().is_err());
    assert_eq!(hooked.load(Ordering::Relaxed), 1);
    assert_eq!(ctx.link(), Link::Faulted);
}

#[test]
fn a_task_whose_channel_is_handed_over_is_woken_with_gone() {
    let (_tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    let parts = ctx.hand_over(&mut [channel]).unwrap();
    assert_eq!((counter.count(), parts.table.ports().len()), (1, 1));
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Gone))
    ));
}

#[test]
fn a_waker_that_forks_wakes_no_other_task_in_the_child() {
    let (tester, ctx, one) = bound();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    let in_rounds = ctx.bind_unbound_port(GUEST).unwrap();
    in_rounds.wait().unwrap();
    let (counter, waker) = counting_waker();
    let (mut first, mut second) = (one.woken(), two.woken());
    let child = tester.clone();
    assert!(poll(&mut first, &does(move || child.script().process += 1)).is_pending());
    assert!(poll(&mut second, &waker).is_pending());
    tester.batch(&[one.port(), two.port(), in_rounds.port()]);
    tester.log();
    assert!(ctx.drive().is_err());
    assert_eq!(counter.count(), 0);
    assert_eq!(tester.log(), ["read"], "its loop is the parent's");
}

#[test]
fn a_child_forked_in_a_waker_deregisters_nothing() {
    let (tester, _ctx, channel) = bound();
    let mut woken = channel.woken();
    let child = tester.clone();
    assert!(poll(&mut woken, &does(move || child.script().process += 1)).is_pending());
    tester.log();
    let _refused = channel.cancel();
    assert_eq!(tester.log(), [""; 0]);
}

#[test]
fn a_stream_dropped_before_it_is_pending_leaves_no_unmask() {
    let (tester, ctx, channel) = bound();
    let mut wakes = channel.wakes().unwrap();
    event(&tester, &ctx, &channel);
    assert_eq!(
        next(&mut wakes, Waker::noop()),
        Poll::Ready(Some(Cause::Event))
    );
    assert!(ctx.next_timeout().is_some(), "a round would unmask it");
    drop(wakes);
    assert_eq!(ctx.next_timeout(), None);
    let mut wakes = channel.wakes().unwrap();
    event(&tester, &ctx, &channel);
    assert_eq!(
        next(&mut wakes, Waker::noop()),
        Poll::Ready(Some(Cause::Event))
    );
    assert!(wakes.remove(channel.id()));
    assert_eq!(ctx.next_timeout(), None);
}

#[test]
fn a_cancel_of_one_channel_of_a_stream_leaves_it_the_others() {
    let (tester, ctx, one) = bound();
    let (counter, waker) = counting_waker();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    let mut wakes = ctx.wakes();
    wakes.add(one.id()).unwrap();
    wakes.add(two.id()).unwrap();
    assert!(next(&mut wakes, &waker).is_pending());
    one.cancel().unwrap();
    assert_eq!(counter.count(), 1);
    assert!(next(&mut wakes, &waker).is_pending());
    assert_eq!(wakes.channels().collect::<Vec<_>>(), [two.id()]);
    event(&tester, &ctx, &two);
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(Some(Cause::Event)));
}
