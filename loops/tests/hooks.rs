//! The adapter for foreign loops: which report counts, and with what the hooks are called.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use evtchn_core::{Context, Device, DomId, Error, Registrar, Trigger};
use evtchn_loops::{Cookie, HookRegistrar, Hooks, Interest};
use evtchn_sim::Sim;

use crate::fd_device;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Register(RawFd, Cookie),
    Modify(RawFd, Cookie),
    Deregister(RawFd, Cookie),
    Wake,
}

/// A loop that records the calls of its hooks, and fails on demand.
#[derive(Default)]
struct Noted {
    calls: Mutex<Vec<Call>>,
    fails: Mutex<bool>,
    /// What it does inside each hook but the wake.
    inside: OnceLock<Box<dyn Fn(Cookie) + Send + Sync>>,
}

impl Noted {
    fn note(&self, call: Call, cookie: Cookie) -> io::Result<()> {
        self.calls.lock().unwrap().push(call);
        if let Some(inside) = self.inside.get() {
            inside(cookie);
        }
        match *self.fails.lock().unwrap() {
            true => Err(io::ErrorKind::Other.into()),
            false => Ok(()),
        }
    }

    fn set_failing(&self, fails: bool) {
        *self.fails.lock().unwrap() = fails;
    }

    fn taken(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Hooks for Noted {
    fn register(&self, fd: RawFd, _: Interest, cookie: Cookie) -> io::Result<()> {
        self.note(Call::Register(fd, cookie), cookie)
    }

    fn modify(&self, fd: RawFd, _: Interest, cookie: Cookie) -> io::Result<()> {
        self.note(Call::Modify(fd, cookie), cookie)
    }

    fn deregister(&self, fd: RawFd, cookie: Cookie) -> io::Result<()> {
        self.note(Call::Deregister(fd, cookie), cookie)
    }

    fn wake(&self) {
        self.calls.lock().unwrap().push(Call::Wake);
    }
}

fn noted() -> (Arc<Noted>, HookRegistrar) {
    let noted = Arc::new(Noted::default());
    let hooks = Arc::clone(&noted);
    (noted, HookRegistrar::new(hooks))
}

fn device() -> Device {
    fd_device::device(io::pipe().unwrap().0)
}

fn fd(device: &Device) -> RawFd {
    device.fd().unwrap().as_raw_fd()
}

/// The cookie of the one registration that was noted.
#[track_caller]
fn registered(noted: &Noted, device: &Device) -> Cookie {
    match noted.taken()[..] {
        [Call::Register(watched, cookie)] if watched == fd(device) => cookie,
        ref calls => unreachable!("{calls:?}"),
    }
}

#[test]
fn a_report_counts_from_the_registration_to_its_end() {
    let (noted, registrar) = noted();
    let device = device();
    registrar.register(&device).unwrap();
    let cookie = registered(&noted, &device);
    assert!(registrar.occurred(cookie));
    assert!(registrar.occurred(cookie), "again and again");
    registrar.deregister(&device).unwrap();
    let fd = fd(&device);
    assert_eq!(noted.taken(), [Call::Deregister(fd, cookie)]);
    assert!(!registrar.occurred(cookie));
}

#[test]
fn a_late_report_is_not_taken_for_one_of_the_next_registration() {
    let (noted, registrar) = noted();
    let device = device();
    registrar.register(&device).unwrap();
    let first = registered(&noted, &device);
    registrar.deregister(&device).unwrap();
    noted.taken();
    registrar.register(&device).unwrap();
    let second = registered(&noted, &device);
    assert!(!registrar.occurred(first));
    assert!(registrar.occurred(second));
}

#[test]
fn a_report_for_another_context_of_the_loop_is_not_taken() {
    let ((noted, registrar), other) = (noted(), HookRegistrar::new(Arc::<Noted>::default()));
    let device = device();
    registrar.register(&device).unwrap();
    other.register(&device).unwrap();
    assert!(!other.occurred(registered(&noted, &device)));
}

#[test]
fn a_report_before_the_hook_returns_counts() {
    let (noted, registrar) = noted();
    let registrar = Arc::new(registrar);
    let (asked, answers) = (Arc::downgrade(&registrar), Arc::<Mutex<Vec<_>>>::default());
    let answered = Arc::clone(&answers);
    let set = noted.inside.set(Box::new(move |cookie| {
        let occurred = asked.upgrade().unwrap().occurred(cookie);
        answered.lock().unwrap().push(occurred);
    }));
    assert!(set.is_ok());
    let device = device();
    registrar.register(&device).unwrap();
    registrar.deregister(&device).unwrap();
    assert_eq!(*answers.lock().unwrap(), [true, true]);
}

#[test]
fn a_refused_registration_counts_no_report() {
    let (noted, registrar) = noted();
    let device = device();
    noted.set_failing(true);
    registrar.register(&device).unwrap_err();
    let refused = registered(&noted, &device);
    assert!(!registrar.occurred(refused));
    registrar.deregister(&device).unwrap_err();
    assert_eq!(noted.taken(), [], "there is nothing to let go of");
}

#[test]
fn a_refused_deregistration_still_counts_reports() {
    let (noted, registrar) = noted();
    let device = device();
    registrar.register(&device).unwrap();
    let cookie = registered(&noted, &device);
    noted.set_failing(true);
    registrar.deregister(&device).unwrap_err();
    assert!(registrar.occurred(cookie));
    noted.set_failing(false);
    registrar.deregister(&device).unwrap();
    assert!(!registrar.occurred(cookie));
}

#[test]
fn a_descriptor_that_the_loop_still_has_is_modified() {
    let (noted, registrar) = noted();
    let device = device();
    registrar.register(&device).unwrap();
    let old = registered(&noted, &device);
    // A context never does that: it deregisters a device first.
    registrar.register(&device).unwrap();
    let (fd, calls) = (fd(&device), noted.taken());
    let [Call::Modify(modified, new)] = calls[..] else {
        unreachable!("{calls:?}");
    };
    assert_eq!(modified, fd);
    assert!(!registrar.occurred(old) && registrar.occurred(new));
    registrar.deregister(&device).unwrap();
    assert_eq!(noted.taken(), [Call::Deregister(fd, new)]);
}

#[test]
fn another_descriptor_is_registered_after_the_old_one_is_deregistered() {
    let (noted, registrar) = noted();
    // As after a device that failed, which the loop refused to deregister at first.
    let (failed, opened) = (device(), device());
    registrar.register(&failed).unwrap();
    let old = registered(&noted, &failed);
    registrar.register(&opened).unwrap();
    let calls = noted.taken();
    let [gone, Call::Register(watched, new)] = calls[..] else {
        unreachable!("{calls:?}");
    };
    assert_eq!(gone, Call::Deregister(fd(&failed), old));
    assert_eq!(watched, fd(&opened));
    assert!(!registrar.occurred(old) && registrar.occurred(new));
}

#[test]
fn wake_and_trigger_are_those_of_the_hooks() {
    let (noted, registrar) = noted();
    Registrar::wake(&registrar);
    assert_eq!(noted.taken(), [Call::Wake]);
    assert_eq!(Registrar::trigger(&registrar), Trigger::Level);
}

#[test]
fn a_cookie_survives_a_loop_that_carries_numbers() {
    let (noted, registrar) = noted();
    let device = device();
    registrar.register(&device).unwrap();
    let cookie = registered(&noted, &device);
    assert_eq!(Cookie::from_raw(cookie.as_raw()), Some(cookie));
    assert_eq!(Cookie::from_raw(0), None);
}

#[test]
fn a_hook_that_calls_back_into_the_context_is_refused_and_nothing_hangs() {
    let (noted, registrar) = noted();
    let sim = Sim::new(0);
    let ctx = Arc::new(Context::with_registrar(sim.open(DomId::DOM0), registrar));
    let channel = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    let (weak, id): (Weak<Context<HookRegistrar>>, _) = (Arc::downgrade(&ctx), channel.id());
    let errors = Arc::<Mutex<Vec<_>>>::default();
    let met = Arc::clone(&errors);
    let set = noted.inside.set(Box::new(move |_| {
        let ctx = weak.upgrade().unwrap();
        met.lock().unwrap().push(ctx.wait(id).unwrap_err());
        ctx.dispatch().map(drop).unwrap_err();
    }));
    assert!(set.is_ok());
    channel.wait().unwrap();
    channel.cancel().unwrap();
    let errors = errors.lock().unwrap();
    let is_refused = |error: &_| matches!(error, Error::Reentrant);
    assert!(
        errors.len() == 2 && errors.iter().all(is_refused),
        "{errors:?}"
    );
}

/// The loop has nothing to modify then.
#[test]
fn after_a_refused_modify_the_descriptor_is_registered_and_not_modified() {
    let (noted, registrar) = noted();
    let device = device();
    registrar.register(&device).unwrap();
    noted.taken();
    noted.set_failing(true);
    registrar.register(&device).unwrap_err();
    noted.set_failing(false);
    assert!(matches!(noted.taken()[..], [Call::Modify(..)]));
    registrar.register(&device).unwrap();
    assert!(matches!(noted.taken()[..], [Call::Register(..)]));
}
