//! The future of one wake.

use super::*;

#[test]
fn a_task_is_registered_from_its_first_poll_to_its_wake() {
    let (tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let mut woken = channel.woken();
    assert_eq!(ctx.link(), Link::Idle);
    for _ in 0..3 {
        assert!(poll(&mut woken, &waker).is_pending());
        assert_eq!(ctx.link(), Link::Watching);
        event(&tester, &ctx, &channel);
        assert_eq!(counter.count(), 1);
        assert_eq!(ctx.link(), Link::Watching, "its wake is not taken");
        assert!(matches!(
            poll(&mut woken, &waker),
            Poll::Ready(Ok(Cause::Event))
        ));
        assert_eq!(ctx.link(), Link::Idle);
    }
    let turn = ["register", "read", "deregister"].map(String::from);
    let unmasked = ["register", "write [1]", "read", "deregister"].map(String::from);
    assert_eq!(tester.log(), [&turn[..], &unmasked, &unmasked].concat());
}

#[test]
fn a_future_that_is_dropped_while_it_waits_leaves_nothing() {
    let (tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    drop(woken);
    assert_eq!(ctx.link(), Link::Idle);
    event(&tester, &ctx, &channel);
    assert_eq!(counter.count(), 0);
    assert_eq!(Arc::strong_count(&counter), 2, "its waker is gone");
    channel.wait().unwrap();
    let kept: Vec<_> = ctx.dispatch().unwrap().collect();
    let (channel, cause) = (channel.id(), Cause::Event);
    assert_eq!(kept, [evtchn_core::Wake { channel, cause }]);
}

#[test]
fn a_wake_that_a_future_did_not_take_is_kept() {
    let (tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let mut first = channel.woken();
    assert!(poll(&mut first, &waker).is_pending());
    event(&tester, &ctx, &channel);
    assert_eq!(counter.count(), 1);
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
    let (tester, ctx, channel) = bound();
    drop(channel.woken());
    assert!(tester.log().is_empty());
    channel.wait().unwrap();
    assert_eq!(ctx.next_timeout(), None, "nothing was kept");
}

#[test]
fn only_the_last_waker_is_woken() {
    let (tester, ctx, channel) = bound();
    let ((old_counter, old), (new_counter, new)) = (counting_waker(), counting_waker());
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &old).is_pending());
    assert!(poll(&mut woken, &new).is_pending());
    event(&tester, &ctx, &channel);
    assert_eq!((old_counter.count(), new_counter.count()), (0, 1));
    assert_eq!(Arc::strong_count(&old_counter), 2);
}

#[test]
fn a_channel_has_one_waiter_of_any_kind() {
    let (_tester, ctx, channel) = bound();
    let (_counter, waker) = counting_waker();
    let refused = |woken: &mut Woken<_>| {
        let polled = poll(woken, &waker);
        matches!(polled, Poll::Ready(Err(Error::AlreadyWaited(_))))
    };
    let mut first = channel.woken();
    assert!(poll(&mut first, &waker).is_pending());
    assert!(refused(&mut channel.woken()));
    assert!(matches!(channel.wakes(), Err(Error::AlreadyWaited(_))));
    assert!(matches!(channel.wait(), Err(Error::AlreadyWaited(_))));
    channel.set_callback(|_| ()).unwrap();
    assert!(matches!(channel.wait(), Err(Error::AlreadyWaited(_))));
    assert!(poll(&mut first, &waker).is_pending(), "it still waits");
    drop(first);
    channel.remove_callback().unwrap();
    channel.wait().unwrap();
    assert!(refused(&mut channel.woken()));
    assert_eq!(ctx.link(), Link::Watching, "the other one waits on");
}

#[test]
fn a_round_leaves_the_wake_of_a_task_to_the_task() {
    let (tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let other = ctx.bind_unbound_port(GUEST).unwrap();
    other.wait().unwrap();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    tester.batch(&[channel.port(), other.port()]);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().unwrap().channel, other.id());
    assert_eq!(counter.count(), 1);
    assert_eq!(round.next(), None);
    round.finish().unwrap();
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Event))
    ));
}

#[test]
fn one_read_wakes_each_of_a_thousand_tasks_once() {
    let tester = Tester::new();
    tester.script().ports = (1..=1_000).collect();
    let ctx = tester.context();
    let channels: Vec<_> = (0..1_000)
        .map(|_| ctx.bind_unbound_port(GUEST).unwrap())
        .collect();
    let counters: Vec<_> = channels.iter().map(|_| counting_waker()).collect();
    let mut woken: Vec<_> = channels.iter().map(Channel::woken).collect();
    for (woken, (_, waker)) in woken.iter_mut().zip(&counters) {
        assert!(poll(woken, waker).is_pending());
    }
    tester.batch(&channels.iter().map(Channel::port).collect::<Vec<_>>());
    ctx.drive().unwrap();
    for (woken, (counter, waker)) in woken.iter_mut().zip(&counters) {
        assert_eq!(counter.count(), 1);
        assert!(matches!(poll(woken, waker), Poll::Ready(Ok(Cause::Event))));
    }
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn an_overflow_wakes_every_task_with_the_cause() {
    let (tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    tester.fail("read", ErrorKind::Overflow);
    ctx.drive().unwrap();
    assert_eq!(counter.count(), 1);
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Overflow))
    ));
}

#[test]
fn a_device_that_fails_is_gone_for_every_task_and_closed() {
    let (tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    tester.fail("read", ErrorKind::Gone);
    assert!(ctx.drive().is_err());
    assert_eq!(counter.count(), 1);
    assert_eq!(ctx.link(), Link::Faulted);
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Gone))
    ));
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Err(Error::NotBound(_)))
    ));
}

#[test]
fn a_channel_that_is_unbound_while_a_task_waits_is_gone() {
    let (_tester, ctx, mut channel) = bound();
    let (counter, waker) = counting_waker();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    channel.unbind().unwrap();
    assert_eq!((counter.count(), ctx.link()), (1, Link::Idle));
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Ok(Cause::Gone))
    ));
}

#[test]
fn a_cancel_and_the_end_of_the_context_wake_a_task() {
    let (_tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let mut woken = channel.woken();
    assert!(poll(&mut woken, &waker).is_pending());
    channel.cancel().unwrap();
    assert_eq!((counter.count(), ctx.link()), (1, Link::Idle));
    assert!(is_cancelled(&poll(&mut woken, &waker)));
    assert!(poll(&mut woken, &waker).is_pending());
    drop(ctx);
    assert_eq!(counter.count(), 1);
    assert!(is_cancelled(&poll(&mut woken, &waker)));
}

#[test]
fn a_future_whose_registration_fails_leaves_no_wait() {
    let (tester, ctx, channel) = bound();
    let (_counter, waker) = counting_waker();
    tester.fail("register", ErrorKind::Other);
    let mut woken = channel.woken();
    let polled = poll(&mut woken, &waker);
    assert!(matches!(polled, Poll::Ready(Err(Error::Register(_)))));
    assert_eq!(ctx.link(), Link::Idle);
    channel.wait().unwrap();
    assert_eq!(ctx.next_timeout(), None, "nothing was kept");
}

#[test]
fn a_forked_child_takes_no_wake_and_drops_in_silence() {
    let (tester, _ctx, channel) = bound();
    let (_counter, waker) = counting_waker();
    let (mut woken, other) = (channel.woken(), _ctx.bind_unbound_port(GUEST).unwrap());
    let mut wakes = other.wakes().unwrap();
    assert!(poll(&mut woken, &waker).is_pending());
    tester.script().process = 2;
    tester.log();
    assert!(matches!(
        poll(&mut woken, &waker),
        Poll::Ready(Err(Error::Inherited))
    ));
    let polled = wakes.poll_wake(&mut Cx::from_waker(&waker));
    assert!(matches!(polled, Poll::Ready(Some(Err(Error::Inherited)))));
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(None));
    assert!(_ctx.drive().is_err());
    drop((woken, wakes));
    assert!(tester.log().is_empty());
}
