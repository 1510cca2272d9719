//! Tasks that are polled on one thread beside drives and ends on others (I1, I3, I4, I15).

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context as Cx, Poll, Wake, Waker};

use evtchn_core::{Cause, Error, Outcome};
use evtchn_sim::{Call, Errno, SimLoop};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Bell, Channel, Context, Loop, Rig, Wire};

scenarios! {
    edges_that_come_beside_polls_wake_each_task,
    fault_beside_polls_leaves_no_task_asleep,
    stream_beside_a_drive_gets_every_event,
    futures_that_wake_together_on_two_threads_are_all_unmasked,
    stream_on_an_edge_triggered_loop_gets_every_event,
    streams_that_wake_together_on_two_threads_are_all_unmasked,
    task_beside_rounds_gets_its_own_wake,
    unbind_beside_a_stream_ends_it,
    wake_beside_a_drop_does_not_reach_the_next_task_of_that_id;
    small
    block_beside_the_end_of_the_context_ends,
    cancel_beside_a_poll_ends_the_wait_or_came_before_it,
    cancel_that_fails_beside_a_stream_counts_no_wait_twice,
    drive_beside_a_drop_keeps_the_wake,
    drops_of_two_threads_leave_nothing_registered,
    end_of_the_context_beside_a_poll_leaves_no_task_asleep,
    event_beside_a_first_poll_wakes_the_task,
    waker_that_polls_at_once_beside_a_drop_takes_the_wake,
    wakers_that_poll_at_once_on_two_threads_are_all_called,
    waker_that_is_replaced_beside_a_cancel_is_dropped_under_no_lock,
    waker_that_is_replaced_beside_a_wake_is_woken,
}

type Wakes = evtchn_core::Wakes<Loop>;

/// A waker that wakes a sleeping thread.
#[derive(Default)]
struct Alarm {
    has_rung: AtomicBool,
    bell: Bell,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Ordering::SeqCst);
        self.bell.ring();
    }
}

impl Alarm {
    fn sleep(&self) {
        let has_rung = || self.has_rung.swap(false, Ordering::SeqCst);
        self.bell.wait_until(has_rung);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Cx::from_waker(waker))
}

/// Polls until it is ready, and sleeps in between. (Shuttle wants no thread to sleep that has a
/// scope in which another one ends.)
fn finish<F: Future>(future: F) -> F::Output {
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&alarm));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = poll(&mut future, &waker) {
            return output;
        }
        alarm.sleep();
    }
}

fn next(wakes: &mut Wakes) -> Option<Cause> {
    finish(wakes.next()).map(|wake| wake.unwrap().cause)
}

/// Does what the reactor of a runtime does, until the loop is stopped.
fn react(rig: &Rig) {
    while !rig.event_loop.is_stopped() {
        rig.event_loop.poll();
        // Tasks get the failure of a device.
        while let Ok(Outcome::More) = rig.context.drive() {}
    }
}

/// Does `act` while a reactor runs, and then stops the reactor.
fn beside_a_reactor<T>(rig: &Rig, act: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        scope.spawn(|| react(rig));
        let acted = act();
        rig.event_loop.stop();
        acted
    })
}

/// The wake of an event that was sent already.
fn woken(rig: &Rig, channel: &Channel) -> Result<Cause, Error> {
    beside_a_reactor(rig, || finish(channel.woken()))
}

fn event_beside_a_first_poll_wakes_the_task() {
    let rig = Rig::new();
    let wire = rig.wire();
    beside_a_reactor(&rig, || {
        thread::scope(|scope| {
            let task = scope.spawn(|| finish(wire.channel.woken()));
            rig.peer.send(&wire);
            assert_eq!(task.join().unwrap().unwrap(), Cause::Event);
        });
    });
    assert!(!rig.is_registered());
}

fn edges_that_come_beside_polls_wake_each_task() {
    let rig = Rig::with(SimLoop::edge());
    let wires = [rig.wire(), rig.wire()];
    beside_a_reactor(&rig, || {
        thread::scope(|scope| {
            for wire in &wires {
                scope.spawn(|| assert_eq!(finish(wire.channel.woken()).unwrap(), Cause::Event));
            }
            wires.iter().for_each(|wire| rig.peer.send(wire));
        });
    });
    assert!(!rig.is_registered());
}

/// Two tasks with an event each, which `wait` takes: each has the next event sent as soon as it took one, so
/// that it gets that only if its port is unmasked.
fn wake_together(wait: impl Fn(&Wire, &dyn Fn()) + Sync) {
    let rig = Rig::new();
    let wires = [rig.wire(), rig.wire()];
    wires.iter().for_each(|wire| rig.peer.send(wire));
    beside_a_reactor(&rig, || {
        thread::scope(|scope| {
            for wire in &wires {
                scope.spawn(|| wait(wire, &|| rig.peer.send(wire)));
            }
        });
    });
    assert!(!rig.is_registered());
}

fn streams_that_wake_together_on_two_threads_are_all_unmasked() {
    wake_together(|wire, send| {
        let mut wakes = wire.channel.wakes().unwrap();
        for _ in 0..3 {
            assert_eq!(next(&mut wakes), Some(Cause::Event));
            send();
        }
    });
}

fn futures_that_wake_together_on_two_threads_are_all_unmasked() {
    wake_together(|wire, send| {
        for _ in 0..3 {
            assert_eq!(finish(wire.channel.woken()).unwrap(), Cause::Event);
            send();
        }
    });
}

/// Looks at the context as it is dropped.
struct LooksAtDrop(Context);

impl Wake for LooksAtDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for LooksAtDrop {
    fn drop(&mut self) {
        let _looked = self.0.stats();
    }
}

fn waker_that_is_replaced_beside_a_cancel_is_dropped_under_no_lock() {
    let rig = Rig::new();
    let wire = rig.wire();
    let mut wakes = wire.channel.wakes().unwrap();
    let looks = Waker::from(Arc::new(LooksAtDrop(Context::clone(&rig.context))));
    assert!(wakes.poll_wake(&mut Cx::from_waker(&looks)).is_pending());
    drop(looks);
    thread::scope(|scope| {
        scope.spawn(|| assert!(wire.channel.cancel().unwrap()));
        let polled = wakes.poll_wake(&mut Cx::from_waker(Waker::noop()));
        assert!(!matches!(polled, Poll::Ready(Some(_))), "nothing was sent");
    });
}

/// A wake calls the waker of the last poll, whenever it comes.
fn waker_that_is_replaced_beside_a_wake_is_woken() {
    let rig = Rig::new();
    let wire = rig.wire();
    let mut woken = wire.channel.woken();
    assert!(poll(&mut woken, Waker::noop()).is_pending());
    rig.peer.send(&wire);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(finish(woken).unwrap(), Cause::Event));
        assert_eq!(rig.context.drive().unwrap(), Outcome::Done);
    });
    assert!(!rig.is_registered());
}

type Task = Pin<Box<dyn Future<Output = Result<Cause, Error>> + Send>>;

/// A waker that polls its task at once.
struct Runs(Mutex<Option<Task>>);

impl Wake for Runs {
    fn wake(self: Arc<Self>) {
        let mut task = self.0.lock().unwrap().take().unwrap();
        let polled = poll(&mut task, Waker::noop());
        assert!(matches!(polled, Poll::Ready(Ok(Cause::Event))));
    }
}

fn waker_that_polls_at_once_beside_a_drop_takes_the_wake() {
    let rig = Rig::new();
    let (wire, other) = (rig.wire(), rig.wire());
    let mut dropped = other.channel.woken();
    assert!(poll(&mut dropped, Waker::noop()).is_pending());
    let (runs, mut woken) = (Arc::new(Runs(Mutex::new(None))), wire.channel.woken());
    assert!(poll(&mut woken, &Waker::from(Arc::clone(&runs))).is_pending());
    *runs.0.lock().unwrap() = Some(Box::pin(woken));
    rig.peer.send(&wire);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(rig.context.drive().unwrap(), Outcome::Done));
        drop(dropped);
    });
    assert!(runs.0.lock().unwrap().is_none());
    assert!(!rig.is_registered());
}

/// While one thread wakes tasks, the other one adds tasks to be woken.
fn wakers_that_poll_at_once_on_two_threads_are_all_called() {
    let rig = Rig::new();
    let wires = [rig.wire(), rig.wire()];
    let tasks = wires.each_ref().map(|wire| {
        let (runs, mut woken) = (Arc::new(Runs(Mutex::new(None))), wire.channel.woken());
        assert!(poll(&mut woken, &Waker::from(Arc::clone(&runs))).is_pending());
        *runs.0.lock().unwrap() = Some(Box::pin(woken));
        runs
    });
    thread::scope(|scope| {
        for wire in &wires {
            scope.spawn(|| {
                rig.peer.send(wire);
                assert_eq!(rig.context.drive().unwrap(), Outcome::Done);
            });
        }
    });
    assert!(tasks.iter().all(|task| task.0.lock().unwrap().is_none()));
    assert!(!rig.is_registered());
}

fn drive_beside_a_drop_keeps_the_wake() {
    let rig = Rig::new();
    let wire = rig.wire();
    let mut dropped = wire.channel.woken();
    assert!(poll(&mut dropped, Waker::noop()).is_pending());
    rig.peer.send(&wire);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(rig.context.drive().unwrap(), Outcome::Done));
        drop(dropped);
    });
    assert!(!rig.is_registered());
    assert_eq!(woken(&rig, &wire.channel).unwrap(), Cause::Event);
}

fn drops_of_two_threads_leave_nothing_registered() {
    let rig = Rig::new();
    let wires = [rig.wire(), rig.wire()];
    thread::scope(|scope| {
        for wire in &wires {
            scope.spawn(|| {
                let mut woken = wire.channel.woken();
                assert!(poll(&mut woken, Waker::noop()).is_pending());
                assert!(rig.is_registered());
            });
        }
    });
    assert!(!rig.is_registered());
}

/// The id of a task that is dropped while its wake is under way goes to another task.
fn wake_beside_a_drop_does_not_reach_the_next_task_of_that_id() {
    let rig = Rig::new();
    let (one, two) = (rig.wire(), rig.wire());
    let mut dropped = one.channel.woken();
    assert!(poll(&mut dropped, Waker::noop()).is_pending());
    rig.peer.send(&one);
    beside_a_reactor(&rig, || {
        thread::scope(|scope| {
            let task = scope.spawn(|| {
                drop(dropped);
                finish(two.channel.woken())
            });
            rig.peer.send(&two);
            assert_eq!(task.join().unwrap().unwrap(), Cause::Event);
        });
    });
    assert!(!rig.is_registered());
}

fn cancel_beside_a_poll_ends_the_wait_or_came_before_it() {
    let rig = Rig::new();
    let wire = rig.wire();
    let cancels = beside_a_reactor(&rig, || {
        thread::scope(|scope| {
            let task = scope.spawn(|| {
                let mut woken = wire.channel.woken();
                let mut cancels = 0;
                loop {
                    match finish(&mut woken) {
                        Ok(cause) => break assert_eq!(cause, Cause::Event),
                        Err(Error::Cancelled) => cancels += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                cancels
            });
            wire.cancel();
            rig.peer.send(&wire);
            task.join().unwrap()
        })
    });
    assert!(cancels <= 1);
    assert!(!rig.is_registered());
}

/// A cancel whose deregistration fails is undone, but the wake has gone to another waiter meanwhile.
fn cancel_that_fails_beside_a_stream_counts_no_wait_twice() {
    let rig = Rig::new();
    let wire = rig.wire();
    wire.wait();
    rig.peer.send(&wire);
    drop(rig.context.drive());
    rig.event_loop
        .sim
        .fail_next(Call::Deregister, Errno::ENOMEM);
    thread::scope(|scope| {
        scope.spawn(|| match wire.channel.wakes() {
            Ok(mut wakes) => assert_eq!(next(&mut wakes), Some(Cause::Event)),
            Err(Error::AlreadyWaited(_)) => {}
            Err(error) => panic!("{error}"),
        });
        assert!(matches!(
            wire.channel.cancel(),
            Ok(_) | Err(Error::Deregister(_))
        ));
    });
    let _failed_once = wire.channel.cancel();
    wire.cancel();
    assert!(!rig.is_registered());
}

fn end_of_the_context_beside_a_poll_leaves_no_task_asleep() {
    let mut rig = Rig::new();
    let wire = rig.wire();
    let context = rig.take_context();
    thread::scope(|scope| {
        scope.spawn(|| match finish(wire.channel.woken()) {
            Err(Error::Cancelled | Error::NotBound(_)) => {}
            other => panic!("{other:?}"),
        });
        drop(context);
    });
    assert!(!rig.is_registered());
    drop(wire);
    assert_eq!(rig.open_files(), 0);
}

fn block_beside_the_end_of_the_context_ends() {
    let mut rig = Rig::new();
    let wire = rig.wire();
    let context = rig.take_context();
    thread::scope(|scope| {
        scope.spawn(|| match wire.channel.block() {
            Err(Error::Cancelled | Error::NotBound(_)) => {}
            other => panic!("{other:?}"),
        });
        drop(context);
    });
    assert!(!rig.is_registered());
}

fn unbind_beside_a_stream_ends_it() {
    let rig = Rig::new();
    let wire = rig.wire();
    let mut wakes = wire.channel.wakes().unwrap();
    beside_a_reactor(&rig, || {
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut causes = Vec::new();
                while let Some(cause) = next(&mut wakes) {
                    causes.push(cause);
                }
                assert!(matches!(
                    causes[..],
                    [Cause::Gone] | [Cause::Event, Cause::Gone]
                ));
            });
            rig.peer.send(&wire);
            wire.into_channel().unbind().unwrap();
        });
    });
    assert!(!rig.is_registered());
}

fn fault_beside_polls_leaves_no_task_asleep() {
    let rig = Rig::new();
    let wires = [rig.wire(), rig.wire()];
    rig.opener.fail_next(Call::Pending, Errno::EIO);
    beside_a_reactor(&rig, || {
        thread::scope(|scope| {
            for wire in &wires {
                scope.spawn(|| match finish(wire.channel.woken()) {
                    Ok(Cause::Gone) | Err(Error::NotBound(_)) => {}
                    other => panic!("{other:?}"),
                });
            }
            rig.peer.send(&wires[0]);
        });
    });
    assert!(!rig.is_registered());
    drop(wires);
    assert_eq!(rig.open_files(), 0);
}

fn stream_beside_a_drive_gets_every_event() {
    get_every_event(&Rig::new());
}

fn stream_on_an_edge_triggered_loop_gets_every_event() {
    get_every_event(&Rig::with(SimLoop::edge()));
}

/// The channel is unmasked while its peer sends.
fn get_every_event(rig: &Rig) {
    const TURNS: usize = 3;
    let wire = rig.wire();
    let mut wakes = wire.channel.wakes().unwrap();
    let (received, bell) = (AtomicUsize::new(0), Bell::default());
    beside_a_reactor(rig, || {
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..TURNS {
                    assert_eq!(next(&mut wakes), Some(Cause::Event));
                    received.fetch_add(1, Ordering::SeqCst);
                    bell.ring();
                }
            });
            scope.spawn(|| {
                for turn in 1..=TURNS {
                    rig.peer.send(&wire);
                    bell.wait_until(|| received.load(Ordering::SeqCst) >= turn);
                }
            });
        });
    });
    assert!(rig.is_registered());
    drop(wakes);
    assert!(!rig.is_registered());
}

fn task_beside_rounds_gets_its_own_wake() {
    let rig = Rig::new();
    let (count, bell) = (Arc::new(AtomicUsize::new(0)), Arc::new(Bell::default()));
    let (counts, rings) = (Arc::clone(&count), Arc::clone(&bell));
    let called = rig.calling(move || {
        counts.fetch_add(1, Ordering::SeqCst);
        rings.ring();
    });
    let awaited: Wire = rig.wire();
    called.wait();
    thread::scope(|scope| {
        scope.spawn(|| rig.run());
        let task = scope.spawn(|| finish(awaited.channel.woken()));
        rig.peer.send(&awaited);
        rig.peer.send(&called);
        assert_eq!(task.join().unwrap().unwrap(), Cause::Event);
        bell.wait_until(|| count.load(Ordering::SeqCst) == 1);
        rig.event_loop.stop();
    });
    assert!(!rig.is_registered());
}
