//! What other threads do while a callback runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use evtchn::{Error, Link, Outcome};

use super::{Channel, Rig, wait};

/// Does `act` in another thread while the callback of a channel runs. Returns whether the callback
/// had returned before `act` did.
fn during_a_call(act: fn(&Channel)) -> bool {
    let rig = Rig::new();
    let (entered, inside) = mpsc::channel();
    let (go_on, leave) = mpsc::channel::<()>();
    let returned = Arc::new(AtomicBool::new(false));
    let returns = Arc::clone(&returned);
    let wire = rig.waited(move |_, _| {
        entered.send(()).unwrap();
        // Time for the other thread to return early, if it did not wait.
        leave.recv().unwrap();
        (0..1000).for_each(|_| thread::yield_now());
        returns.store(true, Ordering::SeqCst);
    });
    rig.fire(&wire);
    let channel = Arc::clone(&wire.channel);
    thread::scope(|scope| {
        let dispatching = scope.spawn(|| rig.context.dispatch_callbacks().unwrap());
        inside.recv().unwrap();
        go_on.send(()).unwrap();
        act(&channel);
        let had_returned = returned.load(Ordering::SeqCst);
        assert_eq!(dispatching.join().unwrap(), Outcome::Done);
        had_returned
    })
}

#[test]
fn a_cancel_from_another_thread_waits_for_the_callback() {
    assert!(during_a_call(|channel| assert!(!channel.cancel().unwrap())));
}

#[test]
fn a_removal_from_another_thread_waits_for_the_callback() {
    assert!(during_a_call(|channel| assert!(
        channel.remove_callback().unwrap()
    )));
}

#[test]
fn try_cancel_returns_busy_while_the_callback_runs_and_changes_nothing() {
    let rig = Rig::new();
    let (entered, inside) = mpsc::channel();
    let (go_on, leave) = mpsc::channel::<()>();
    let wire = rig.waited(move |_, channel| {
        wait(channel);
        entered.send(()).unwrap();
        leave.recv().unwrap();
    });
    rig.fire(&wire);
    thread::scope(|scope| {
        let dispatching = scope.spawn(|| rig.context.dispatch_callbacks().unwrap());
        inside.recv().unwrap();
        let cancelled = wire.channel.try_cancel();
        go_on.send(()).unwrap();
        let id = wire.channel.id();
        assert!(matches!(cancelled, Err(Error::CallbackRuns(running)) if running == id));
        assert_eq!(dispatching.join().unwrap(), Outcome::Done);
    });
    assert_eq!(rig.context.link(), Link::Watching, "it waits again");
    assert!(wire.channel.try_cancel().unwrap());
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn try_cancel_ends_a_wait_inside_the_callback_and_beside_another_callback() {
    let rig = Rig::new();
    let (entered, inside) = mpsc::channel();
    let (go_on, leave) = mpsc::channel::<()>();
    let wire = rig.waited(move |_, channel| {
        wait(channel);
        entered.send(channel.try_cancel().unwrap()).unwrap();
        leave.recv().unwrap();
    });
    let other = rig.waited(|_, _| unreachable!("its wait has ended"));
    rig.fire(&wire);
    thread::scope(|scope| {
        let dispatching = scope.spawn(|| rig.context.dispatch_callbacks().unwrap());
        let ended_inside = inside.recv().unwrap();
        let cancelled = other.channel.try_cancel();
        rig.fire(&other);
        go_on.send(()).unwrap();
        assert!(ended_inside);
        assert!(cancelled.unwrap());
        assert_eq!(dispatching.join().unwrap(), Outcome::Done);
    });
    assert_eq!(rig.context.link(), Link::Idle);
}
