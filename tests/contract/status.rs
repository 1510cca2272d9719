//! `EVTCHNOP_status` for every kind of bind, and after each way to end it.

use evtchn_core::{
    DomId, ErrorKind, EventChannel, Port, PortStatus, PortStatuses, RemotePort, Status, Virq,
};
use rustix::io::Errno;

use super::platform::*;

#[track_caller]
fn status<P: Platform>(p: &P, port: Port) -> PortStatus {
    p.privcmd().status(DomId::SELF, port).unwrap()
}

#[track_caller]
fn expect_state<P: Platform>(p: &P, port: Port, state: Status) {
    assert_eq!(status(p, port), PortStatus { state, vcpu: 0 });
}

fn connected<P: Platform>(p: &P, port: Port) -> Status {
    let domid = p.domid();
    let remote = RemotePort { domid, port };
    Status::Interdomain { remote }
}

fn waits_for(remote: DomId) -> Status {
    Status::Unbound { remote }
}

pub(crate) fn an_unbound_port_reports_the_domain_it_waits_for<P: Platform>(p: &P) {
    let device = p.open();
    let own = device.bind_unbound_port(DomId::SELF).unwrap();
    expect_state(p, own, waits_for(p.domid()));
    let absent = DomId::new(77);
    if let Some(port) = for_absent(p, &device, absent) {
        expect_state(p, port, waits_for(absent));
    }
}

pub(crate) fn both_ends_of_a_loopback_name_each_other<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    expect_state(p, port, connected(p, peer));
    expect_state(p, peer, connected(p, port));
}

pub(crate) fn a_virq_port_reports_its_virq<P: Platform>(p: &P) {
    let device = p.open();
    for virq in free_virqs(p) {
        let port = device.bind_virq(virq).unwrap();
        expect_state(p, port, Status::Virq { virq });
    }
}

pub(crate) fn a_port_is_closed_before_the_bind_and_after_the_unbind<P: Platform>(p: &P) {
    let device = p.open();
    let port = device.bind_unbound_port(DomId::SELF).unwrap();
    device.unbind(port).unwrap();
    assert_eq!(status(p, port).state, Status::Closed);
    let again = device.bind_virq(Virq::TBUF).unwrap();
    assert_eq!(again, port);
    drop(device);
    assert_eq!(status(p, port).state, Status::Closed);
}

pub(crate) fn a_port_whose_peer_closed_waits_for_its_domain_again<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.unbind(peer).unwrap();
    expect_state(p, port, waits_for(p.domid()));
    assert_eq!(status(p, peer).state, Status::Closed);
    let peer = far.bind_interdomain(local(port)).unwrap();
    expect_state(p, port, connected(p, peer));
    drop(far);
    expect_state(p, port, waits_for(p.domid()));
}

pub(crate) fn either_end_of_a_loopback_may_be_left_waiting<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    near.unbind(port).unwrap();
    expect_state(p, peer, waits_for(p.domid()));
}

pub(crate) fn events_and_masks_change_no_status<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    expect_state(p, port, connected(p, peer));
    expect_events(p, &near, &[port]);
    expect_state(p, port, connected(p, peer));
}

pub(crate) fn the_own_domid_and_self_give_the_same_status<P: Platform>(p: &P) {
    let device = p.open();
    let port = device.bind_unbound_port(DomId::SELF).unwrap();
    let by_number = p.privcmd().status(p.domid(), port).unwrap();
    assert_eq!(by_number, status(p, port));
}

pub(crate) fn a_port_beyond_the_end_of_the_table_is_einval<P: Platform>(p: &P) {
    let privcmd = p.privcmd();
    for beyond in [Port::MAX, port(1 << 17), port(100_000)] {
        let answer = privcmd.status(DomId::SELF, beyond);
        expect_refused::<P, _>(answer, Errno::INVAL, ErrorKind::Invalid);
    }
}

pub(crate) fn a_domain_that_does_not_exist_is_esrch<P: Platform>(p: &P) {
    let privcmd = p.privcmd();
    for domid in [DomId::new(77), DomId::new(0x7ff1), DomId::new(u16::MAX)] {
        let answer = privcmd.status(domid, port(1));
        expect_refused::<P, _>(answer, Errno::SRCH, ErrorKind::NoSuchDomain);
        let (first, answer) = privcmd.ports(domid).next().unwrap();
        assert_eq!(first, port(1));
        expect_refused::<P, _>(answer, Errno::SRCH, ErrorKind::NoSuchDomain);
        assert_eq!(privcmd.ports(domid).count(), 1);
    }
}

/// The ports of the domain that are not closed.
fn table<P: Platform>(p: &P) -> Vec<(Port, Status)> {
    let privcmd = p.privcmd();
    let ports = privcmd.ports(DomId::SELF);
    ports.map(|(port, it)| (port, it.unwrap().state)).collect()
}

pub(crate) fn the_table_of_a_domain_has_every_port_that_is_bound<P: Platform>(p: &P) {
    let before = table(p);
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 100);
    let virq = Virq::TBUF;
    let bound = near.bind_virq(virq).unwrap();
    let mut expected = before.clone();
    expected.push((bound, Status::Virq { virq }));
    for &(port, peer) in &wires {
        expected.push((port, connected(p, peer)));
        expected.push((peer, connected(p, port)));
    }
    expected.sort_by_key(|(port, _)| *port);
    assert_eq!(table(p), expected);
    drop((near, far));
    assert_eq!(table(p), before);
}

pub(crate) fn the_kernel_has_a_port_for_each_of_its_virqs<P: Platform>(p: &P) {
    let held = table(p);
    let kernel = p.kernel();
    for &virq in kernel.virqs.value {
        let state = Status::Virq { virq };
        let ports = held.iter().filter(|(_, it)| *it == state);
        assert_eq!(ports.count(), 1, "{virq}: {held:?}");
    }
    let has_ipis = held.iter().any(|(_, state)| *state == Status::Ipi);
    assert_eq!(has_ipis, kernel.other_ports.value > 0, "{held:?}");
}
