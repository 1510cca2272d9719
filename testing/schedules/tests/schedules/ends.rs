//! Unbind, teardown, drop and a failing device while other threads use the context (I3, I8, I11).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use evtchn_core::{ChannelId, DomId, Error, ErrorKind, NotifySet};
use evtchn_sim::{Call, Errno};
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Rig, Wire};

scenarios! {
    ;
    small
    batch_beside_an_unbind_notifies_what_is_bound,
    device_that_fails_beside_a_wait_wakes_each_waiter_once,
    notifier_beside_an_unbind_notifies_or_is_not_bound,
    set_beside_an_unbind_and_a_bind_notifies_what_is_bound,
    teardown_beside_an_unbind_closes_or_names_the_channel,
    wait_beside_the_end_of_the_context_leaves_nothing_registered,
}

fn notifier_beside_an_unbind_notifies_or_is_not_bound() {
    let rig = Rig::new();
    let wire = rig.wire();
    let notifier = wire.channel.notifier();
    let is_unbound = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            wire.into_channel().unbind().unwrap();
            is_unbound.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            for _ in 0..2 {
                let was_unbound = is_unbound.load(Ordering::SeqCst);
                match notifier.notify() {
                    Err(Error::NotBound(_)) => {}
                    _ if was_unbound => panic!("it notified afterwards"),
                    Err(Error::Device(error)) => {
                        assert_eq!(error.kind(), ErrorKind::NotBound);
                    }
                    notified => notified.unwrap(),
                }
            }
        });
    });
    let torn = rig.context.teardown();
    assert!(
        matches!(&torn, Err(Error::StillInUse(left)) if left.held == 1),
        "{torn:?}"
    );
    drop(notifier);
    rig.context.teardown().unwrap();
    assert_eq!(rig.open_files(), 0);
}

/// Another thread unbinds two channels of three while this one notifies them all, twice.
fn batches_beside_unbinds(
    rig: &Rig,
    notify: impl Fn(&[ChannelId]) -> Result<(), Error> + Sync,
    [one, two, three]: [Wire; 3],
) {
    let ids = [&one, &two, &three].map(|wire| wire.channel.id());
    let unbound = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for wire in [one, three] {
                wire.into_channel().unbind().unwrap();
                unbound.fetch_add(1, Ordering::SeqCst);
            }
            // It may get the number of a port that a batch has named.
            drop(rig.context.bind_unbound_port(DomId::SELF).unwrap());
        });
        scope.spawn(|| {
            for _ in 0..2 {
                let before = unbound.load(Ordering::SeqCst);
                let failed = match notify(&ids) {
                    Ok(()) => 0,
                    Err(Error::NotNotified(refused)) => refused.failed.len(),
                    Err(error) => panic!("{error}"),
                };
                assert!(
                    (before..=2).contains(&failed),
                    "{failed} failed after {before}"
                );
            }
        });
    });
    assert!(matches!(notify(&ids), Err(Error::NotNotified(it)) if it.failed.len() == 2));
    drop(two);
}

fn batch_beside_an_unbind_notifies_what_is_bound() {
    let rig = Rig::new();
    let wires = [(); 3].map(|()| rig.wire());
    batches_beside_unbinds(&rig, |ids| rig.context.notify_many(ids), wires);
    rig.context.teardown().unwrap();
    assert_eq!(rig.open_files(), 0);
}

fn set_beside_an_unbind_and_a_bind_notifies_what_is_bound() {
    let rig = Rig::new();
    let wires = [(); 3].map(|()| rig.wire());
    let set: NotifySet = wires.iter().map(|it| it.channel.notifier()).collect();
    batches_beside_unbinds(&rig, |_| set.notify(), wires);
    drop(set);
    rig.context.teardown().unwrap();
    assert_eq!(rig.open_files(), 0);
}

fn device_that_fails_beside_a_wait_wakes_each_waiter_once() {
    let rig = Rig::new();
    let counts = [0; 2].map(|_| Arc::new(AtomicUsize::new(0)));
    let wires = counts.each_ref().map(|count| {
        let count = Arc::clone(count);
        rig.calling(move || {
            count.fetch_add(1, Ordering::SeqCst);
        })
    });
    wires[0].wait();
    rig.peer.send(&wires[0]);
    rig.opener.fail_next(Call::Pending, Errno::EIO);
    let waits = thread::scope(|scope| {
        scope.spawn(|| match rig.context.dispatch_callbacks() {
            Err(Error::Device(_)) => {}
            other => panic!("{other:?}"),
        });
        let waiting = scope.spawn(|| match wires[1].channel.wait() {
            Ok(_) => 1,
            Err(Error::NotBound(_)) => 0,
            Err(error) => panic!("{error}"),
        });
        waiting.join().unwrap()
    });
    while rig.context.next_timeout().is_some() {
        assert!(rig.turn());
    }
    let counts = counts.map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [1, waits]);
    assert!(!rig.is_registered());
    drop(wires);
    assert_eq!(rig.open_files(), 0);
}

fn teardown_beside_an_unbind_closes_or_names_the_channel() {
    let rig = Rig::new();
    let wire = rig.wire();
    wire.wait();
    let port = wire.channel.port();
    thread::scope(|scope| {
        scope.spawn(|| wire.into_channel().unbind().unwrap());
        scope.spawn(|| match rig.context.teardown() {
            Ok(()) => {}
            Err(Error::StillInUse(left)) => {
                assert_eq!((left.channels, left.held), (vec![port], 0));
            }
            Err(error) => panic!("{error}"),
        });
    });
    rig.context.teardown().unwrap();
    assert!(!rig.is_registered());
    assert_eq!(rig.open_files(), 0);
}

fn wait_beside_the_end_of_the_context_leaves_nothing_registered() {
    let mut rig = Rig::new();
    let wire = rig.wire();
    let context = rig.take_context();
    thread::scope(|scope| {
        scope.spawn(|| drop(context));
        scope.spawn(|| match wire.channel.wait() {
            Ok(_) | Err(Error::NotBound(_)) => {}
            Err(error) => panic!("{error}"),
        });
    });
    assert!(!rig.is_registered());
    drop(wire);
    assert_eq!(rig.open_files(), 0);
}
