//! WakeTargets a check tells, in each way to take a wake.

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
    for told in [wire.connected(), wire.gone()] {
        wire.wait();
        assert_eq!(rig.check(), 1);
        assert_eq!(
            calls.lock().unwrap().len(),
            0,
            "no callback runs in a check"
        );
        assert_eq!(rig.context.dispatch_callbacks().unwrap(), Outcome::Done);
        assert_eq!(std::mem::take(&mut *calls.lock().unwrap()), [told]);
        assert_eq!(rig.context.link(), Link::Idle);
        let _gone_already = rig.guest.close(wire.theirs);
    }
}

/// The round waits for the channel again, whatever woke it.
#[test]
fn a_callback_that_goes_on_is_called_with_each_cause_and_the_port_is_written_back_once() {
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

/// As many at once as there are, whatever woke them.
#[test]
fn a_round_that_fills_and_goes_on_waits_again_after_each_cause() {
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
fn a_check_inside_a_round_brings_its_wakes_in_that_round() {
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

/// A waker that counts.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Waken for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_is_woken_once_with_the_cause_and_leaves_nothing_registered() {
    let rig = rig();
    let wire = rig.wire();
    for (told, expected) in [(1, Cause::PeerConnected), (2, Cause::PeerGone)] {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        let mut cx = Cx::from_waker(&waker);
        let mut woken = pin!(wire.channel.woken());
        assert!(woken.as_mut().poll(&mut cx).is_pending());
        assert_eq!(rig.check(), 1);
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        let Poll::Ready(Ok(cause)) = woken.as_mut().poll(&mut cx) else {
            unreachable!("the task was woken for nothing");
        };
        assert_eq!((cause, rig.context.link()), (expected, Link::Idle));
        assert_eq!(rig.context.stats().wakes, told);
        let _gone_already = rig.guest.close(wire.theirs);
    }
}

#[test]
fn a_stream_tells_it_once_and_goes_on_with_the_next_peer() {
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
fn a_thread_that_blocks_comes_back_with_the_cause() {
    let rig = Rig::on(PollLoop::new().unwrap());
    let wire = rig.wire();
    let wire = &wire;
    for cause in [Cause::PeerConnected, Cause::PeerGone] {
        thread::scope(|scope| {
            // Only where it is not told, which fails.
            let hang = Instant::now() + Duration::from_secs(10);
            let blocks = scope.spawn(move || wire.channel.block_until(hang).unwrap());
            while rig.context.link() != Link::Watching {
                thread::yield_now();
            }
            assert_eq!(rig.check(), 1);
            assert_eq!(blocks.join().unwrap(), Some(cause));
        });
        let _gone_already = rig.guest.close(wire.theirs);
    }
    assert_eq!(rig.context.link(), Link::Idle);
}
