//! What one thread sees while another is inside a hook of the event loop.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use evtchn_core::{CancelError, Channel, DomId, ErrorKind, Link, Wait};
use support::{FakeLoop, FakeOpen, Tester, Told};

const GUEST: DomId = DomId::new(7);

type FakeChannel = Channel<FakeOpen, FakeLoop>;
type FakeCancelError = CancelError<Told>;

/// How often the hook lets others run before it returns.
const TURNS: usize = 100_000;

/// Cancels `one` on another thread and, while the loop lets go of the device, waits on `other`.
/// Says how the cancel ended and whether the wait returned before the loop did.
fn wait_during_a_deregistration(
    tester: &Tester,
    one: &FakeChannel,
    other: &FakeChannel,
) -> (Result<(), FakeCancelError>, bool) {
    let [begun, waited, early] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let inside = [&begun, &waited, &early].map(Arc::clone);
    tester.script().on_deregister = Some(Box::new(move || {
        let [begun, waited, early] = &inside;
        begun.store(true, Ordering::SeqCst);
        let mut turns = (0..TURNS).inspect(|_| thread::yield_now());
        early.store(
            turns.any(|_| waited.load(Ordering::SeqCst)),
            Ordering::SeqCst,
        );
    }));
    let cancelled = thread::scope(|scope| {
        let cancelling = scope.spawn(|| one.cancel());
        while !begun.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        assert_eq!(other.wait().unwrap(), Wait::Pending);
        waited.store(true, Ordering::SeqCst);
        cancelling.join().unwrap()
    });
    (cancelled, early.load(Ordering::SeqCst))
}

/// Whoever waits has a registered device when the wait returns, so it must not return while the
/// loop still lets go of it.
#[test]
fn a_wait_that_comes_during_a_deregistration_returns_after_it() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [one, other] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    assert_eq!(one.wait().unwrap(), Wait::Pending);
    tester.log();
    let (cancelled, early) = wait_during_a_deregistration(&tester, &one, &other);
    cancelled.unwrap();
    assert!(!early, "the wait did not wait for the hook");
    assert_eq!(tester.log(), ["deregister", "register"]);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_wait_that_comes_during_a_deregistration_that_fails_needs_no_other() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [one, other] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    assert_eq!(one.wait().unwrap(), Wait::Pending);
    tester.log();
    tester.fail("deregister", ErrorKind::Other);
    let (cancelled, early) = wait_during_a_deregistration(&tester, &one, &other);
    cancelled.unwrap_err();
    assert!(!early, "the wait did not wait for the hook");
    assert_eq!(tester.log(), ["deregister"]);
    tester.batch(&[one.port(), other.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 2, "nobody's wait ended");
}
