//! The wakes of a check, in each way that a program can take them.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Cx, Poll, Wake as Waken, Waker};
use std::thread;
use std::time::{Duration, Instant};

use evtchn::poll::PollLoop;
use evtchn::sim::SimLoop;
use evtchn::{Cause, Link, Outcome};

use super::rig;
use crate::common::Rig;

#[test]
fn a_callback_is_called_with_the_cause() {
    let rig = rig();
    let wire = rig.wire();
    let calls: Arc<Mutex<Vec<_>>> = Arc::default();
    let noted = Arc::clone(&calls);
    let note = move |wake: evtchn::Wake| noted.lock().unwrap().push((wake.port(), wake.cause));
    wire.channel.set_callback(note).unwrap();
    for cause in [wire.connected(), wire.gone()] {
        wire.wait();
        assert_eq!(rig.check(), 1);
        assert_eq!(
            calls.lock().unwrap().len(),
            0,
            "no callback runs in a check"
        );
        assert_eq!(rig.context.dispatch_callbacks().unwrap(), Outcome::Done);
        assert_eq!(std::mem::take(&mut *calls.lock().unwrap()), [cause]);
        assert_eq!(rig.context.link(), Link::Idle);
        let _gone_already = rig.guest.close(wire.peer_port);
    }
}

/// The wait for each goes on, whatever woke the channel.
#[test]
fn a_callback_with_a_wait_for_each_gets_each_cause_and_the_port_is_unmasked_once() {
    let rig = rig();
    let wire = rig.wire();
    let calls: Arc<Mutex<Vec<_>>> = Arc::default();
    let noted = Arc::clone(&calls);
    let note = move |wake: evtchn::Wake| noted.lock().unwrap().push(wake.cause);
    wire.channel.set_callback(note).unwrap();
    wire.channel.wait_each().unwrap();
    let turn = || {
        let done = rig.context.dispatch_callbacks().unwrap();
        assert_eq!(done, Outcome::Done);
        std::mem::take(&mut *calls.lock().unwrap())
    };
    assert_eq!((rig.check(), turn()), (1, vec![Cause::PeerConnected]));
    assert_eq!(rig.context.link(), Link::Watching);
    wire.fire();
    assert_eq!(turn(), [Cause::Event]);
    wire.close();
    assert_eq!((rig.check(), turn()), (1, vec![Cause::PeerGone]));
    assert_eq!((rig.check(), turn()), (0, vec![]));
    assert_eq!(rig.context.stats().writes, 3);
}

/// Wakes of every cause come in one batch.
#[test]
fn a_batch_with_a_wait_for_each_gets_each_cause() {
    let rig = rig();
    let (wire, other) = (rig.wire(), rig.wire());
    wire.channel.wait_each().unwrap();
    other.channel.wait_each().unwrap();
    let mut buf = evtchn::WakeBuf::with_capacity(4);
    let mut turn = || {
        let mut round = rig.context.dispatch().unwrap();
        let wakes = round.fill(&mut buf);
        let wakes: Vec<_> = wakes.iter().map(|wake| (wake.port(), wake.cause)).collect();
        round.finish().unwrap();
        wakes
    };
    let both = vec![wire.connected(), other.connected()];
    assert_eq!((rig.check(), turn()), (2, both));
    assert_eq!(rig.context.link(), Link::Watching);
    wire.fire();
    assert_eq!(turn(), [(wire.port(), Cause::Event)]);
    wire.close();
    other.close();
    let both = vec![wire.gone(), other.gone()];
    assert_eq!((rig.check(), turn()), (2, both));
    assert_eq!((rig.check(), turn()), (0, vec![]));
    wire.channel.cancel().unwrap();
    assert_eq!(rig.context.link(), Link::Watching);
    other.channel.cancel().unwrap();
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn a_check_inside_a_round_adds_its_wakes_to_that_round() {
    let rig = rig();
    let (first, second) = (rig.known(), rig.known());
    first.fire();
    second.close();
    let mut round = rig.context.dispatch().unwrap();
    assert_eq!(round.next().unwrap().cause, Cause::Event);
    assert_eq!(rig.check(), 1);
    let wake = round.next().unwrap();
    assert_eq!((wake.port(), wake.cause), second.gone());
    assert_eq!(round.next(), None);
    round.finish().unwrap();
    assert_eq!(rig.context.link(), Link::Idle);
}

/// Counts the wakes of its waker.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Waken for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_is_woken_once_with_the_cause_and_leaves_nothing_registered() {
    let rig = rig();
    let wire = rig.wire();
    for (wakes, expected) in [(1, Cause::PeerConnected), (2, Cause::PeerGone)] {
        let counter = Arc::new(WakeCounter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let mut cx = Cx::from_waker(&waker);
        let mut woken = pin!(wire.channel.woken());
        assert!(woken.as_mut().poll(&mut cx).is_pending());
        assert_eq!(rig.check(), 1);
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        let Poll::Ready(Ok(cause)) = woken.as_mut().poll(&mut cx) else {
            unreachable!("the task was woken for nothing");
        };
        assert_eq!((cause, rig.context.link()), (expected, Link::Idle));
        assert_eq!(rig.context.stats().wakes, wakes);
        let _gone_already = rig.guest.close(wire.peer_port);
    }
}

#[test]
fn a_stream_yields_the_cause_once_and_goes_on_with_the_next_peer() {
    let rig = rig();
    let wire = rig.wire();
    let mut cx = Cx::from_waker(Waker::noop());
    let mut wakes = wire.channel.wakes().unwrap();
    let mut next = |wakes: &mut evtchn::Wakes<SimLoop>| match wakes.poll_wake(&mut cx) {
        Poll::Ready(wake) => wake.map(|it| it.unwrap().cause),
        Poll::Pending => None,
    };
    assert_eq!(next(&mut wakes), None);
    assert_eq!(rig.check(), 1);
    assert_eq!(next(&mut wakes), Some(Cause::PeerConnected));
    assert_eq!((next(&mut wakes), rig.check()), (None, 0));
    wire.close();
    assert_eq!(rig.check(), 1);
    assert_eq!(next(&mut wakes), Some(Cause::PeerGone));
    assert_eq!((next(&mut wakes), rig.check()), (None, 0));
    rig.guest.send(wire.bind_again()).unwrap();
    rig.context.drive().unwrap();
    assert_eq!(next(&mut wakes), Some(Cause::Event));
}

#[test]
fn a_block_returns_the_cause() {
    let rig = Rig::on(PollLoop::new().unwrap());
    let wire = rig.wire();
    let wire = &wire;
    for cause in [Cause::PeerConnected, Cause::PeerGone] {
        thread::scope(|scope| {
            // Only if the thread is not woken, which fails the test.
            let hang = Instant::now() + Duration::from_secs(10);
            let blocks = scope.spawn(move || wire.channel.block_until(hang).unwrap());
            while rig.context.link() != Link::Watching {
                thread::yield_now();
            }
            assert_eq!(rig.check(), 1);
            assert_eq!(blocks.join().unwrap(), Some(cause));
        });
        let _gone_already = rig.guest.close(wire.peer_port);
    }
    assert_eq!(rig.context.link(), Link::Idle);
}
