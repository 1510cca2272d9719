//! The device is registered if and only if something waits, in any order of calls (I1, I2, I5).

use std::panic::{AssertUnwindSafe, catch_unwind};

use evtchn_core::{Error, Link};
use evtchn_sim::{Call, Errno};
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::Rig;

scenarios! {
    waits_and_cancels_of_three_threads_leave_it_registered_for_waits,
    hook_that_panics_beside_a_wait_leaves_waits_registered,
    first_binds_of_two_threads_open_one_device,
    teardown_beside_a_bind_leaves_a_whole_context;
    small
    wait_beside_a_cancel_is_registered_from_its_return_on,
    wait_beside_a_cancel_returns_the_error_of_its_registration,
    cancels_of_two_threads_deregister,
    wait_beside_a_round_stays_registered,
    cancel_beside_a_round_leaves_nothing_registered,
}

/// Checks that the device is registered from the return of a wait to the end of the wait.
fn stays_registered(rig: &Rig) {
    for _ in 0..3 {
        assert!(rig.is_registered());
        thread::yield_now();
    }
}

fn wait_beside_a_cancel_is_registered_from_its_return_on() {
    let rig = Rig::new();
    let (one, two) = (rig.wire(), rig.wire());
    one.wait();
    thread::scope(|scope| {
        scope.spawn(|| one.cancel());
        scope.spawn(|| {
            two.wait();
            stays_registered(&rig);
        });
    });
    assert!(rig.is_registered());
    assert!(two.cancel());
    assert!(!rig.is_registered());
}

/// If the second registration fails, the wait that it was for returns the error.
fn wait_beside_a_cancel_returns_the_error_of_its_registration() {
    let rig = Rig::new();
    let (one, two) = (rig.wire(), rig.wire());
    one.wait();
    rig.event_loop.sim.fail_next(Call::Register, Errno::ENOMEM);
    let waits = thread::scope(|scope| {
        scope.spawn(|| one.channel.cancel());
        let waited = scope.spawn(|| two.channel.wait().is_ok());
        waited.join().unwrap()
    });
    assert_eq!(rig.is_registered(), waits);
}

fn cancels_of_two_threads_deregister() {
    let rig = Rig::new();
    let wires = [rig.wire(), rig.wire()];
    wires.iter().for_each(|wire| wire.wait());
    thread::scope(|scope| {
        for wire in &wires {
            scope.spawn(|| assert!(wire.cancel()));
        }
    });
    assert!(!rig.is_registered());
    assert_eq!(rig.context.link(), Link::Idle);
}

fn waits_and_cancels_of_three_threads_leave_it_registered_for_waits() {
    let rig = Rig::new();
    let wires = [rig.wire(), rig.wire(), rig.wire()];
    wires[0].wait();
    thread::scope(|scope| {
        scope.spawn(|| wires[0].cancel());
        scope.spawn(|| {
            wires[1].wait();
            wires[1].cancel();
        });
        scope.spawn(|| {
            wires[2].wait();
            wires[2].cancel();
            wires[2].wait();
            stays_registered(&rig);
        });
    });
    assert!(rig.is_registered());
    assert!(wires[2].cancel());
    assert!(!rig.is_registered());
}

fn hook_that_panics_beside_a_wait_leaves_waits_registered() {
    let rig = Rig::new();
    let wires = [rig.wire(), rig.wire()];
    rig.event_loop.panic_next();
    let waits = thread::scope(|scope| {
        let waits = wires.each_ref().map(|wire| {
            let wait = || catch_unwind(AssertUnwindSafe(|| wire.wait())).is_ok();
            scope.spawn(wait)
        });
        waits.map(|wait| wait.join().unwrap())
    });
    assert!(waits[0] != waits[1], "one of them was the first: {waits:?}");
    assert!(rig.is_registered());
    let ended = wires.each_ref().map(|wire| wire.cancel());
    assert_eq!(
        ended, waits,
        "the waits that began are cancelled, and no others"
    );
    assert!(!rig.is_registered());
}

fn wait_beside_a_round_stays_registered() {
    let rig = Rig::new();
    let (one, two) = (rig.wire(), rig.wire());
    one.wait();
    rig.peer.send(&one);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(rig.context.dispatch().unwrap().count(), 1));
        scope.spawn(|| two.wait());
    });
    assert!(rig.is_registered());
    rig.peer.send(&two);
    assert!(rig.event_loop.sim.ready());
    assert_eq!(rig.context.dispatch().unwrap().count(), 1);
    assert!(!rig.is_registered());
}

fn cancel_beside_a_round_leaves_nothing_registered() {
    let rig = Rig::new();
    let (one, two) = (rig.wire(), rig.wire());
    one.wait();
    two.wait();
    rig.peer.send(&one);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(rig.context.dispatch().unwrap().count(), 1));
        scope.spawn(|| assert!(two.cancel()));
    });
    assert!(!rig.is_registered());
}

fn first_binds_of_two_threads_open_one_device() {
    let rig = Rig::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let wire = rig.wire();
                wire.wait();
                wire.into_channel().unbind().unwrap();
            });
        }
    });
    assert_eq!(rig.opener.opens(), 1);
    assert!(!rig.is_registered());
    rig.context.teardown().unwrap();
    assert_eq!(rig.open_files(), 0);
}

fn teardown_beside_a_bind_leaves_a_whole_context() {
    let rig = Rig::new();
    drop(rig.bind());
    let torn = thread::scope(|scope| {
        let tearing = scope.spawn(|| rig.context.teardown());
        let waiting = scope.spawn(|| {
            let wire = rig.wire();
            wire.wait();
            stays_registered(&rig);
            wire
        });
        let wire = waiting.join().unwrap();
        rig.peer.send(&wire);
        assert!(rig.event_loop.sim.ready());
        assert_eq!(rig.context.dispatch().unwrap().count(), 1);
        tearing.join().unwrap()
    });
    if let Err(Error::StillInUse(left)) = &torn {
        assert_eq!((left.channels.len(), left.held), (1, 0));
    }
    let reopened = u64::from(torn.is_ok() && rig.opener.opens() == 2);
    assert_eq!(rig.opener.opens(), 1 + reopened);
    rig.context.teardown().unwrap();
    assert_eq!(rig.open_files(), 0);
}
