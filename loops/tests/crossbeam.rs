//! Delivery to threads on the simulator's own loop: nothing here runs in parallel. The workers are
//! a script, with one step for each time that the dispatcher would sleep.
#![cfg(feature = "crossbeam")]
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod rig;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use crossbeam_channel::TryRecvError;
use evtchn_core::{Cause, DomId, Error, Port, Round};
use evtchn_loops::{AddError, RunError};
use evtchn_sim::{Call, Errno, Fault, SimLoop};

use rig::{Rig, Wakes, take};

#[test]
fn a_wake_is_received_once_and_the_channel_waited_for_when_it_is_done() {
    let rig = Rig::new(2);
    let ports = [rig.port(0), rig.port(1)];
    rig.then(|peers, _| peers.send_all());
    rig.then(move |peers, wakes| {
        let (mut first, one, cause) = take(wakes);
        let (second, other, _) = take(&wakes.clone());
        assert_eq!(([one, other], cause), (ports, Cause::Event));
        // Masked until it is done; Xen keeps the event.
        peers.send_all();
        first.done().unwrap();
        assert!(wakes.is_empty());
        drop(second);
    });
    rig.then(move |_, wakes| {
        let [(_first, one, _), (_second, other, _)] = [take(wakes), take(wakes)];
        assert_eq!([one, other], ports);
    });
    rig.then(|_, wakes| assert!(wakes.is_empty()));
    rig.run_script();
    rig.expect_clean_end();
}

#[test]
fn an_event_that_is_latched_goes_to_the_end_of_the_queue() {
    let rig = Rig::new(4);
    let ports = [1, 2, 3, 0].map(|index| rig.port(index));
    let opener = rig.opener.clone();
    rig.then(|peers, _| (0..3).for_each(|index| peers.send(index)));
    // Port 3 is still waited for, so the device is read. The others have a delivery already.
    rig.then(move |_, _| opener.overflow().unwrap());
    rig.then(move |_, wakes| {
        let (delivery, port, cause) = take(wakes);
        assert_eq!((port, cause), (ports[3], Cause::Event));
        drop(delivery);
    });
    rig.then(move |_, wakes| {
        let taken = ports.map(|_| take(wakes));
        assert_eq!(taken.each_ref().map(|(_, port, _)| *port), ports);
        let causes = taken.each_ref().map(|(_, _, cause)| *cause);
        let (event, overflow) = (Cause::Event, Cause::Overflow);
        assert_eq!(causes, [event, event, overflow, overflow]);
    });
    rig.run_script();
    rig.expect_clean_end();
}

#[test]
fn a_wake_beside_a_delivery_is_the_next_delivery_and_not_a_second_one() {
    let rig = Rig::new(2);
    let (intruder, kept) = (Arc::clone(&rig.channels[0]), Arc::new(Mutex::new(None)));
    let keep = Arc::clone(&kept);
    rig.then(|peers, _| peers.send(0));
    rig.then(move |peers, wakes| {
        *keep.lock().unwrap() = Some(take(wakes).0);
        // Wrong use of the dispatcher, but harmless.
        intruder.wait().unwrap();
        peers.send(0);
    });
    rig.then(move |_, wakes| {
        assert!(wakes.is_empty());
        kept.lock().unwrap().take().unwrap().done().unwrap();
        drop(take(wakes));
    });
    rig.then(|_, wakes| assert!(wakes.is_empty()));
    rig.run_script();
    assert_eq!(rig.ctx.stats().wakes, 2);
    rig.expect_clean_end();
}

#[test]
fn a_storm_without_workers_is_one_wake_for_each_channel() {
    let rig = Rig::new(3);
    let allocated = Some(3);
    for _ in 0..50 {
        rig.then(move |peers, wakes| {
            peers.send_all();
            assert_eq!(wakes.capacity(), allocated);
        });
    }
    rig.then(|_, wakes| assert_eq!(wakes.len(), 3));
    // A delivery that is taken leaves the queue, and its channel can be queued again when it is done.
    for _ in 0..50 {
        rig.then(|peers, wakes| {
            drop(take(wakes));
            peers.send_all();
            assert!(wakes.len() <= 3);
        });
    }
    rig.then(|_, wakes| assert_eq!(wakes.len(), 3));
    rig.run_script();
    assert_eq!(rig.ctx.stats().wakes, 3 + 50);
}

#[test]
fn a_removed_channel_counts_until_its_delivery_is_over() {
    let rig = Rig::new(2);
    let more = Arc::new(rig.ctx.bind_unbound_port(rig.peers.guest.domid()).unwrap());
    let full = |added| matches!(added, Err(AddError::Full { capacity: 2 }));
    assert!(full(rig.dispatcher.add(Arc::clone(&more))));
    let again = rig.dispatcher.add(Arc::clone(&rig.channels[0]));
    assert!(matches!(again, Err(AddError::Twice(it)) if it == rig.channels[0].id()));

    let (dispatcher, id) = (rig.dispatcher.clone(), rig.channels[0].id());
    rig.then(|peers, _| peers.send(0));
    rig.then(move |peers, wakes| {
        let removed = dispatcher.remove(id).unwrap().unwrap();
        assert_eq!(removed.id(), id);
        assert!(dispatcher.remove(id).unwrap().is_none());
        assert!(full(dispatcher.add(Arc::clone(&more))));
        peers.send(0);
        drop(take(wakes));
        dispatcher.add(Arc::clone(&more)).unwrap();
        let twice = dispatcher.add(Arc::clone(&more));
        assert!(matches!(twice, Err(AddError::Twice(it)) if it == more.id()));
    });
    rig.then(|_, wakes| assert!(wakes.is_empty(), "nothing waits for it any more"));
    rig.run_script();
    // What came after its end is kept.
    rig.channels[0].wait().unwrap();
    assert!(rig.event_loop.ready());
    rig.channels[0].cancel().unwrap();
}

#[test]
fn a_worker_that_panics_gives_its_wake_to_another_one_and_a_second_panic_loses_no_event() {
    let rig = Rig::new(2);
    let ports = [rig.port(0), rig.port(1)];
    let panic_with_the_next = |wakes: &Wakes, expected: Port| {
        let (delivery, port, _) = take(wakes);
        assert_eq!(port, expected);
        let died = catch_unwind(AssertUnwindSafe(move || {
            let _held = delivery;
            resume_unwind(Box::new(()));
        }));
        assert!(died.is_err());
    };
    rig.then(|peers, _| peers.send_all());
    rig.then(move |_, wakes| {
        panic_with_the_next(wakes, ports[0]);
        drop(take(wakes));
        panic_with_the_next(wakes, ports[0]);
    });
    rig.then(|peers, wakes| {
        assert!(wakes.is_empty(), "it is not queued for ever");
        peers.send(0);
    });
    rig.then(move |_, wakes| assert_eq!(take(wakes).1, ports[0]));
    rig.run_script();
    rig.expect_clean_end();
}

#[test]
fn after_the_end_the_queue_is_drained_and_nothing_is_waited_for() {
    let rig = Rig::new(2);
    let (wakes, port) = (rig.dispatcher.wakes(), rig.port(0));
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    rig.then(|peers, _| peers.send_all());
    rig.then(move |peers, wakes| {
        let (mut delivery, ..) = take(wakes);
        delivery.done().unwrap();
        peers.send(0);
    });
    rig.then(move |_, wakes| {
        *keep.lock().unwrap() = Some(take(wakes).0);
    });
    rig.run_script();
    assert_eq!(take(&wakes).1, port);
    assert!(matches!(wakes.try_recv(), Err(TryRecvError::Disconnected)));
    kept.lock().unwrap().take().unwrap().done().unwrap();
    rig.expect_ended();
    let late = rig.dispatcher.add(Arc::clone(&rig.channels[0]));
    assert!(matches!(late, Err(AddError::Ended)));
    assert!(matches!(rig.dispatcher.run(), Err(RunError::Running)));
    drop(wakes);
    rig.expect_clean_end();
}

#[test]
fn an_event_that_comes_just_before_the_end_is_kept() {
    let rig = Rig::new(2);
    let (peers, dispatcher) = (rig.peers.clone(), rig.dispatcher.clone());
    rig.event_loop.while_asleep(move || {
        peers.send(1);
        dispatcher.stop();
    });
    rig.dispatcher.run().unwrap();
    rig.expect_ended();
    rig.channels[1].wait().unwrap();
    let mut round = rig.ctx.dispatch().unwrap();
    assert_eq!(round.next().unwrap().port(), rig.port(1));
    round.finish().unwrap();
    rig.expect_clean_end();
}

#[test]
fn a_dispatcher_that_never_ran_leaves_nothing() {
    let rig = Rig::new(2);
    rig.peers.send_all();
    rig.expect_clean_end();
}

#[test]
fn the_wakes_of_other_channels_are_kept() {
    let rig = Rig::new(1);
    let guest = &rig.peers.guest;
    let mut other = rig.ctx.bind_unbound_port(guest.domid()).unwrap();
    let theirs = guest.bind_interdomain(DomId::DOM0, other.port()).unwrap();
    other.wait().unwrap();
    rig.then(move |peers, _| peers.guest.send(theirs).unwrap());
    rig.then(|_, wakes| assert!(wakes.is_empty()));
    rig.run_script();
    rig.expect_kept(&other);
    other.unbind().unwrap();
    rig.expect_clean_end();
}

#[test]
fn a_delivery_that_cannot_be_done_comes_back_and_is_done_later() {
    let rig = Rig::new(1);
    let (event_loop, port) = (rig.event_loop.clone(), rig.port(0));
    rig.then(|peers, _| peers.send(0));
    rig.then(move |peers, wakes| {
        event_loop.fail_next(Call::Register, Errno::ENOMEM);
        let mut delivery = take(wakes).0;
        let not_done = delivery.done().unwrap_err();
        assert_eq!(Errno::of(&not_done), Some(Errno::ENOMEM));
        let line = not_done.to_string();
        let refused = "the event loop refused the device: ";
        assert!(line.starts_with(refused), "{line}");
        assert!(line.contains("ENOMEM"), "{line}");
        peers.send(0);
        delivery.done().unwrap();
        // It is over, and changes nothing any more.
        delivery.done().unwrap();
    });
    rig.then(move |_, wakes| assert_eq!(take(wakes).1, port));
    rig.run_script();
    rig.expect_clean_end();
}

#[test]
fn a_dropped_delivery_that_cannot_be_waited_for_again_ends_the_run() {
    let rig = Rig::new(1);
    let event_loop = rig.event_loop.clone();
    rig.then(|peers, _| peers.send(0));
    rig.then(move |_, wakes| {
        event_loop.fail_next(Call::Register, Errno::ENOMEM);
        drop(take(wakes));
    });
    let ran = rig.dispatcher.run().unwrap_err();
    let id = rig.channels[0].id();
    assert!(
        matches!(ran, RunError::Wait { channel, .. } if channel == id),
        "{ran}"
    );
    rig.expect_ended();
    rig.expect_clean_end();
}

#[test]
fn a_device_failure_ends_the_run_and_wakes_every_channel() {
    let rig = Rig::new(2);
    let opener = rig.opener.clone();
    rig.then(move |peers, _| {
        opener.install(Fault::fail(Call::Pending, Errno::EIO).nth(1));
        peers.send(0);
    });
    let ran = rig.dispatcher.run().unwrap_err();
    assert!(matches!(ran, RunError::Context(Error::Device(_))), "{ran}");
    rig.expect_ended();
    let wakes = rig.dispatcher.wakes();
    let received = [take(&wakes), take(&wakes)];
    assert_eq!(
        received.map(|(_, port, cause)| (port, cause)),
        [(rig.port(0), Cause::Gone), (rig.port(1), Cause::Gone),]
    );
    assert!(matches!(wakes.try_recv(), Err(TryRecvError::Disconnected)));
}

#[test]
fn a_device_failure_wakes_more_channels_than_a_round_has_wakes() {
    let channels = Round::<SimLoop>::BUDGET + 9;
    let rig = Rig::new(channels);
    let opener = rig.opener.clone();
    rig.then(move |peers, _| {
        opener.install(Fault::fail(Call::Pending, Errno::EIO).nth(1));
        peers.send(0);
    });
    rig.dispatcher.run().unwrap_err();
    assert_eq!(rig.dispatcher.wakes().len(), channels);
    rig.expect_ended();
}

#[test]
fn a_sleep_that_fails_ends_the_run() {
    let rig = Rig::new(1);
    // Nothing would ever end it.
    let ran = rig.dispatcher.run().unwrap_err();
    let RunError::Context(error @ Error::Sleep(_)) = ran else {
        panic!("{ran}");
    };
    assert_eq!(Errno::of(&error), Some(Errno::EDEADLK));
    rig.expect_ended();
    rig.expect_clean_end();
}

#[test]
fn a_refused_deregistration_at_the_end_is_reported() {
    let rig = Rig::new(1);
    rig.event_loop.fail_next(Call::Deregister, Errno::EIO);
    rig.then_stop();
    let ran = rig.dispatcher.run().unwrap_err();
    assert!(matches!(ran, RunError::Cancel { .. }), "{ran}");
    rig.channels[0].cancel().unwrap();
    rig.expect_ended();
}

/// The removal ends the old place of the channel and not one that was added meanwhile.
#[test]
fn a_channel_that_is_being_removed_cannot_be_added() {
    let rig = Rig::new(1);
    let (dispatcher, channel) = (rig.dispatcher.clone(), Arc::clone(&rig.channels[0]));
    let added = Arc::new(Mutex::new(None));
    let notes = Arc::clone(&added);
    // What happens beside a call of the loop needs a machine to happen on.
    let event_loop = rig.event_loop.clone().on(&rig.sim);
    event_loop.install(Fault::meanwhile(Call::Deregister, move |_| {
        let again = dispatcher.add(Arc::clone(&channel));
        *notes.lock().unwrap() = Some(again.unwrap_err().to_string());
    }));
    let id = rig.channels[0].id();
    assert!(rig.dispatcher.remove(id).unwrap().is_some());
    assert!(rig.dispatcher.remove(id).unwrap().is_none());
    rig.event_loop.clear_faults();
    let refused = added.lock().unwrap().take();
    assert_eq!(refused, Some(format!("{id} is in the dispatcher already")));
    rig.dispatcher.add(Arc::clone(&rig.channels[0])).unwrap();
    assert!(rig.event_loop.is_registered());
    rig.expect_clean_end();
}

#[test]
fn a_channel_that_could_not_be_added_has_no_callback() {
    let rig = Rig::new(1);
    let channel = Arc::clone(&rig.channels[0]);
    rig.dispatcher.remove(channel.id()).unwrap();
    rig.event_loop.fail_next(Call::Register, Errno::ENOMEM);
    let refused = rig.dispatcher.add(Arc::clone(&channel));
    assert!(matches!(
        refused,
        Err(AddError::Context(Error::Register(_)))
    ));
    // A round of callbacks has no callback for this wake, which is kept.
    channel.wait().unwrap();
    rig.peers.send(0);
    rig.ctx.dispatch_callbacks().unwrap();
    rig.expect_kept(&channel);
}

/// Otherwise two threads would handle its wakes at once.
#[test]
fn a_channel_with_a_delivery_that_could_not_be_done_gets_no_second_one() {
    let rig = Rig::new(1);
    let wakes = rig.dispatcher.wakes();
    rig.peers.send(0);
    rig.ctx.dispatch_callbacks().unwrap();
    let (mut delivery, ..) = take(&wakes);
    rig.event_loop.fail_next(Call::Register, Errno::ENOMEM);
    delivery.done().unwrap_err();
    // Other code waits, and the wake comes.
    rig.channels[0].wait().unwrap();
    rig.peers.send(0);
    rig.ctx.dispatch_callbacks().unwrap();
    assert!(wakes.is_empty());
    delivery.done().unwrap();
    let (mut next, _, cause) = take(&wakes);
    assert_eq!(cause, Cause::Event);
    next.done().unwrap();
}

/// The channel will bring no more events: another worker would find nothing new.
#[test]
fn a_panic_with_the_wake_of_a_failed_device_does_not_queue_it_again() {
    let rig = Rig::new(1);
    let wakes = rig.dispatcher.wakes();
    let fault = Fault::fail(Call::Pending, Errno::EIO).nth(1);
    rig.opener.install(fault);
    rig.peers.send(0);
    let _failed = rig.ctx.dispatch_callbacks();
    while wakes.is_empty() {
        rig.ctx.dispatch_callbacks().unwrap();
    }
    let (delivery, _, cause) = take(&wakes);
    assert_eq!(cause, Cause::Gone);
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _delivery = delivery;
        resume_unwind(Box::new("a worker"));
    }));
    panicked.unwrap_err();
    assert!(wakes.is_empty());
}
