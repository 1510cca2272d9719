//! A guest that is saved and restored: how the waits of its context end, and what it does with what is left of before.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod points;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake as Waking, Waker};
use std::time::Duration;

use evtchn::sim::{Call, Errno, Fault, Guest, Sim, SimLoop, SimOpen};
use evtchn::{Cause, DomId, Error, ErrorKind, EventChannel, Link, Open, Port};

use crate::common::{Channel, Context};

/// Longer than it takes until the watch of a program fires.
const SECOND: Duration = Duration::from_secs(1);

/// A context in a guest, whose peers are in domain 0.
pub(crate) struct Restored {
    pub(crate) sim: Sim,
    pub(crate) domid: DomId,
    pub(crate) opener: SimOpen,
    pub(crate) context: Context,
    pub(crate) peer: Guest,
}

impl Restored {
    fn on(event_loop: SimLoop) -> Restored {
        let sim = Sim::new(1);
        let domid = sim.create_domain().unwrap();
        let opener = sim.open(domid);
        Restored {
            context: Context::with_registrar(opener.clone(), event_loop.on(&sim)),
            peer: sim.guest(DomId::DOM0),
            opener,
            domid,
            sim,
        }
    }

    fn new() -> Restored {
        Restored::on(SimLoop::level())
    }

    /// A channel, and the port of its peer.
    fn wire(&self) -> (Channel, Port) {
        let channel = self.context.bind_unbound_port(DomId::DOM0).unwrap();
        let peer = self.peer.bind_interdomain(self.domid, channel.port());
        (channel, peer.unwrap())
    }

    fn restore(&self) {
        self.sim.save_restore(self.domid).unwrap();
    }

    /// Restores it, and lets the watch of its programs fire.
    fn restore_and_sense(&self) {
        self.restore();
        self.sim.advance(SECOND);
    }

    fn turn(&self) -> Vec<(Port, Cause)> {
        let mut round = self.context.dispatch().unwrap();
        let wakes = round.by_ref().map(|wake| (wake.port(), wake.cause));
        let wakes = wakes.collect();
        round.finish().unwrap();
        wakes
    }

    /// A new channel hears its peer, and nothing was done that a kernel need not survive.
    #[track_caller]
    fn expect_to_work(&self) {
        let (channel, peer) = self.wire();
        channel.wait().unwrap();
        self.peer.send(peer).unwrap();
        assert!(self.context.registrar().ready());
        assert_eq!(self.turn(), [(channel.port(), Cause::Event)]);
        self.expect_nothing_released();
    }

    #[track_caller]
    fn expect_nothing_released(&self) {
        assert_eq!(self.sim.with(|world| world.old_ports_released()), 0);
        assert_eq!(self.context.registrar().violations(), []);
    }
}

#[test]
fn a_round_ends_the_waits_with_a_cause_of_their_own() {
    for event_loop in [SimLoop::level(), SimLoop::edge()] {
        let it = Restored::on(event_loop);
        let [(one, _), (other, _), (idle, _)] = [(); 3].map(|()| it.wire());
        one.wait().unwrap();
        other.wait_each().unwrap();
        let ports = [one.port(), other.port()];
        it.restore();
        assert!(
            !it.context.registrar().ready(),
            "the watch has not fired yet"
        );
        it.sim.advance(SECOND);
        assert!(it.context.registrar().ready());
        assert_eq!(it.turn(), ports.map(|port| (port, Cause::Resumed)));
        assert_eq!(it.context.link(), Link::Faulted);
        let failure = it.context.failure().map(|error| error.kind());
        assert_eq!(failure, Some(ErrorKind::Resumed));
        assert!(matches!(idle.wait(), Err(Error::NotBound(_))));
        assert!(matches!(idle.notify(), Err(Error::NotBound(_))));
        let stats = it.context.stats();
        assert_eq!((stats.resumes, stats.faults), (1, 0));
        it.expect_to_work();
    }
}

#[test]
fn a_checkpoint_ends_no_wait() {
    let it = Restored::new();
    let (channel, peer) = it.wire();
    channel.wait_each().unwrap();
    it.turn();
    it.sim.checkpoint(it.domid).unwrap();
    it.sim.advance(SECOND);
    assert!(!it.context.registrar().ready());
    assert_eq!(it.turn(), []);
    it.peer.send(peer).unwrap();
    assert_eq!(it.turn(), [(channel.port(), Cause::Event)]);
    assert_eq!(it.context.stats().resumes, 0);
}

#[test]
fn a_bind_before_anything_was_noticed_is_made_on_a_new_device() {
    let it = Restored::new();
    let (waiting, _) = it.wire();
    waiting.wait().unwrap();
    it.restore();
    let (channel, peer) = it.wire();
    assert_eq!(it.opener.opens(), 2);
    assert!(
        it.context.registrar().ready(),
        "the wait that ended is to be handed out"
    );
    assert_eq!(it.turn(), [(waiting.port(), Cause::Resumed)]);
    channel.wait().unwrap();
    it.peer.send(peer).unwrap();
    assert_eq!(it.turn(), [(channel.port(), Cause::Event)]);
    it.expect_nothing_released();
}

#[test]
fn a_port_number_that_was_bound_before_is_another_channel() {
    let it = Restored::new();
    let (before, _) = it.wire();
    let notifier = before.notifier();
    it.restore_and_sense();
    let (after, peer) = it.wire();
    assert_eq!(before.port(), after.port());
    drop(before);
    assert!(matches!(notifier.notify(), Err(Error::NotBound(_))));
    after.notify().unwrap();
    assert_eq!(it.peer.events(peer), Ok(2));
    it.expect_to_work();
}

#[test]
fn a_thread_that_blocks_is_woken() {
    let it = Restored::new();
    let (channel, _) = it.wire();
    let (sim, domid) = (it.sim.clone(), it.domid);
    it.sim
        .after(SECOND, move |world| world.save_restore(domid).unwrap());
    assert_eq!(channel.block().unwrap(), Cause::Resumed);
    let took = sim.now();
    assert!(took >= SECOND + Duration::from_millis(68), "{took:?}");
    assert!(took <= SECOND + Duration::from_millis(205), "{took:?}");
    assert!(matches!(channel.block(), Err(Error::NotBound(_))));
    it.expect_to_work();
}

struct Flag(AtomicBool);

impl Waking for Flag {
    fn wake(self: Arc<Flag>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_task_and_a_stream_end() {
    let it = Restored::new();
    let [(one, _), (other, _)] = [(); 2].map(|()| it.wire());
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut task = TaskContext::from_waker(&waker);
    {
        let mut future = pin!(one.woken());
        let mut stream = other.wakes().unwrap();
        while future.as_mut().poll(&mut task).is_ready() {
            future.set(one.woken());
        }
        while stream.poll_wake(&mut task).is_ready() {}
        flag.0.store(false, Ordering::Relaxed);
        it.restore_and_sense();
        assert!(it.context.registrar().ready());
        it.context.drive().unwrap();
        assert!(flag.0.load(Ordering::Relaxed));
        assert!(matches!(
            future.as_mut().poll(&mut task),
            Poll::Ready(Ok(Cause::Resumed))
        ));
        let Poll::Ready(Some(Ok(last))) = stream.poll_wake(&mut task) else {
            panic!("the stream has a last wake");
        };
        assert_eq!((last.channel, last.cause), (other.id(), Cause::Resumed));
        assert!(matches!(stream.poll_wake(&mut task), Poll::Ready(None)));
    }
    it.expect_to_work();
}

#[test]
fn a_callback_is_called_once_more() {
    let it = Restored::new();
    let (channel, peer) = it.wire();
    it.peer.send(peer).unwrap();
    let causes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&causes);
    channel
        .set_callback(move |wake| seen.lock().unwrap().push(wake.cause))
        .unwrap();
    channel.wait_each().unwrap();
    it.context.dispatch_callbacks().unwrap();
    it.restore_and_sense();
    it.context.dispatch_callbacks().unwrap();
    it.context.dispatch_callbacks().unwrap();
    assert_eq!(*causes.lock().unwrap(), [Cause::Event, Cause::Resumed]);
    it.expect_to_work();
}

#[test]
fn a_handler_is_called_once_more() {
    let it = Restored::new();
    let (channel, peer) = it.wire();
    it.peer.send(peer).unwrap();
    let causes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&causes);
    let mut handlers = it.context.handlers();
    let see = move |call: &mut evtchn::Call| seen.lock().unwrap().push(call.wake().cause);
    handlers
        .add(channel.id(), evtchn::AfterHandler, see)
        .unwrap();
    handlers.round(it.sim.now()).unwrap();
    it.restore_and_sense();
    handlers.round(it.sim.now()).unwrap();
    assert_eq!(*causes.lock().unwrap(), [Cause::Event, Cause::Resumed]);
    drop(handlers);
    it.expect_to_work();
}

#[test]
fn an_unbind_makes_no_call_and_ends_the_other_waits() {
    let it = Restored::new();
    let [(mut gone, _), (waiting, _)] = [(); 2].map(|()| it.wire());
    gone.wait().unwrap();
    waiting.wait().unwrap();
    it.restore();
    gone.unbind().unwrap();
    assert!(it.context.registrar().ready());
    assert_eq!(it.turn(), [(waiting.port(), Cause::Resumed)]);
    it.expect_to_work();
}

#[test]
fn a_drop_closes_nothing() {
    let it = Restored::new();
    let wires = [(); 3].map(|()| it.wire());
    for (channel, _) in &wires {
        channel.wait().unwrap();
    }
    it.restore();
    drop(wires);
    it.expect_nothing_released();
    it.context.teardown().unwrap();
    assert_eq!(it.sim.open_files(), 1, "the file of before stays open");
    it.expect_to_work();
}

#[test]
fn a_context_that_is_dropped_leaves_the_file_open() {
    let it = Restored::new();
    let (channel, _) = it.wire();
    channel.wait().unwrap();
    it.restore();
    let Restored { sim, context, .. } = it;
    drop(context);
    drop(channel);
    assert_eq!(sim.with(|world| world.old_ports_released()), 0);
    assert_eq!(sim.open_files(), 1);
}

#[test]
fn a_device_from_before_is_not_handed_over() {
    let it = Restored::new();
    let (channel, _) = it.wire();
    let (waiting, _) = it.wire();
    waiting.wait().unwrap();
    it.restore();
    let mut channels = [channel];
    assert!(matches!(
        it.context.hand_over(&mut channels),
        Err(Error::NotOpen)
    ));
    assert_eq!(it.turn(), [(waiting.port(), Cause::Resumed)]);
    it.expect_to_work();
}

#[test]
fn a_device_restored_while_it_is_opened_is_opened_once_more() {
    let it = Restored::new();
    let domid = it.domid;
    let restore = Fault::meanwhile(Call::BindUnboundPort, move |world| {
        world.save_restore(domid).unwrap();
    });
    it.opener.install(restore.nth(1));
    let (channel, _) = it.wire();
    assert_eq!(it.opener.opens(), 2);
    channel.wait().unwrap();
    it.expect_to_work();
}

#[test]
fn a_new_device_that_cannot_be_opened_leaves_the_waits_ended() {
    let it = Restored::new();
    let (channel, _) = it.wire();
    channel.wait().unwrap();
    it.restore();
    it.opener.fail_next(Call::Open, Errno::EMFILE);
    assert!(it.context.bind_unbound_port(DomId::DOM0).is_err());
    assert_eq!(it.turn(), [(channel.port(), Cause::Resumed)]);
    it.expect_to_work();
}

#[test]
fn what_the_device_answers_of_before() {
    let sim = Sim::new(1);
    let domid = sim.create_domain().unwrap();
    let device = sim.open(domid).open().unwrap();
    let port = device.bind_unbound_port(DomId::DOM0).unwrap();
    assert!(!device.is_resumed());
    sim.save_restore(domid).unwrap();
    assert!(device.is_resumed());
    let refused = |answer: Result<(), evtchn::DeviceError>| {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Resumed);
    };
    refused(device.bind_unbound_port(DomId::DOM0).map(drop));
    refused(device.unbind(port));
    refused(device.pending(&mut evtchn::PortBuf::with_capacity(8)));
    // These succeed and do nothing.
    device.notify(port).unwrap();
    assert_eq!(device.unmask(&[port]).unwrap(), 1);
    drop(device);
    assert_eq!(sim.open_files(), 1);
}
