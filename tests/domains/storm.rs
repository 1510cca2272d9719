//! A guest that notifies without end costs what its channel may cost, and costs other channels nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evtchn_core::{AfterHandler, Call, Cause, DomId, EventChannel, RateLimit, Wake};

use super::backend::PATIENCE;
use super::rig::*;
use super::side::{Guest, Side};

/// One wake of the storm between a ping and its pong, and one for each look that found nothing else.
const PINGS: u32 = 30;

/// Sends a ping and takes rounds until its pong is there. Says how many wakes of others came meanwhile.
#[track_caller]
fn ping(rig: &Rig, channel: &Channel, other: impl Fn(Wake)) -> u32 {
    let (mut pongs, mut others) = (0, 0);
    channel.notify().unwrap();
    while pongs == 0 {
        rig.turn(|wake| {
            if wake.channel == channel.id() {
                channel.wait().unwrap();
                pongs += 1;
            } else {
                others += 1;
                other(wake);
            }
        });
    }
    assert_eq!(pongs, 1);
    others
}

pub(crate) fn a_storm_costs_one_wake_without_a_wait<S: Side>(side: &S) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let storming = rig.context.bind_unbound_port(guest.domid()).unwrap();
    let far = there
        .bind_interdomain(DomId::DOM0, storming.port())
        .unwrap();
    let calm = rig.offer(&guest);
    let echo = guest.echo(&[calm.port()]);
    let storm = there.storm(far);
    for _ in 0..PINGS {
        assert_eq!(ping(&rig, &calm, |_| ()), 0);
    }
    let sent = guest.stop(storm);
    assert!(sent > PINGS, "{sent}");
    guest.stop(echo);
    // It was read once without a wait, and is kept for the next wait.
    let stats = rig.context.stats();
    assert_eq!((stats.wakes, stats.overflows), (u64::from(PINGS), 0));
    assert!(stats.reads <= u64::from(PINGS) + 1, "{stats:?}");
    storming.wait().unwrap();
    let mut kept = Vec::new();
    rig.turn(|wake| kept.push((wake.port(), wake.cause)));
    assert_eq!(kept, [(storming.port(), Cause::Event)]);
    there.close();
}

pub(crate) fn others_are_served_in_every_round_beside_a_storm<S: Side>(side: &S) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let storming = rig.offer(&guest);
    let far = there
        .bind_interdomain(DomId::DOM0, storming.port())
        .unwrap();
    let calm = rig.offer(&guest);
    let echo = guest.echo(&[calm.port()]);
    // Another program of dom0 sends as well.
    let peer = open(side);
    let loopback = rig.context.bind_unbound_port(DomId::SELF).unwrap();
    loopback.wait().unwrap();
    let peers = peer
        .bind_interdomain(of(DomId::DOM0, loopback.port()))
        .unwrap();

    let storm = there.storm(far);
    let (storms, loops) = (AtomicU32::new(0), AtomicU32::new(0));
    // The storm has begun.
    rig.turn(|wake| {
        assert_eq!(wake.channel, storming.id());
        storms.fetch_add(1, Ordering::Relaxed);
        storming.wait().unwrap();
    });
    for sent in 1..=PINGS {
        peer.notify(peers).unwrap();
        ping(&rig, &calm, |wake| {
            let count = if wake.channel == storming.id() {
                &storms
            } else {
                &loops
            };
            count.fetch_add(1, Ordering::Relaxed);
            rig.context.wait(wake.channel).unwrap();
        });
        // The event came before the guest ran.
        assert_eq!(loops.load(Ordering::Relaxed), sent);
    }
    assert!(guest.stop(storm) >= storms.load(Ordering::Relaxed));
    assert_eq!(guest.stop(echo), PINGS);
    assert_eq!(rig.context.stats().overflows, 0);
    there.close();
}

pub(crate) fn a_rate_limit_holds_a_storm_to_its_rate<S: Side>(side: &S) {
    const BURST: u32 = 3;
    let period = Duration::from_secs(1);
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let storming = rig.context.bind_unbound_port(guest.domid()).unwrap();
    let far = there
        .bind_interdomain(DomId::DOM0, storming.port())
        .unwrap();
    let calm = rig.context.bind_unbound_port(guest.domid()).unwrap();
    let echo = guest.echo(&[calm.port()]);
    let (storms, pongs) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut handlers = rig.context.handlers();
    let limit = RateLimit::new(BURST, period).unwrap();
    let counter = Arc::clone(&storms);
    let count = move |_: &mut Call| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    handlers.add(storming.id(), limit, count).unwrap();
    let counter = Arc::clone(&pongs);
    let count = move |_: &mut Call| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    handlers.add(calm.id(), AfterHandler, count).unwrap();

    let storm = there.storm(far);
    let mut turn = |now: Duration, enough: &dyn Fn() -> bool| {
        while !enough() {
            if handlers.next_timeout(now) != Some(Duration::ZERO) {
                let readiness = rig.poll_loop.wait(Some(PATIENCE)).unwrap();
                assert!(!readiness.timed_out());
            }
            handlers.round(now).unwrap();
        }
    };
    let stormed = |wakes: u32| storms.load(Ordering::Relaxed) >= wakes;
    turn(Duration::ZERO, &|| stormed(BURST));
    // The time of the policy is what its caller says: it stands still, and so does the storm.
    for ping in 1..=PINGS {
        calm.notify().unwrap();
        turn(Duration::ZERO, &|| pongs.load(Ordering::Relaxed) >= ping);
        assert_eq!(storms.load(Ordering::Relaxed), BURST);
    }
    for periods in 1..=3 {
        let now = period * periods;
        turn(now, &|| stormed(BURST + periods));
        calm.notify().unwrap();
        turn(now, &|| pongs.load(Ordering::Relaxed) >= PINGS + periods);
        assert_eq!(storms.load(Ordering::Relaxed), BURST + periods);
    }
    assert!(guest.stop(storm) > BURST + 3);
    guest.stop(echo);
    there.close();
}

/// The guest can only make its port pending: a program that unmasks only ports it has read always has room for all.
pub(crate) fn a_storm_overflows_no_ring<S: Side>(side: &S) {
    let (guest, here) = (side.guest(), open(side));
    let there = guest.open();
    let (near, far) = connect(&here, &guest, &there);
    let storm = there.storm(far);
    for _ in 0..200 {
        expect_event(&here, near);
        here.unmask(&[near]).unwrap();
    }
    guest.stop(storm);
    // At most one event is unread, and one more is pending behind it.
    let mut rest = 0;
    while read(&here) == [near.as_raw()] {
        rest += 1;
        here.unmask(&[near]).unwrap();
    }
    assert!(rest <= 2, "{rest}");
    there.notify(far, 1);
    expect_event(&here, near);
    there.close();
}
