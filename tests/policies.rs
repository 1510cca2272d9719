//! Handlers under unmask policies: when a port is unmasked. No wake is lost.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod eois;
mod rig;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use evtchn::sim::{Call as SimCall, Errno, Fault};
use evtchn::{
    AfterHandler, BeforeHandler, Cause, Eoi, Error, Link, OnEoi, Outcome, RateLimit, Unmask,
    UnmaskPolicy,
};

use eois::{keep_eois, take_eoi};
use rig::{Rig, s};

/// The first call of the handler sends again. Returns whether that event was in the ring when the
/// handler returned.
fn is_in_the_ring_when_the_handler_returns(policy: impl UnmaskPolicy + 'static) -> bool {
    let mut rig = Rig::new(1);
    let seen = Arc::new(Mutex::new(None));
    let (guest, peer_port) = (rig.guest.clone(), rig.peer_ports[0]);
    let (event_loop, first) = (rig.event_loop.clone(), Arc::clone(&seen));
    rig.add(0, policy, move |_| {
        if first.lock().unwrap().is_none() {
            guest.send(peer_port).unwrap();
            *first.lock().unwrap() = Some(event_loop.ready());
        }
    });
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    // The first round unmasks the postponed port, the second reads it.
    let later = [rig.round(s(1_000)), rig.round(s(1_000))].concat();
    assert_eq!(later, [rig.event(0)], "it is not lost");
    assert_eq!(rig.round(s(2_000)), []);
    rig.expect_clean_end();
    let seen = *seen.lock().unwrap();
    seen.unwrap()
}

#[test]
fn only_before_handler_unmasks_before_the_handler_runs() {
    assert!(is_in_the_ring_when_the_handler_returns(BeforeHandler));
    assert!(!is_in_the_ring_when_the_handler_returns(AfterHandler));
    assert!(!is_in_the_ring_when_the_handler_returns(OnEoi));
    let limit = RateLimit::new(1, s(1)).unwrap();
    assert!(!is_in_the_ring_when_the_handler_returns(limit));
}

#[test]
fn ports_are_unmasked_by_one_write_after_their_handlers() {
    let mut rig = Rig::new(40);
    for index in 0..40 {
        rig.add(index, AfterHandler, |_| {});
        rig.send(index);
    }
    let before = rig.ctx.stats().writes;
    assert_eq!(rig.round(s(0)).len(), 40);
    assert_eq!(rig.ctx.stats().writes, before + 1);
    rig.expect_clean_end();
}

#[test]
fn over_the_limit_a_port_costs_nothing_until_its_next_token() {
    let mut rig = Rig::new(2);
    rig.add(0, RateLimit::new(2, s(10)).unwrap(), |_| {});
    rig.add(1, AfterHandler, |_| {});
    for _ in 0..2 {
        rig.send(0);
        assert_eq!(rig.round(s(100)), [rig.event(0)]);
    }
    assert_eq!(rig.handlers.next_timeout(s(103)), Some(s(7)));
    (0..9).for_each(|_| rig.send(0));
    assert!(!rig.event_loop.ready());
    rig.send(1);
    assert_eq!(rig.round(s(109)), [rig.event(1)]);
    assert_eq!(rig.handlers.next_timeout(s(109)), Some(s(1)));
    assert_eq!(rig.round(s(110)), [], "enabled by this round");
    assert_eq!(rig.round(s(110)), [rig.event(0)]);
    rig.expect_clean_end();
}

#[test]
fn time_that_goes_back_loses_no_wake_and_masks_a_port_for_one_period_at_most() {
    let mut rig = Rig::new(1);
    rig.add(0, RateLimit::new(1, s(10)).unwrap(), |_| {});
    rig.send(0);
    assert_eq!(rig.round(s(1_000)), [rig.event(0)]);
    rig.send(0);
    assert_eq!(rig.round(s(4)), []);
    assert_eq!(rig.handlers.next_timeout(s(2)), Some(s(10)));
    assert_eq!(rig.handlers.next_timeout(s(7)), Some(s(7)));
    assert_eq!(rig.round(s(14)), []);
    assert_eq!(rig.round(s(14)), [rig.event(0)]);
    rig.expect_clean_end();
}

#[test]
fn a_latched_event_goes_to_the_end_of_the_queue() {
    let mut rig = Rig::new(4);
    rig.add(0, RateLimit::new(1, s(1)).unwrap(), |_| {});
    (1..4).for_each(|index| rig.add(index, AfterHandler, |_| {}));
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    rig.opener.overflow().unwrap();
    // Of three that are ready it takes one. The port that is held back has it latched.
    let outcome = rig.handlers.round_at_most(s(0), 1).unwrap();
    assert_eq!(outcome, Outcome::More);
    let ports: Vec<_> = rig.round(s(1)).into_iter().map(|(port, _)| port).collect();
    assert_eq!(ports, [1, 2, 3, 0].map(|index| rig.port(index)));
    rig.expect_clean_end();
}

#[test]
fn after_a_handler_panics_its_port_is_unmasked_and_others_get_their_wakes() {
    let mut rig = Rig::new(3);
    rig.add(0, AfterHandler, |_| {});
    let mut panics = [true, false].into_iter();
    rig.add(1, OnEoi, move |_| {
        assert!(!panics.next().unwrap(), "in a handler");
    });
    rig.add(2, AfterHandler, |_| {});
    (0..3).for_each(|index| rig.send(index));
    let caught = catch_unwind(AssertUnwindSafe(|| rig.handlers.round(s(0)).is_ok()));
    caught.unwrap_err();
    assert_eq!(rig.handlers.next_timeout(s(0)), Some(s(0)));
    let ports = [0, 1, 2].map(|index| rig.event(index));
    assert_eq!(rig.round(s(0)), ports);
    (0..3).for_each(|index| rig.send(index));
    assert_eq!(rig.round(s(0)), ports);
    rig.expect_clean_end();
}

#[test]
fn a_wake_of_a_channel_without_a_handler_is_kept() {
    let mut rig = Rig::new(2);
    rig.add(0, AfterHandler, |_| {});
    rig.channels[1].wait().unwrap();
    (0..2).for_each(|index| rig.send(index));
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    rig.channels[1].wait().unwrap();
    let round = rig.ctx.dispatch().unwrap();
    let kept: Vec<_> = round.map(|wake| (wake.port(), wake.cause)).collect();
    assert_eq!(kept, [rig.event(1)]);
    rig.expect_clean_end();
}

#[test]
fn removing_a_handler_ends_its_wait_and_keeps_its_event() {
    let mut rig = Rig::new(2);
    rig.add(0, RateLimit::new(1, s(5)).unwrap(), |_| {});
    rig.add(1, AfterHandler, |_| {});
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    let (held, waiting) = (rig.id(0), rig.id(1));
    let again = rig.handlers.add(waiting, AfterHandler, |_| {});
    assert!(matches!(again, Err(Error::AlreadyWaited(id)) if id == waiting));
    rig.send(1);
    assert!(rig.handlers.remove(held) && rig.handlers.remove(waiting));
    assert!(!rig.handlers.remove(waiting));
    assert_eq!(rig.handlers.next_timeout(s(0)), None);
    assert_eq!(rig.ctx.link(), Link::Idle);
    assert_eq!(rig.round(s(9)), []);
    rig.add(1, AfterHandler, |_| {});
    assert_eq!(rig.round(s(9)), [rig.event(1)]);
    rig.expect_clean_end();
}

/// The wait after the first wake is postponed to 5 s, the wait after the second one to 9 s.
#[test]
fn a_later_wake_replaces_the_postponed_unmask_of_an_earlier_one() {
    struct Later(Vec<Duration>);
    impl UnmaskPolicy for Later {
        fn woke(&mut self, _: Duration) -> Unmask {
            Unmask::NotBefore(self.0.remove(0))
        }
    }
    let mut rig = Rig::new(1);
    rig.add(0, Later(vec![s(5), s(9), s(10)]), |_| {});
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    rig.channels[0].wait().unwrap();
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    rig.send(0);
    assert_eq!([rig.round(s(5)), rig.round(s(6))].concat(), []);
    let later = [rig.round(s(9)), rig.round(s(9))].concat();
    assert_eq!(later, [rig.event(0)]);
    rig.expect_clean_end();
}

/// The port is unmasked by the end of rounds, then by an `Eoi`, and so on.
#[test]
fn a_policy_may_decide_otherwise_at_each_wake() {
    struct Script(Vec<Unmask>);
    impl UnmaskPolicy for Script {
        fn woke(&mut self, _: Duration) -> Unmask {
            self.0.remove(0)
        }
    }
    let script = [
        Unmask::AfterHandler,
        Unmask::AfterHandler,
        Unmask::OnEoi,
        Unmask::BeforeHandler,
        Unmask::BeforeHandler,
        Unmask::NotBefore(s(5)),
        Unmask::NotBefore(s(5)),
        Unmask::AfterHandler,
        Unmask::OnEoi,
    ];
    let mut rig = Rig::new(1);
    let kept = Arc::<Mutex<Vec<Eoi>>>::default();
    let keeps = Arc::clone(&kept);
    rig.add(0, Script(script.into()), move |call| {
        keeps.lock().unwrap().extend(call.take_eoi());
    });
    let mut calls_at = |now: Duration| {
        rig.send(0);
        rig.round(now).len()
    };
    assert_eq!([0, 0, 0].map(|now| calls_at(s(now))), [1, 1, 1]);
    assert_eq!(calls_at(s(0)), 0, "masked until its Eoi is completed");
    take_eoi(&kept).complete();
    // The first round unmasks the port and the second reads what came meanwhile.
    let called = [0, 0, 0, 0].map(|now| calls_at(s(now)));
    assert_eq!(called, [0, 1, 1, 1], "and then the time has not come");
    let called = [4, 5, 5, 5, 5].map(|now| calls_at(s(now)));
    assert_eq!(called, [0, 0, 1, 1, 1], "and then it is masked");
    assert_eq!(calls_at(s(9)), 0);
    drop(take_eoi(&kept));
    rig.handlers.remove(rig.id(0));
    rig.expect_clean_end();
}

/// While its port is masked a task waits for the channel.
#[test]
fn removing_or_dropping_a_handler_ends_no_wait_of_a_task() {
    for is_removed in [true, false] {
        let mut rig = Rig::new(1);
        let kept = keep_eois(&mut rig);
        rig.send(0);
        assert_eq!(rig.round(s(0)), [rig.event(0)]);
        let mut woken = rig.channels[0].woken();
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut woken).poll(&mut cx).is_pending());
        if is_removed {
            assert!(rig.handlers.remove(rig.id(0)));
        } else {
            rig.handlers = rig.ctx.handlers();
        }
        rig.send(0);
        rig.ctx.drive().unwrap();
        let polled = Pin::new(&mut woken).poll(&mut cx);
        assert!(matches!(polled, std::task::Poll::Ready(Ok(Cause::Event))));
        drop(take_eoi(&kept));
        rig.expect_clean_end();
    }
}

#[test]
fn a_removal_leaves_other_handlers_unchanged() {
    let mut rig = Rig::new(3);
    (0..3).for_each(|index| rig.add(index, RateLimit::new(1, s(5)).unwrap(), |_| {}));
    (0..3).for_each(|index| rig.send(index));
    assert_eq!(rig.round(s(0)).len(), 3);
    // While their unmasks are postponed, and while their waits fail.
    assert!(rig.handlers.remove(rig.channels[0].id()));
    assert_eq!(rig.handlers.next_timeout(s(0)), Some(s(5)));
    let refused = Fault::fail(SimCall::Register, Errno::ENOMEM);
    rig.event_loop.install(refused);
    rig.handlers.round(s(5)).unwrap_err();
    rig.event_loop.clear_faults();
    assert!(rig.handlers.remove(rig.channels[1].id()));
    (0..3).for_each(|index| rig.send(index));
    let later = [rig.round(s(5)), rig.round(s(5))].concat();
    assert_eq!(later, [rig.event(2)]);
    rig.expect_clean_end();
}

#[test]
fn all_errors_of_a_round_but_the_first_are_counted() {
    let mut rig = Rig::new(2);
    rig.add(0, RateLimit::new(1, s(5)).unwrap(), |_| {});
    rig.add(1, AfterHandler, |_| {});
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    // A task has the channel when it is due, and another port is not unmasked.
    let mut task = rig.channels[0].woken();
    let mut cx = std::task::Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut task).poll(&mut cx).is_pending());
    rig.send(1);
    rig.opener
        .install(Fault::fail(SimCall::Unmask, Errno::EIO).nth(1));
    let first = rig.handlers.round(s(5)).unwrap_err();
    let id = rig.id(0);
    assert!(
        matches!(first, Error::AlreadyWaited(channel) if channel == id),
        "{first}"
    );
    // The second try of the wait, and the write.
    assert_eq!(rig.ctx.stats().unreported, 2);
    drop(task);
    assert_eq!(rig.handlers.next_timeout(s(5)), Some(s(0)));
    rig.handlers.round(s(5)).unwrap();
    rig.expect_clean_end();
}

#[test]
fn a_failed_unmask_is_returned_and_tried_again() {
    let mut rig = Rig::new(1);
    rig.add(0, OnEoi, |_| {});
    rig.send(0);
    rig.opener
        .install(Fault::fail(SimCall::Unmask, Errno::EIO).nth(1));
    rig.handlers.round(s(0)).unwrap_err();
    assert_eq!(rig.handlers.next_timeout(s(0)), Some(s(0)));
    rig.send(0);
    rig.calls.lock().unwrap().clear();
    assert_eq!(rig.round(s(0)), []);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    rig.expect_clean_end();
}

#[test]
fn a_failed_registration_is_returned_and_tried_again() {
    let mut rig = Rig::new(1);
    rig.add(0, RateLimit::new(1, s(1)).unwrap(), |_| {});
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    assert!(!rig.event_loop.is_registered());
    rig.send(0);
    // Once when it is due, and once at the end of that round.
    for nth in 1..=2 {
        rig.event_loop
            .fail_nth(SimCall::Register, nth, Errno::ENOMEM);
    }
    let refused = rig.handlers.round(s(1)).unwrap_err();
    assert!(matches!(refused, Error::Register(_)), "{refused}");
    assert_eq!(Errno::of(&refused), Some(Errno::ENOMEM));
    assert_eq!(rig.ctx.stats().unreported, 1, "the second one");
    assert_eq!(rig.handlers.next_timeout(s(1)), Some(s(0)));
    assert_eq!(rig.round(s(1)), []);
    assert_eq!(rig.round(s(1)), [rig.event(0)]);
    rig.expect_clean_end();
}

#[test]
fn a_failed_device_calls_each_handler_once_and_the_end_of_a_channel_drops_it() {
    let mut rig = Rig::new(2);
    let alive = Arc::new(());
    for index in 0..2 {
        let alive = Arc::clone(&alive);
        rig.add(index, RateLimit::new(1, s(1)).unwrap(), move |_| {
            let _held = &alive;
        });
    }
    rig.send(0);
    assert_eq!(rig.round(s(0)), [rig.event(0)]);
    rig.channels.remove(0).unbind().unwrap();
    assert_eq!(rig.round(s(1)), []);
    assert_eq!(Arc::strong_count(&alive), 2);

    rig.opener
        .install(Fault::fail(SimCall::Pending, Errno::EIO).nth(1));
    rig.handlers.round(s(2)).unwrap_err();
    assert_eq!(rig.round(s(2)), [(rig.port(0), Cause::Gone)]);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(rig.handlers.next_timeout(s(2)), None);
}

#[test]
fn handlers_do_not_keep_their_context_alive() {
    let mut rig = Rig::new(1);
    rig.add(0, AfterHandler, |_| {});
    let weak = rig.ctx.downgrade();
    assert_eq!(weak.upgrade().map(|ctx| ctx.link()), Some(Link::Watching));
    drop(rig.ctx);
    assert!(weak.upgrade().is_none());
    assert!(!rig.event_loop.is_registered());
    rig.guest.send(rig.peer_ports[0]).unwrap();
    assert_eq!(rig.handlers.next_timeout(s(0)), None);
    assert_eq!(rig.handlers.round(s(0)).unwrap(), Outcome::Done);
    assert_eq!(*rig.calls.lock().unwrap(), []);
    let id = rig.channels[0].id();
    assert!(rig.handlers.remove(id));
    let refused = rig.handlers.add(id, AfterHandler, |_| {});
    assert!(matches!(refused, Err(Error::NotBound(channel)) if channel == id));
}

/// Unmasks at once after every other wake, and later after the rest.
struct Alternating(bool);

impl UnmaskPolicy for Alternating {
    fn woke(&mut self, now: Duration) -> Unmask {
        self.0 = !self.0;
        if self.0 {
            Unmask::BeforeHandler
        } else {
            Unmask::NotBefore(now + s(3))
        }
    }
}

#[test]
fn a_program_brings_its_own_policy() {
    let mut rig = Rig::new(1);
    let policy: Box<dyn UnmaskPolicy> = Box::new(Alternating(false));
    rig.add(0, policy, |_| {});
    for (now, timeout) in [(0, None), (1, Some(s(3)))] {
        rig.send(0);
        assert_eq!(rig.round(s(now)), [rig.event(0)]);
        assert_eq!(rig.handlers.next_timeout(s(now)), timeout);
    }
    rig.expect_clean_end();
}
