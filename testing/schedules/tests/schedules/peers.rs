//! Checks of the peers beside waits, cancels, unbinds and the peers themselves (I3, I4, I20).

use evtchn_core::{Cause, DeviceError, DomId, Port, PortStatus, PortStatuses, Status};
use evtchn_sim::SimPrivcmd;
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Rig, Wire};

scenarios! {
    check_beside_a_repeated_wait_reports_the_peer_once,
    check_beside_a_peer_that_connects_and_sends_loses_neither,
    check_beside_an_unbind_reports_nothing_to_the_next_channel;
    small
    check_beside_a_cancel_reports_the_peer_once,
    check_of_a_closed_port_beside_its_drop_leaves_no_wait,
}

fn check(rig: &Rig) -> usize {
    rig.context.check_peers_with(&rig.privcmd()).unwrap()
}

/// The wakes of one round, each as port and cause.
fn turn(rig: &Rig) -> Vec<(Port, Cause)> {
    let mut round = rig.context.dispatch().unwrap();
    let wakes = round.by_ref().map(|wake| (wake.port(), wake.cause));
    let wakes = wakes.collect();
    round.finish().unwrap();
    wakes
}

/// A channel with a wait, whose peer is known to be connected.
fn known(rig: &Rig) -> Wire {
    let wire = rig.wire();
    wire.wait();
    assert_eq!(check(rig), 1);
    assert_eq!(turn(rig), [(wire.channel.port(), Cause::PeerConnected)]);
    wire.wait();
    wire
}

fn check_beside_a_cancel_reports_the_peer_once() {
    let rig = Rig::new();
    let wire = known(&rig);
    rig.peer.close(&wire);
    thread::scope(|scope| {
        scope.spawn(|| check(&rig));
        wire.cancel();
    });
    assert_eq!(turn(&rig), []);
    wire.wait();
    let mut wakes = turn(&rig);
    if wakes.is_empty() {
        assert_eq!(check(&rig), 1);
        wakes = turn(&rig);
    }
    assert_eq!(wakes, [(wire.channel.port(), Cause::PeerGone)]);
    assert_eq!(rig.context.stats().peers_gone, 1);
    assert!(!rig.is_registered());
}

fn check_beside_a_repeated_wait_reports_the_peer_once() {
    let rig = Rig::new();
    let wire = known(&rig);
    rig.peer.close(&wire);
    thread::scope(|scope| {
        scope.spawn(|| check(&rig));
        wire.cancel();
        wire.wait();
    });
    let mut wakes = turn(&rig);
    if wakes.is_empty() {
        assert_eq!(check(&rig), 1);
        wakes = turn(&rig);
    }
    assert_eq!(wakes, [(wire.channel.port(), Cause::PeerGone)]);
    assert_eq!(rig.context.stats().peers_gone, 1);
    assert!(!rig.is_registered());
}

fn check_beside_a_peer_that_connects_and_sends_loses_neither() {
    let rig = Rig::new();
    let channel = rig.bind();
    channel.wait().unwrap();
    let mut wire = None;
    thread::scope(|scope| {
        scope.spawn(|| check(&rig));
        let connected = rig.connect(channel);
        rig.peer.send(&connected);
        wire = Some(connected);
    });
    let wire = wire.unwrap();
    let mut causes = Vec::new();
    for _ in 0..3 {
        check(&rig);
        causes.extend(turn(&rig).into_iter().map(|(_, cause)| cause));
        wire.wait();
    }
    causes.extend(turn(&rig).into_iter().map(|(_, cause)| cause));
    // An event that comes after the wake of the check may be part of that wake.
    let connected = |cause: &&Cause| **cause == Cause::PeerConnected;
    assert_eq!(causes.iter().filter(connected).count(), 1, "{causes:?}");
    assert!(causes.len() <= 2, "{causes:?}");
    assert_eq!(rig.context.stats().peers_connected, 1);
}

fn check_beside_an_unbind_reports_nothing_to_the_next_channel() {
    let rig = Rig::new();
    let wire = known(&rig);
    rig.peer.close(&wire);
    let port = wire.channel.port();
    let mut next = None;
    thread::scope(|scope| {
        scope.spawn(|| check(&rig));
        let mut channel = wire.into_channel();
        channel.unbind().unwrap();
        let wire = rig.wire();
        assert_eq!(wire.channel.port(), port);
        wire.wait();
        next = Some(wire);
    });
    let mut wakes = turn(&rig);
    if wakes.is_empty() {
        assert_eq!(check(&rig), 1);
        wakes = turn(&rig);
    }
    assert_eq!(wakes, [(port, Cause::PeerConnected)]);
    drop(next);
    assert!(!rig.is_registered());
}

/// Reports every port as closed.
struct Closed(SimPrivcmd);

impl PortStatuses for Closed {
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
        let state = Status::Closed;
        let status = self.0.status(domid, port)?;
        Ok(PortStatus { state, ..status })
    }
}

fn check_of_a_closed_port_beside_its_drop_leaves_no_wait() {
    let rig = Rig::new();
    let wire = rig.wire();
    wire.wait();
    let mut reported = 0;
    thread::scope(|scope| {
        let checks = scope.spawn(|| {
            rig.context
                .check_peers_with(&Closed(rig.privcmd()))
                .unwrap()
        });
        drop(wire);
        reported = checks.join().unwrap();
    });
    let wakes = turn(&rig);
    assert_eq!(wakes.len(), reported, "{wakes:?}");
    assert!(wakes.iter().all(|(_, cause)| *cause == Cause::Gone));
    assert!(!rig.is_registered());
}
