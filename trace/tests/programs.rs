//! Programs that use the plain context: what of them replays, and what is refused by its name.
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
use evtchn_trace::{Answer, Call, Replayed, State, Tape, What, replay};

use crate::support::rig::{Rig, wakes};

#[test]
fn a_check_of_the_peers_replays_with_what_xen_said() {
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
    // A port that had another peer than was recorded is another answer.
    for line in &mut trace.lines {
        if let What::Seam(at) = &mut line.what
            && let Some(evtchn_trace::Got::Is(state)) = &mut at.got
        {
            *state = State::Unbound { domid };
        }
    }
    assert!(matches!(replay(&trace).unwrap(), Replayed::Differs(_)));
}

#[test]
fn a_notifier_is_recorded_on_its_thread_and_after_its_channel_is_gone() {
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
        let What::Call(Call::Notify { channel }) = line.what else {
            return None;
        };
        Some((channel, line.thread))
    });
    assert_eq!(notifies.collect::<Vec<_>>(), [(0, 1), (0, 0)]);
}

#[test]
fn a_channel_that_was_unbound_refuses_what_it_refused() {
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
fn a_round_that_is_begun_and_then_calls_replays_with_its_callbacks() {
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
        let called = |what: &What| matches!(what, What::Answer(Answer::Calls { .. }));
        assert_eq!(trace.lines.iter().filter(|it| called(&it.what)).count(), 3);
    }
}

/// What a replay of this program says of why it cannot be.
fn refused(program: impl FnOnce(&Rig, &Context<SimLoop>)) -> String {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    program(&rig, &context);
    drop(context);
    replay(&rig.trace()).unwrap_err().to_string()
}

#[test]
fn what_is_recorded_by_its_name_alone_is_refused_by_it() {
    let mut cx = Cx::from_waker(Waker::noop());
    let told = refused(|rig, context| {
        let (channel, theirs) = rig.wire(context);
        rig.guest.send(theirs).unwrap();
        let mut woken = pin!(channel.woken());
        assert!(woken.as_mut().poll(&mut cx).is_pending());
        context.drive().unwrap();
        assert!(matches!(woken.poll(&mut cx), Poll::Ready(Ok(Cause::Event))));
    });
    assert!(
        told.contains("a task waits, which is not replayed"),
        "{told}"
    );
    let told = refused(|rig, context| {
        let (channel, _) = rig.wire(context);
        let mut wakes = channel.wakes().unwrap();
        assert!(wakes.poll_wake(&mut cx).is_pending());
    });
    assert!(told.contains("add to wakes"), "{told}");
    let told = refused(|_, context| assert!(context.drive().is_ok()));
    assert!(told.contains("drive"), "{told}");
    let told = refused(|_, context| context.driver().lost());
    assert!(told.contains("lost"), "{told}");
    let told = refused(|rig, context| {
        let (channel, _) = rig.wire(context);
        let mut handlers = context.handlers();
        handlers.add(channel.id(), AfterHandler, |_| ()).unwrap();
        handlers.round(Duration::ZERO).unwrap();
    });
    assert!(told.contains("next_of"), "{told}");
    let told = refused(|rig, context| {
        let (channel, _) = rig.wire(context);
        assert!(!channel.try_cancel().unwrap());
    });
    assert!(told.contains("try_cancel"), "{told}");
    let told = refused(|rig, context| {
        let (channel, _) = rig.wire(context);
        assert_eq!(channel.block_while(None, || false).unwrap(), None);
    });
    assert!(told.contains("block_while"), "{told}");
}

#[test]
fn a_program_that_is_not_recorded_has_the_backend_itself() {
    let off = Tape::off();
    let backend = off.record(Sim::new(1).open(DomId::DOM0));
    let context = Context::with_registrar(backend.clone(), SimLoop::level());
    let channel = context.bind_unbound_port(DomId::SELF).unwrap();
    let parts = context.hand_over(&mut [channel]).unwrap();
    assert!(parts.device.into_inner::<evtchn_sim::SimDevice>().is_ok());
    let peer = off.open_peer(backend).unwrap();
    assert!(peer.into_inner::<evtchn_sim::SimDevice>().is_ok());
}
