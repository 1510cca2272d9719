//! A thread that blocks for one channel: what ends it, who gets what, and what it leaves.
//!
//! On the simulator's loop what others do meanwhile is scripted. On a `poll(2)` loop there are
//! threads, which may come before, during or after the sleep.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use evtchn::sim::{Call, Errno, Guest, Sim, SimDevice, SimLoop, SimOpen};
use evtchn::xen::PollLoop;
use evtchn::{BlockError, Blocked, Cause, Context, DomId, Link, Port, Sleep, Wait};

const SECOND: Duration = Duration::from_secs(1);

type Channel<R> = evtchn::Channel<SimOpen, R>;

struct Rig<R: Sleep<SimDevice>> {
    opener: SimOpen,
    context: Arc<Context<SimOpen, R>>,
    guest: Guest,
}

/// A channel, and the port of the guest at its other end.
struct Wire<R: Sleep<SimDevice>> {
    channel: Arc<Channel<R>>,
    guest: Guest,
    theirs: Port,
}

impl<R: Sleep<SimDevice>> Clone for Wire<R> {
    fn clone(&self) -> Wire<R> {
        Wire {
            channel: Arc::clone(&self.channel),
            guest: self.guest.clone(),
            theirs: self.theirs,
        }
    }
}

impl<R: Sleep<SimDevice>> Rig<R> {
    fn on(event_loop: R) -> Rig<R> {
        let sim = Sim::new(1);
        let opener = sim.open(DomId::DOM0);
        Rig {
            context: Arc::new(Context::new(opener.clone(), event_loop)),
            guest: sim.guest(sim.create_domain().unwrap()),
            opener,
        }
    }

    fn wire(&self) -> Wire<R> {
        let channel = self.context.bind_unbound_port(self.guest.domid()).unwrap();
        let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        Wire {
            channel: Arc::new(channel),
            guest: self.guest.clone(),
            theirs: theirs.unwrap(),
        }
    }

    fn unreported(&self) -> u64 {
        self.context.stats().unreported
    }
}

impl<R: Sleep<SimDevice>> Wire<R> {
    fn fire(&self) {
        self.guest.send(self.theirs).unwrap();
    }

    #[track_caller]
    fn wait(&self) {
        assert_eq!(self.channel.wait().unwrap(), Wait::Pending);
    }

    #[track_caller]
    fn expect_block(&self, blocked: Blocked) {
        assert_eq!(self.channel.block(None).unwrap(), blocked);
    }
}

const WOKEN: Blocked = Blocked::Woken(Cause::Event);

fn scripted() -> (Rig<SimLoop>, SimLoop) {
    let event_loop = SimLoop::level();
    (Rig::on(event_loop.clone()), event_loop)
}

#[track_caller]
fn expect_nobody_waits(rig: &Rig<SimLoop>) {
    let event_loop = rig.context.registrar();
    assert!(!event_loop.is_registered());
    assert_eq!(rig.context.link(), Link::Idle);
    assert_eq!(event_loop.violations(), []);
}

#[test]
fn an_event_that_comes_during_the_sleep_ends_it() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let peer = wire.clone();
    event_loop.while_asleep(move || peer.fire());
    wire.expect_block(WOKEN);
    expect_nobody_waits(&rig);
    assert_eq!(event_loop.now(), Duration::ZERO);
}

#[test]
fn a_signal_leaves_what_is_left_of_the_time() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let clock = event_loop.clone();
    event_loop.while_asleep(move || clock.pass(3 * SECOND));
    event_loop.fail_nth(Call::Sleep, 2, Errno::EINTR);
    event_loop.fail_nth(Call::Sleep, 3, Errno::EINTR);
    let blocked = wire.channel.block(Some(10 * SECOND)).unwrap();
    assert_eq!(blocked, Blocked::TimedOut);
    assert_eq!(event_loop.now(), 10 * SECOND);
    expect_nobody_waits(&rig);
}

#[test]
fn the_condition_is_asked_after_a_signal() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    event_loop.while_asleep(move || handler.store(true, Ordering::Relaxed));
    let goes_on = || !stop.load(Ordering::Relaxed);
    let blocked = wire.channel.block_while(None, goes_on).unwrap();
    assert_eq!(blocked, Blocked::Stopped);
    expect_nobody_waits(&rig);
}

#[test]
fn a_cancel_ends_a_block_and_the_channel_is_free_for_the_next_wait() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let other = wire.clone();
    event_loop.while_asleep(move || {
        other.channel.cancel().unwrap();
        other.wait();
    });
    wire.expect_block(Blocked::Cancelled);
    // The wait of the one who cancelled is not touched.
    assert_eq!(rig.context.link(), Link::Watching);
    wire.fire();
    assert_eq!(rig.context.dispatch().unwrap().count(), 1);
    expect_nobody_waits(&rig);
}

#[test]
fn a_cancel_after_the_event_keeps_it_for_the_next_wait() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let (other, context) = (wire.clone(), Arc::clone(&rig.context));
    event_loop.while_asleep(move || {
        other.fire();
        assert_eq!(context.dispatch().unwrap().count(), 0);
        other.channel.cancel().unwrap();
    });
    wire.expect_block(Blocked::Cancelled);
    assert_eq!(
        wire.channel.wait().unwrap(),
        Wait::Ready(Cause::Event),
        "the event is lost"
    );
    expect_nobody_waits(&rig);
}

#[test]
fn a_round_of_others_leaves_the_wake_to_the_thread_that_blocks() {
    let (rig, event_loop) = scripted();
    let [own, other] = [rig.wire(), rig.wire()];
    other.wait();
    let (context, wires) = (Arc::clone(&rig.context), [own.clone(), other.clone()]);
    event_loop.while_asleep(move || {
        wires.iter().for_each(Wire::fire);
        let fired: Vec<Port> = context.dispatch().unwrap().map(|it| it.port()).collect();
        assert_eq!(fired, [wires[1].channel.port()]);
    });
    own.expect_block(WOKEN);
    expect_nobody_waits(&rig);
}

#[test]
fn a_callback_is_not_called_for_the_wake_of_a_thread_that_blocks() {
    let (rig, event_loop) = scripted();
    let [own, other] = [rig.wire(), rig.wire()];
    let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
    for wire in [&own, &other] {
        let calls = Arc::clone(&calls);
        let set = wire
            .channel
            .set_callback(move |it| calls.lock().unwrap().push(it.port()));
        set.unwrap();
    }
    other.wait();
    let (context, wires) = (Arc::clone(&rig.context), [own.clone(), other.clone()]);
    event_loop.while_asleep(move || {
        wires.iter().for_each(Wire::fire);
        context.dispatch_callbacks().unwrap();
    });
    own.expect_block(WOKEN);
    assert_eq!(*calls.lock().unwrap(), [other.channel.port()]);
}

#[test]
fn a_device_that_fails_under_a_round_of_others_is_a_last_wake() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let (opener, context) = (rig.opener.clone(), Arc::clone(&rig.context));
    event_loop.while_asleep(move || {
        opener.fail_next(Call::Pending, Errno::EIO);
        let mut round = context.dispatch().unwrap();
        assert_eq!(round.next(), None, "the wake is the other thread's");
        round.finish().unwrap_err();
    });
    wire.expect_block(Blocked::Woken(Cause::Gone));
    assert_eq!(rig.context.link(), Link::Faulted);
    assert_eq!(rig.context.next_timeout(), None);
}

#[test]
fn a_device_that_fails_under_the_read_of_a_block_is_an_error_there() {
    let (rig, event_loop) = scripted();
    let [own, other] = [rig.wire(), rig.wire()];
    other.wait();
    own.fire();
    rig.opener.fail_next(Call::Pending, Errno::EIO);
    let error = own.channel.block(None).unwrap_err();
    assert!(matches!(error, BlockError::Device(it) if it.errno == Errno::EIO));
    assert_eq!(rig.context.link(), Link::Faulted);
    assert_eq!(event_loop.violations(), []);
    // The other waiter is told, in a round.
    assert_eq!(rig.context.next_timeout(), Some(Duration::ZERO));
    let wakes: Vec<_> = rig.context.dispatch().unwrap().collect();
    assert_eq!(wakes.len(), 1);
    assert_eq!(
        (wakes[0].channel, wakes[0].cause),
        (other.channel.id(), Cause::Gone)
    );
}

#[test]
fn a_dropped_context_ends_a_block() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let context = std::sync::Mutex::new(Some(rig.context));
    event_loop.while_asleep(move || drop(context.lock().unwrap().take()));
    wire.expect_block(Blocked::Cancelled);
    assert_eq!(event_loop.counts().wakes, 1, "it might sleep on");
    assert!(!event_loop.is_registered());
    assert_eq!(event_loop.violations(), []);
}

/// A bind reads old events away, for whomever they are.
#[test]
fn a_bind_that_reads_for_a_thread_that_blocks_and_for_a_round_tells_the_loop() {
    let (rig, event_loop) = scripted();
    let [own, other, gone] = [rig.wire(), rig.wire(), rig.wire()];
    other.wait();
    let gone = Arc::into_inner(gone.channel).unwrap();
    let (context, wires) = (Arc::clone(&rig.context), [own.clone(), other.clone()]);
    let (guest, seen) = (rig.guest.domid(), event_loop.clone());
    event_loop.while_asleep(move || {
        wires.iter().for_each(Wire::fire);
        gone.unbind().unwrap();
        let before = seen.counts().wakes;
        let _bound = context.bind_unbound_port(guest).unwrap();
        assert_eq!(seen.counts().wakes, before + 1);
    });
    own.expect_block(WOKEN);
    assert_eq!(rig.context.dispatch().unwrap().count(), 1);
}

#[test]
fn a_sleep_that_fails_leaves_nobody_waiting() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let error = wire.channel.block(None).unwrap_err();
    assert!(matches!(error, BlockError::Sleep(it) if it.errno == Errno::EDEADLK));
    expect_nobody_waits(&rig);
    event_loop.fail_next(Call::Sleep, Errno::ENOMEM);
    let error = wire.channel.block(Some(SECOND)).unwrap_err();
    assert!(matches!(error, BlockError::Sleep(it) if it.errno == Errno::ENOMEM));
    expect_nobody_waits(&rig);
    wire.fire();
    wire.expect_block(WOKEN);
}

#[test]
fn a_write_back_that_fails_leaves_nobody_waiting() {
    let (rig, _) = scripted();
    let wire = rig.wire();
    wire.fire();
    wire.expect_block(WOKEN);
    rig.opener.fail_next(Call::Unmask, Errno::ENOMEM);
    assert!(matches!(
        wire.channel.block(None).unwrap_err(),
        BlockError::Wait(_)
    ));
    expect_nobody_waits(&rig);
    wire.fire();
    wire.expect_block(WOKEN);
}

#[test]
fn a_loop_that_does_not_let_go_costs_no_wake() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    wire.fire();
    event_loop.fail_next(Call::Deregister, Errno::EIO);
    wire.expect_block(WOKEN);
    assert_eq!(rig.unreported(), 1);
    // The end of the block has tried again.
    expect_nobody_waits(&rig);
}

#[test]
fn a_loop_that_does_not_let_go_at_the_deadline_is_counted() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    event_loop.fail_next(Call::Deregister, Errno::EIO);
    let blocked = wire.channel.block(Some(SECOND)).unwrap();
    assert_eq!(blocked, Blocked::TimedOut);
    assert_eq!(rig.unreported(), 1);
    assert!(event_loop.is_registered(), "for nobody");
    // The next call tries again.
    wire.channel.cancel().unwrap();
    expect_nobody_waits(&rig);
}

#[test]
fn a_cancel_that_cannot_deregister_ends_the_block_all_the_same() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let (other, hooks) = (wire.clone(), event_loop.clone());
    event_loop.while_asleep(move || {
        hooks.fail_next(Call::Deregister, Errno::EIO);
        other.channel.cancel().unwrap();
    });
    wire.expect_block(Blocked::Cancelled);
    assert_eq!(rig.unreported(), 1);
    expect_nobody_waits(&rig);
}

#[test]
fn a_condition_that_panics_leaves_nobody_waiting() {
    let (rig, _) = scripted();
    let wire = rig.wire();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        wire.channel
            .block_while(None, || resume_unwind(Box::new("in the condition")))
    }));
    assert_eq!(
        panicked.unwrap_err().downcast_ref(),
        Some(&"in the condition")
    );
    expect_nobody_waits(&rig);
    wire.fire();
    wire.expect_block(WOKEN);
}

#[test]
fn blocks_beside_a_queued_wake_do_not_fill_the_queue() {
    let (rig, event_loop) = scripted();
    let [own, other] = [rig.wire(), rig.wire()];
    other.wait();
    other.fire();
    for _ in 0..1_000 {
        own.fire();
        own.expect_block(WOKEN);
    }
    // Told once, when the wake was queued.
    assert_eq!(event_loop.counts().wakes, 1);
    let fired: Vec<Port> = rig
        .context
        .dispatch()
        .unwrap()
        .map(|it| it.port())
        .collect();
    assert_eq!(fired, [other.channel.port()]);
}

#[test]
fn a_block_on_an_edge_triggered_loop_takes_no_edge_from_others() {
    let event_loop = SimLoop::edge();
    let rig = Rig::on(event_loop.clone());
    let [own, other] = [rig.wire(), rig.wire()];
    other.wait();
    own.fire();
    own.expect_block(WOKEN);
    other.fire();
    assert!(event_loop.ready());
    assert_eq!(rig.context.dispatch().unwrap().count(), 1);
}

fn polled() -> (Rig<PollLoop>, PollLoop) {
    let event_loop = PollLoop::new().unwrap();
    (Rig::on(event_loop.clone()), event_loop)
}

/// Returns when a thread is about to poll, or does already.
fn until_somebody_polls(event_loop: &PollLoop, polls: u64) {
    while event_loop.counters().polls < polls {
        thread::yield_now();
    }
}

#[test]
fn a_peer_on_another_thread_ends_a_block() {
    let (rig, event_loop) = polled();
    let wire = rig.wire();
    thread::scope(|scope| {
        scope.spawn(|| {
            until_somebody_polls(&event_loop, 1);
            wire.fire();
        });
        wire.expect_block(WOKEN);
    });
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn a_cancel_on_another_thread_ends_a_block() {
    let (rig, event_loop) = polled();
    let wire = rig.wire();
    thread::scope(|scope| {
        scope.spawn(|| {
            until_somebody_polls(&event_loop, 1);
            wire.channel.cancel().unwrap();
        });
        wire.expect_block(Blocked::Cancelled);
    });
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn a_flag_and_a_wake_from_another_thread_end_a_block() {
    let (rig, event_loop) = polled();
    let wire = rig.wire();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            until_somebody_polls(&event_loop, 1);
            stop.store(true, Ordering::Relaxed);
            event_loop.wake();
        });
        let goes_on = || !stop.load(Ordering::Relaxed);
        let blocked = wire.channel.block_while(None, goes_on).unwrap();
        assert_eq!(blocked, Blocked::Stopped);
    });
}

#[test]
fn two_threads_that_block_and_one_that_dispatches_each_get_their_own() {
    const ROUNDS: usize = 300;
    let (rig, event_loop) = polled();
    let wires = [rig.wire(), rig.wire(), rig.wire()];
    let [one, two, third] = &wires;
    // Everybody waits for everybody before the next round begins.
    let meet = Barrier::new(4);
    thread::scope(|scope| {
        for wire in [one, two] {
            let meet = &meet;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    wire.expect_block(WOKEN);
                    meet.wait();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                // Ready at once where a thread that blocks has read its event already.
                let mut woken = third.channel.wait().unwrap() != Wait::Pending;
                while !woken {
                    event_loop.wait(rig.context.next_timeout()).unwrap();
                    woken = rig.context.dispatch().unwrap().count() > 0;
                }
                meet.wait();
            }
        });
        for round in 0..ROUNDS {
            let order = [round % 3, (round + 1) % 3, (round + 2) % 3];
            order.iter().for_each(|which| wires[*which].fire());
            meet.wait();
        }
    });
    assert_eq!(rig.context.stats().wakes, 3 * ROUNDS as u64);
    assert_eq!(rig.context.link(), Link::Idle);
}
