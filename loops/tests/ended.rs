//! What works in a context after its driver is gone: the event loop, or the workers that took the
//! wakes. (What tokio does when its runtime is shut down is in `tokio.rs`.)
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context as Cx, Poll, Wake as Waking, Waker};
use std::time::Duration;

use calloop::EventLoop;
use evtchn_core::{Cause, Channel, Context, DomId, Link, Port, Registrar};
use evtchn_loops::{
    AddError, AsyncIoRegistrar, CalloopRegistrar, CalloopSource, Dispatcher, MioRegistrar,
    PollingRegistrar,
};
use evtchn_sim::{Guest, Sim};
use evtchn_xen::PollLoop;

/// Guards against a test that hangs.
const SOON: Duration = Duration::from_secs(10);

struct Rig<R: Registrar> {
    guest: Guest,
    ctx: Arc<Context<R>>,
}

impl<R: Registrar> Rig<R> {
    fn new(registrar: R) -> Rig<R> {
        let sim = Sim::new(0);
        let guest = sim.guest(sim.create_domain().unwrap());
        let ctx = Arc::new(Context::with_registrar(sim.open(DomId::DOM0), registrar));
        Rig { guest, ctx }
    }

    fn bind(&self) -> (Channel<R>, Port) {
        let channel = self.ctx.bind_unbound_port(self.guest.domid()).unwrap();
        let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        (channel, theirs.unwrap())
    }

    /// Whether a wait under way, waits that begin now, their ends, and the end of the context are
    /// what they are with a loop. Rounds are the test's own.
    fn goes_on(self, waited: Channel<R>, theirs: Port) {
        assert_eq!(self.ctx.link(), Link::Watching);
        self.guest.send(theirs).unwrap();
        assert_eq!(self.ctx.dispatch().unwrap().count(), 1);
        assert_eq!(self.ctx.link(), Link::Idle);
        let (mut second, _) = self.bind();
        second.wait().unwrap();
        waited.wait().unwrap();
        second.cancel().unwrap();
        waited.notify().unwrap();
        second.unbind().unwrap();
        assert_eq!(self.ctx.link(), Link::Watching);
        // Dropped while it waits.
        drop(waited);
        assert_eq!(self.ctx.link(), Link::Idle);
        self.ctx.teardown().unwrap();
        assert_eq!(self.ctx.link(), Link::Closed);
        assert_eq!(self.ctx.stats().unreported, 0);
    }
}

#[test]
fn a_context_works_by_explicit_rounds_after_its_mio_poll_is_gone() {
    let poll = mio::Poll::new().unwrap();
    let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
    let rig = Rig::new(MioRegistrar::new(poll.registry(), mio::Token(1), waker).unwrap());
    let (channel, theirs) = rig.bind();
    channel.wait().unwrap();
    drop(poll);
    Registrar::wake(rig.ctx.registrar());
    rig.goes_on(channel, theirs);
}

#[test]
fn a_context_works_by_explicit_rounds_after_the_program_dropped_its_poller() {
    let poller = Arc::new(polling::Poller::new().unwrap());
    let rig = Rig::new(PollingRegistrar::new(Arc::clone(&poller), 1).unwrap());
    let (channel, theirs) = rig.bind();
    channel.wait().unwrap();
    drop(poller);
    Registrar::wake(rig.ctx.registrar());
    rig.goes_on(channel, theirs);
}

#[test]
fn a_context_works_by_explicit_rounds_after_its_calloop_loop_is_gone() {
    let registrar = CalloopRegistrar::new().unwrap();
    let rig = Rig::new(registrar.clone());
    let (channel, theirs) = rig.bind();
    let event_loop = EventLoop::<()>::try_new().unwrap();
    let source = CalloopSource::new(Context::clone(&rig.ctx), &registrar).unwrap();
    let inserted = event_loop.handle().insert_source(source, |_, _, ()| ());
    inserted.map_err(|it| it.error).unwrap();
    channel.wait().unwrap();
    drop(event_loop);
    assert_eq!(Arc::strong_count(&rig.ctx), 1, "the source went with it");
    Registrar::wake(rig.ctx.registrar());
    rig.goes_on(channel, theirs);
}

#[test]
fn another_calloop_loop_takes_over_the_waits_of_one_that_is_gone() {
    let registrar = CalloopRegistrar::new().unwrap();
    let rig = Rig::new(registrar.clone());
    let (channel, theirs) = rig.bind();
    let mut fired = Vec::new();
    for _ in 0..2 {
        let mut event_loop = EventLoop::<Vec<Cause>>::try_new().unwrap();
        let source = CalloopSource::new(Context::clone(&rig.ctx), &registrar).unwrap();
        let each = |wake: evtchn_core::Wake, ctx: &mut Context<_>, fired: &mut Vec<_>| {
            fired.push(wake.cause);
            ctx.wait(wake.channel).unwrap();
        };
        let inserted = event_loop.handle().insert_source(source, each);
        inserted.map_err(|it| it.error).unwrap();
        // In the first turn of the loop, and from then on for the next one.
        if fired.is_empty() {
            channel.wait().unwrap();
        }
        rig.guest.send(theirs).unwrap();
        event_loop.dispatch(SOON, &mut fired).unwrap();
    }
    assert_eq!(fired, [Cause::Event, Cause::Event]);
}

/// A waker that sends a message.
struct SendOnWake(Sender<()>);

impl Waking for SendOnWake {
    fn wake(self: Arc<Self>) {
        let _gone = self.0.send(());
    }
}

/// That reactor has a thread, which lives as long as the process.
#[test]
fn a_future_of_async_io_is_woken_when_no_thread_blocks_in_its_reactor_any_more() {
    let sim = Sim::new(0);
    let guest = sim.guest(sim.create_domain().unwrap());
    let ctx = Context::<AsyncIoRegistrar>::new(sim.open(DomId::DOM0)).unwrap();
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let theirs = guest.bind_interdomain(DomId::DOM0, channel.port());
    let theirs = theirs.unwrap();
    let (sender, receiver): (_, Receiver<()>) = self::channel();
    let waker = Waker::from(Arc::new(SendOnWake(sender)));
    let mut woken = pin!(channel.woken());
    async_io::block_on(async {
        let cx = &mut Cx::from_waker(&waker);
        assert!(woken.as_mut().poll(cx).is_pending());
    });
    guest.send(theirs).unwrap();
    receiver.recv_timeout(SOON).unwrap();
    let polled = woken.as_mut().poll(&mut Cx::from_waker(&waker));
    assert!(matches!(polled, Poll::Ready(Ok(Cause::Event))));
}

#[test]
fn a_dispatcher_whose_workers_are_gone_keeps_their_wakes_and_ends() {
    let rig = Rig::new(PollLoop::new().unwrap());
    let (channel, theirs) = rig.bind();
    let (other, others) = rig.bind();
    let (channel, other) = (Arc::new(channel), Arc::new(other));
    let dispatcher = Dispatcher::new(Arc::clone(&rig.ctx), NonZeroUsize::new(2).unwrap());
    dispatcher.add(Arc::clone(&channel)).unwrap();
    let running = dispatcher.spawn().unwrap();
    let worker = dispatcher.wakes();
    rig.guest.send(theirs).unwrap();
    let mut delivery = worker.recv_timeout(SOON).unwrap();
    drop(worker);
    // A bind and an add do not need a worker, nor does the end of a delivery.
    dispatcher.add(Arc::clone(&other)).unwrap();
    delivery.done().unwrap();
    rig.guest.send(theirs).unwrap();
    rig.guest.send(others).unwrap();
    let late = dispatcher.wakes();
    // The run ends while a worker has both.
    let held = [(); 2].map(|()| late.recv_timeout(SOON).unwrap());
    let mut ports = held.each_ref().map(|delivery| delivery.wake().port());
    ports.sort_unstable();
    assert_eq!(ports, [channel.port(), other.port()]);
    running.stop().unwrap();
    drop(held);
    assert!(late.recv_timeout(SOON).is_err(), "disconnected");
    assert!(matches!(
        dispatcher.add(Arc::clone(&channel)),
        Err(AddError::Ended)
    ));
    assert_eq!(rig.ctx.link(), Link::Idle);
    rig.guest.send(theirs).unwrap();
    channel.wait().unwrap();
    assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
}

#[test]
fn a_dispatcher_whose_run_is_dropped_has_ended() {
    let rig = Rig::new(PollLoop::new().unwrap());
    let (channel, _) = rig.bind();
    let dispatcher = Dispatcher::new(Arc::clone(&rig.ctx), NonZeroUsize::MIN);
    dispatcher.add(Arc::new(channel)).unwrap();
    let wakes = dispatcher.wakes();
    drop(dispatcher.spawn().unwrap());
    assert_eq!(rig.ctx.link(), Link::Idle);
    let ended = wakes.try_recv();
    assert!(matches!(
        ended,
        Err(crossbeam_channel::TryRecvError::Disconnected)
    ));
}
