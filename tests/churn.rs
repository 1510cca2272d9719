//! Pairs of calls that undo each other, repeated many times: the memory they leave is bounded by the number of
//! channels, not by the number of calls.
//!
//! Each public call of the library is in a pair, or in `churn/unpaired.txt` with the reason why it is
//! in none; `churn::each_public_call_is_in_a_pair_or_has_a_reason` compares both with the sources.
//!
//! One allocator counts for the whole process, so the cases run one after the other, on the
//! thread that counts. `EVTCHN_CHURN=2000000` sets how many turns count, and then the memory that
//! the process has is measured as well.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

mod calls;
mod loops;
mod machines;
mod owners;
mod remote;
mod rig;
mod rounds;
mod tasks;

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evtchn::sim::{Call, Errno};
use evtchn::{AfterHandler, DomId, Eoi, OnEoi, Outcome, RateLimit};
use libtest_mimic::{Failed, Trial};

use rig::{Pair, Rig, flat, growth, turns};

/// The pairs of this file: waits that are hard to undo.
const PAIRS: &[Pair] = &[
    (
        "wait_and_cancel",
        &["Channel::wait", "Channel::cancel"],
        wait_and_cancel,
    ),
    (
        "wait_and_cancel_of_a_latched_channel_with_a_callback",
        &[],
        latched,
    ),
    (
        "wait_and_cancel_of_two_latched_channels_in_turns",
        &[],
        latched_in_turns,
    ),
    (
        "wait_and_a_cancel_that_fails",
        &["sim::SimLoop::fail_next"],
        failing_cancel,
    ),
    (
        "wait_and_cancel_inside_a_round",
        &["Context::wait", "Context::cancel"],
        inside_a_round,
    ),
    ("wait_and_cancel_inside_a_callback", &[], inside_a_callback),
    (
        "bind_and_unbind",
        &["Context::bind_unbound_port", "Channel::unbind"],
        bind_and_unbind,
    ),
    (
        "bind_and_unbind_of_a_channel_that_is_ready",
        &["Context::bind_interdomain", "Channel::notify"],
        bind_and_unbind_ready,
    ),
    (
        "bind_and_unbind_inside_a_round",
        &[],
        bind_and_unbind_inside_a_round,
    ),
    (
        "set_and_remove_callback",
        &["Channel::set_callback", "Channel::remove_callback"],
        callbacks,
    ),
    (
        "add_and_remove_of_a_handler",
        &["Handlers::add", "Handlers::remove"],
        add_and_remove_handler,
    ),
    (
        "add_and_remove_of_a_handler_with_a_late_eoi",
        &["Handlers::round", "Call::take_eoi", "Eoi::complete"],
        on_eoi_handler,
    ),
    (
        "waits_by_hand_beside_a_limited_handler",
        &[],
        limited_handler,
    ),
    ("block_and_its_deadline", &["Channel::block_until"], block),
    (
        "notifiers_that_are_made_and_dropped",
        &["Channel::notifier"],
        notifiers,
    ),
];

/// All pairs.
fn pairs() -> impl Iterator<Item = &'static Pair> {
    let files = [
        PAIRS,
        loops::PAIRS,
        machines::PAIRS,
        remote::PAIRS,
        owners::PAIRS,
        rounds::PAIRS,
        tasks::PAIRS,
    ];
    files.into_iter().flatten()
}

/// The cases of this file, and of those beside it.
pub(crate) fn trials() -> Vec<Trial> {
    let trials = pairs().map(|&(name, _, case)| {
        Trial::test(format!("churn::{name}"), move || {
            case(&Rig::new());
            Ok(())
        })
    });
    let mut trials: Vec<_> = trials.collect();
    trials.push(Trial::test("churn::memory_that_grows_is_counted", control));
    trials.push(Trial::test(
        "churn::each_public_call_is_in_a_pair_or_has_a_reason",
        calls::each_public_call_is_in_a_pair_or_has_a_reason,
    ));
    trials
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

/// While one wait is cancelled, the wake of the other one is queued.
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

/// Only the cancel of the last waiter can fail, and then it is taken back.
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

/// Its queued wake is dropped with it.
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

/// Each is queued for an unmask when it is unbound.
fn bind_and_unbind_inside_a_round(rig: &Rig) {
    // Room for the wake of each turn.
    let mut round = rig.ctx.dispatch_at_most(4 * turns()).unwrap();
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

fn add_and_remove_handler(rig: &Rig) {
    rig.event(1);
    let (id, mut handlers) = (rig.channels[1].id(), rig.ctx.handlers());
    flat(|| {
        handlers.add(id, AfterHandler, |_| ()).unwrap();
        assert!(handlers.remove(id));
    });
}

/// The end of interrupt is completed after its handler was removed.
fn on_eoi_handler(rig: &Rig) {
    let (id, mut handlers) = (rig.channels[1].id(), rig.ctx.handlers());
    let kept: Arc<Mutex<Option<Eoi>>> = Arc::default();
    flat(|| {
        let keeps = Arc::clone(&kept);
        let keep = move |call: &mut evtchn::Call| *keeps.lock().unwrap() = call.take_eoi();
        handlers.add(id, OnEoi, keep).unwrap();
        rig.guest.send(rig.peer_ports[1]).unwrap();
        handlers.round(Duration::ZERO).unwrap();
        assert!(handlers.remove(id));
        kept.lock().unwrap().take().unwrap().complete();
    });
}

/// A wait by hand bypasses the limit; the postponed unmasks must not pile up.
fn limited_handler(rig: &Rig) {
    let handlers = RefCell::new(rig.ctx.handlers());
    let limit = RateLimit::new(1, Duration::from_secs(3_600)).unwrap();
    let id = rig.channels[1].id();
    handlers.borrow_mut().add(id, limit, |_| ()).unwrap();
    flat(|| {
        rig.guest.send(rig.peer_ports[1]).unwrap();
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

/// The control: memory that the program keeps is counted.
fn control() -> Result<(), Failed> {
    let rig = Rig::new();
    let mut kept = Vec::new();
    let grown = growth(100, || kept.push(rig.ctx.stats()));
    if grown > 0 {
        return Ok(());
    }
    Err("what the program keeps costs nothing".into())
}
