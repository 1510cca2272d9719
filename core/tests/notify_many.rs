//! Many notifies in one call: which calls of the device they make, and what is refused.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "functions that only tests call"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use evtchn_core::mock::{MockDevice, MockOpen, MockRegistrar, device_error};
use evtchn_core::{
    Channel, ChannelId, Context, DomId, Error, ErrorKind, NotNotified, NotifySet, Port, Trigger,
};

use crate::support::{FakeLoop, Tester};

const GUEST: DomId = DomId::new(7);

/// How often a device yields to other threads before its call returns.
const TURNS: usize = 20_000;

fn bound(ctx: &Context<FakeLoop>, count: usize) -> Vec<Channel<FakeLoop>> {
    let bind = |_| ctx.bind_unbound_port(GUEST).unwrap();
    (0..count).map(bind).collect()
}

fn ids(channels: &[Channel<FakeLoop>]) -> Vec<ChannelId> {
    channels.iter().map(Channel::id).collect()
}

fn set(channels: &[Channel<FakeLoop>]) -> NotifySet {
    channels.iter().map(Channel::notifier).collect()
}

/// What a batch says of the channels that it did not notify.
fn refused(notified: Result<(), Error>) -> NotNotified {
    match notified {
        Err(Error::NotNotified(refused)) => *refused,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_notifies_in_the_order_of_the_call_and_a_set_in_that_of_the_ports() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = bound(&ctx, 3);
    let [one, two, three] = ids(&channels).try_into().unwrap();
    let set = [2, 0, 1].map(|index: usize| channels[index].notifier());
    let set = NotifySet::from_iter(set);
    tester.log();
    ctx.notify_many(&[three, one, three, two]).unwrap();
    let batch = ["notify 3", "notify 1", "notify 3", "notify 2"];
    assert_eq!(tester.log(), batch);
    set.notify().unwrap();
    assert_eq!(tester.log(), ["notify 1", "notify 2", "notify 3"]);
}

#[test]
fn an_empty_batch_makes_no_call() {
    let tester = Tester::new();
    let ctx = tester.context();
    ctx.notify_many(&[]).unwrap();
    NotifySet::new().notify().unwrap();
    assert!(tester.log().is_empty());
    assert!(NotifySet::new().is_empty());
}

#[test]
fn what_the_device_refuses_is_named_and_the_others_are_notified() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channels = bound(&ctx, 4);
    let (all, set) = (ids(&channels), set(&channels));
    channels[2].unbind().unwrap();
    for through in [&|| ctx.notify_many(&all), &|| set.notify()] as [&dyn Fn() -> _; 2] {
        tester.log();
        tester.fail("notify", ErrorKind::Invalid);
        let refused = refused(through());
        assert_eq!(tester.log(), ["notify 1", "notify 2", "notify 4"]);
        let failed: Vec<_> = refused.failed.iter().map(|(id, _)| *id).collect();
        assert_eq!((failed, refused.of), (vec![all[0], all[2]], 4));
        let device = refused.failed[0].1.device().unwrap();
        assert_eq!(device.kind(), ErrorKind::Invalid);
        assert!(matches!(refused.failed[1].1, Error::NotBound(id) if id == all[2]));
        let text = Error::NotNotified(Box::new(refused)).to_string();
        assert!(text.starts_with("2 of 4 channels were not notified; the first: cannot notify"));
    }
}

#[test]
fn a_channel_of_another_context_is_not_bound_here() {
    let tester = Tester::new();
    let (ctx, other) = (tester.context(), tester.context());
    let channels = [bound(&ctx, 1), bound(&other, 1)];
    let foreign = channels[1][0].id();
    tester.log();
    let refused = refused(ctx.notify_many(&[foreign, channels[0][0].id()]));
    assert!(matches!(refused.failed[..], [(id, Error::NotBound(_))] if id == foreign));
    assert_eq!(tester.log(), ["notify 1"]);
}

#[test]
fn a_batch_without_a_device_finds_no_channel_bound() {
    let tester = Tester::new();
    let ctx = tester.context();
    let id = bound(&ctx, 1)[0].id();
    ctx.teardown().unwrap();
    tester.log();
    assert_eq!(refused(ctx.notify_many(&[id, id])).failed.len(), 2);
    assert!(tester.log().is_empty());
}

#[test]
fn a_device_that_failed_gets_no_batch() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = bound(&ctx, 2);
    tester.fail("read", ErrorKind::Gone);
    channels[0].wait().unwrap();
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    assert!(ctx.failure().is_some());
    tester.log();
    let of_ctx = refused(ctx.notify_many(&ids(&channels)));
    let of_set = refused(set(&channels).notify());
    assert_eq!((of_ctx.failed.len(), of_set.failed.len()), (2, 2));
    assert!(tester.log().is_empty());
}

#[test]
fn a_forked_child_notifies_nothing() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channels = bound(&ctx, 2);
    let set = set(&channels);
    tester.log();
    tester.script().process = 2;
    assert!(matches!(
        ctx.notify_many(&ids(&channels)),
        Err(Error::Inherited)
    ));
    assert!(matches!(set.notify(), Err(Error::Inherited)));
    tester.script().process = 1;
    assert!(tester.log().is_empty());
}

#[test]
fn a_set_has_each_channel_once_and_forgets_what_is_removed() {
    let tester = Tester::new();
    let contexts = [tester.context(), tester.context()];
    let channels = contexts.each_ref().map(|ctx| bound(ctx, 2));
    let all = || channels.iter().flatten();
    let mut set: NotifySet = all().chain(all()).map(Channel::notifier).collect();
    assert_eq!((set.len(), set.is_empty()), (4, false));
    assert!(!set.insert(channels[0][0].notifier()));
    assert!(set.remove(channels[0][0].id()));
    assert!(!set.remove(channels[0][0].id()));
    tester.log();
    set.notify().unwrap();
    assert_eq!(tester.log(), ["notify 2", "notify 3", "notify 4"]);
    assert!(all().skip(1).all(|channel| set.remove(channel.id())));
    assert!(set.is_empty());
}

#[test]
fn a_device_that_notifies_many_gets_1024_ports_a_call_and_names_the_refused_by_place() {
    const COUNT: u32 = 1_030;
    let mut opener = MockOpen::of_this_process();
    let mut device = MockDevice::of_this_process();
    let mut next = 0;
    device.expect_bind_unbound_port().returning(move |_| {
        next += 1;
        Ok(Port::new(next).unwrap())
    });
    let first = device.expect_notify_many().times(1);
    first
        .withf(|ports, _| ports.len() == 1_024)
        .returning(|_, failed| {
            failed(1_024, device_error(ErrorKind::Other)); // no such place, so it says nothing
            failed(3, device_error(ErrorKind::Other));
        });
    let second = device.expect_notify_many().times(1);
    second
        .withf(|ports, _| ports.len() == 6)
        .returning(|ports, failed| {
            failed(5, device_error(ErrorKind::Invalid));
            assert_eq!(ports[0].as_raw(), 1_025);
        });
    device.expect_unbind().return_const(Ok(()));
    device.expect_close().return_const(());
    opener.expect_open().return_once(|| Ok(device));
    let mut event_loop = MockRegistrar::with_trigger(Trigger::Level);
    event_loop.expect_wake().return_const(());
    let ctx = Context::with_registrar(opener, event_loop);
    let bind = |_| ctx.bind_unbound_port(GUEST).unwrap();
    let channels: Vec<_> = (0..COUNT).map(bind).collect();
    let ids: Vec<_> = channels.iter().map(Channel::id).collect();
    let refused = refused(ctx.notify_many(&ids));
    let ports = refused.failed.iter().map(|(id, _)| id.port().as_raw());
    assert_eq!(ports.collect::<Vec<_>>(), [4, 1_030]);
}

/// Runs `batch` on this thread, while another unbinds a channel that it names. Returns whether the
/// unbind was over before the batch was.
fn unbind_during(tester: &Tester, channel: Channel<FakeLoop>, batch: impl Fn()) -> bool {
    let [begun, over, early] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let inside = [&begun, &over, &early].map(Arc::clone);
    tester.script().on_notify = Some(Box::new(move || {
        let [begun, over, early] = &inside;
        begun.store(true, Ordering::SeqCst);
        let mut turns = (0..TURNS).inspect(|_| thread::yield_now());
        let is_early = turns.any(|_| over.load(Ordering::SeqCst));
        early.store(is_early, Ordering::SeqCst);
    }));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !begun.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            drop(channel);
            over.store(true, Ordering::SeqCst);
        });
        batch();
    });
    early.load(Ordering::SeqCst)
}

#[test]
fn an_unbind_waits_for_a_batch_that_names_its_channel() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channels = bound(&ctx, 3);
    let all = ids(&channels);
    let last = channels.pop().unwrap();
    tester.log();
    assert!(!unbind_during(&tester, last, || ctx
        .notify_many(&all)
        .unwrap()));
    let log = ["notify 1", "notify 2", "notify 3", "unbind 3"];
    assert_eq!(tester.log(), log);
}

#[test]
fn an_unbind_waits_for_a_set_that_names_its_channel() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channels = bound(&ctx, 3);
    let set = set(&channels);
    let last = channels.pop().unwrap();
    tester.log();
    assert!(!unbind_during(&tester, last, || set.notify().unwrap()));
    let log = ["notify 1", "notify 2", "notify 3", "unbind 3"];
    assert_eq!(tester.log(), log);
    // The channel is marked as unbound before its number may be bound again.
    let _again = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(refused(set.notify()).failed.len(), 1);
}
