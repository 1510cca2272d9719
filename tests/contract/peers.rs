//! Waits whose peer connected, is gone or was replaced, as a check finds out.

use std::time::Duration;

use evtchn_core::{Cause, DomId, EventChannel, Link, Port, RemotePort, Sleep, Status};

use super::platform::*;
use super::rig::{Rig, Wire};

#[track_caller]
fn check<P: Platform>(rig: &Rig<'_, P>) -> usize {
    rig.context.check_peers_with(&rig.p.privcmd()).unwrap()
}

fn gone<P: Platform>(wire: &Wire<P>) -> (Port, Cause) {
    (wire.port(), Cause::PeerGone)
}

/// A check reports to these channels that their peer connected, and they wait again.
#[track_caller]
fn meet<P: Platform>(rig: &Rig<'_, P>, wires: &[&Wire<P>]) {
    assert_eq!(check(rig), wires.len());
    let connected = |wire: &&Wire<P>| (wire.port(), Cause::PeerConnected);
    let connected: Vec<_> = wires.iter().map(connected).collect();
    assert_eq!(rig.turn_and_rewait(), connected);
}

pub(crate) fn a_wait_ends_once_at_the_check_after_a_peer_connected<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let channel = rig.context.bind_unbound_port(DomId::SELF).unwrap();
    channel.wait().unwrap();
    assert_eq!(check(&rig), 0);
    let peer = rig.peer.bind_interdomain(local(channel.port())).unwrap();
    let wire = Wire::<P> { channel, peer };
    meet(&rig, &[&wire]);
    assert_eq!(check(&rig), 0);
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn a_peer_that_is_replaced_is_gone_and_the_new_one_connected<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let mut wire = rig.wire();
    wire.wait();
    meet(&rig, &[&wire]);
    let replaced = wire.peer;
    while wire.peer == replaced {
        rig.peer.unbind(wire.peer).unwrap();
        // Takes the free number.
        rig.peer.bind_unbound_port(DomId::SELF).unwrap();
        wire.peer = rig.peer.bind_interdomain(local(wire.port())).unwrap();
    }
    assert_eq!(check(&rig), 1);
    assert_eq!(rig.turn(), [gone(&wire)]);
    wire.wait();
    meet(&rig, &[&wire]);
    assert_eq!(check(&rig), 0);
}

pub(crate) fn a_peer_that_sent_is_found_gone_by_the_first_check<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
    wire.wait();
    rig.peer.unbind(wire.peer).unwrap();
    assert_eq!(check(&rig), 1);
    assert_eq!(rig.turn(), [gone(&wire)]);
    wire.wait();
    assert_eq!(check(&rig), 0);
}

pub(crate) fn a_wait_ends_at_the_check_after_its_peer_closed<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [wire, other] = rig.wires();
    wire.wait();
    other.wait();
    meet(&rig, &[&wire, &other]);
    rig.peer.unbind(wire.peer).unwrap();
    assert_eq!(check(&rig), 1);
    assert_eq!(rig.turn(), [gone(&wire)]);
    assert_eq!(rig.context.link(), Link::Watching);
    rig.fire(&other);
    rig.expect_wakes(&[&other]);
    rig.expect_hooks(1, 1);
}

pub(crate) fn every_wait_ends_at_the_check_after_the_peers_device_closed<P: Platform>(p: &P) {
    let mut rig = Rig::new(p);
    let wires: [Wire<P>; 5] = rig.wires();
    wires.iter().for_each(Wire::wait);
    meet(&rig, &wires.each_ref());
    drop(std::mem::replace(&mut rig.peer, p.open()));
    assert_eq!(check(&rig), 5);
    assert_eq!(rig.turn(), wires.each_ref().map(gone));
    rig.expect_idle();
}

pub(crate) fn a_channel_without_a_peer_keeps_its_wait<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let channel = rig.context.bind_unbound_port(DomId::SELF).unwrap();
    let wire: Wire<P> = rig.wire();
    let Wire { peer, .. } = &wire;
    rig.peer.unbind(*peer).unwrap();
    wire.wait();
    channel.wait().unwrap();
    assert_eq!((check(&rig), check(&rig)), (0, 0));
    assert_eq!(rig.context.dispatch().unwrap().next(), None);
}

pub(crate) fn a_peer_that_comes_back_can_be_lost_again<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let mut wire = rig.wire();
    for _ in 0..3 {
        wire.wait();
        meet(&rig, &[&wire]);
        rig.peer.unbind(wire.peer).unwrap();
        assert_eq!(check(&rig), 1);
        assert_eq!(rig.turn(), [gone(&wire)]);
        wire.wait();
        assert_eq!(check(&rig), 0);
        wire.peer = rig.peer.bind_interdomain(local(wire.port())).unwrap();
        rig.fire(&wire);
        rig.expect_wakes(&[&wire]);
    }
}

pub(crate) fn an_event_sent_before_the_peer_closed_wakes_first<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    meet(&rig, &[&wire]);
    rig.fire(&wire);
    rig.peer.unbind(wire.peer).unwrap();
    assert_eq!(check(&rig), 0);
    rig.expect_wakes(&[&wire]);
    wire.wait();
    assert_eq!(check(&rig), 1);
    assert_eq!(rig.turn(), [gone(&wire)]);
}

pub(crate) fn an_interdomain_channel_is_known_connected_from_its_bind<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let peer_port = rig.peer.bind_unbound_port(DomId::SELF).unwrap();
    let channel = rig.context.bind_interdomain(local(peer_port)).unwrap();
    let wire = Wire::<P> {
        channel,
        peer: peer_port,
    };
    wire.wait();
    rig.expect_wakes(&[&wire]);
    wire.wait();
    rig.peer.unbind(peer_port).unwrap();
    assert_eq!(check(&rig), 1);
    assert_eq!(rig.turn(), [gone(&wire)]);
}

pub(crate) fn the_state_of_a_peer_can_be_queried_at_any_time<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    let state = || wire.channel.peer_state_with(&p.privcmd()).unwrap().state;
    let remote = RemotePort {
        domid: p.domid(),
        port: wire.peer,
    };
    assert_eq!(state(), Status::Interdomain { remote });
    rig.peer.unbind(wire.peer).unwrap();
    let remote = p.domid();
    assert_eq!(state(), Status::Unbound { remote });
}

pub(crate) fn a_check_during_a_block_finds_a_peer_that_closed_before<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    meet(&rig, &[&wire]);
    rig.peer.unbind(wire.peer).unwrap();
    wire.channel.cancel().unwrap();
    // The condition is evaluated after the wait began, before the thread sleeps.
    let now = rig.context.registrar().deadline(Duration::ZERO);
    let ended = wire.channel.block_while(Some(now), || {
        assert_eq!(check(&rig), 1);
        true
    });
    assert_eq!(ended.unwrap(), Some(Cause::PeerGone));
    rig.expect_idle();
}
