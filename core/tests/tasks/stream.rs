//! The stream of wakes.

use super::*;

#[test]
fn a_stream_registers_once_and_unmasks_when_it_is_pending() {
    let (tester, ctx, channel) = bound();
    let (counter, waker) = counting_waker();
    let mut wakes = channel.wakes().unwrap();
    assert!(next(&mut wakes, &waker).is_pending());
    for _ in 0..3 {
        event(&tester, &ctx, &channel);
        assert_eq!(counter.count(), 1);
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
fn a_stream_of_many_channels_is_woken_once_and_unmasks_once() {
    let (tester, ctx, one) = bound();
    let (counter, waker) = counting_waker();
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
    assert_eq!(counter.count(), 1);
    let mut ports = Vec::new();
    while let Poll::Ready(Some(wake)) = wakes.poll_wake(&mut Cx::from_waker(&waker)) {
        ports.push(wake.unwrap().port());
    }
    assert_eq!(ports, [other.port(), one.port()]);
    assert_eq!(tester.log(), ["read", "write [2, 1]"]);
}

#[test]
fn a_stream_ends_with_its_last_channel_and_stays_ended() {
    let (_tester, ctx, mut channel) = bound();
    let (counter, waker) = counting_waker();
    let mut wakes = channel.wakes().unwrap();
    assert!(next(&mut wakes, &waker).is_pending());
    channel.unbind().unwrap();
    assert_eq!(counter.count(), 1);
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
    let (_counter, waker) = counting_waker();
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(Some(Cause::Event)));
    assert!(next(&mut wakes, &waker).is_pending(), "it came once");
}

#[test]
fn a_failed_unmask_of_a_stream_is_returned_and_tried_again() {
    let (tester, ctx, channel) = bound();
    let (_counter, waker) = counting_waker();
    let mut wakes = channel.wakes().unwrap();
    event(&tester, &ctx, &channel);
    assert_eq!(next(&mut wakes, &waker), Poll::Ready(Some(Cause::Event)));
    tester.fail("write", ErrorKind::Other);
    let polled = wakes.poll_wake(&mut Cx::from_waker(&waker));
    assert!(matches!(polled, Poll::Ready(Some(Err(Error::Device(_))))));
    tester.log();
    assert!(next(&mut wakes, &waker).is_pending());
    assert_eq!(tester.log(), ["write [1]"]);
}
