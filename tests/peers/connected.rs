//! Peers that connect to an offered port, that send before a check sees them, and that replace
//! others.

use evtchn::{Cause, DomId, Link, RemotePort};

use super::rig;
use crate::common::{Wire, wait};

#[test]
fn a_peer_that_connects_is_reported_once_by_the_next_check() {
    let rig = rig();
    let channel = rig.context.bind_unbound_port(rig.guest.domid()).unwrap();
    wait(&channel);
    assert_eq!(rig.check(), 0);
    rig.guest
        .bind_interdomain(DomId::DOM0, channel.port())
        .unwrap();
    assert_eq!(rig.turn(), [], "Xen sends no event");
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.check(), 0, "its wake is on the way");
    assert_eq!(rig.turn(), [(channel.port(), Cause::PeerConnected)]);
    assert_eq!(rig.context.link(), Link::Idle);
    for _ in 0..3 {
        wait(&channel);
        assert_eq!((rig.check(), rig.turn()), (0, vec![]));
    }
    assert_eq!(rig.context.stats().peers_connected, 1);
}

#[test]
fn a_peer_that_connects_and_sends_is_reported_after_its_event() {
    let rig = rig();
    let wire = rig.wire();
    wire.wait();
    wire.fire();
    assert_eq!(rig.check(), 0, "its wake is its event");
    assert_eq!(rig.turn(), [(wire.port(), Cause::Event)]);
    wire.wait();
    rig.meet(&wire);
    wire.wait();
    wire.close();
    assert_eq!((rig.check(), rig.turn()), (1, vec![wire.gone()]));
}

#[test]
fn a_channel_bound_to_its_peer_is_not_woken_with_connected() {
    let rig = rig();
    let peer_port = rig.guest.alloc_unbound(DomId::DOM0).unwrap();
    let remote = rig.guest.remote(peer_port);
    let channel = rig.context.bind_interdomain(remote).unwrap();
    wait(&channel);
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
    wait(&channel);
    assert_eq!((rig.check(), rig.turn()), (0, vec![]));
}

#[test]
fn a_channel_bound_to_self_knows_its_peer() {
    let rig = rig();
    let offered = rig.context.bind_unbound_port(DomId::SELF).unwrap();
    let remote = |port| RemotePort {
        domid: DomId::SELF,
        port,
    };
    let near = rig.context.bind_interdomain(remote(offered.port()));
    let near = near.unwrap();
    wait(&near);
    assert_eq!(rig.turn(), [(near.port(), Cause::Event)]);
    wait(&near);
    assert_eq!((rig.check(), rig.turn()), (0, vec![]));
    drop(offered);
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [(near.port(), Cause::PeerGone)]);
}

#[test]
fn a_peer_that_sent_and_died_before_the_first_check_is_reported_gone() {
    let rig = rig();
    let wire = rig.wire();
    // The second peer sends like the first, and is reported gone once like it.
    for _ in 0..2 {
        wire.wait();
        wire.fire();
        assert_eq!(rig.turn(), [(wire.port(), Cause::Event)]);
        wire.wait();
        wire.close();
        assert_eq!((rig.check(), rig.turn()), (1, vec![wire.gone()]));
        wire.wait();
        assert_eq!((rig.check(), rig.turn()), (0, vec![]));
        wire.bind_again();
        wire.channel.cancel().unwrap();
    }
}

/// Events taken in each way that a program has.
#[test]
fn a_peer_counts_as_seen_however_its_event_is_taken() {
    let rig = rig();
    let [latched, filled, in_round, cancelled] = std::array::from_fn(|_| rig.wire());
    filled.channel.wait_each().unwrap();
    in_round.wait();
    for wire in [&latched, &filled, &in_round] {
        wire.fire();
    }
    let mut round = rig.context.dispatch().unwrap();
    // The wait goes on in the round, by a wait for each and by the program.
    let mut buf = evtchn::WakeBuf::with_capacity(1);
    assert_eq!(round.fill(&mut buf)[0].port(), filled.port());
    assert_eq!(round.next().unwrap().port(), in_round.port());
    in_round.wait();
    assert_eq!(round.next(), None);
    round.finish().unwrap();
    rig.expect_kept(&latched.channel, Cause::Event);
    latched.wait();
    // Its wait ended before the peer closed, and another began.
    cancelled.wait();
    cancelled.fire();
    assert_eq!(rig.turn(), [(cancelled.port(), Cause::Event)]);
    cancelled.wait();
    cancelled.channel.cancel().unwrap();
    cancelled.wait();
    let all = [latched, filled, in_round, cancelled];
    all.iter().for_each(Wire::close);
    assert_eq!(rig.check(), 4);
    assert_eq!(rig.turn(), all.each_ref().map(Wire::gone));
}

#[test]
fn an_overflow_does_not_count_as_seeing_a_peer() {
    let rig = rig();
    let wire = rig.wire();
    wire.close();
    wire.wait();
    rig.opener
        .fail_next(evtchn::sim::Call::Pending, evtchn::sim::Errno::EFBIG);
    assert_eq!(rig.turn(), [(wire.port(), Cause::Overflow)]);
    // In a round and outside of one.
    let round = rig.context.dispatch().unwrap();
    wire.wait();
    round.finish().unwrap();
    assert_eq!((rig.check(), rig.turn()), (0, vec![]));
    wire.channel.cancel().unwrap();
    wire.wait();
    assert_eq!((rig.check(), rig.turn()), (0, vec![]));
    // After an overflow the port is live again.
    let again = wire.bind_again();
    rig.guest.send(again).unwrap();
    assert_eq!(rig.turn(), [(wire.port(), Cause::Event)]);
}

#[test]
fn a_replaced_peer_is_gone_and_the_next_check_reports_the_new_one() {
    let rig = rig();
    let wire = rig.known();
    let next = wire.replace();
    assert_eq!((rig.check(), rig.turn()), (1, vec![wire.gone()]));
    wire.wait();
    rig.meet(&wire);
    wire.wait();
    rig.guest.send(next).unwrap();
    assert_eq!(rig.turn(), [(wire.port(), Cause::Event)]);
    wire.wait();
    rig.guest.close(next).unwrap();
    assert_eq!((rig.check(), rig.turn()), (1, vec![wire.gone()]));
}

#[test]
fn a_replaced_peer_of_a_bind_is_gone() {
    let rig = rig();
    let peer_port = rig.guest.alloc_unbound(DomId::DOM0).unwrap();
    let remote = rig.guest.remote(peer_port);
    let channel = rig.context.bind_interdomain(remote).unwrap();
    let wire = Wire {
        channel: std::sync::Arc::new(channel),
        guest: rig.guest.clone(),
        peer_port,
    };
    wire.wait();
    assert_eq!(rig.turn(), [(wire.port(), Cause::Event)]);
    wire.wait();
    wire.replace();
    assert_eq!((rig.check(), rig.turn()), (1, vec![wire.gone()]));
    wire.wait();
    rig.meet(&wire);
}

#[test]
fn an_event_of_a_new_peer_comes_before_the_old_one_is_reported_gone() {
    let rig = rig();
    let wire = rig.known();
    let next = wire.replace();
    rig.guest.send(next).unwrap();
    assert_eq!(rig.check(), 0);
    assert_eq!(rig.turn(), [(wire.port(), Cause::Event)]);
    wire.wait();
    assert_eq!((rig.check(), rig.turn()), (1, vec![wire.gone()]));
    wire.wait();
    rig.meet(&wire);
}

#[test]
fn a_cancelled_wake_of_a_new_peer_is_kept_and_comes_once() {
    let rig = rig();
    let wire = rig.wire();
    wire.wait();
    assert_eq!(rig.check(), 1);
    assert!(wire.channel.cancel().unwrap());
    rig.expect_kept(&wire.channel, Cause::PeerConnected);
    wire.wait();
    assert_eq!((rig.check(), rig.turn()), (0, vec![]));
}
