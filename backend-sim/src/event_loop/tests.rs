//! What the loop reports, what it counts, and which wrong calls it refuses.

use std::time::Duration;

use evtchn_core::{DomId, Open, PortBuf, Sleep, Slept, Virq};

use super::*;
use crate::device::SimOpen;
use crate::error::Error;

/// A device with one bound VIRQ, and the machine to raise it on.
fn device() -> (Sim, SimOpen, Device) {
    let sim = Sim::new(0);
    let open = sim.open(DomId::DOM0);
    let device = Device::new(open.open().unwrap());
    device.bind_virq(Virq::DOM_EXC).unwrap();
    (sim, open, device)
}

fn raise(sim: &Sim) {
    sim.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
}

fn drain(device: &Device) {
    let mut buf = PortBuf::with_capacity(8);
    device.pending(&mut buf).unwrap();
    let ports = buf.words().iter().map(|&raw| raw.try_into().unwrap());
    device.unmask(&ports.collect::<Vec<_>>()).unwrap();
}

/// The call that the loop failed, and why.
fn failure(error: &LoopError) -> (Call, Errno) {
    let own: &Error = error.get_ref().downcast_ref().unwrap();
    assert_eq!(Errno::of(error), Some(own.errno));
    (own.call, own.errno)
}

#[test]
fn only_a_registered_device_is_reported() {
    let (sim, _, device) = device();
    let looped = SimLoop::level();
    raise(&sim);
    assert!(!looped.ready() && !looped.is_registered());
    looped.register(&device).unwrap();
    assert!(looped.ready() && looped.is_registered());
    looped.deregister(&device).unwrap();
    assert!(!looped.ready() && !looped.is_registered());
    let counts = looped.counts();
    assert_eq!((counts.registers, counts.deregisters), (1, 1));
    assert_eq!(looped.violations(), []);
}

#[test]
fn level_triggered_reports_as_long_as_there_is_something_to_read_or_an_overflow() {
    let (sim, open, device) = device();
    let looped = SimLoop::level();
    looped.register(&device).unwrap();
    assert!(!looped.ready());
    raise(&sim);
    assert!(looped.ready() && looped.ready());
    drain(&device);
    assert!(!looped.ready());
    open.overflow().unwrap();
    assert!(looped.ready() && looped.ready());
    device.reset().unwrap();
    assert!(!looped.ready());
}

#[test]
fn edge_triggered_reports_a_change_to_not_empty_once() {
    let (sim, open, device) = device();
    let looped = SimLoop::edge();
    looped.register(&device).unwrap();
    assert!(!looped.ready());
    raise(&sim);
    assert!(looped.ready() && !looped.ready());
    let debug = device.bind_virq(Virq::DEBUG).unwrap();
    sim.raise_virq(DomId::DOM0, Virq::DEBUG).unwrap();
    assert!(!looped.ready(), "the ring was not empty");
    drain(&device);
    device.unbind(debug).unwrap();
    raise(&sim);
    assert!(looped.ready() && !looped.ready());
    open.overflow().unwrap();
    assert!(!looped.ready(), "an overflow is no edge");
    looped.deregister(&device).unwrap();
    looped.register(&device).unwrap();
    assert!(looped.ready() && !looped.ready(), "registering reports");
}

#[test]
fn a_change_that_is_read_before_the_loop_looks_is_not_reported() {
    let (sim, open, device) = device();
    let looped = SimLoop::edge();
    looped.register(&device).unwrap();
    raise(&sim);
    drain(&device);
    assert!(!looped.ready());
    open.overflow().unwrap();
    assert!(!looped.ready(), "that look was the one for the change");
    device.reset().unwrap();
    raise(&sim);
    assert!(looped.ready());
}

#[test]
fn a_wake_and_a_spurious_readiness_are_reported_once_each() {
    let looped = SimLoop::default();
    looped.wake();
    looped.wake();
    assert!(looped.ready() && !looped.ready());
    assert_eq!(looped.counts().wakes, 2);
    looped.spurious();
    assert!(looped.ready() && !looped.ready());
}

#[test]
fn misuse_fails_as_in_epoll_and_is_recorded() {
    let (_, open, device) = device();
    let looped = SimLoop::level();
    let error = looped.deregister(&device).unwrap_err();
    assert_eq!(failure(&error), (Call::Deregister, Errno::ENOENT));
    looped.register(&device).unwrap();
    let error = looped.clone().register(&device).unwrap_err();
    assert_eq!(failure(&error), (Call::Register, Errno::EEXIST));
    let second = Device::new(open.dup().unwrap());
    looped.register(&second).unwrap();
    drop(device);
    assert!(!looped.ready(), "the file is still open");
    drop(second);
    assert!(!looped.ready() && !looped.is_registered());
    assert_eq!(
        looped.violations(),
        [
            Violation::NotRegistered,
            Violation::RegisteredTwice,
            Violation::ClosedWhileRegistered,
            Violation::ClosedWhileRegistered,
        ]
    );
}

#[test]
fn a_failed_register_watches_nothing_and_a_failed_deregister_keeps_watching() {
    let (sim, _, device) = device();
    let looped = SimLoop::level();
    raise(&sim);
    looped.fail_next(Call::Register, Errno::ENOMEM);
    let error = looped.register(&device).unwrap_err();
    assert_eq!(failure(&error), (Call::Register, Errno::ENOMEM));
    assert!(!looped.ready());
    looped.register(&device).unwrap();
    looped.fail_nth(Call::Deregister, 1, Errno::EIO);
    assert!(looped.deregister(&device).is_err());
    assert!(looped.ready());
    looped.deregister(&device).unwrap();
    assert_eq!(looped.violations(), []);
}

#[test]
fn devices_of_different_machines_are_different() {
    let ((_first, _, one), (_second, _, other)) = (device(), device());
    let looped = SimLoop::level();
    looped.register(&one).unwrap();
    looped.register(&other).unwrap();
    looped.deregister(&one).unwrap();
    assert!(looped.is_registered());
}

#[test]
fn a_fault_of_a_loop_acts_on_the_machine_of_the_loop() {
    let (sim, _, device) = device();
    let looped = SimLoop::level().on(&sim);
    looped.install(Fault::meanwhile(Call::Register, |world| {
        world.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
    }));
    looped.register(&device).unwrap();
    assert!(looped.ready());
}

#[test]
fn a_wake_by_a_timer_of_the_machine_ends_a_sleep() {
    let sim = Sim::new(0);
    let looped = SimLoop::level().on(&sim);
    let waker = looped.clone();
    sim.after(Duration::from_secs(1), move |_| {
        Registrar::wake(&waker);
    });
    let ticket = Sleep::ticket(&looped);
    let slept = Sleep::sleep(&looped, ticket, Some(Duration::from_secs(5)));
    assert_eq!(slept.unwrap(), Slept::Notified);
    assert_eq!(looped.now(), Duration::from_secs(1));
}

#[test]
fn a_deadline_that_has_passed_ends_a_sleep_and_does_not_turn_time_back() {
    let looped = SimLoop::level();
    looped.pass(Duration::from_secs(5));
    let ticket = Sleep::ticket(&looped);
    let slept = Sleep::sleep(&looped, ticket, Some(Duration::from_secs(3)));
    assert_eq!(slept.unwrap(), Slept::TimedOut);
    assert_eq!(looped.now(), Duration::from_secs(5));
}
