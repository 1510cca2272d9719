//! Waits whose peer closed its end or died, on the simulator: what a check finds, whom it tells, and
//! that it tells nobody else.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Cx, Poll, Wake as Waken, Waker};
use std::thread;

use evtchn::sim::{Call, Choice, Errno, Fault, Guest, Sim, SimDevice, SimLoop, SimOpen};
use evtchn::xen::PollLoop;
use evtchn::{
    Blocked, Cause, CheckError, DispatchError, DomId, Link, LinkError, Outcome, PeerError, Port,
    PortStatus, PortStatuses, Registrar, Sleep, Status, Virq, Wait,
};

type Context<R = SimLoop> = evtchn::Context<SimOpen, R>;
type Channel<R = SimLoop> = evtchn::Channel<SimOpen, R>;

struct Rig<R: Registrar<SimDevice> = SimLoop> {
    sim: Sim,
    opener: SimOpen,
    context: Arc<Context<R>>,
    guest: Guest,
}

/// A channel, and the port of the guest at its other end.
struct Wire<R: Registrar<SimDevice> = SimLoop> {
    channel: Arc<Channel<R>>,
    theirs: Port,
}

impl Rig {
    fn new() -> Rig {
        Rig::on(SimLoop::level())
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
            sim,
        }
    }

    /// A channel that the guest has bound to.
    fn wire(&self) -> Wire<R> {
        let channel = self.context.bind_unbound_port(self.guest.domid()).unwrap();
        let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        Wire {
            channel: Arc::new(channel),
            theirs: theirs.unwrap(),
        }
    }

    /// [`wire`](Self::wire), waited for and seen connected.
    fn known(&self) -> Wire<R> {
        let wire = self.wire();
        wait(&wire.channel);
        assert_eq!(self.check(), 0);
        wire
    }

    #[track_caller]
    fn check(&self) -> usize {
        let privcmd = self.sim.privcmd(DomId::DOM0);
        self.context.check_peers(&privcmd).unwrap()
    }

    fn close(&self, wire: &Wire<R>) {
        self.guest.close(wire.theirs).unwrap();
    }

    /// One round of values.
    fn turn(&self) -> Vec<(Port, Cause)> {
        let mut round = self.context.dispatch().unwrap();
        let wakes = round.by_ref().map(|wake| (wake.port(), wake.cause));
        let wakes = wakes.collect();
        round.finish().unwrap();
        wakes
    }
}

#[track_caller]
fn wait<R: Sleep<SimDevice>>(channel: &Channel<R>) {
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
}

fn gone<R: Sleep<SimDevice>>(wire: &Wire<R>) -> (Port, Cause) {
    (wire.channel.port(), Cause::PeerGone)
}

#[test]
fn a_peer_that_closes_ends_the_wait_at_the_next_check_and_not_before() {
    let rig = Rig::new();
    let wire = rig.known();
    rig.close(&wire);
    assert_eq!(rig.turn(), []);
    assert_eq!(rig.context.link(), Link::Watching);
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.context.next_timeout(), Some(std::time::Duration::ZERO));
    assert_eq!(rig.turn(), [gone(&wire)]);
    assert_eq!(rig.context.link(), Link::Idle);
    assert_eq!(rig.context.stats().peers_gone, 1);
}

#[test]
fn a_loop_that_sleeps_is_woken_by_the_check() {
    let rig = Rig::on(SimLoop::level());
    let wire = rig.known();
    rig.close(&wire);
    assert!(!rig.context.registrar().ready());
    rig.check();
    assert!(rig.context.registrar().ready());
}

#[test]
fn a_peer_domain_that_dies_ends_every_wait_on_it_and_no_other() {
    let rig = Rig::new();
    let (one, other) = (rig.known(), rig.known());
    let alive = rig.sim.guest(rig.sim.create_domain().unwrap());
    let channel = rig.context.bind_unbound_port(alive.domid()).unwrap();
    alive.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    wait(&channel);
    assert_eq!(rig.check(), 0);

    rig.sim.destroy_domain(rig.guest.domid()).unwrap();
    assert_eq!(rig.check(), 2);
    assert_eq!(rig.turn(), [gone(&one), gone(&other)]);
    assert_eq!(rig.context.link(), Link::Watching, "one still waits");
    let remote = rig.guest.domid();
    let state = one.channel.peer_state(&rig.sim.privcmd(DomId::DOM0));
    assert_eq!(state.unwrap().state, Status::Unbound { remote });
}

#[test]
fn a_kexec_of_the_peer_ends_the_wait() {
    let rig = Rig::new();
    let wire = rig.known();
    let kexec = |world: &mut evtchn::sim::World| world.kexec_domain(rig.guest.domid());
    rig.sim.with(kexec).unwrap();
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [gone(&wire)]);
}

#[test]
fn a_channel_that_nobody_bound_to_yet_waits_on() {
    let rig = Rig::new();
    let channel = rig.context.bind_unbound_port(rig.guest.domid()).unwrap();
    wait(&channel);
    for _ in 0..3 {
        assert_eq!(rig.check(), 0);
    }
    let theirs = rig.guest.bind_interdomain(DomId::DOM0, channel.port());
    let theirs = theirs.unwrap();
    assert_eq!(rig.check(), 0);
    rig.guest.send(theirs).unwrap();
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
}

#[test]
fn a_channel_that_was_bound_to_a_peer_needs_no_check_to_be_known_connected() {
    let rig = Rig::new();
    let theirs = rig.guest.alloc_unbound(DomId::DOM0).unwrap();
    let remote = rig.guest.remote(theirs);
    let channel = rig.context.bind_interdomain(remote).unwrap();
    wait(&channel);
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
    wait(&channel);
    rig.guest.close(theirs).unwrap();
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [(channel.port(), Cause::PeerGone)]);
}

#[test]
fn a_virtual_interrupt_has_no_peer_to_lose() {
    let rig = Rig::new();
    let channel = rig.context.bind_virq(Virq::DOM_EXC).unwrap();
    wait(&channel);
    assert_eq!((rig.check(), rig.check()), (0, 0));
    let status = channel.peer_state(&rig.sim.privcmd(DomId::DOM0)).unwrap();
    let state = Status::Virq {
        virq: Virq::DOM_EXC,
    };
    assert_eq!(status, PortStatus { state, vcpu: 0 });
}

#[test]
fn a_peer_is_told_gone_once_and_the_next_wait_is_for_the_next_peer() {
    let rig = Rig::new();
    let wire = rig.known();
    for _ in 0..3 {
        rig.guest.close(wire.theirs).unwrap();
        assert_eq!(rig.check(), 1);
        assert_eq!((rig.check(), rig.turn()), (0, vec![gone(&wire)]));
        wait(&wire.channel);
        assert_eq!((rig.check(), rig.turn()), (0, vec![]));
        let again = rig.guest.bind_interdomain(DomId::DOM0, wire.channel.port());
        assert_eq!(again.unwrap(), wire.theirs);
        assert_eq!(rig.check(), 0);
        rig.guest.send(wire.theirs).unwrap();
        assert_eq!(rig.turn(), [(wire.channel.port(), Cause::Event)]);
        wait(&wire.channel);
    }
}

#[test]
fn a_peer_that_closed_and_came_back_between_two_checks_is_no_alarm() {
    let rig = Rig::new();
    let wire = rig.known();
    rig.close(&wire);
    let again = rig.guest.bind_interdomain(DomId::DOM0, wire.channel.port());
    again.unwrap();
    assert_eq!((rig.check(), rig.turn()), (0, vec![]));
}

#[test]
fn where_nobody_waits_the_next_wait_is_told_by_the_check_after_it() {
    let rig = Rig::new();
    let wire = rig.known();
    wire.channel.cancel().unwrap();
    rig.close(&wire);
    assert_eq!(rig.check(), 0);
    wait(&wire.channel);
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [gone(&wire)]);
}

#[test]
fn what_the_peer_sent_before_it_went_comes_first() {
    let rig = Rig::new();
    let wire = rig.known();
    rig.guest.send(wire.theirs).unwrap();
    rig.close(&wire);
    assert_eq!(rig.check(), 0, "its wake is its event");
    assert_eq!(rig.turn(), [(wire.channel.port(), Cause::Event)]);
    wait(&wire.channel);
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [gone(&wire)]);
}

#[test]
fn a_wake_that_is_cancelled_is_kept_for_the_next_wait() {
    let rig = Rig::new();
    let wire = rig.known();
    rig.close(&wire);
    assert_eq!(rig.check(), 1);
    wire.channel.cancel().unwrap();
    assert_eq!(rig.context.link(), Link::Idle);
    let ready = Wait::Ready(Cause::PeerGone);
    assert_eq!(wire.channel.wait().unwrap(), ready);
    wait(&wire.channel);
}

#[test]
fn a_callback_is_called_with_the_cause() {
    let rig = Rig::new();
    let wire = rig.wire();
    let calls: Arc<Mutex<Vec<_>>> = Arc::default();
    let noted = Arc::clone(&calls);
    let note = move |wake: evtchn::Wake| noted.lock().unwrap().push((wake.port(), wake.cause));
    wire.channel.set_callback(note).unwrap();
    wait(&wire.channel);
    assert_eq!(rig.check(), 0);
    rig.close(&wire);
    assert_eq!(rig.check(), 1);
    assert_eq!(
        calls.lock().unwrap().len(),
        0,
        "no callback runs in a check"
    );
    assert_eq!(rig.context.dispatch_callbacks().unwrap(), Outcome::Done);
    assert_eq!(*calls.lock().unwrap(), [gone(&wire)]);
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn a_check_inside_a_round_brings_its_wakes_in_that_round() {
    let rig = Rig::new();
    let (first, second) = (rig.known(), rig.known());
    rig.guest.send(first.theirs).unwrap();
    rig.close(&second);
    let mut round = rig.context.dispatch().unwrap();
    assert_eq!(round.next().unwrap().cause, Cause::Event);
    assert_eq!(rig.check(), 1);
    let wake = round.next().unwrap();
    assert_eq!((wake.port(), wake.cause), gone(&second));
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
    let rig = Rig::new();
    let wire = rig.wire();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut cx = Cx::from_waker(&waker);
    let mut woken = pin!(wire.channel.woken());
    assert!(woken.as_mut().poll(&mut cx).is_pending());
    assert_eq!(rig.check(), 0);
    rig.close(&wire);
    assert_eq!(rig.check(), 1);
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(Ok(cause)) = woken.as_mut().poll(&mut cx) else {
        unreachable!("the task was woken for nothing");
    };
    assert_eq!((cause, rig.context.link()), (Cause::PeerGone, Link::Idle));
}

#[test]
fn a_stream_tells_it_once_and_goes_on_with_the_next_peer() {
    let rig = Rig::new();
    let wire = rig.wire();
    let mut cx = Cx::from_waker(Waker::noop());
    let mut wakes = wire.channel.wakes().unwrap();
    let mut next = |wakes: &mut evtchn::Wakes<SimOpen, SimLoop>| match wakes.poll_wake(&mut cx) {
        Poll::Ready(wake) => wake.map(|it| it.unwrap().cause),
        Poll::Pending => None,
    };
    assert_eq!(next(&mut wakes), None);
    assert_eq!(rig.check(), 0);
    rig.close(&wire);
    assert_eq!(rig.check(), 1);
    assert_eq!(next(&mut wakes), Some(Cause::PeerGone));
    assert_eq!((next(&mut wakes), rig.check()), (None, 0));
    let again = rig.guest.bind_interdomain(DomId::DOM0, wire.channel.port());
    rig.guest.send(again.unwrap()).unwrap();
    rig.context.drive().unwrap();
    assert_eq!(next(&mut wakes), Some(Cause::Event));
}

#[test]
fn a_thread_that_blocks_comes_back_with_the_cause() {
    let rig = Rig::on(PollLoop::new().unwrap());
    let wire = rig.wire();
    thread::scope(|scope| {
        let blocks = scope.spawn(|| wire.channel.block(None).unwrap());
        while rig.context.link() != Link::Watching {
            thread::yield_now();
        }
        assert_eq!(rig.check(), 0);
        rig.close(&wire);
        assert_eq!(rig.check(), 1);
        let ended = blocks.join().unwrap();
        assert_eq!(ended, Blocked::Woken(Cause::PeerGone));
    });
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn a_status_that_fails_changes_nothing_and_names_the_port() {
    let rig = Rig::new();
    let (one, other) = (rig.known(), rig.known());
    rig.close(&one);
    let second = Fault::fail(Call::Status, Errno::EPERM).nth(2);
    rig.sim.install(second);
    let privcmd = rig.sim.privcmd(DomId::DOM0);
    let error = rig.context.check_peers(&privcmd).unwrap_err();
    let port = other.channel.port();
    assert!(matches!(error, CheckError::Status { port: it, .. } if it == port));
    assert_eq!(rig.turn(), []);
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [gone(&one)]);

    rig.sim
        .install(Fault::fail(Call::Status, Errno::EPERM).nth(1));
    let error = one.channel.peer_state(&privcmd).unwrap_err();
    assert!(matches!(error, PeerError::Status(it) if it.errno == Errno::EPERM));
}

#[test]
fn a_device_that_fails_in_the_check_is_told_as_ever() {
    let rig = Rig::new();
    let wire = rig.known();
    rig.close(&wire);
    rig.opener.fail_next(Call::Pending, Errno::EIO);
    let privcmd = rig.sim.privcmd(DomId::DOM0);
    let error = rig.context.check_peers(&privcmd).unwrap_err();
    assert!(matches!(
        error,
        CheckError::Dispatch(DispatchError::Device(_))
    ));
    assert_eq!(rig.turn(), [(wire.channel.port(), Cause::Gone)]);
    let error = wire.channel.peer_state(&privcmd).unwrap_err();
    assert!(matches!(error, PeerError::NotBound(_)));
}

/// Asks, and does something else each time.
struct Meanwhile<'a, F>(evtchn::sim::SimPrivcmd, &'a F);

impl<F: Fn()> PortStatuses for Meanwhile<'_, F> {
    type Error = evtchn::sim::Error;

    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, Self::Error> {
        let status = self.0.status(domid, port);
        (self.1)();
        status
    }
}

#[test]
fn whoever_is_asked_may_use_the_context_but_for_another_check() {
    let rig = Rig::new();
    let (one, other) = (rig.known(), rig.known());
    rig.close(&one);
    rig.close(&other);
    let privcmd = rig.sim.privcmd(DomId::DOM0);
    let acts = || {
        let busy = rig.context.check_peers(&privcmd);
        assert!(matches!(busy, Err(CheckError::Busy)));
        one.channel.cancel().unwrap();
        drop(rig.wire());
    };
    let statuses = Meanwhile(privcmd.clone(), &acts);
    assert_eq!(rig.context.check_peers(&statuses).unwrap(), 2);
    assert_eq!(rig.turn(), [gone(&other)]);
    let kept = Wait::Ready(Cause::PeerGone);
    assert_eq!(one.channel.wait().unwrap(), kept);
    assert_eq!(rig.check(), 0, "the check before is over");
}

#[test]
fn a_channel_that_is_unbound_while_it_is_asked_about_is_left_out() {
    let rig = Rig::new();
    let wire = rig.known();
    rig.close(&wire);
    let channel = Mutex::new(Arc::into_inner(wire.channel));
    let next = Mutex::new(None);
    let acts = || {
        let Some(channel) = channel.lock().unwrap().take() else {
            return;
        };
        let port = channel.port();
        channel.unbind().unwrap();
        let again = rig.wire();
        assert_eq!(again.channel.port(), port);
        wait(&again.channel);
        *next.lock().unwrap() = Some(again);
    };
    let statuses = Meanwhile(rig.sim.privcmd(DomId::DOM0), &acts);
    assert_eq!(rig.context.check_peers(&statuses).unwrap(), 0);
    assert_eq!(rig.turn(), []);
}

#[test]
fn an_inherited_context_asks_nobody() {
    let rig = Rig::new();
    let wire = rig.known();
    rig.close(&wire);
    let privcmd = rig.sim.privcmd(DomId::DOM0);
    let parent = rig.opener.dup().unwrap();
    rig.opener.fork();
    let refused = rig.context.check_peers(&privcmd);
    assert!(matches!(
        refused,
        Err(CheckError::Dispatch(DispatchError::Link(
            LinkError::Inherited
        )))
    ));
    let refused = wire.channel.peer_state(&privcmd);
    assert!(matches!(refused, Err(PeerError::Inherited)));
    drop(parent);
}

/// What a wait can count on, as a model of one channel.
#[derive(Default)]
struct Model {
    theirs: Option<Port>,
    /// A check or a bind saw it connected, and no wake said since that it is not.
    seen: bool,
    waits: bool,
}

#[test]
fn whatever_happens_no_alarm_is_false_and_none_is_missing() {
    for seed in 0..200 {
        let rig = Rig::new();
        let mut choice = Choice::seeded(seed);
        let channels: [Channel; 4] =
            std::array::from_fn(|_| rig.context.bind_unbound_port(rig.guest.domid()).unwrap());
        let mut models: [Model; 4] = std::array::from_fn(|_| Model::default());
        let mut alarms = 0;
        for _ in 0..200 {
            let which = choice.of(4);
            let (channel, model) = (&channels[which], &mut models[which]);
            match (choice.of(6), model.theirs) {
                (0, None) => {
                    let theirs = rig.guest.bind_interdomain(DomId::DOM0, channel.port());
                    model.theirs = Some(theirs.unwrap());
                }
                (0, Some(theirs)) => {
                    rig.guest.close(theirs).unwrap();
                    model.theirs = None;
                }
                (1, Some(theirs)) => rig.guest.send(theirs).unwrap(),
                (2, _) => match channel.wait().unwrap() {
                    Wait::Pending => model.waits = true,
                    Wait::Ready(cause) => alarms += woken(model, cause),
                },
                (3, _) => {
                    channel.cancel().unwrap();
                    model.waits = false;
                }
                (4, _) => {
                    for model in models.iter_mut().filter(|model| model.waits) {
                        model.seen |= model.theirs.is_some();
                    }
                    rig.check();
                    alarms += round(&rig, &channels, &mut models);
                    let lost = |model: &Model| model.seen && model.theirs.is_none();
                    let missing = models.iter().find(|model| model.waits && lost(model));
                    assert!(missing.is_none(), "seed {seed}: missing");
                }
                _ => alarms += round(&rig, &channels, &mut models),
            }
            let waits = models.iter().any(|model| model.waits);
            assert_eq!(rig.context.link() == Link::Watching, waits, "seed {seed}");
        }
        assert_eq!(rig.context.stats().peers_gone, alarms, "seed {seed}");
    }
}

/// One round; says how many alarms it brought.
fn round(rig: &Rig, channels: &[Channel], models: &mut [Model]) -> u64 {
    let wakes = rig.turn().into_iter().map(|(port, cause)| {
        let place = channels.iter().position(|it| it.port() == port);
        let model = &mut models[place.unwrap()];
        assert!(std::mem::take(&mut model.waits), "nobody waits there");
        woken(model, cause)
    });
    wakes.sum()
}

/// A wake: 1 where it is an alarm, which must not be false.
fn woken(model: &mut Model, cause: Cause) -> u64 {
    if cause != Cause::PeerGone {
        return 0;
    }
    assert!(std::mem::take(&mut model.seen), "it never had a peer");
    1
}
