//! How futures and streams begin and end.

use std::pin::Pin;
use std::task::{Context as Cx, Poll, Waker};

use evtchn_sim::{Call, Fault};
use futures_core::{FusedStream, Stream};

use super::*;

pub(crate) async fn a_future_that_is_never_polled_registers_nothing<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (channel, theirs) = rig.bind();
    let woken = channel.woken();
    assert!(!rig.opener.is_watched());
    drop(woken);
    rig.guest.send(theirs).unwrap();
    drop(rig.ctx.woken(channel.id()));
    assert_eq!(rig.ctx.stats().registers, 0);
    assert_eq!(soon(channel.woken()).await.unwrap(), Cause::Event);
}

pub(crate) async fn an_event_of_a_dropped_future_goes_to_the_next_one<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (channel, theirs) = rig.bind();
    for registrations in 1..20 {
        let mut woken = channel.woken();
        start(&mut woken).await;
        // Whether it is read before the drop is up to the reactor.
        rig.guest.send(theirs).unwrap();
        drop(woken);
        assert!(!rig.opener.is_watched());
        assert_eq!(soon(channel.woken()).await.unwrap(), Cause::Event);
        assert_eq!(rig.ctx.link(), Link::Idle);
        assert!(rig.ctx.stats().registers >= registrations);
    }
}

pub(crate) async fn a_stream_is_fused_after_the_unbind<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (mut channel, theirs) = rig.bind();
    let mut wakes = channel.wakes().unwrap();
    rig.guest.send(theirs).unwrap();
    let event = soon(poll_fn(|cx| Pin::new(&mut wakes).poll_next(cx))).await;
    assert_eq!(event.unwrap().unwrap().cause, Cause::Event);
    assert!(!wakes.is_terminated());
    channel.unbind().unwrap();
    let end = soon(poll_fn(|cx| Pin::new(&mut wakes).poll_next(cx))).await;
    assert_eq!(end.unwrap().unwrap().cause, Cause::Gone);
    for _ in 0..3 {
        assert!(wakes.is_terminated());
        let after = Pin::new(&mut wakes).poll_next(&mut Cx::from_waker(Waker::noop()));
        assert!(matches!(after, Poll::Ready(None)));
    }
    assert!(!rig.opener.is_watched());
}

pub(crate) async fn futures_may_be_dropped_in_a_thread_without_a_runtime<R: Runtime>() {
    let rig = Rig::<R>::new();
    let ((first, theirs), (second, _)) = (rig.bind(), rig.bind());
    let (mut woken, mut wakes) = (first.woken(), second.wakes().unwrap());
    start(&mut woken).await;
    start(&mut pin!(wakes.next())).await;
    assert!(rig.opener.is_watched());
    thread::spawn(move || drop((woken, wakes))).join().unwrap();
    assert!(!rig.opener.is_watched());
    rig.guest.send(theirs).unwrap();
    assert_eq!(soon(first.woken()).await.unwrap(), Cause::Event);
    assert_eq!(rig.ctx.stats().unreported, 0);
}

/// A device that is closed before it is deregistered would stay in an epoll instance, where the
/// child of a fork still has it.
pub(crate) async fn the_reactor_lets_go_of_a_device_before_it_closes<R: Runtime>() {
    let rig = Rig::<R>::new();
    rig.opener.share();
    let (channel, _) = rig.bind();
    let mut woken = channel.woken();
    start(&mut woken).await;
    assert!(rig.opener.is_watched());
    drop(rig.ctx);
    assert!(!rig.opener.is_watched());
}

pub(crate) async fn a_storm_longer_than_a_drive_is_read_to_its_end<R: Runtime>() {
    let rig = Rig::<R>::new();
    // More reads than one drive makes, and no edge announces the rest.
    rig.opener.sim.install(Fault::short(Call::Pending, 1));
    let bound: Vec<_> = (0..1_000).map(|_| rig.bind()).collect();
    let mut wakes = rig.ctx.wakes();
    for (channel, _) in &bound {
        wakes.add(channel.id()).unwrap();
    }
    for (_, theirs) in &bound {
        rig.guest.send(*theirs).unwrap();
    }
    for _ in &bound {
        let wake = soon(wakes.next()).await.unwrap().unwrap();
        assert_eq!(wake.cause, Cause::Event);
    }
    assert_eq!(rig.ctx.stats().reads, 1_000);
}
