//! Tasks that wait for channels, polled by hand.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod adverse;
mod drive;
mod future;
mod lost;
mod nested;
mod stream;
mod together;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Cx, Poll, Wake as Waking, Waker};

use crate::support::{FakeLoop, Tester};
use evtchn_core::{
    Cause, Channel, Context, DomId, Error, ErrorKind, Link, Outcome, Trigger, Wakes, Woken,
};

const GUEST: DomId = DomId::new(7);

type Ctx = Context<FakeLoop>;

/// Counts the wakes of its waker.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Waking for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting_waker() -> (Arc<WakeCounter>, Waker) {
    let counter = Arc::new(WakeCounter::default());
    (Arc::clone(&counter), Waker::from(counter))
}

impl WakeCounter {
    fn count(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Cx::from_waker(waker))
}

fn next(wakes: &mut Wakes<FakeLoop>, waker: &Waker) -> Poll<Option<Cause>> {
    let polled = wakes.poll_wake(&mut Cx::from_waker(waker));
    polled.map(|wake| wake.map(|wake| wake.unwrap().cause))
}

fn bound() -> (Tester, Ctx, Channel<FakeLoop>) {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    tester.log();
    (tester, ctx, channel)
}

/// An event comes, and the reactor reads it.
fn event(tester: &Tester, ctx: &Ctx, channel: &Channel<FakeLoop>) {
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.drive().unwrap(), Outcome::Done);
}

fn is_cancelled(polled: &Poll<Result<Cause, Error>>) -> bool {
    matches!(polled, Poll::Ready(Err(Error::Cancelled)))
}
