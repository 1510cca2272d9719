//! Callbacks, on the simulator: when they are called, what they may do, and what is left when
//! they panic.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;

use evtchn::sim::{Call, Errno, Guest, Sim, SimLoop, SimOpen};
use evtchn::{Cause, DomId, Error, Link, Outcome, Port};

type Context = evtchn::Context<SimLoop>;
type Channel = evtchn::Channel<SimLoop>;

struct Rig {
    opener: SimOpen,
    event_loop: SimLoop,
    context: Arc<Context>,
    guest: Guest,
    /// The calls, in order.
    calls: Arc<Mutex<Vec<(Port, Cause)>>>,
}

/// A channel, and the port of the guest at its other end.
struct Wire {
    channel: Arc<Channel>,
    peer_port: Port,
}

impl Rig {
    fn new() -> Rig {
        let sim = Sim::new(1);
        let (opener, event_loop) = (sim.open(DomId::DOM0), SimLoop::level());
        Rig {
            context: Arc::new(Context::with_registrar(opener.clone(), event_loop.clone())),
            guest: sim.guest(sim.create_domain().unwrap()),
            calls: Arc::default(),
            opener,
            event_loop,
        }
    }

    fn wire(&self) -> Wire {
        let channel = self.context.bind_unbound_port(self.guest.domid()).unwrap();
        let peer_port = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        Wire {
            channel: Arc::new(channel),
            peer_port: peer_port.unwrap(),
        }
    }

    /// A channel with a wait and a callback that records its call and then does `then`.
    fn waited(&self, mut then: impl FnMut(&Context, &Channel) + Send + 'static) -> Wire {
        let wire = self.wire();
        let channel = Arc::downgrade(&wire.channel);
        let context = Arc::downgrade(&self.context);
        let calls = Arc::clone(&self.calls);
        let set = wire.channel.set_callback(move |wake| {
            calls.lock().unwrap().push((wake.port(), wake.cause));
            then(&context.upgrade().unwrap(), &channel.upgrade().unwrap());
        });
        set.unwrap();
        wait(&wire.channel);
        wire
    }

    fn fire(&self, wire: &Wire) {
        self.guest.send(wire.peer_port).unwrap();
    }

    /// Runs a round of callbacks, which must succeed, and returns the calls.
    #[track_caller]
    fn turn(&self) -> Vec<(Port, Cause)> {
        assert_eq!(self.context.dispatch_callbacks().unwrap(), Outcome::Done);
        self.calls()
    }

    /// Waits on a channel with a kept wake: the next round of values hands out that wake alone.
    #[track_caller]
    fn expect_kept(&self, wire: &Wire, cause: Cause) {
        wait(&wire.channel);
        let mut round = self.context.dispatch().unwrap();
        let wakes: Vec<_> = round.by_ref().map(|it| (it.port(), it.cause)).collect();
        assert_eq!(round.finish().unwrap(), Outcome::Done);
        assert_eq!(wakes, [(wire.channel.port(), cause)]);
    }

    fn calls(&self) -> Vec<(Port, Cause)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[track_caller]
fn wait(channel: &Channel) {
    channel.wait().unwrap();
}

fn event(wire: &Wire) -> (Port, Cause) {
    (wire.channel.port(), Cause::Event)
}

#[test]
fn each_wait_is_one_call() {
    let rig = Rig::new();
    let wire = rig.waited(|_, _| ());
    rig.fire(&wire);
    assert_eq!(rig.turn(), [event(&wire)]);
    assert_eq!(rig.context.link(), Link::Idle);
    rig.fire(&wire);
    assert_eq!(rig.turn(), []);
    wait(&wire.channel);
    assert_eq!(rig.turn(), [event(&wire)]);
}

#[test]
fn a_callback_that_waits_again_costs_no_registration() {
    let rig = Rig::new();
    let wires = [0; 3].map(|_| rig.waited(|_, channel| wait(channel)));
    for _ in 0..5 {
        let writes = rig.context.stats().writes;
        wires.iter().for_each(|wire| rig.fire(wire));
        assert_eq!(rig.turn(), wires.each_ref().map(event));
        assert_eq!(rig.context.stats().writes, writes + 1);
    }
    let counts = rig.event_loop.counts();
    assert_eq!((counts.registers, counts.deregisters), (1, 0));
}

#[test]
fn a_wait_on_a_latched_port_wakes_the_loop_and_calls_in_the_next_round() {
    let rig = Rig::new();
    let other = rig.waited(|_, channel| wait(channel));
    let wire = rig.waited(|_, _| ());
    wire.channel.cancel().unwrap();
    rig.fire(&wire);
    assert_eq!(rig.turn(), []);
    assert!(!rig.event_loop.ready());
    wait(&wire.channel);
    assert_eq!(rig.calls(), [], "a callback ran inside a wait");
    assert!(rig.event_loop.ready());
    assert_eq!(rig.context.next_timeout(), Some(Duration::ZERO));
    assert_eq!(rig.turn(), [event(&wire)]);
    assert_eq!(rig.context.next_timeout(), None);
    rig.fire(&other);
    assert_eq!(rig.turn(), [event(&other)]);
}

#[test]
fn a_wake_without_a_callback_is_kept_for_the_next_wait() {
    let rig = Rig::new();
    let (called, without) = (rig.waited(|_, _| ()), rig.wire());
    wait(&without.channel);
    rig.fire(&without);
    rig.fire(&called);
    assert_eq!(rig.turn(), [event(&called)]);
    assert_eq!(rig.context.link(), Link::Idle);
    rig.expect_kept(&without, Cause::Event);
}

#[test]
fn a_queued_wake_without_a_callback_is_kept_too() {
    let rig = Rig::new();
    let wire = rig.waited(|_, _| ());
    wire.channel.cancel().unwrap();
    rig.fire(&wire);
    let other = rig.waited(|_, _| ());
    assert_eq!(rig.turn(), []);
    other.channel.cancel().unwrap();
    wait(&wire.channel);
    assert!(wire.channel.remove_callback().unwrap());
    assert_eq!(rig.turn(), []);
    assert_eq!(rig.context.next_timeout(), None);
    rig.expect_kept(&wire, Cause::Event);
}

#[test]
fn an_overflow_calls_with_its_cause() {
    let rig = Rig::new();
    let wire = rig.waited(|_, _| ());
    rig.opener.fail_next(Call::Pending, Errno::EFBIG);
    let overflow = (wire.channel.port(), Cause::Overflow);
    assert_eq!(rig.turn(), [overflow]);
}

#[test]
fn a_callback_is_called_once_when_its_device_fails() {
    let rig = Rig::new();
    let wire = rig.waited(|_, _| ());
    rig.opener.fail_next(Call::Pending, Errno::ENODEV);
    let failed = rig.context.dispatch_callbacks().unwrap_err();
    assert!(matches!(failed, Error::Device(_)), "{failed:?}");
    assert_eq!(rig.calls(), [(wire.channel.port(), Cause::Gone)]);
    assert_eq!(rig.turn(), []);
}

#[test]
fn a_callback_may_cancel_bind_notify_and_wait_for_others() {
    let rig = Rig::new();
    let bound = Arc::new(Mutex::new(None));
    let cancelled = Arc::new(Mutex::new(Weak::<Channel>::new()));
    let (keep, cancel) = (Arc::clone(&bound), Arc::clone(&cancelled));
    let first = rig.waited(move |context, channel| {
        let new = context.bind_unbound_port(DomId::SELF).unwrap();
        wait(&new);
        *keep.lock().unwrap() = Some(new);
        cancel.lock().unwrap().upgrade().unwrap().cancel().unwrap();
        channel.notify().unwrap();
    });
    let second = rig.waited(|_, _| ());
    *cancelled.lock().unwrap() = Arc::downgrade(&second.channel);
    let before = rig.guest.events(first.peer_port).unwrap();
    rig.fire(&first);
    rig.fire(&second);
    assert_eq!(rig.turn(), [event(&first)]);
    assert_eq!(rig.guest.events(first.peer_port).unwrap(), before + 1);
    wait(&second.channel);
    assert_eq!(rig.turn(), [event(&second)]);
    assert!(bound.lock().unwrap().is_some());
}

#[test]
fn a_callback_may_unbind_its_own_channel_and_tear_down() {
    let rig = Rig::new();
    let wire = rig.wire();
    let own = Arc::new(Mutex::new(Arc::into_inner(wire.channel)));
    let (channel, context) = (Arc::clone(&own), Arc::downgrade(&rig.context));
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let set = own
        .lock()
        .unwrap()
        .as_ref()
        .unwrap()
        .set_callback(move |_| {
            let context = context.upgrade().unwrap();
            let left = context.teardown().unwrap_err();
            assert!(matches!(left, Error::StillInUse(_)), "{left:?}");
            channel.lock().unwrap().take().unwrap().unbind().unwrap();
            context.teardown().unwrap();
            assert_eq!(Arc::strong_count(&held), 2, "dropped while it runs");
        });
    set.unwrap();
    wait(own.lock().unwrap().as_ref().unwrap());
    rig.guest.send(wire.peer_port).unwrap();
    assert_eq!(rig.turn(), []);
    assert_eq!(rig.context.link(), Link::Closed);
    assert_eq!(Arc::strong_count(&token), 1);
    assert_eq!(rig.event_loop.violations(), []);
}

#[test]
fn a_callback_may_replace_or_remove_itself() {
    let rig = Rig::new();
    let wire = rig.waited(|_, channel| {
        channel.set_callback(|_| ()).unwrap();
        wait(channel);
    });
    rig.fire(&wire);
    assert_eq!(rig.turn(), [event(&wire)]);
    rig.fire(&wire);
    assert_eq!(rig.turn(), [], "the replaced callback ran");

    let wire = rig.waited(|_, channel| {
        assert!(channel.remove_callback().unwrap());
        assert!(!channel.remove_callback().unwrap());
        wait(channel);
    });
    rig.fire(&wire);
    assert_eq!(rig.turn(), [event(&wire)]);
    rig.fire(&wire);
    assert_eq!(rig.turn(), [], "the removed callback ran");
    rig.expect_kept(&wire, Cause::Event);
}

#[test]
fn a_dispatch_inside_a_callback_is_busy() {
    let rig = Rig::new();
    let wire = rig.waited(|context, _| {
        let nested = context.dispatch_callbacks().unwrap_err();
        assert!(matches!(nested, Error::Busy), "{nested:?}");
    });
    rig.fire(&wire);
    assert_eq!(rig.turn(), [event(&wire)]);
}

#[test]
fn a_budget_leaves_the_rest_to_the_next_round() {
    let rig = Rig::new();
    let wires = [0; 3].map(|_| rig.waited(|_, _| ()));
    wires.iter().for_each(|wire| rig.fire(wire));
    let round = rig.context.dispatch_at_most(2).unwrap();
    assert_eq!(round.call().unwrap(), Outcome::More);
    assert_eq!(
        rig.calls(),
        wires[..2].iter().map(event).collect::<Vec<_>>()
    );
    assert_eq!(rig.turn(), [event(&wires[2])]);
}

#[test]
fn a_callback_that_panics_stays_set_and_loses_no_wake() {
    let rig = Rig::new();
    let bad = rig.waited(|_, channel| {
        wait(channel);
        // A panic without the message that a hook prints.
        resume_unwind(Box::new("in the callback"));
    });
    let good = rig.waited(|_, _| ());
    rig.fire(&bad);
    rig.fire(&good);
    for rest in [Some(&good), None] {
        let dispatched = catch_unwind(AssertUnwindSafe(|| rig.context.dispatch_callbacks()));
        let payload = dispatched.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"in the callback"));
        assert_eq!(rig.calls(), [event(&bad)]);
        assert_eq!(rig.context.link(), Link::Watching);
        assert_eq!(rig.turn(), rest.map(event).as_slice());
        rig.fire(&bad);
    }
}

#[test]
fn a_callback_is_dropped_with_its_channel_under_no_lock() {
    struct Looks(Weak<Context>, mpsc::Sender<u64>);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(context) = self.0.upgrade() {
                self.1.send(context.stats().opens).unwrap();
            }
        }
    }
    let rig = Rig::new();
    let (sender, dropped) = mpsc::channel();
    let set = |channel: &Channel| {
        let looks = Looks(Arc::downgrade(&rig.context), sender.clone());
        channel
            .set_callback(move |_| looks.1.send(0).unwrap())
            .unwrap();
    };
    let wires = [0; 2].map(|_| rig.wire());
    wires.iter().for_each(|wire| set(&wire.channel));
    set(&wires[0].channel);
    assert_eq!(dropped.try_iter().count(), 1, "replaced");
    let [mut unbound, dropped_channel] = wires.map(|wire| Arc::into_inner(wire.channel).unwrap());
    unbound.unbind().unwrap();
    assert_eq!(dropped.try_iter().count(), 1, "unbound");
    drop(dropped_channel);
    assert_eq!(dropped.try_iter().count(), 1, "dropped");
}

#[test]
fn a_context_that_is_dropped_frees_callbacks_that_hold_their_own_channel() {
    let rig = Rig::new();
    let wire = rig.wire();
    let channel = Arc::clone(&wire.channel);
    wire.channel
        .set_callback(move |_| drop(channel.notify()))
        .unwrap();
    let left = Arc::downgrade(&wire.channel);
    drop(wire);
    assert!(left.upgrade().is_some());
    drop(rig.context);
    assert!(left.upgrade().is_none());
}
