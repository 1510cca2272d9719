//! Hooks of the event loop that panic: the context restores its state, then the panic goes on.
#![expect(clippy::panic, reason = "a test ends by panicking")]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::Tester;
use evtchn_core::{
    Cause, Channel, Context, Device, DomId, Error, ErrorKind, Link, LoopError, Registrar, Trigger,
};

const GUEST: DomId = DomId::new(7);

fn panics<T>(call: impl FnOnce() -> T) -> Box<dyn Any + Send> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(_) => panic!("it does not panic"),
        Err(panic) => panic,
    }
}

#[test]
fn a_wait_whose_hook_panics_did_not_begin() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    tester.script().panic.push("register");
    let panic = panics(|| channel.wait());
    assert_eq!(panic.downcast_ref(), Some(&"register"));
    tester.log();
    channel.wait().unwrap();
    assert_eq!(tester.log(), ["register", "write [1]"]);
}

#[test]
fn a_bind_whose_hook_panics_leaves_no_port() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("deregister", ErrorKind::Other);
    drop(channel);
    assert_eq!(
        ctx.link(),
        Link::Watching,
        "no channel waits: the bind tries again"
    );
    tester.script().panic.push("deregister");
    tester.log();
    drop(panics(|| ctx.bind_unbound_port(GUEST)));
    let calls = ["read", "bind", "deregister", "unbind 2", "deregister"];
    assert_eq!(tester.log(), calls);
    ctx.teardown().unwrap();
}

#[test]
fn a_channel_dropped_while_a_hook_panics_drops_its_callback() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let token = Arc::new(());
    let held = Arc::clone(&token);
    channel
        .set_callback(move |_| drop(Arc::clone(&held)))
        .unwrap();
    channel.wait().unwrap();
    tester.script().panic.push("deregister");
    drop(panics(|| drop(channel)));
    assert_eq!(Arc::strong_count(&token), 1);
    ctx.teardown().unwrap();
    assert_eq!(ctx.link(), Link::Closed);
}

#[test]
fn a_round_whose_hook_panics_wakes_the_loop_for_the_rest() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    let [one, other] = &channels;
    one.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    other.wait().unwrap();
    let mut round = ctx.dispatch_at_most(1).unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    tester.script().panic.push("deregister");
    tester.log();
    drop(panics(|| round.finish()));
    assert_eq!(tester.log(), ["deregister", "wake"]);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
}

#[test]
fn a_hook_that_panics_while_a_callback_unwinds_is_the_error_of_the_next_round() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let set = channel.set_callback(|_| resume_unwind(Box::new("callback")));
    set.unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    tester.script().panic.push("deregister");
    let panic = panics(|| ctx.dispatch_callbacks());
    assert_eq!(panic.downcast_ref(), Some(&"callback"));
    assert_eq!(ctx.link(), Link::Watching);
    let refused = ctx.dispatch_callbacks().unwrap_err();
    assert!(matches!(refused, Error::HookPanicked), "{refused:?}");
    assert_eq!(ctx.stats().unreported, 0);
    // The next round deregisters.
    assert_eq!(ctx.dispatch().unwrap().count(), 0);
    assert_eq!(ctx.link(), Link::Idle);
}

#[test]
fn a_context_that_is_dropped_while_a_hook_panics_closes_its_device() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let channel = Arc::new(Mutex::new(Some(channel)));
    let held = Arc::clone(&channel);
    let guard = channel.lock().unwrap();
    let waited = guard.as_ref().unwrap();
    // The callback holds its own channel, so only the context can drop both.
    waited.set_callback(move |_| drop(held.lock())).unwrap();
    waited.wait().unwrap();
    drop(guard);
    tester.script().panic.push("deregister");
    drop(panics(|| drop(ctx)));
    drop(channel);
    let log = tester.log();
    assert_eq!(log[log.len() - 2..], ["unbind 1", "close"], "{log:?}");
}

#[test]
fn a_context_whose_last_handle_is_dropped_in_a_hook_closes_after_the_hook() {
    let tester = Tester::new();
    let ctx = Arc::new(Mutex::new(None));
    let context = tester.context();
    let channel = context.bind_unbound_port(GUEST).unwrap();
    *ctx.lock().unwrap() = Some(context);
    let last = Arc::clone(&ctx);
    tester.script().on_register = Some(Box::new(move || drop(last.lock().unwrap().take())));
    tester.log();
    // This wait is cancelled by the end of the context, so its result does not matter.
    let _answer = channel.wait();
    assert_eq!(tester.log(), ["register", "deregister"]);
    channel.wait().unwrap_err();
    drop(channel);
    assert_eq!(tester.log(), ["unbind 1", "close"]);
}

/// A registration that stays does not report the edge again.
#[test]
fn an_unread_edge_is_kept_when_the_deregister_fails() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let [one, other] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    one.wait().unwrap();
    let round = ctx.dispatch().unwrap();
    one.cancel().unwrap();
    tester.fail("deregister", ErrorKind::Other);
    assert!(matches!(round.finish(), Err(Error::Deregister(_))));
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    other.wait().unwrap();
    tester.batch(&[other.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
}

#[test]
fn a_restriction_set_during_the_open_is_set_on_the_device() {
    let tester = Tester::new();
    let ctx = Arc::new(tester.context());
    let inside = Arc::clone(&ctx);
    let set = move || inside.restrict(GUEST).unwrap();
    tester.script().on_open = Some(Box::new(set));
    let _channel = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(tester.log(), ["open", "restrict 7", "bind"]);
}

#[test]
fn a_device_closed_after_a_failed_deregister_is_not_counted_as_deregistered() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Gone);
    tester.fail("deregister", ErrorKind::Other);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    assert!(matches!(round.finish(), Err(Error::Device(_))));
    let stats = ctx.stats();
    assert_eq!((stats.deregisters, stats.unreported), (0, 1));
    assert_eq!(ctx.link(), Link::Faulted);
}

#[test]
fn a_bind_that_finds_a_failed_device_wakes_the_loop_though_its_hook_panics() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [one, mut gone] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    one.wait().unwrap();
    gone.unbind().unwrap();
    tester.fail("read", ErrorKind::Gone);
    tester.script().panic.push("deregister");
    tester.log();
    drop(panics(|| ctx.bind_unbound_port(GUEST)));
    assert_eq!(tester.log(), ["read", "wake", "deregister"]);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
}

#[test]
fn a_wake_hook_that_panics_after_a_panicking_round_is_counted() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        let set = channel.set_callback(|_| resume_unwind(Box::new("callback")));
        set.unwrap();
        channel.wait().unwrap();
    }
    tester.batch(&channels.each_ref().map(Channel::port));
    tester.script().panic.push("wake");
    let panic = panics(|| ctx.dispatch_callbacks());
    assert_eq!(panic.downcast_ref(), Some(&"callback"));
    assert_eq!(ctx.stats().unreported, 1);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
}

/// An error of a loop; the count of its `Arc` is the number of errors.
#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refused(Arc<()>);

/// A loop whose deregister fails twice and panics the third time.
struct Stubborn {
    errors: Arc<()>,
    calls: AtomicU32,
}

impl Registrar for Stubborn {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, _device: &Device) -> Result<(), LoopError> {
        Ok(())
    }

    fn deregister(&self, _device: &Device) -> Result<(), LoopError> {
        match self.calls.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(LoopError::new(Refused(Arc::clone(&self.errors)))),
            2 => resume_unwind(Box::new("deregister")),
            _ => Ok(()),
        }
    }

    fn wake(&self) {}
}

#[test]
fn an_error_is_dropped_when_a_hook_panics_before_its_return() {
    let errors = Arc::new(());
    let event_loop = Stubborn {
        errors: Arc::clone(&errors),
        calls: AtomicU32::new(0),
    };
    let ctx = Context::with_registrar(Tester::new().opener(), event_loop);
    let channels = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    channels[0].wait().unwrap();
    // The context deregisters the lost device first, which fails for the first time.
    ctx.driver().lost();
    // The second refusal is the error of this wait; as that is taken back, the third call panics.
    let panic = panics(|| channels[1].wait());
    assert_eq!(panic.downcast_ref(), Some(&"deregister"));
    assert_eq!(Arc::strong_count(&errors), 2, "the test and the loop");
}
