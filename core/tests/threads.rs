//! What one thread sees while another is inside a hook of the event loop.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{FakeLoop, Tester};
use evtchn_core::{Channel, Context, DomId, Error, ErrorKind, Link};

const GUEST: DomId = DomId::new(7);

type FakeChannel = Channel<FakeLoop>;

/// How often the hook yields to other threads before it returns.
const TURNS: usize = 100_000;

/// Cancels the only wait on another thread and, while the loop deregisters the device, waits on a
/// second channel. The device must be registered when a wait returns, so the wait must not return
/// before the hook does. Returns both channels, and the result of the cancel.
fn wait_during_a_deregistration(
    tester: &Tester,
    ctx: &Context<FakeLoop>,
) -> ([FakeChannel; 2], Result<bool, Error>) {
    let [one, other] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    one.wait().unwrap();
    tester.log();
    let [begun, waited, early] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let inside = [&begun, &waited, &early].map(Arc::clone);
    tester.script().on_deregister = Some(Box::new(move || {
        let [begun, waited, early] = &inside;
        begun.store(true, Ordering::SeqCst);
        let mut turns = (0..TURNS).inspect(|_| thread::yield_now());
        let is_early = turns.any(|_| waited.load(Ordering::SeqCst));
        early.store(is_early, Ordering::SeqCst);
    }));
    let cancelled = thread::scope(|scope| {
        let cancelling = scope.spawn(|| one.cancel());
        while !begun.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        other.wait().unwrap();
        waited.store(true, Ordering::SeqCst);
        cancelling.join().unwrap()
    });
    let is_early = early.load(Ordering::SeqCst);
    assert!(!is_early, "the wait did not wait for the hook");
    ([one, other], cancelled)
}

#[test]
fn a_wait_during_a_deregistration_returns_after_it() {
    let tester = Tester::new();
    let ctx = tester.context();
    let (_channels, cancelled) = wait_during_a_deregistration(&tester, &ctx);
    assert!(cancelled.unwrap(), "it ended the wait");
    assert_eq!(tester.log(), ["deregister", "register"]);
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_wait_during_a_failed_deregistration_needs_no_new_registration() {
    let tester = Tester::new();
    tester.fail("deregister", ErrorKind::Other);
    let ctx = tester.context();
    let (channels, cancelled) = wait_during_a_deregistration(&tester, &ctx);
    cancelled.unwrap_err();
    assert_eq!(tester.log(), ["deregister"]);
    tester.batch(&channels.each_ref().map(Channel::port));
    assert_eq!(ctx.dispatch().unwrap().count(), 2, "both still wait");
}
