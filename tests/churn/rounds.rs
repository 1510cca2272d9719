//! Pairs of waits and the rounds that end them.

use std::sync::Arc;
use std::time::Duration;

use evtchn::{AfterHandler, Cause, ChannelMap, Error, NotifySet, Outcome, WakeBuf};

use super::rig::{Pair, Rig, flat};

pub(super) const PAIRS: &[Pair] = &[
    (
        "waits_that_are_ended_together",
        &["Context::end_waits"],
        ended,
    ),
    (
        "an_event_and_its_wake_among_those_of_some_channels",
        &["Round::next_of", "Round::unmask"],
        of_some,
    ),
    (
        "a_value_of_a_channel_that_is_entered_and_removed",
        &["ChannelMap::insert", "ChannelMap::remove"],
        values,
    ),
    (
        "wait_each_and_cancel",
        &["Channel::wait_each", "Context::wait_each"],
        each,
    ),
    (
        "wait_and_try_cancel",
        &["Channel::try_cancel", "Context::try_cancel"],
        try_cancel,
    ),
    (
        "a_wait_and_its_wake_in_a_round",
        &["Context::dispatch", "Round::finish"],
        finished,
    ),
    ("a_wait_and_a_round_that_is_dropped", &[], dropped),
    (
        "a_wait_and_its_wake_in_a_batch",
        &[
            "Round::fill",
            "WakeBuf::with_capacity",
            "Context::dispatch_at_most",
        ],
        batch,
    ),
    (
        "an_event_and_its_wake_under_a_wait_for_each",
        &[],
        each_event,
    ),
    (
        "a_wait_and_its_callback",
        &["Round::call", "Context::dispatch_callbacks"],
        callback,
    ),
    (
        "a_wait_and_the_drive_that_reads_for_it",
        &["Context::drive", "Context::driver", "Driver::drive"],
        driven,
    ),
    ("a_lost_device_and_the_next_wait", &["Driver::lost"], lost),
    (
        "an_event_and_a_thread_that_blocks_for_it",
        &["Channel::block", "Channel::block_for"],
        block,
    ),
    (
        "a_sleep_and_the_round_after_it",
        &[
            "Context::next_round",
            "Context::next_round_for",
            "Context::next_round_until",
        ],
        next_round,
    ),
    (
        "a_block_and_the_condition_that_ends_it",
        &["Channel::block_while"],
        block_while,
    ),
    (
        "a_block_and_a_cancel",
        &["sim::SimLoop::while_asleep"],
        cancelled_block,
    ),
    (
        "a_notifier_and_the_wake_of_its_notify",
        &["Notifier::notify"],
        notified,
    ),
    (
        "a_batch_of_notifies_of_which_one_is_refused",
        &["Context::notify_many", "EventChannel::notify_many"],
        batch_of_notifies,
    ),
    (
        "a_set_of_notifiers_that_is_filled_and_emptied",
        &[
            "NotifySet::insert",
            "NotifySet::notify",
            "NotifySet::remove",
        ],
        notify_set,
    ),
    (
        "handlers_that_are_made_and_dropped",
        &["Context::handlers", "Handlers::round_at_most"],
        handlers,
    ),
    (
        "a_peer_that_connects_and_closes_and_the_checks_that_find_it",
        &["Context::check_peers", "Context::check_peers_with"],
        peers,
    ),
];

fn each(rig: &Rig) {
    let id = rig.channels[2].id();
    flat(|| {
        rig.channels[1].wait_each().unwrap();
        rig.ctx.wait_each(id).unwrap();
        assert!(rig.channels[1].cancel().unwrap());
        assert!(rig.ctx.cancel(id).unwrap());
    });
}

fn ended(rig: &Rig) {
    let (one, other) = (&rig.channels[1], &rig.channels[2]);
    flat(|| {
        one.wait().unwrap();
        other.wait_each().unwrap();
        rig.ctx.end_waits(&[one.id(), other.id()]);
    });
}

fn of_some(rig: &Rig) {
    let channel = &rig.channels[1];
    let mut some = ChannelMap::new();
    some.insert(channel.id(), ());
    channel.wait().unwrap();
    flat(|| {
        rig.guest.send(rig.peer_ports[1]).unwrap();
        let mut round = rig.ctx.dispatch().unwrap();
        let (wake, ()) = round.next_of(&mut some).unwrap();
        assert_eq!(wake.channel, channel.id());
        channel.wait().unwrap();
        round.unmask().unwrap();
        round.finish().unwrap();
    });
}

fn values(rig: &Rig) {
    let mut map = ChannelMap::new();
    flat(|| {
        for channel in &rig.channels {
            assert!(map.insert(channel.id(), [0; 16]).is_none());
        }
        for channel in &rig.channels {
            assert_eq!(map.remove(channel.id()), Some([0; 16]));
        }
    });
}

fn try_cancel(rig: &Rig) {
    let id = rig.channels[2].id();
    flat(|| {
        rig.channels[1].wait().unwrap();
        rig.ctx.wait(id).unwrap();
        assert!(rig.channels[1].try_cancel().unwrap());
        assert!(rig.ctx.try_cancel(id).unwrap());
    });
}

/// Waits for a channel whose guest sends.
fn ready(rig: &Rig, index: usize) {
    rig.channels[index].wait().unwrap();
    rig.guest.send(rig.peer_ports[index]).unwrap();
}

fn finished(rig: &Rig) {
    assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    flat(|| {
        ready(rig, 1);
        let mut round = rig.ctx.dispatch().unwrap();
        assert_eq!(round.by_ref().count(), 1);
        assert_eq!(round.finish().unwrap(), Outcome::Done);
    });
}

/// The wakes it has read stay ready, and the next round hands them out.
fn dropped(rig: &Rig) {
    flat(|| {
        ready(rig, 0);
        drop(rig.ctx.dispatch().unwrap());
        assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    });
}

fn batch(rig: &Rig) {
    assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    flat(|| {
        let mut buf = WakeBuf::with_capacity(4);
        (0..4).for_each(|index| ready(rig, index));
        let mut round = rig.ctx.dispatch_at_most(4).unwrap();
        assert_eq!(round.fill(&mut buf).len(), 4);
    });
}

fn each_event(rig: &Rig) {
    assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    rig.channels[1].wait_each().unwrap();
    flat(|| {
        rig.guest.send(rig.peer_ports[1]).unwrap();
        assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    });
}

fn callback(rig: &Rig) {
    rig.channels[1].set_callback(|_| ()).unwrap();
    flat(|| {
        ready(rig, 1);
        rig.ctx.dispatch().unwrap().call().unwrap();
        ready(rig, 1);
        rig.ctx.dispatch_callbacks().unwrap();
    });
}

fn driven(rig: &Rig) {
    assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    flat(|| {
        ready(rig, 1);
        assert_eq!(rig.ctx.drive().unwrap(), Outcome::Done);
        ready(rig, 2);
        assert_eq!(rig.ctx.driver().drive(), Outcome::Done);
        assert_eq!(rig.ctx.dispatch().unwrap().count(), 2);
    });
}

fn lost(rig: &Rig) {
    let driver = rig.ctx.driver();
    flat(|| {
        driver.lost();
        rig.channels[1].wait().unwrap();
        rig.channels[1].cancel().unwrap();
    });
    assert!(rig.ctx.registrar().is_registered());
}

fn block(rig: &Rig) {
    let channel = &rig.channels[1];
    flat(|| {
        rig.guest.send(rig.peer_ports[1]).unwrap();
        assert_eq!(channel.block().unwrap(), Cause::Event);
        assert_eq!(channel.block_for(Duration::ZERO).unwrap(), None);
    });
}

fn next_round(rig: &Rig) {
    let deadline = rig.ctx.registrar().now();
    rig.channels[1].wait_each().unwrap();
    rig.ctx.dispatch().unwrap().for_each(drop);
    flat(|| {
        rig.guest.send(rig.peer_ports[1]).unwrap();
        assert_eq!(rig.ctx.next_round().unwrap().count(), 1);
        assert!(rig.ctx.next_round_for(Duration::ZERO).unwrap().is_none());
        assert!(rig.ctx.next_round_until(deadline).unwrap().is_none());
    });
}

fn block_while(rig: &Rig) {
    flat(|| {
        let blocked = rig.channels[1].block_while(None, || false).unwrap();
        assert_eq!(blocked, None);
    });
}

fn cancelled_block(rig: &Rig) {
    let channel = &rig.channels[1];
    flat(|| {
        let (ctx, id) = (Arc::clone(&rig.ctx), channel.id());
        let cancel = move || assert!(ctx.cancel(id).unwrap());
        rig.ctx.registrar().while_asleep(cancel);
        assert!(matches!(channel.block(), Err(Error::Cancelled)));
    });
}

fn notified(rig: &Rig) {
    let notifier = rig.channels[1].notifier();
    let events = || rig.guest.events(rig.peer_ports[1]).unwrap();
    flat(|| {
        let before = events();
        notifier.notify().unwrap();
        assert_eq!(events(), before.wrapping_add(1));
    });
}

fn batch_of_notifies(rig: &Rig) {
    let gone = rig.ctx.bind_unbound_port(rig.guest.domid()).unwrap().id();
    let ids = [rig.channels[1].id(), gone, rig.channels[2].id()];
    flat(|| {
        let refused = rig.ctx.notify_many(&ids).unwrap_err();
        assert!(matches!(refused, Error::NotNotified(it) if it.failed.len() == 1));
        rig.ctx.notify_many(&ids[..1]).unwrap();
    });
}

fn notify_set(rig: &Rig) {
    let mut set = NotifySet::new();
    set.insert(rig.channels[2].notifier());
    flat(|| {
        assert!(set.insert(rig.channels[1].notifier()));
        set.notify().unwrap();
        assert!(set.remove(rig.channels[1].id()));
    });
}

fn handlers(rig: &Rig) {
    let id = rig.channels[1].id();
    flat(|| {
        let mut handlers = rig.ctx.handlers();
        handlers.add(id, AfterHandler, |_| ()).unwrap();
        rig.guest.send(rig.peer_ports[1]).unwrap();
        handlers.round_at_most(Duration::ZERO, 4).unwrap();
    });
}

fn peers(rig: &Rig) {
    let statuses = rig.sim.privcmd(evtchn::DomId::DOM0);
    let channel = rig.ctx.bind_unbound_port(rig.guest.domid()).unwrap();
    rig.ctx.check_peers().unwrap();
    flat(|| {
        channel.wait().unwrap();
        let peer = rig
            .guest
            .bind_interdomain(evtchn::DomId::DOM0, channel.port());
        rig.ctx.check_peers().unwrap();
        let connected = rig.ctx.dispatch().unwrap().last().unwrap();
        assert_eq!(connected.cause, Cause::PeerConnected);
        channel.wait().unwrap();
        rig.guest.close(peer.unwrap()).unwrap();
        rig.ctx.check_peers_with(&statuses).unwrap();
        let gone = rig.ctx.dispatch().unwrap().last().unwrap();
        assert_eq!(gone.cause, Cause::PeerGone);
    });
}
