//! Real forks of a program that has a device or a poll loop.
#![expect(
    clippy::unwrap_used,
    reason = "a scene ends by panicking, and its process with it"
)]

#[path = "../../fork/tests/scenes/mod.rs"]
mod scenes;
#[path = "../../fork/tests/scenes/unavailable.rs"]
mod unavailable;

use std::error::Error as _;
use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use evtchn_core::{
    Context, Device as AnyDevice, DeviceError, DomId, Error, EventChannel, LoopError, Open,
    Registrar, Sleep, Trigger, WakeTargets,
};
use evtchn_fork::{Inherited, Unavailable};
use evtchn_sim::Sim;
use evtchn_xen::{Call, Device, Errno, PollLoop, RegistrationError, XenOpen};
use scenes::Forks;

fn main() {
    scenes::main(&[
        (
            "device_of_a_parent_is_inherited_and_one_of_the_child_is_not",
            device_of_a_parent_is_inherited_and_one_of_the_child_is_not,
        ),
        (
            "context_that_had_opened_nothing_opens_nothing_in_a_child",
            context_that_had_opened_nothing_opens_nothing_in_a_child,
        ),
        (
            "poll_loop_of_a_parent_refuses_a_child_and_keeps_working",
            poll_loop_of_a_parent_refuses_a_child_and_keeps_working,
        ),
        (
            "wake_in_a_child_does_not_reach_the_poll_loop_of_its_parent",
            wake_in_a_child_does_not_reach_the_poll_loop_of_its_parent,
        ),
        (
            "nothing_is_opened_where_a_fork_cannot_be_noticed",
            nothing_is_opened_where_a_fork_cannot_be_noticed,
        ),
    ]);
}

fn device_of_a_parent_is_inherited_and_one_of_the_child_is_not(forks: &Forks) {
    let device = Device::open_at("/dev/null").unwrap();
    assert!(!device.is_inherited());
    let device = forks.in_child(device, |device| {
        assert!(device.is_inherited());
        let own = Device::open_at("/dev/null").unwrap();
        assert!(!own.is_inherited());
        let adopted = device.as_fd().try_clone_to_owned().unwrap();
        let adopted = Device::from_fd(adopted).unwrap();
        assert!(!adopted.is_inherited());
        let devices = (device, own, adopted);
        let (device, own, adopted) = forks.in_child(devices, |(device, own, adopted)| {
            let devices = [device, own, adopted];
            assert!(devices.iter().all(EventChannel::is_inherited));
        });
        assert!(device.is_inherited());
        assert!(!own.is_inherited() && !adopted.is_inherited());
    });
    assert!(!device.is_inherited());
}

/// An event loop that watches nothing.
struct Idle;

impl Registrar for Idle {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, _: &AnyDevice) -> Result<(), LoopError> {
        Ok(())
    }

    fn deregister(&self, _: &AnyDevice) -> Result<(), LoopError> {
        Ok(())
    }

    fn wake(&self) {}
}

fn context_that_had_opened_nothing_opens_nothing_in_a_child(forks: &Forks) {
    let ctx = Context::with_registrar(XenOpen::at("/dev/null"), Idle);
    let ctx = forks.in_child(ctx, |ctx| {
        let bound = ctx.bind_unbound_port(DomId::SELF);
        assert!(matches!(bound, Err(Error::Inherited)));
        // A context of its own gets as far as the device, which is none.
        let own = Context::with_registrar(XenOpen::at("/dev/null"), Idle);
        let bound = own.bind_unbound_port(DomId::SELF);
        assert!(matches!(bound, Err(Error::Device(_))), "{bound:?}");
    });
    assert!(!ctx.is_inherited());
}

fn poll_loop_of_a_parent_refuses_a_child_and_keeps_working(forks: &Forks) {
    let poll_loop = PollLoop::new().unwrap();
    poll_loop.wake();
    let device = AnyDevice::new(Sim::new(1).open(DomId::DOM0).open().unwrap());
    let poll_loop = forks.in_child(poll_loop, |poll_loop| {
        let waited = poll_loop.wait(Some(Duration::ZERO));
        assert!(is_inherited(&waited.unwrap_err()));
        let slept = poll_loop.sleep(poll_loop.ticket(), None).unwrap_err();
        assert!(is_inherited(slept.get_ref().downcast_ref().unwrap()));
        let registered = poll_loop.register(&device).unwrap_err();
        let why = registered.get_ref().downcast_ref();
        assert_eq!(why, Some(&RegistrationError::Inherited));
    });
    // The child did not take the call of its parent.
    assert!(poll_loop.wait(Some(Duration::ZERO)).unwrap().woken);
    assert!(poll_loop.wait(Some(Duration::ZERO)).unwrap().timed_out());
}

/// A thread of the parent polls, and so it does in the copy that the child has.
fn wake_in_a_child_does_not_reach_the_poll_loop_of_its_parent(forks: &Forks) {
    let poll_loop = PollLoop::new().unwrap();
    let polling = poll_loop.clone();
    let thread = thread::spawn(move || polling.wait(None).unwrap());
    while poll_loop.counters().polls == 0 {
        thread::yield_now();
    }
    let poll_loop = forks.in_child(poll_loop, |poll_loop| {
        poll_loop.wake();
        let targets = WakeTargets {
            runners: true,
            sleepers: &[],
        };
        poll_loop.wake_only(targets);
    });
    // The thread has taken nothing from the eventfd, and nothing is in it.
    assert_eq!(counts_of_eventfds(), [0]);
    poll_loop.wake();
    assert!(thread.join().unwrap().woken);
    assert_eq!(poll_loop.counters().polls, 1);
}

/// What each eventfd of this process holds (proc(5), `eventfd-count`).
fn counts_of_eventfds() -> Vec<u64> {
    let files = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let count = |text: String| {
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix("eventfd-count:"))?;
        Some(u64::from_str_radix(count.trim(), 16).unwrap())
    };
    texts.filter_map(count).collect()
}

fn nothing_is_opened_where_a_fork_cannot_be_noticed(forks: &Forks) {
    let unavailable = unavailable::forget_forks();
    let ctx = Context::with_registrar(XenOpen::at("/dev/null"), Idle);
    let expect_refused = |ctx: &Context<Idle>| {
        let Err(Error::Device(refused)) = ctx.bind_unbound_port(DomId::SELF) else {
            unreachable!("a device was opened");
        };
        assert_eq!(own(&refused).call(), &Call::NoticeForks);
        assert_eq!(own(&refused).errno(), Errno::NOMEM);
    };
    expect_refused(&ctx);
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null");
    let adopted = Device::from_fd(null.unwrap().into()).unwrap_err();
    assert_eq!(own(&adopted).call(), &Call::NoticeForks);
    let refused = PollLoop::new().unwrap_err();
    let why = refused
        .get_ref()
        .and_then(|it| it.downcast_ref::<Unavailable>());
    assert_eq!(why, Some(&unavailable));
    assert!(Sim::new(1).open(DomId::DOM0).open().is_err());
    forks.in_child(ctx, |ctx| expect_refused(&ctx));
}

/// The backend's own error.
fn own(error: &DeviceError) -> &evtchn_xen::Error {
    error.source().unwrap().downcast_ref().unwrap()
}

/// Whether that is why a call was refused.
fn is_inherited(error: &io::Error) -> bool {
    let why = error.get_ref();
    why.and_then(|it| it.downcast_ref::<Inherited>()).is_some()
}
