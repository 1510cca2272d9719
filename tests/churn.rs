//! Pairs of calls that undo each other, again and again: what they leave is bounded by the channels
//! that there are, not by how often they are called.
//!
//! One allocator counts for the whole process, so the cases run one after the other, on the
//! thread that counts.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Cx, Poll, Wake, Waker};
use std::time::Duration;

use evtchn::sim::{Call, DomainConfig, Errno, Guest, Sim, SimLoop};
use evtchn::{Cause, Context, DomId, Eoi, Outcome, Port, RateLimit, WhenDone, WhenTold};
use libtest_mimic::{Failed, Trial};
use stats_alloc::Region;

use crate::ALLOCATOR;

/// How many turns count.
const TURNS: usize = 20_000;
/// In which every buffer grows to what the channels need.
const WARM_UP: usize = 200;

type Case = fn(&Rig);
type Channel = evtchn::Channel<SimLoop>;

/// The cases of this file.
pub(crate) fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 22] = [
        ("wait_and_cancel", wait_and_cancel),
        (
            "wait_and_cancel_of_a_latched_channel_with_a_callback",
            latched,
        ),
        ("the_same_for_two_channels_in_turns", latched_in_turns),
        ("wait_and_a_cancel_that_fails", failing_cancel),
        ("wait_and_cancel_inside_a_round", inside_a_round),
        ("wait_and_cancel_inside_a_callback", inside_a_callback),
        ("bind_and_unbind", bind_and_unbind),
        (
            "bind_and_unbind_of_a_channel_that_is_ready",
            bind_and_unbind_ready,
        ),
        (
            "bind_and_unbind_inside_a_round",
            bind_and_unbind_inside_a_round,
        ),
        ("set_and_remove_callback", callbacks),
        ("first_poll_and_drop_of_a_future", futures),
        ("first_poll_and_cancel_of_a_future", cancelled_futures),
        ("futures_that_come_and_go_inside_a_waker", inside_a_waker),
        (
            "streams_that_come_and_go_inside_a_waker",
            streams_inside_a_waker,
        ),
        ("add_and_remove_of_a_stream", add_and_remove),
        ("add_and_cancel_of_a_stream", add_and_cancel),
        (
            "add_and_cancel_of_a_stream_with_a_latch",
            add_and_cancel_latched,
        ),
        ("add_and_remove_of_a_handler", add_and_remove_handler),
        (
            "add_and_remove_of_a_handler_whose_end_is_told",
            told_handler,
        ),
        ("waits_by_hand_beside_a_limited_handler", limited_handler),
        ("block_and_its_deadline", block),
        ("notifiers_that_are_made_and_dropped", notifiers),
    ];
    let trials = cases.map(|(name, case)| {
        Trial::test(format!("churn::{name}"), move || {
            case(&Rig::new());
            Ok(())
        })
    });
    let mut trials: Vec<_> = trials.into();
    trials.push(Trial::test("churn::what_does_grow_is_counted", control));
    trials
}

/// A context with four channels, of which one has a wake queued all the time.
struct Rig {
    sim: Sim,
    ctx: Arc<Context<SimLoop>>,
    guest: Guest,
    channels: Vec<Channel>,
    theirs: Vec<Port>,
}

impl Rig {
    fn new() -> Rig {
        let sim = Sim::new(0);
        let mut roomy = DomainConfig::guest();
        roomy.max_port = u32::MAX;
        let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
        let event_loop = SimLoop::level().on(&sim);
        let ctx = Arc::new(Context::with_registrar(sim.open(DomId::DOM0), event_loop));
        let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
        let channels: Vec<Channel> = (0..4).map(bind).collect();
        let peer = |channel: &Channel| guest.bind_interdomain(DomId::DOM0, channel.port());
        let theirs = channels.iter().map(|it| peer(it).unwrap()).collect();
        let rig = Rig {
            sim,
            ctx,
            guest,
            channels,
            theirs,
        };
        rig.channels[0].wait().unwrap();
        rig.event(0);
        assert!(rig.ctx.next_timeout().is_some(), "a wake is queued");
        rig
    }

    /// An event comes and is read.
    fn event(&self, index: usize) {
        self.guest.send(self.theirs[index]).unwrap();
        assert_eq!(self.ctx.drive().unwrap(), Outcome::Done);
    }

    /// What is latched goes to the queue with each wait.
    fn latch_with_a_callback(&self, index: usize) {
        self.channels[index].set_callback(|_| ()).unwrap();
        self.event(index);
    }
}

fn wait_and_cancel(rig: &Rig) {
    flat(|| {
        rig.channels[1].wait().unwrap();
        rig.channels[1].cancel().unwrap();
    });
}

fn latched(rig: &Rig) {
    rig.latch_with_a_callback(1);
    flat(|| {
        rig.channels[1].wait().unwrap();
        rig.channels[1].cancel().unwrap();
    });
}

/// While one is cancelled the other one is in the queue.
fn latched_in_turns(rig: &Rig) {
    let both = [&rig.channels[1], &rig.channels[2]];
    for index in [1, 2] {
        rig.latch_with_a_callback(index);
        rig.channels[index].wait().unwrap();
    }
    flat(|| {
        for channel in both {
            channel.cancel().unwrap();
            channel.wait().unwrap();
        }
    });
}

/// A cancel fails only where it is that of the last waiter, and is taken back then.
fn failing_cancel(rig: &Rig) {
    assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    rig.latch_with_a_callback(1);
    rig.channels[1].wait().unwrap();
    flat(|| {
        rig.ctx.registrar().fail_next(Call::Deregister, Errno::EIO);
        assert!(rig.channels[1].cancel().is_err());
    });
}

fn inside_a_round(rig: &Rig) {
    let mut round = rig.ctx.dispatch().unwrap();
    let woken = round.next().unwrap().channel;
    flat(|| {
        rig.ctx.wait(woken).unwrap();
        rig.ctx.cancel(woken).unwrap();
    });
}

fn inside_a_callback(rig: &Rig) {
    let (inner, id) = (Arc::downgrade(&rig.ctx), rig.channels[0].id());
    let called = Arc::new(Mutex::new(false));
    let calls = Arc::clone(&called);
    let turns = move |_| {
        let ctx = inner.upgrade().unwrap();
        flat(|| {
            ctx.wait(id).unwrap();
            ctx.cancel(id).unwrap();
        });
        *calls.lock().unwrap() = true;
    };
    rig.channels[0].set_callback(turns).unwrap();
    rig.ctx.dispatch_callbacks().unwrap();
    assert!(*called.lock().unwrap());
}

fn bind_and_unbind(rig: &Rig) {
    flat(|| {
        let mut channel = rig.ctx.bind_unbound_port(rig.guest.domid()).unwrap();
        channel.wait().unwrap();
        channel.unbind().unwrap();
    });
}

/// Its wake goes with it.
fn bind_and_unbind_ready(rig: &Rig) {
    flat(|| {
        let mut channel = rig.ctx.bind_unbound_port(DomId::SELF).unwrap();
        channel.wait().unwrap();
        let remote = evtchn::RemotePort {
            domid: DomId::SELF,
            port: channel.port(),
        };
        let mut peer = rig.ctx.bind_interdomain(remote).unwrap();
        peer.notify().unwrap();
        assert_eq!(rig.ctx.drive().unwrap(), Outcome::Done);
        channel.unbind().unwrap();
        peer.unbind().unwrap();
    });
}

/// Each waits to be enabled again when it is unbound.
fn bind_and_unbind_inside_a_round(rig: &Rig) {
    // Room for the wake of each turn.
    let mut round = rig.ctx.dispatch_at_most(2 * TURNS).unwrap();
    assert!(round.next().is_some());
    flat(|| {
        let mut channel = rig.ctx.bind_unbound_port(DomId::SELF).unwrap();
        let remote = evtchn::RemotePort {
            domid: DomId::SELF,
            port: channel.port(),
        };
        let mut peer = rig.ctx.bind_interdomain(remote).unwrap();
        peer.notify().unwrap();
        assert_eq!(rig.ctx.drive().unwrap(), Outcome::Done);
        channel.wait().unwrap();
        assert_eq!(round.next().unwrap().channel, channel.id());
        channel.wait().unwrap();
        channel.unbind().unwrap();
        peer.unbind().unwrap();
    });
}

fn callbacks(rig: &Rig) {
    flat(|| {
        rig.channels[1].set_callback(|_| ()).unwrap();
        assert!(rig.channels[1].remove_callback().unwrap());
    });
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Cx::from_waker(Waker::noop()))
}

fn futures(rig: &Rig) {
    flat(|| {
        let mut woken = rig.channels[1].woken();
        assert!(poll(&mut woken).is_pending());
    });
}

fn cancelled_futures(rig: &Rig) {
    flat(|| {
        let mut woken = rig.channels[1].woken();
        assert!(poll(&mut woken).is_pending());
        rig.channels[1].cancel().unwrap();
        assert!(poll(&mut woken).is_ready());
    });
}

/// Does its turns inside of a waker, where nobody is woken before it returns.
struct Inside<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send + 'static> Wake for Inside<F> {
    fn wake(self: Arc<Self>) {
        let turns = self.0.lock().unwrap().take();
        turns.unwrap()();
    }
}

fn inside_a_waker_of(rig: &Rig, turns: impl FnOnce() + Send + 'static) {
    let inside = Arc::new(Inside(Mutex::new(Some(turns))));
    let waker = Waker::from(Arc::clone(&inside));
    let mut woken = rig.channels[3].woken();
    assert!(
        Pin::new(&mut woken)
            .poll(&mut Cx::from_waker(&waker))
            .is_pending()
    );
    rig.event(3);
    assert!(inside.0.lock().unwrap().is_none(), "the waker was called");
    assert_eq!(rig.ctx.stats().unreported, 0, "and has not panicked");
}

/// Cancelled and dropped, each leaves a seat in the line of those to be woken.
fn inside_a_waker(rig: &Rig) {
    let (ctx, id) = (Arc::clone(&rig.ctx), rig.channels[1].id());
    inside_a_waker_of(rig, move || {
        flat(|| {
            let mut woken = ctx.woken(id);
            assert!(poll(&mut woken).is_pending());
            ctx.cancel(id).unwrap();
        });
    });
}

fn streams_inside_a_waker(rig: &Rig) {
    let ids = [rig.channels[1].id(), rig.channels[2].id()];
    let ctx = Arc::clone(&rig.ctx);
    inside_a_waker_of(rig, move || {
        flat(|| {
            let mut both = [ctx.wakes(), ctx.wakes()];
            for (wakes, id) in both.iter_mut().zip(ids) {
                wakes.add(id).unwrap();
                ctx.cancel(id).unwrap();
            }
        });
    });
}

fn add_and_remove(rig: &Rig) {
    let (id, mut wakes) = (rig.channels[1].id(), rig.ctx.wakes());
    flat(|| {
        wakes.add(id).unwrap();
        assert!(wakes.remove(id));
    });
}

fn add_and_cancel(rig: &Rig) {
    let mut wakes = rig.ctx.wakes();
    flat(|| {
        for channel in &rig.channels[1..] {
            wakes.add(channel.id()).unwrap();
            channel.cancel().unwrap();
        }
    });
}

fn add_and_cancel_latched(rig: &Rig) {
    let mut wakes = rig.ctx.wakes();
    rig.event(1);
    flat(|| {
        wakes.add(rig.channels[1].id()).unwrap();
        rig.channels[1].cancel().unwrap();
    });
    drop(wakes);
    rig.channels[1].wait().unwrap();
    let round = rig.ctx.dispatch().unwrap();
    let wakes: Vec<_> = round.map(|wake| (wake.channel, wake.cause)).collect();
    let both = [0, 1].map(|index: usize| (rig.channels[index].id(), Cause::Event));
    assert_eq!(wakes, both);
}

fn add_and_remove_handler(rig: &Rig) {
    rig.event(1);
    let (id, mut handlers) = (rig.channels[1].id(), rig.ctx.handlers());
    flat(|| {
        handlers.add(id, WhenDone, |_| ()).unwrap();
        assert!(handlers.remove(id));
    });
}

/// The end is told after its handler was removed.
fn told_handler(rig: &Rig) {
    let (id, mut handlers) = (rig.channels[1].id(), rig.ctx.handlers());
    let kept: Arc<Mutex<Option<Eoi>>> = Arc::default();
    flat(|| {
        let keeps = Arc::clone(&kept);
        let keep = move |call: &mut evtchn::Call| *keeps.lock().unwrap() = call.take_eoi();
        handlers.add(id, WhenTold, keep).unwrap();
        rig.guest.send(rig.theirs[1]).unwrap();
        handlers.round(Duration::ZERO).unwrap();
        assert!(handlers.remove(id));
        kept.lock().unwrap().take().unwrap().tell();
    });
}

/// The limit does not hold, as somebody waits in its place; but what it put off must not pile up.
fn limited_handler(rig: &Rig) {
    let handlers = RefCell::new(rig.ctx.handlers());
    let limit = RateLimit::new(1, Duration::from_secs(3_600)).unwrap();
    let id = rig.channels[1].id();
    handlers.borrow_mut().add(id, limit, |_| ()).unwrap();
    flat(|| {
        rig.guest.send(rig.theirs[1]).unwrap();
        handlers.borrow_mut().round(Duration::ZERO).unwrap();
        rig.ctx.wait(id).unwrap();
    });
}

fn block(rig: &Rig) {
    flat(|| {
        let blocked = rig.channels[1].block_until(rig.sim.now()).unwrap();
        assert_eq!(blocked, None);
    });
}

fn notifiers(rig: &Rig) {
    flat(|| drop(rig.channels[1].notifier()));
}

/// The control: what the program keeps is counted.
fn control() -> Result<(), Failed> {
    let rig = Rig::new();
    let mut kept = Vec::with_capacity(WARM_UP + TURNS);
    let grown = growth(|| kept.push(rig.ctx.bind_unbound_port(rig.guest.domid()).unwrap()));
    if grown > 0 {
        return Ok(());
    }
    Err("20,000 channels cost nothing".into())
}

#[track_caller]
fn flat(turn: impl FnMut()) {
    let grown = growth(turn);
    assert!(grown <= 0, "{TURNS} turns left {grown} bytes");
}

/// How many more bytes are allocated after the turns that count than before them.
fn growth(mut turn: impl FnMut()) -> isize {
    (0..WARM_UP).for_each(|_| turn());
    let region = Region::new(ALLOCATOR);
    (0..TURNS).for_each(|_| turn());
    let change = region.change();
    // Bytes that a reallocation adds or takes away are among these already.
    change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed()
}
