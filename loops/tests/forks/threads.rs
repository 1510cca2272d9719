//! Delivery to threads, which a forked child does not have.

use std::num::NonZeroUsize;
use std::sync::Arc;

use evtchn_core::{Channel, Context, DomId, Error, Port};
use evtchn_loops::{AddError, Dispatcher, RunError};
use evtchn_sim::{Guest, Sim};
use evtchn_xen::PollLoop;

use super::PATIENCE;
use super::scenes::Forks;

/// A dispatcher of one channel, and the way to wake that.
struct Rig {
    dispatcher: Dispatcher<PollLoop>,
    channel: Arc<Channel<PollLoop>>,
    guest: Guest,
    theirs: Port,
}

fn rig() -> Rig {
    let sim = Sim::new(1);
    let guest = sim.guest(sim.create_domain().unwrap());
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), PollLoop::new().unwrap());
    let channel = Arc::new(ctx.bind_unbound_port(guest.domid()).unwrap());
    let theirs = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    let dispatcher = Dispatcher::new(Arc::new(ctx), NonZeroUsize::MIN);
    dispatcher.add(Arc::clone(&channel)).unwrap();
    Rig {
        dispatcher,
        channel,
        guest,
        theirs,
    }
}

impl Rig {
    fn expect_a_wake(&self) {
        self.guest.send(self.theirs).unwrap();
        let mut delivery = self.dispatcher.wakes().recv_timeout(PATIENCE).unwrap();
        assert_eq!(delivery.channel().id(), self.channel.id());
        delivery.done().unwrap();
    }
}

fn is_refused<T>(result: &Result<T, RunError>) -> bool {
    matches!(result, Err(RunError::Context(Error::Inherited)))
}

pub(crate) fn dispatcher_goes_on_after_a_child_dropped_it(forks: &Forks) {
    let rig = rig();
    let running = rig.dispatcher.spawn().unwrap();
    rig.expect_a_wake();
    let (rig, running) = forks.in_child((rig, running), |(rig, running)| {
        drop(running);
        drop(rig);
    });
    rig.expect_a_wake();
    running.stop().unwrap();
}

pub(crate) fn child_that_uses_a_dispatcher_is_refused_and_waits_for_no_thread(forks: &Forks) {
    let rig = rig();
    let running = rig.dispatcher.spawn().unwrap();
    let (rig, running) = forks.in_child((rig, running), |(rig, running)| {
        let Rig {
            dispatcher,
            channel,
            ..
        } = rig;
        dispatcher.stop();
        assert!(is_refused(&dispatcher.run()));
        assert!(is_refused(&dispatcher.remove(channel.id())));
        let added = dispatcher.add(channel);
        assert!(matches!(added, Err(AddError::Context(Error::Inherited))));
        assert!(is_refused(&running.stop()));
    });
    rig.expect_a_wake();
    running.stop().unwrap();
}

pub(crate) fn child_that_drops_a_delivery_leaves_it_to_its_parent(forks: &Forks) {
    let rig = rig();
    let running = rig.dispatcher.spawn().unwrap();
    rig.guest.send(rig.theirs).unwrap();
    let delivery = rig.dispatcher.wakes().recv_timeout(PATIENCE).unwrap();
    rig.guest.send(rig.theirs).unwrap();
    let mut delivery = forks.in_child(delivery, drop);
    // Not waited for before it is done.
    assert!(rig.dispatcher.wakes().try_recv().is_err());
    delivery.done().unwrap();
    let _second = rig.dispatcher.wakes().recv_timeout(PATIENCE).unwrap();
    running.stop().unwrap();
}

pub(crate) fn delivery_that_a_child_has_done_stays_with_its_parent(forks: &Forks) {
    let rig = rig();
    let running = rig.dispatcher.spawn().unwrap();
    rig.guest.send(rig.theirs).unwrap();
    let delivery = rig.dispatcher.wakes().recv_timeout(PATIENCE).unwrap();
    let mut delivery = forks.in_child(delivery, |mut delivery| delivery.done().unwrap());
    delivery.done().unwrap();
    rig.expect_a_wake();
    running.stop().unwrap();
}
