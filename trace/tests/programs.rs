//! Programs that use the plain context: which calls replay, and which are refused by name.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::pin::pin;
use std::task::{Context as Cx, Poll, Waker};
use std::thread;
use std::time::Duration;

use evtchn_core::{AfterHandler, Cause, Context, DomId, Error, Outcome, Trigger};
use evtchn_sim::{Sim, SimLoop};
use evtchn_trace::{Answer, BackendAnswer, Call, Record, RecordedStatus, Replayed, Tape, replay};

use crate::support::rig::{Rig, wakes};

#[test]
fn a_check_of_the_peers_replays_with_the_recorded_statuses() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (channel, theirs) = rig.wire(&context);
    channel.wait().unwrap();
    assert_eq!(context.check_peers().unwrap(), 1);
    assert_eq!(wakes(&context), [(channel.id(), Cause::PeerConnected)]);
    channel.wait().unwrap();
    assert_eq!(context.check_peers().unwrap(), 0);
    rig.guest.close(theirs).unwrap();
    assert_eq!(context.check_peers().unwrap(), 1);
    assert_eq!(wakes(&context), [(channel.id(), Cause::PeerGone)]);
    drop((channel, context));
    let domid = rig.guest.domid();
    let mut trace = rig.replays();
    // With another status the context answers differently.
    for line in &mut trace.lines {
        if let Record::Backend(backend) = &mut line.record
            && let Some(BackendAnswer::Status(status)) = &mut backend.answer
        {
            *status = RecordedStatus::Unbound { domid };
        }
    }
    assert!(matches!(replay(&trace).unwrap(), Replayed::Differs(_)));
}

#[test]
fn a_notifier_is_recorded_with_its_thread_and_after_its_channel_is_dropped() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (channel, _) = rig.wire(&context);
    let notifier = channel.notifier();
    let other = notifier.clone();
    thread::spawn(move || other.notify())
        .join()
        .unwrap()
        .unwrap();
    drop(channel);
    assert!(matches!(notifier.notify(), Err(Error::NotBound(_))));
    assert_eq!(context.next_timeout(), None);
    drop((notifier, context));
    let trace = rig.replays();
    let notifies = trace.lines.iter().filter_map(|line| {
        let Record::Call(Call::Notify { channel }) = line.record else {
            return None;
        };
        Some((channel, line.thread))
    });
    assert_eq!(notifies.collect::<Vec<_>>(), [(0, 1), (0, 0)]);
}

#[test]
fn calls_on_a_channel_that_was_unbound_replay_with_their_errors() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (mut channel, _) = rig.wire(&context);
    channel.unbind().unwrap();
    channel.unbind().unwrap();
    assert!(matches!(channel.notify(), Err(Error::NotBound(_))));
    assert!(matches!(channel.wait(), Err(Error::NotBound(_))));
    assert!(!channel.remove_callback().unwrap());
    drop((channel, context));
    rig.replays();
}

#[test]
fn a_round_that_calls_callbacks_replays() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        let rig = Rig::new(trigger);
        let context = rig.context();
        let (channel, theirs) = rig.wire(&context);
        let again = channel.id();
        let weak = context.driver();
        channel.set_callback(move |_| drop(weak.clone())).unwrap();
        for _ in 0..3 {
            context.wait(again).unwrap();
            rig.guest.send(theirs).unwrap();
            let round = context.dispatch_at_most(8).unwrap();
            assert_eq!(round.call().unwrap(), Outcome::Done);
        }
        drop((channel, context));
        let trace = rig.replays();
        let called = |record: &Record| matches!(record, Record::Answer(Answer::Calls { .. }));
        assert_eq!(
            trace.lines.iter().filter(|it| called(&it.record)).count(),
            3
        );
    }
}

/// The error with which a replay of this program is refused.
fn refused(program: impl FnOnce(&Rig, &Context<SimLoop>)) -> String {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    program(&rig, &context);
    drop(context);
    replay(&rig.trace()).unwrap_err().to_string()
}

#[test]
fn a_call_that_is_recorded_by_name_only_is_refused_by_name() {
    let mut cx = Cx::from_waker(Waker::noop());
    let error = refused(|rig, context| {
        let (channel, theirs) = rig.wire(context);
        rig.guest.send(theirs).unwrap();
        let mut woken = pin!(channel.woken());
        assert!(woken.as_mut().poll(&mut cx).is_pending());
        context.drive().unwrap();
        assert!(matches!(woken.poll(&mut cx), Poll::Ready(Ok(Cause::Event))));
    });
    assert!(
        error.contains("a task waits, which is not replayed"),
        "{error}"
    );
    let error = refused(|rig, context| {
        let (channel, _) = rig.wire(context);
        let mut wakes = channel.wakes().unwrap();
        assert!(wakes.poll_wake(&mut cx).is_pending());
    });
    assert!(error.contains("add to wakes"), "{error}");
    let error = refused(|_, context| assert!(context.drive().is_ok()));
    assert!(error.contains("drive"), "{error}");
    let error = refused(|_, context| context.driver().lost());
    assert!(error.contains("lost"), "{error}");
    let error = refused(|rig, context| {
        let (channel, _) = rig.wire(context);
        let mut handlers = context.handlers();
        handlers.add(channel.id(), AfterHandler, |_| ()).unwrap();
        handlers.round(Duration::ZERO).unwrap();
    });
    assert!(error.contains("next_of"), "{error}");
    let error = refused(|rig, context| {
        let (channel, _) = rig.wire(context);
        assert!(!channel.try_cancel().unwrap());
    });
    assert!(error.contains("try_cancel"), "{error}");
    let error = refused(|rig, context| {
        let (channel, _) = rig.wire(context);
        assert_eq!(channel.block_while(None, || false).unwrap(), None);
    });
    assert!(error.contains("block_while"), "{error}");
}

#[test]
fn a_tape_that_is_off_returns_the_backend_itself() {
    let off = Tape::off();
    let backend = off.record(Sim::new(1).open(DomId::DOM0));
    let context = Context::with_registrar(backend.clone(), SimLoop::level());
    let channel = context.bind_unbound_port(DomId::SELF).unwrap();
    let parts = context.hand_over(&mut [channel]).unwrap();
    assert!(parts.device.into_inner::<evtchn_sim::SimDevice>().is_ok());
    let peer = off.open_peer(backend).unwrap();
    assert!(peer.into_inner::<evtchn_sim::SimDevice>().is_ok());
}
