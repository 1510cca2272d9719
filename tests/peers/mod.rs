//! Waits whose peer connected, closed its end, died or was replaced, on the simulator: what a check
//! finds, and which waits it ends.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "functions that only tests call"
)]

mod closed;
mod connected;
mod model;
mod receivers;
mod statuses;

use evtchn::sim::SimLoop;
use evtchn::{Cause, DomId, Link, Port, PortStatus, Sleep, Status, Virq};

use crate::common::{Rig, Wire, wait};

/// Methods of the rig for tests of peers.
impl<R: Sleep> Rig<R> {
    /// A [`wire`](Self::wire) with a wait, whose peer a check has reported.
    fn known(&self) -> Wire<R> {
        let wire = self.wire();
        wire.wait();
        self.meet(&wire);
        wire.wait();
        wire
    }

    /// A check wakes this channel with `PeerConnected`, and no other.
    #[track_caller]
    fn meet(&self, wire: &Wire<R>) {
        assert_eq!(self.check(), 1);
        assert_eq!(self.turn(), [wire.connected()]);
    }

    #[track_caller]
    fn check(&self) -> usize {
        let privcmd = self.sim.privcmd(DomId::DOM0);
        self.context.check_peers_with(&privcmd).unwrap()
    }
}

impl<R: Sleep> Wire<R> {
    fn close(&self) {
        self.guest.close(self.peer_port).unwrap();
    }

    /// The guest binds to the channel again.
    fn bind_again(&self) -> Port {
        let again = self.guest.bind_interdomain(DomId::DOM0, self.port());
        again.unwrap()
    }

    /// Another port of the guest takes the place of the one that was connected.
    fn replace(&self) -> Port {
        self.close();
        // The lowest free number is handed out first.
        self.guest.alloc_unbound(DomId::DOM0).unwrap();
        let next = self.bind_again();
        assert_ne!(next, self.peer_port);
        next
    }

    fn gone(&self) -> (Port, Cause) {
        (self.port(), Cause::PeerGone)
    }

    fn connected(&self) -> (Port, Cause) {
        (self.port(), Cause::PeerConnected)
    }
}

fn rig() -> Rig {
    Rig::on(SimLoop::level())
}

#[test]
fn a_peer_that_closes_ends_the_wait_at_the_next_check_and_not_before() {
    let rig = rig();
    let wire = rig.known();
    wire.close();
    assert_eq!(rig.turn(), []);
    assert_eq!(rig.context.link(), Link::Watching);
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.context.next_timeout(), Some(std::time::Duration::ZERO));
    assert_eq!(rig.turn(), [wire.gone()]);
    assert_eq!(rig.context.link(), Link::Idle);
    assert_eq!(rig.context.stats().peers_gone, 1);
}

#[test]
fn a_loop_that_sleeps_is_woken_by_the_check() {
    let rig = rig();
    let wire = rig.known();
    wire.close();
    // As the check before left it.
    let _woken = rig.context.registrar().ready();
    assert!(!rig.context.registrar().ready());
    rig.check();
    assert!(rig.context.registrar().ready());
}

#[test]
fn a_peer_domain_that_dies_ends_every_wait_on_it_and_no_other() {
    let rig = rig();
    let (one, other) = (rig.known(), rig.known());
    let alive = rig.sim.guest(rig.sim.create_domain().unwrap());
    let channel = rig.context.bind_unbound_port(alive.domid()).unwrap();
    alive.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    wait(&channel);
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [(channel.port(), Cause::PeerConnected)]);
    wait(&channel);

    rig.sim.destroy_domain(rig.guest.domid()).unwrap();
    assert_eq!(rig.check(), 2);
    assert_eq!(rig.turn(), [one.gone(), other.gone()]);
    assert_eq!(rig.context.link(), Link::Watching, "one still waits");
    let remote = rig.guest.domid();
    let state = one.channel.peer_state_with(&rig.sim.privcmd(DomId::DOM0));
    assert_eq!(state.unwrap().state, Status::Unbound { remote });
}

#[test]
fn a_kexec_of_the_peer_ends_the_wait() {
    let rig = rig();
    let wire = rig.known();
    let kexec = |world: &mut evtchn::sim::World| world.kexec_domain(rig.guest.domid());
    rig.sim.with(kexec).unwrap();
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [wire.gone()]);
}

#[test]
fn a_channel_without_a_peer_waits_on() {
    let rig = rig();
    let channel = rig.context.bind_unbound_port(rig.guest.domid()).unwrap();
    wait(&channel);
    for _ in 0..3 {
        assert_eq!(rig.check(), 0);
    }
    let peer_port = rig.guest.bind_interdomain(DomId::DOM0, channel.port());
    rig.guest.send(peer_port.unwrap()).unwrap();
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
}

#[test]
fn a_channel_bound_to_a_peer_is_known_connected_without_a_check() {
    let rig = rig();
    let peer_port = rig.guest.alloc_unbound(DomId::DOM0).unwrap();
    let remote = rig.guest.remote(peer_port);
    let channel = rig.context.bind_interdomain(remote).unwrap();
    wait(&channel);
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
    wait(&channel);
    assert_eq!(rig.check(), 0, "that it is connected is no news");
    rig.guest.close(peer_port).unwrap();
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [(channel.port(), Cause::PeerGone)]);
}

#[test]
fn a_virtual_interrupt_has_no_peer_to_lose() {
    let rig = rig();
    let channel = rig.context.bind_virq(Virq::DOM_EXC).unwrap();
    wait(&channel);
    assert_eq!((rig.check(), rig.check()), (0, 0));
    let status = channel
        .peer_state_with(&rig.sim.privcmd(DomId::DOM0))
        .unwrap();
    let state = Status::Virq {
        virq: Virq::DOM_EXC,
    };
    assert_eq!(status, PortStatus { state, vcpu: 0 });
}

#[test]
fn a_peer_is_reported_gone_once_and_the_next_wait_is_for_the_next_peer() {
    let rig = rig();
    let wire = rig.known();
    for _ in 0..3 {
        wire.close();
        assert_eq!(rig.check(), 1);
        assert_eq!((rig.check(), rig.turn()), (0, vec![wire.gone()]));
        wire.wait();
        assert_eq!((rig.check(), rig.turn()), (0, vec![]));
        assert_eq!(wire.bind_again(), wire.peer_port);
        rig.meet(&wire);
        wire.wait();
        wire.fire();
        assert_eq!(rig.turn(), [(wire.port(), Cause::Event)]);
        wire.wait();
    }
}

#[test]
fn a_peer_that_closed_and_came_back_with_the_same_port_between_two_checks_is_not_noticed() {
    let rig = rig();
    let wire = rig.known();
    wire.close();
    wire.bind_again();
    assert_eq!((rig.check(), rig.turn()), (0, vec![]));
}

#[test]
fn a_peer_that_closed_while_nothing_waited_is_reported_to_the_next_wait() {
    let rig = rig();
    let wire = rig.known();
    wire.channel.cancel().unwrap();
    wire.close();
    assert_eq!(rig.check(), 0);
    wire.wait();
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [wire.gone()]);
}

#[test]
fn an_event_sent_before_the_peer_closed_comes_first() {
    let rig = rig();
    let wire = rig.known();
    wire.fire();
    wire.close();
    assert_eq!(rig.check(), 0, "its wake is its event");
    assert_eq!(rig.turn(), [(wire.port(), Cause::Event)]);
    wire.wait();
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [wire.gone()]);
}

#[test]
fn a_wake_that_is_cancelled_is_kept_for_the_next_wait() {
    let rig = rig();
    let wire = rig.known();
    wire.close();
    assert_eq!(rig.check(), 1);
    assert!(wire.channel.cancel().unwrap());
    assert_eq!(rig.context.link(), Link::Idle);
    rig.expect_kept(&wire.channel, Cause::PeerGone);
    wire.wait();
}
