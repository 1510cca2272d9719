//! Ports that Xen has closed, or that were never bound here: their waits end, and nothing is
//! unbound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evtchn::sim::{Call, Errno, Fault, SimLoop};
use evtchn::{Cause, Context, DomId, Error, HandOver, Link, Open, Parts, Port, Status, Virq};

use super::rig;
use crate::common::{Channel, Rig};

/// A context whose second port is not bound, although its table lists it.
struct Adopted {
    rig: Rig,
    context: Context<SimLoop>,
    /// Both have a wait.
    channels: Vec<Channel>,
    unbinds: Arc<AtomicUsize>,
}

impl Adopted {
    fn of(second: u32) -> Adopted {
        let rig = rig();
        let opener = rig.sim.open(DomId::DOM0);
        let unbinds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&unbinds);
        opener.install(Fault::meanwhile(Call::Unbind, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let old = Context::with_registrar(opener.clone(), SimLoop::level());
        let channel = old.bind_unbound_port(rig.guest.domid()).unwrap();
        let Parts { device, table } = old.hand_over(&mut [channel]).unwrap();
        let text = format!("v1:-:{},{second}.", table.ports()[0]);
        let table = text.parse().unwrap();
        let parts = Parts { device, table };
        let (context, channels) = Context::from_parts(parts, opener, SimLoop::level());
        let adopted = Adopted {
            rig,
            context,
            channels,
            unbinds,
        };
        for channel in &adopted.channels {
            channel.wait().unwrap();
            assert_eq!(adopted.turn(), [(channel.port(), Cause::Adopted)]);
        }
        for channel in &adopted.channels {
            channel.wait().unwrap();
        }
        adopted
    }

    fn check(&self) -> usize {
        let privcmd = self.rig.sim.privcmd(DomId::DOM0);
        self.context.check_peers_with(&privcmd).unwrap()
    }

    fn turn(&self) -> Vec<(Port, Cause)> {
        let round = self.context.dispatch().unwrap();
        round.map(|wake| (wake.port(), wake.cause)).collect()
    }

    fn unbinds(&self) -> usize {
        self.unbinds.load(Ordering::Relaxed)
    }
}

/// 40 is free, and 100,000 is beyond the end of Xen's table.
#[test]
fn a_wait_on_a_port_that_xen_has_closed_ends_and_its_drop_unbinds_nothing() {
    for number in [40, 100_000] {
        let mut it = Adopted::of(number);
        let state = it.channels[1].peer_state_with(&it.rig.sim.privcmd(DomId::DOM0));
        assert_eq!(state.unwrap().state, Status::Closed);
        assert_eq!(it.check(), 1);
        let closed = it.channels.pop().unwrap();
        assert_eq!(it.turn(), [(closed.port(), Cause::Gone)]);
        assert_eq!((it.check(), it.turn()), (0, vec![]));
        assert_eq!(it.context.stats().closed, 1);
        let again = closed.wait();
        assert!(matches!(again, Err(Error::NotBound(_))), "{again:?}");
        drop(closed);
        assert_eq!((it.unbinds(), it.context.stats().unreported), (0, 0));
        drop(it.channels.pop());
        assert_eq!(it.unbinds(), 1, "that one was bound");
        assert_eq!(it.context.link(), Link::Idle);
        it.context.teardown().unwrap();
    }
}

#[test]
fn an_unbind_of_a_channel_whose_port_was_found_closed_makes_no_call() {
    let mut it = Adopted::of(40);
    assert_eq!(it.check(), 1);
    it.channels.pop().unwrap().unbind().unwrap();
    assert_eq!(it.unbinds(), 0);
}

#[test]
fn a_port_that_was_found_closed_is_not_unbound_on_a_device_that_failed_since() {
    let mut it = Adopted::of(40);
    assert_eq!(it.check(), 1);
    let opener = it.rig.sim.open(DomId::DOM0);
    drop(opener);
    let closed = it.channels.pop().unwrap();
    // The device fails in a read of the next round.
    it.rig
        .sim
        .install(Fault::fail(Call::Pending, Errno::EIO).nth(1));
    let mut round = it.context.dispatch().unwrap();
    let wakes: Vec<_> = round.by_ref().map(|wake| wake.cause).collect();
    assert_eq!(wakes, [Cause::Gone, Cause::Gone]);
    round.finish().unwrap_err();
    drop(closed);
    assert_eq!(it.unbinds(), 0);
}

#[test]
fn a_channel_ends_when_its_number_has_another_owner() {
    let rig = rig();
    let wire = rig.known();
    // Another process closed the port and bound the number.
    let port = wire.port();
    let statuses = Says(Status::Virq {
        virq: Virq::CONSOLE,
    });
    assert_eq!(rig.context.check_peers_with(&statuses).unwrap(), 1);
    assert_eq!(rig.turn(), [(port, Cause::Gone)]);
}

/// Returns the same status for every port.
struct Says(Status);

impl evtchn::PortStatuses for Says {
    fn status(&self, _: DomId, _: Port) -> Result<evtchn::PortStatus, evtchn::DeviceError> {
        Ok(evtchn::PortStatus {
            state: self.0,
            vcpu: 0,
        })
    }
}

#[test]
fn a_closed_port_is_gone_even_if_its_peer_was_never_seen() {
    let rig = rig();
    let wire = rig.wire();
    wire.wait();
    assert_eq!(
        rig.context.check_peers_with(&Says(Status::Closed)).unwrap(),
        1
    );
    assert_eq!(rig.turn(), [(wire.port(), Cause::Gone)]);
    assert_eq!(rig.context.link(), Link::Idle);
}

#[test]
fn a_number_that_was_found_closed_can_be_bound_again() {
    let it = Adopted::of(40);
    let opener = it.rig.sim.open(DomId::DOM0);
    let _other = opener.open().unwrap();
    assert_eq!(it.check(), 1);
    assert_eq!(it.turn(), [(it.channels[1].port(), Cause::Gone)]);
    // Xen hands out numbers until it comes to the one that was closed.
    let mut bound = Vec::new();
    while bound
        .last()
        .is_none_or(|it: &Channel| it.port().as_raw() < 40)
    {
        let domid = it.rig.guest.domid();
        bound.push(it.context.bind_unbound_port(domid).unwrap());
    }
    let next = bound.pop().unwrap();
    assert_eq!(next.port(), it.channels[1].port());
    next.wait().unwrap();
    drop(it.channels);
    let peer_port = it.rig.guest.bind_interdomain(DomId::DOM0, next.port());
    it.rig.guest.send(peer_port.unwrap()).unwrap();
    let round = it.context.dispatch().unwrap();
    let wakes: Vec<_> = round.map(|wake| (wake.channel, wake.cause)).collect();
    assert_eq!(wakes, [(next.id(), Cause::Event)]);
}

#[test]
fn a_channel_whose_port_was_found_closed_is_not_handed_over() {
    let mut it = Adopted::of(40);
    assert_eq!(it.check(), 1);
    let error = it.context.hand_over(&mut it.channels).unwrap_err();
    let closed = it.channels.pop().unwrap();
    assert!(matches!(error, Error::NotBound(id) if id == closed.id()));
    drop(closed);
    let parts = it.context.hand_over(&mut it.channels).unwrap();
    assert_eq!(
        parts.table,
        HandOver::new(parts.table.ports().to_vec(), None).unwrap()
    );
}
