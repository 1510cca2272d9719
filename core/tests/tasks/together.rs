//! Tasks that one read has woken: their ports are unmasked by one write, and none waits for the poll of another.

use super::*;

/// So many channels, each with an event that was read, and what `wait` makes of each: it waits.
fn woken<W>(
    channels: usize,
    wait: impl Fn(&Channel<FakeLoop>) -> W,
    mut begin: impl FnMut(&mut W),
) -> (Tester, Ctx, Vec<Channel<FakeLoop>>, Vec<W>) {
    let tester = Tester::new();
    let ctx = tester.context();
    let bind = |_| ctx.bind_unbound_port(GUEST).unwrap();
    let channels: Vec<_> = (0..channels).map(bind).collect();
    let mut waits: Vec<_> = channels.iter().map(wait).collect();
    waits.iter_mut().for_each(&mut begin);
    let ports: Vec<_> = channels.iter().map(Channel::port).collect();
    tester.batch(&ports);
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
    tester.log();
    (tester, ctx, channels, waits)
}

/// Futures, each of which was woken once.
fn futures(
    channels: usize,
    waker: &Waker,
) -> (Tester, Ctx, Vec<Channel<FakeLoop>>, Vec<Woken<FakeLoop>>) {
    woken(channels, Channel::woken, |woken| {
        assert!(poll(woken, waker).is_pending());
    })
}

/// Takes the wake and waits again, as a task in a loop does.
#[track_caller]
fn take_and_wait(woken: &mut Woken<FakeLoop>, waker: &Waker) {
    assert!(matches!(poll(woken, waker), Poll::Ready(Ok(Cause::Event))));
    assert!(poll(woken, waker).is_pending());
}

#[test]
fn futures_that_one_read_has_woken_are_unmasked_by_one_write() {
    let (counter, waker) = counting_waker();
    let (tester, ctx, _channels, mut futures) = futures(3, &waker);
    assert_eq!(counter.count(), 3);
    for woken in &mut futures {
        take_and_wait(woken, &waker);
    }
    assert_eq!(tester.log(), ["write [1, 2, 3]"]);
    assert_eq!(counter.count(), 2, "each but the last is polled once more");
    for woken in &mut futures {
        assert!(poll(woken, &waker).is_pending());
    }
    assert!(tester.log().is_empty());
    assert_eq!(counter.count(), 0);
    assert_eq!(ctx.next_timeout(), None);
}

#[test]
fn streams_that_one_read_has_woken_are_unmasked_by_one_write() {
    let (counter, waker) = counting_waker();
    let stream = |channel: &Channel<FakeLoop>| channel.wakes().unwrap();
    let (tester, ctx, _channels, mut streams) = woken(3, stream, |wakes| {
        assert!(next(wakes, &waker).is_pending());
    });
    assert_eq!(counter.count(), 3);
    for wakes in &mut streams {
        assert_eq!(next(wakes, &waker), Poll::Ready(Some(Cause::Event)));
        assert!(next(wakes, &waker).is_pending());
    }
    assert_eq!(tester.log(), ["write [1, 2, 3]"]);
    assert_eq!(counter.count(), 2);
    for wakes in &mut streams {
        assert!(next(wakes, &waker).is_pending());
    }
    assert!(tester.log().is_empty());
    assert_eq!((counter.count(), ctx.next_timeout()), (0, None));
}

#[test]
fn a_task_does_not_wait_for_the_poll_of_another_that_was_woken() {
    let (counter, waker) = counting_waker();
    let (tester, _ctx, _channels, mut futures) = futures(2, &waker);
    counter.count();
    take_and_wait(&mut futures[0], &waker);
    assert!(tester.log().is_empty());
    assert_eq!(counter.count(), 1, "it is polled once more");
    assert!(poll(&mut futures[0], &waker).is_pending());
    assert_eq!(tester.log(), ["write [1]"]);
    take_and_wait(&mut futures[1], &waker);
    assert_eq!(tester.log(), ["write [2]"]);
    assert_eq!(counter.count(), 0);
}

#[test]
fn a_task_whose_port_is_queued_and_that_is_dropped_is_not_unmasked() {
    let (counter, waker) = counting_waker();
    let (tester, _ctx, _channels, mut futures) = futures(3, &waker);
    take_and_wait(&mut futures[0], &waker);
    drop(futures.remove(0));
    take_and_wait(&mut futures[0], &waker);
    assert!(tester.log().is_empty());
    take_and_wait(&mut futures[1], &waker);
    assert_eq!(tester.log(), ["write [2, 3]"]);
    counter.count();
}

#[test]
fn a_task_that_was_woken_and_is_dropped_keeps_no_other_from_its_write() {
    let (_counter, waker) = counting_waker();
    let (tester, _ctx, _channels, mut futures) = futures(2, &waker);
    drop(futures.pop());
    take_and_wait(&mut futures[0], &waker);
    // Between the two it is the only one that waits.
    assert_eq!(tester.log(), ["deregister", "register", "write [1]"]);
}

#[test]
fn the_end_of_a_round_unmasks_what_tasks_have_queued() {
    let (_counter, waker) = counting_waker();
    let (tester, ctx, _channels, mut futures) = futures(2, &waker);
    take_and_wait(&mut futures[0], &waker);
    assert_eq!(ctx.next_timeout(), Some(std::time::Duration::ZERO));
    assert_eq!(ctx.dispatch().unwrap().finish().unwrap(), Outcome::Done);
    assert_eq!(tester.log(), ["write [1]"]);
    assert!(poll(&mut futures[0], &waker).is_pending());
    assert!(tester.log().is_empty());
}

#[test]
fn an_unmask_that_fails_ends_only_the_waits_of_the_ports_that_are_left() {
    let (counter, waker) = counting_waker();
    let (tester, ctx, channels, mut futures) = futures(2, &waker);
    take_and_wait(&mut futures[0], &waker);
    assert!(matches!(
        poll(&mut futures[1], &waker),
        Poll::Ready(Ok(Cause::Event))
    ));
    tester.script().write_takes = 1;
    tester.fail("write", ErrorKind::Other);
    counter.count();
    let failed = poll(&mut futures[1], &waker);
    assert!(
        matches!(failed, Poll::Ready(Err(Error::Device(_)))),
        "{failed:?}"
    );
    // The first one writes its port when it is polled, as it has asked to be.
    tester.log();
    assert!(poll(&mut futures[0], &waker).is_pending());
    assert_eq!(tester.log(), ["write [1]"]);
    tester.batch(&[channels[0].port()]);
    ctx.drive().unwrap();
    assert!(matches!(
        poll(&mut futures[0], &waker),
        Poll::Ready(Ok(Cause::Event))
    ));
}

#[test]
fn a_task_whose_port_is_queued_is_unmasked_though_the_loop_lost_the_device() {
    let (_counter, waker) = counting_waker();
    let (tester, ctx, _channels, mut futures) = futures(2, &waker);
    take_and_wait(&mut futures[0], &waker);
    tester.fail("register", ErrorKind::Other);
    ctx.driver().lost();
    assert_eq!(tester.log(), ["deregister", "register", "wake"]);
    assert!(poll(&mut futures[0], &waker).is_pending());
    assert_eq!(tester.log(), ["register", "write [1]"]);
}

#[test]
fn a_task_whose_waker_panics_is_unmasked_at_once() {
    let panics = adverse::does(|| std::panic::resume_unwind(Box::new("on purpose")));
    let (tester, ctx, _channels, mut futures) = futures(2, &panics);
    let unreported = ctx.stats().unreported;
    take_and_wait(&mut futures[0], &panics);
    assert_eq!(tester.log(), ["write [1]"]);
    assert_eq!(ctx.stats().unreported, unreported + 1);
}
