//! Clones of a context, cancelled waits, channels whose unbind fails, and what is left of them
//! after the device failed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Cx, Waker};
use std::thread;

use evtchn::sim::{Call, Errno, Sim, SimLoop};
use evtchn::{Cause, Context, DeviceCall, DeviceError, DomId, Error, Link};

use crate::common::{Channel, Rig, wait};

type Cancel = fn(&Channel) -> Result<bool, Error>;

fn rig() -> Rig {
    Rig::on(SimLoop::level())
}

#[test]
fn a_clone_is_the_same_context_and_the_last_one_tears_it_down() {
    let sim = Sim::new(1);
    let event_loop = SimLoop::level();
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
    let clone = ctx.clone();
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    wait(&channel);
    drop(ctx);
    assert_eq!(clone.link(), Link::Watching);
    assert!(event_loop.is_registered());
    let remote = (DomId::SELF, channel.port()).into();
    let peer = clone.bind_interdomain(remote).unwrap();
    assert_eq!(clone.stats().opens, 1, "it is the same device");
    peer.notify().unwrap();
    let wakes: Vec<_> = clone.dispatch().unwrap().map(|it| it.channel).collect();
    assert_eq!(wakes, [channel.id()]);

    // Dropping one clone while another exists ends nothing.
    wait(&channel);
    let last = clone.clone();
    drop(clone);
    assert!(event_loop.is_registered());
    thread::spawn(move || drop(last)).join().unwrap();
    assert!(!event_loop.is_registered());
    let refused = channel.wait().unwrap_err();
    assert!(matches!(refused, Error::NotBound(id) if id == channel.id()));
    // The channels stay with their owner.
    channel.notify().unwrap();
    assert_eq!(sim.open_files(), 1);
    drop((channel, peer));
    assert_eq!(sim.open_files(), 0);
    assert_eq!(event_loop.violations(), []);
}

#[test]
fn a_teardown_through_one_clone_closes_the_device_of_all() {
    let rig = rig();
    let clone = Context::clone(&rig.context);
    drop(rig.context.bind_unbound_port(DomId::SELF).unwrap());
    clone.teardown().unwrap();
    assert_eq!(rig.context.link(), Link::Closed);
    assert_eq!(rig.sim.open_files(), 0);
    // Neither clone has ended.
    let channel = rig.context.bind_unbound_port(DomId::SELF).unwrap();
    clone.wait(channel.id()).unwrap();
    assert_eq!(rig.context.link(), Link::Watching);
}

#[test]
fn a_cancel_says_whether_it_ended_a_wait() {
    let rig = rig();
    let wire = rig.wire();
    let channel = &wire.channel;
    let cancels: [Cancel; 2] = [Channel::cancel, Channel::try_cancel];
    for cancel in cancels {
        assert!(!cancel(channel).unwrap(), "there is no wait");
        wire.wait();
        assert!(cancel(channel).unwrap());
        assert!(!cancel(channel).unwrap(), "it has ended");
        // Its wake is queued, and kept.
        wire.wait();
        wire.fire();
        rig.context.drive().unwrap();
        assert!(cancel(channel).unwrap());
        assert!(
            !cancel(channel).unwrap(),
            "there is no wait, though an event is kept"
        );
        rig.expect_kept(channel, Cause::Event);
        assert!(!cancel(channel).unwrap(), "it was handed out");

        let mut woken = channel.woken();
        let mut cx = Cx::from_waker(Waker::noop());
        assert!(Pin::new(&mut woken).poll(&mut cx).is_pending());
        assert!(cancel(channel).unwrap(), "a task waits");
        assert!(!cancel(channel).unwrap());
        drop(woken);
        let wakes = channel.wakes().unwrap();
        assert!(cancel(channel).unwrap(), "a stream waits");
        drop(wakes);
        assert!(!cancel(channel).unwrap());
    }
}

#[test]
fn a_notify_after_the_device_failed_is_not_bound_and_the_context_has_the_failure() {
    let rig = rig();
    let wire = rig.wire();
    let notifier = wire.channel.notifier();
    wire.wait();
    assert_eq!(rig.context.failure(), None);
    rig.opener.fail_next(Call::Pending, Errno::EIO);
    let mut round = rig.context.dispatch().unwrap();
    let wakes: Vec<_> = round.by_ref().map(|it| (it.channel, it.cause)).collect();
    assert_eq!(wakes, [(wire.channel.id(), Cause::Gone)]);
    let failed = round.finish().unwrap_err();

    let before = rig.guest.events(wire.peer_port).unwrap();
    for refused in [wire.channel.notify(), notifier.notify()] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, Error::NotBound(id) if id == wire.channel.id()),
            "{refused:?}"
        );
    }
    assert_eq!(rig.guest.events(wire.peer_port).unwrap(), before);
    let failure = rig.context.failure().unwrap();
    assert_eq!(failure.call(), DeviceCall::Pending);
    assert_eq!(failure.code(), Some(Errno::EIO.raw()));
    assert_eq!(Errno::of(&failure), Some(Errno::EIO));
    assert_eq!(failed.device(), Some(&failure), "the round said the same");

    // The next device has not failed.
    let next = rig.context.bind_unbound_port(DomId::SELF).unwrap();
    next.notify().unwrap();
    assert_eq!(rig.context.failure(), None);
    assert!(matches!(notifier.notify(), Err(Error::NotBound(_))));
}

#[test]
fn a_failed_unbind_leaves_the_channel_bound_and_can_be_repeated() {
    let rig = rig();
    let peer_port = rig.guest.alloc_unbound(DomId::DOM0).unwrap();
    let remote = rig.guest.remote(peer_port);
    let mut channel = rig.context.bind_interdomain(remote).unwrap();
    let (id, notifier) = (channel.id(), channel.notifier());
    wait(&channel);
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
    wait(&channel);

    rig.opener.fail_next(Call::Unbind, Errno::EINTR);
    let error = channel.unbind().unwrap_err();
    let call = DeviceCall::Unbind(channel.port());
    assert_eq!(error.device().map(DeviceError::call), Some(call));
    assert_eq!(Errno::of(&error), Some(Errno::EINTR));
    assert_eq!(channel.id(), id);
    assert_eq!(rig.context.link(), Link::Watching, "its wait goes on");
    let before = rig.guest.events(peer_port).unwrap();
    channel.notify().unwrap();
    notifier.notify().unwrap();
    assert_eq!(rig.guest.events(peer_port).unwrap(), before + 2);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);

    wait(&channel);
    channel.unbind().unwrap();
    assert_eq!(rig.context.link(), Link::Idle);
    for refused in [channel.notify(), notifier.notify(), channel.wait()] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::NotBound(it) if it == id));
    }
    // There is nothing left to do.
    channel.unbind().unwrap();
    drop(channel);
    assert_eq!(rig.context.stats().unreported, 0);
    let again = rig.context.bind_unbound_port(DomId::SELF).unwrap();
    assert_eq!(again.port(), id.port(), "the number is free");
}

#[test]
fn an_unbind_that_cannot_deregister_still_unbinds() {
    let rig = rig();
    let wire = rig.wire();
    let mut channel = std::sync::Arc::into_inner(wire.channel).unwrap();
    wait(&channel);
    let event_loop = rig.context.registrar();
    event_loop.fail_next(Call::Deregister, Errno::EIO);
    let error = channel.unbind().unwrap_err();
    assert!(matches!(error, Error::Deregister(_)), "{error:?}");
    assert_eq!(Errno::of(&error), Some(Errno::EIO));
    assert!(matches!(channel.notify(), Err(Error::NotBound(_))));
    assert!(event_loop.is_registered());
    // The next call tries again.
    channel.unbind().unwrap();
    assert!(!event_loop.is_registered());
    rig.context.teardown().unwrap();
    assert_eq!(event_loop.violations(), []);
}
