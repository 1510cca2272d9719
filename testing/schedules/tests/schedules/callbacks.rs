//! Cancel, removal and unbind beside a callback that another thread runs (I3, I8, I16).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evtchn_core::Error;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::AtomicUsize;
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Rig, Wire};

scenarios! {
    callback_that_panics_releases_a_waiting_cancel,
    cancels_of_several_threads_all_return,
    callback_may_cancel_another_while_it_is_cancelled;
    small
    cancel_returns_when_the_callback_does_not_run,
    removal_returns_when_the_callback_does_not_run,
    unbind_returns_when_the_callback_does_not_run,
    cancel_that_does_not_wait_never_does,
}

/// The calls of one callback.
#[derive(Default)]
struct Calls {
    /// Lets other threads run here.
    count: AtomicUsize,
    runs: AtomicBool,
    is_over: AtomicBool,
}

impl Calls {
    fn call(&self) {
        assert!(!self.is_over.load(Ordering::SeqCst), "called afterwards");
        assert!(!self.runs.swap(true, Ordering::SeqCst), "called twice");
        self.count.fetch_add(1, Ordering::SeqCst);
        self.runs.store(false, Ordering::SeqCst);
    }

    /// From here on there must be no call.
    fn end(&self) {
        assert!(!self.runs.load(Ordering::SeqCst), "it still runs");
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// A channel with an event and a wait, and the calls of its callback.
fn fired(rig: &Rig) -> (Wire, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let called = Arc::clone(&calls);
    let wire = rig.calling(move || called.call());
    wire.wait();
    rig.peer.send(&wire);
    (wire, calls)
}

/// Ends a wait in one thread while another one dispatches it.
fn end_beside_a_round(end: impl FnOnce(Wire) + Send) {
    let rig = Rig::new();
    let (wire, calls) = fired(&rig);
    thread::scope(|scope| {
        scope.spawn(|| rig.turn());
        scope.spawn(|| {
            end(wire);
            calls.end();
        });
    });
    assert!(rig.turn());
    assert!(!rig.is_registered());
    assert!(calls.count() < 2);
}

fn cancel_returns_when_the_callback_does_not_run() {
    // Kept, so the wait is not ended by an unbind.
    let kept = Mutex::new(None);
    end_beside_a_round(|wire| {
        wire.cancel();
        *kept.lock().unwrap() = Some(wire);
    });
}

fn removal_returns_when_the_callback_does_not_run() {
    let kept = Mutex::new(None);
    end_beside_a_round(|wire| {
        assert!(wire.channel.remove_callback().unwrap());
        wire.cancel();
        *kept.lock().unwrap() = Some(wire);
    });
}

fn unbind_returns_when_the_callback_does_not_run() {
    end_beside_a_round(|wire| {
        let mut channel = wire.into_channel();
        channel.unbind().unwrap();
        assert!(matches!(channel.wait(), Err(Error::NotBound(_))));
    });
}

/// The thread that cancels holds the lock that the callback takes.
fn cancel_that_does_not_wait_never_does() {
    let rig = Rig::new();
    let lock = Arc::new(Mutex::new(()));
    let calls = Arc::new(Calls::default());
    let (taken, called) = (Arc::clone(&lock), Arc::clone(&calls));
    let wire = rig.calling(move || {
        drop(taken.lock().unwrap());
        called.call();
    });
    wire.wait();
    rig.peer.send(&wire);
    thread::scope(|scope| {
        scope.spawn(|| rig.turn());
        scope.spawn(|| {
            let _held = lock.lock().unwrap();
            match wire.channel.try_cancel() {
                Ok(ended) => {
                    calls.end();
                    assert_eq!(usize::from(ended) + calls.count(), 1);
                }
                Err(Error::CallbackRuns(id)) => assert_eq!(id, wire.channel.id()),
                Err(error) => panic!("{error}"),
            }
        });
    });
    assert!(rig.turn());
    assert!(!rig.is_registered());
}

fn callback_that_panics_releases_a_waiting_cancel() {
    let rig = Rig::new();
    let calls = Arc::new(Calls::default());
    let called = Arc::clone(&calls);
    let wire = rig.calling(move || {
        called.call();
        if called.count() == 1 {
            resume_unwind(Box::new("as planned"));
        }
    });
    wire.wait();
    rig.peer.send(&wire);
    thread::scope(|scope| {
        scope.spawn(|| catch_unwind(AssertUnwindSafe(|| rig.turn())));
        scope.spawn(|| wire.cancel());
    });
    // Whether it was called or cancelled, the callback is set, and a kept event calls it.
    let before = calls.count();
    wire.wait();
    rig.peer.send(&wire);
    let panicked = catch_unwind(AssertUnwindSafe(|| rig.turn())).is_err();
    assert_eq!(panicked, before == 0);
    assert_eq!(calls.count(), before + 1);
}

fn cancels_of_several_threads_all_return() {
    let rig = Rig::new();
    let (wire, calls) = fired(&rig);
    let ended = thread::scope(|scope| {
        scope.spawn(|| rig.turn());
        let cancels = [0; 2].map(|_| {
            scope.spawn(|| {
                let ended = wire.cancel();
                calls.end();
                ended
            })
        });
        cancels.map(|cancel| cancel.join().unwrap())
    });
    // One wait: the callback was called, or one of the cancels ended it.
    let ended = ended.into_iter().filter(|ended| *ended).count();
    assert_eq!(ended + calls.count(), 1);
    assert!(!rig.is_registered());
}

fn callback_may_cancel_another_while_it_is_cancelled() {
    let rig = Rig::new();
    let (other, others) = fired(&rig);
    let (context, id) = (Arc::downgrade(&rig.context), other.channel.id());
    let wire = rig.calling(move || {
        context.upgrade().unwrap().cancel(id).unwrap();
        // Its own round runs one callback at a time.
        others.end();
    });
    wire.wait();
    rig.peer.send(&wire);
    thread::scope(|scope| {
        scope.spawn(|| rig.turn());
        scope.spawn(|| wire.cancel());
        scope.spawn(|| other.cancel());
    });
    assert!(!rig.is_registered());
}
