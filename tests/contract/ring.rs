//! The ring over time: wrapping, growing, overflowing, and what is in it after an unbind.

use evtchn_core::{DomId, EventChannel, Port, Virq};

use super::platform::*;

pub(crate) fn one_read_spans_the_wrap_of_the_ring<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 40);
    let ports: Vec<Port> = wires.iter().map(|wire| wire.0).collect();
    // The second forty begin in the middle of a ring of 64.
    for _ in 0..3 {
        for (_, peer) in &wires {
            far.notify(*peer).unwrap();
        }
        expect_events(p, &near, &ports);
        assert_eq!(near.unmask(&ports).unwrap(), ports.len());
    }
}

pub(crate) fn a_ring_of_128_overflows_at_entry_129<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 65);
    let (port, peer) = wires[0];
    let fire = || far.notify(peer).unwrap();
    fill(&near, port, fire);
    fill(&near, port, fire);
    assert_eq!(p.poll(&near), IN_OUT);
    fire();
    assert_eq!(p.poll(&near), ERR);
}

pub(crate) fn the_ring_does_not_shrink<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 65);
    let (port, peer) = wires[0];
    for (port, _) in &wires[1..] {
        near.unbind(*port).unwrap();
    }
    near.bind_unbound_port(DomId::SELF).unwrap();
    let fire = || far.notify(peer).unwrap();
    fill(&near, port, fire);
    fire();
    expect_events(p, &near, &[port; 65]);
}

pub(crate) fn events_of_all_ports_are_dropped_during_an_overflow<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 2);
    let [(port, peer), (other, other_peer)] = [wires[0], wires[1]];
    overflow(&near, port, || far.notify(peer).unwrap());
    far.notify(other_peer).unwrap();
    near.reset().unwrap();
    near.unmask(&[other]).unwrap();
    expect_quiet(p, &near);
    far.notify(other_peer).unwrap();
    expect_events(p, &near, &[other]);
}

pub(crate) fn unread_entries_are_gone_after_an_overflow_is_reset<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 2);
    let [(port, peer), (other, other_peer)] = [wires[0], wires[1]];
    far.notify(other_peer).unwrap();
    overflow(&near, port, || far.notify(peer).unwrap());
    assert_eq!(p.poll(&near), ERR);
    near.reset().unwrap();
    near.unmask(&[other]).unwrap();
    expect_quiet(p, &near);
}

pub(crate) fn every_port_works_again_after_a_reset_and_an_unmask<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 10);
    let ports: Vec<Port> = wires.iter().map(|wire| wire.0).collect();
    for (_, peer) in &wires[3..6] {
        far.notify(*peer).unwrap();
    }
    overflow(&near, wires[0].0, || far.notify(wires[0].1).unwrap());
    near.reset().unwrap();
    assert_eq!(near.unmask(&ports).unwrap(), ports.len());
    expect_quiet(p, &near);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    expect_events(p, &near, &ports);
}

pub(crate) fn a_bind_during_an_overflow_works_and_its_event_is_lost<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    overflow(&near, port, || far.notify(peer).unwrap());
    let (peer_port, ours) = connect(&far, &near);
    assert_eq!(p.poll(&near), ERR);
    near.reset().unwrap();
    expect_quiet(p, &near);
    near.unmask(&[ours]).unwrap();
    expect_quiet(p, &near);
    far.notify(peer_port).unwrap();
    expect_events(p, &near, &[ours]);
}

pub(crate) fn unbind_and_notify_work_during_an_overflow<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 2);
    let [(port, peer), (other, other_peer)] = [wires[0], wires[1]];
    overflow(&near, port, || far.notify(peer).unwrap());
    assert_eq!(read(&far).len(), 2);
    far.unmask(&[other_peer]).unwrap();
    near.notify(other).unwrap();
    expect_events(p, &far, &[other_peer]);
    near.unbind(other).unwrap();
    assert_eq!(far.bind_unbound_port(DomId::SELF).unwrap(), other);
}

pub(crate) fn a_stale_entry_stays_with_the_device_that_had_the_number<P: Platform>(p: &P) {
    let (near, far, other) = (p.open(), p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    near.unbind(port).unwrap();
    assert_eq!(other.bind_unbound_port(DomId::SELF).unwrap(), port);
    expect_quiet(p, &other);
    expect_events(p, &near, &[port]);
    // It is no longer one of its ports.
    assert_eq!(near.unmask(&[port]).unwrap(), 1);
    expect_quiet(p, &other);
}

pub(crate) fn a_stale_entry_reads_as_a_virq_that_got_the_number<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    near.unbind(port).unwrap();
    assert_eq!(near.bind_virq(Virq::TBUF).unwrap(), port);
    expect_events(p, &near, &[port]);
    near.unmask(&[port]).unwrap();
    expect_quiet(p, &near);
}

pub(crate) fn a_reset_drops_stale_entries<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    near.unbind(port).unwrap();
    near.reset().unwrap();
    assert_eq!(near.bind_unbound_port(DomId::SELF).unwrap(), port);
    expect_quiet(p, &near);
}

pub(crate) fn the_peers_unbind_leaves_the_entry_in_the_ring<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    drop(far);
    expect_events(p, &near, &[port]);
    expect_quiet(p, &near);
}
