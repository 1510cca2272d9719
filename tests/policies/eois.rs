//! The end of an interrupt ([`Eoi`]), which unmasks a port when it is completed on any thread.

use std::sync::{Arc, Mutex};
use std::thread;

use evtchn::{Eoi, OnEoi, RateLimit};

use super::rig::{Rig, s};

#[test]
fn a_port_stays_masked_until_another_thread_completes_its_eoi() {
    let mut rig = Rig::new(1);
    let (send, eois) = std::sync::mpsc::channel::<Eoi>();
    rig.add(0, OnEoi, move |call| {
        send.send(call.take_eoi().unwrap()).unwrap();
        assert!(call.take_eoi().is_none());
    });
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    let eoi = eois.recv().unwrap();
    rig.send(0);
    assert_eq!(rig.round(s(1)), []);
    // There is no wait meanwhile.
    assert!(!rig.event_loop.is_registered());
    assert_eq!(rig.handlers.next_timeout(s(1)), None);

    let id = rig.id(0);
    assert!(!rig.event_loop.ready());
    thread::spawn(move || {
        assert_eq!(eoi.channel(), id);
        eoi.complete();
    })
    .join()
    .unwrap();
    assert_eq!(rig.handlers.next_timeout(s(1)), Some(s(0)));
    assert!(rig.event_loop.ready(), "the loop was woken");
    assert_eq!(
        rig.round(s(2)),
        [],
        "enabled by this round, read by the next"
    );
    assert_eq!(rig.round(s(2)), [rig.event(0)]);
    drop(eois.recv().unwrap());
    rig.expect_clean_end();
}

#[test]
fn an_eoi_completed_in_its_own_call_unmasks_the_port_in_the_same_round() {
    let mut rig = Rig::new(1);
    rig.add(0, OnEoi, |call| call.take_eoi().unwrap().complete());
    rig.send(0);
    let before = rig.ctx.stats().writes;
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    assert_eq!(rig.ctx.stats().writes, before + 1);
    assert_eq!(rig.handlers.next_timeout(s(0)), None);
    rig.expect_clean_end();
}

/// Keeps the ends of a handler's calls, the last one at the end.
pub(super) fn keep_eois(rig: &mut Rig) -> Arc<Mutex<Vec<Eoi>>> {
    let kept = Arc::<Mutex<Vec<Eoi>>>::default();
    let keeps = Arc::clone(&kept);
    rig.add(0, OnEoi, move |call| {
        keeps.lock().unwrap().push(call.take_eoi().unwrap());
    });
    kept
}

pub(super) fn take_eoi(kept: &Mutex<Vec<Eoi>>) -> Eoi {
    kept.lock().unwrap().remove(0)
}

#[test]
fn the_eoi_of_a_removed_handler_unmasks_no_port_of_the_next_one() {
    let mut rig = Rig::new(1);
    let first = keep_eois(&mut rig);
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    assert!(rig.handlers.remove(rig.id(0)));
    // Its wait unmasks the port, and its first wake postpones the next wait.
    rig.add(0, RateLimit::new(1, s(100)).unwrap(), |_| {});
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    take_eoi(&first).complete();
    rig.send(0);
    let rounds = [rig.round(s(1)), rig.round(s(1)), rig.round(s(99))];
    assert_eq!(rounds.concat(), [], "its limit does not count");
    assert!(!rig.event_loop.is_registered());
    let due = [rig.round(s(100)), rig.round(s(100))].concat();
    assert_eq!(due, [rig.event(0)]);
    rig.expect_clean_end();
}

#[test]
fn the_eoi_of_a_removed_handler_is_not_that_of_the_next_one() {
    let mut rig = Rig::new(1);
    let first = keep_eois(&mut rig);
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    assert!(rig.handlers.remove(rig.id(0)));
    let second = keep_eois(&mut rig);
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    take_eoi(&first).complete();
    rig.send(0);
    assert_eq!([rig.round(s(1)), rig.round(s(1))].concat(), []);
    take_eoi(&second).complete();
    let later = [rig.round(s(2)), rig.round(s(2))].concat();
    assert_eq!(later, [rig.event(0)]);
    drop(take_eoi(&second));
    rig.expect_clean_end();
}

/// A wait by hand brought a second wake before the end of interrupt of the first was completed.
#[test]
fn the_eoi_of_an_earlier_wake_leaves_the_port_to_the_later_one() {
    let mut rig = Rig::new(1);
    let kept = keep_eois(&mut rig);
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    rig.channels[0].wait().unwrap();
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    let (first, second) = (take_eoi(&kept), take_eoi(&kept));
    first.complete();
    rig.send(0);
    assert_eq!([rig.round(s(1)), rig.round(s(1))].concat(), []);
    second.complete();
    let later = [rig.round(s(2)), rig.round(s(2))].concat();
    assert_eq!(later, [rig.event(0)]);
    drop(take_eoi(&kept));
    rig.expect_clean_end();
}
