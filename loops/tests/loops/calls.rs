//! Callbacks that run in the loop.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use evtchn_core::{DomId, EventChannel, Port};

use super::bench::{Bench, Wire, local};
use super::device::Backend;
use super::rig::{ChannelOf, Rig};

/// The channels whose callbacks ran.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<Port>>>);

impl Calls {
    pub(crate) fn add(&self, port: Port) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(port);
    }

    pub(crate) fn list(&self) -> Vec<Port> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The callback of this channel only notes that it ran.
    pub(crate) fn note<B: Backend, A: Rig<B>>(&self, wire: &Wire<B, A>) {
        let calls = self.clone();
        let set = wire
            .channel
            .set_callback(move |wake| calls.add(wake.port()));
        set.unwrap();
    }
}

pub(crate) fn a_callback_that_waits_again_costs_no_registration<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::calling(backend);
    let (wire, calls) = (bench.wire(), Calls::default());
    let (context, noted) = (Arc::downgrade(&bench.context), calls.clone());
    let set = wire.channel.set_callback(move |wake| {
        noted.add(wake.port());
        let context = context.upgrade().unwrap();
        context.wait(wake.channel).unwrap();
    });
    set.unwrap();
    wire.wait();
    for count in 1..6 {
        bench.fire(&wire);
        bench.run_until(|| calls.list().len() == count);
        bench.expect_hooks(1, 0);
    }
    bench.expect_idle();
}

pub(crate) fn cancel_inside_a_callback_keeps_the_event<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::calling(backend);
    let ([first, second], calls) = (bench.wires(), Calls::default());
    let (context, noted) = (Arc::downgrade(&bench.context), calls.clone());
    let cancelled = second.channel.id();
    let set = first.channel.set_callback(move |wake| {
        noted.add(wake.port());
        context.upgrade().unwrap().cancel(cancelled).unwrap();
    });
    set.unwrap();
    calls.note(&second);
    first.wait();
    second.wait();
    bench.fire(&first);
    bench.fire(&second);
    bench.run_until(|| !calls.list().is_empty());
    bench.expect_idle();
    assert_eq!(calls.list(), [first.port()]);
    bench.expect_hooks(1, 1);
    second.wait();
    bench.run_until(|| calls.list().len() == 2);
    assert_eq!(calls.list(), [first.port(), second.port()]);
}

pub(crate) fn a_bind_inside_a_callback_brings_its_event<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::calling(backend);
    let (wire, calls) = (bench.wire(), Calls::default());
    let offered = bench.peer.bind_unbound_port(DomId::SELF).unwrap();
    let bound: Arc<OnceLock<ChannelOf<B, A>>> = Arc::default();
    let (context, place, noted) = (
        Arc::downgrade(&bench.context),
        Arc::clone(&bound),
        calls.clone(),
    );
    let set = wire.channel.set_callback(move |_| {
        let context = context.upgrade().unwrap();
        let channel = context.bind_interdomain(local(offered)).unwrap();
        let noted = noted.clone();
        let set = channel.set_callback(move |wake| noted.add(wake.port()));
        set.unwrap();
        channel.wait().unwrap();
        place.set(channel).unwrap();
    });
    set.unwrap();
    wire.wait();
    bench.fire(&wire);
    bench.run_until(|| !calls.list().is_empty());
    assert_eq!(calls.list(), [bound.get().unwrap().port()]);
    bench.expect_hooks(1, 1);
    bench.expect_idle();
    // The callback may be what holds the channel last.
    wire.channel.remove_callback().unwrap();
}

pub(crate) fn a_panic_in_a_callback_leaves_the_rest_to_the_next_turn<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::calling(backend);
    let ([first, second], calls) = (bench.wires(), Calls::default());
    let set = first
        .channel
        .set_callback(|_| resume_unwind(Box::new("on purpose")));
    set.unwrap();
    calls.note(&second);
    first.wait();
    second.wait();
    bench.fire(&first);
    bench.fire(&second);
    let each = &mut Bench::<B, A>::no_wakes();
    let rig = &mut bench.rig;
    // The loop may first report the registration.
    let turns = AssertUnwindSafe(|| {
        for _ in 0..3 {
            rig.turn(B::PATIENCE, each).unwrap();
        }
    });
    catch_unwind(turns).unwrap_err();
    assert_eq!(calls.list(), []);
    bench.run_until(|| !calls.list().is_empty());
    bench.expect_hooks(1, 1);
    let mut none = Bench::<B, A>::no_wakes();
    assert!(!bench.rig.turn(Duration::ZERO, &mut none).unwrap());
}
