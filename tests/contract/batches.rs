//! Many notifies in one call, and many questions.

use std::ops::ControlFlow;

use evtchn_core::{
    DeviceError, DomId, Error, ErrorKind, EventChannel, NotifySet, Open, Port, PortStatuses, Virq,
};
use rustix::io::Errno;

use super::platform::*;
use super::rig::Rig;

/// A device that notifies many ports in one hypercall.
#[track_caller]
fn batching<P: Platform>(p: &P) -> P::Device {
    let device = p.batching().open().unwrap();
    assert!(p.has_multicall(&device), "a control domain may");
    device
}

/// Notifies, and returns what was refused.
fn refused<D: EventChannel>(device: &D, ports: &[Port]) -> Vec<(usize, DeviceError)> {
    let mut refused = Vec::new();
    device.notify_many(ports, &mut |place, error| refused.push((place, error)));
    refused
}

#[track_caller]
fn notify<D: EventChannel>(device: &D, ports: &[Port]) {
    let refused = refused(device, ports);
    assert!(refused.is_empty(), "{refused:?}");
}

/// Demands that the port in this place alone was refused, with this errno.
#[track_caller]
fn expect_one_refused<P: Platform>(
    refused: Vec<(usize, DeviceError)>,
    place: usize,
    errno: Errno,
    kind: ErrorKind,
) {
    let [(at, error)] = <[_; 1]>::try_from(refused).unwrap();
    assert_eq!(at, place);
    expect_refused::<P, ()>(Err(error), errno, kind);
}

/// Ports of a device that reads, and the ends of a device that notifies.
fn ends<P: Platform>(near: &P::Device, far: &P::Device, count: usize) -> (Vec<Port>, Vec<Port>) {
    connect_many(near, far, count).into_iter().unzip()
}

pub(crate) fn a_hypercall_for_many_sends_to_each_in_order<P: Platform>(p: &P) {
    let (near, far) = (p.open(), batching(p));
    let (ours, theirs) = ends::<P>(&near, &far, 5);
    notify(&far, &[theirs[3], theirs[0], theirs[4]]);
    expect_events(p, &near, &[ours[3], ours[0], ours[4]]);
    expect_quiet(p, &near);
    assert!(p.has_multicall(&far), "it was not refused");
}

pub(crate) fn each_port_of_a_batch_has_a_result_of_its_own<P: Platform>(p: &P) {
    let (near, far) = (p.open(), batching(p));
    let (ours, theirs) = ends::<P>(&near, &far, 3);
    far.unbind(theirs[1]).unwrap();
    let refused = refused(&far, &theirs);
    expect_one_refused::<P>(refused, 1, Errno::INVAL, ErrorKind::Invalid);
    expect_events(p, &near, &[ours[0], ours[2]]);
    let beyond = Port::MAX;
    let refused = self::refused(&far, &[beyond, theirs[0]]);
    expect_one_refused::<P>(refused, 0, Errno::INVAL, ErrorKind::Invalid);
    assert!(
        p.has_multicall(&far),
        "the hypercall itself was not refused"
    );
}

/// Xen delivers an event to the caller between two entries of the list.
pub(crate) fn a_port_twice_in_a_batch_fires_again_after_the_unmask<P: Platform>(p: &P) {
    let (near, far) = (p.open(), batching(p));
    let (ours, theirs) = ends::<P>(&near, &far, 2);
    notify(&far, &[theirs[0], theirs[1], theirs[0], theirs[0]]);
    expect_events(p, &near, &ours);
    near.unmask(&ours).unwrap();
    expect_events(p, &near, &ours[..1]);
    near.unmask(&ours).unwrap();
    expect_quiet(p, &near);
}

pub(crate) fn a_batch_to_ports_that_are_masked_is_one_event_each<P: Platform>(p: &P) {
    let (near, far) = (p.open(), batching(p));
    let (ours, theirs) = ends::<P>(&near, &far, 2);
    notify(&far, &theirs);
    expect_events(p, &near, &ours);
    notify(&far, &theirs);
    notify(&far, &theirs);
    expect_quiet(p, &near);
    near.unmask(&ours).unwrap();
    expect_events(p, &near, &ours);
}

pub(crate) fn a_batch_asks_xen_alone_who_owns_a_port<P: Platform>(p: &P) {
    let (near, far, other) = (p.open(), p.open(), batching(p));
    let (ours, theirs) = ends::<P>(&near, &far, 2);
    notify(&other, &theirs);
    expect_events(p, &near, &ours);
}

pub(crate) fn a_batch_of_one_is_an_ioctl<P: Platform>(p: &P) {
    let (near, far, other) = (p.open(), p.open(), batching(p));
    let (_, theirs) = connect(&near, &far);
    let refused = refused(&other, &[theirs]);
    expect_one_refused::<P>(refused, 0, Errno::NOTCONN, ErrorKind::NotBound);
    notify(&other, &[]);
    expect_quiet(p, &near);
}

pub(crate) fn a_device_that_was_not_asked_to_makes_an_ioctl_for_each<P: Platform>(p: &P) {
    let (near, far, other) = (p.open(), p.open(), p.open());
    assert!(!p.has_multicall(&other));
    let (ours, theirs) = ends::<P>(&near, &far, 2);
    notify(&far, &theirs);
    expect_events(p, &near, &ours);
    let foreign = refused(&other, &[theirs[0], theirs[1]]);
    assert_eq!(foreign.len(), 2);
    for (_, error) in foreign {
        expect_refused::<P, ()>(Err(error), Errno::NOTCONN, ErrorKind::NotBound);
    }
}

pub(crate) fn a_virq_port_in_a_batch_is_einval<P: Platform>(p: &P) {
    let (near, far) = (p.open(), batching(p));
    let (port, theirs) = connect(&near, &far);
    let virq = far.bind_virq(Virq::TBUF).unwrap();
    // The ioctl says nothing of it: Linux drops the answer of Xen.
    far.notify(virq).unwrap();
    let refused = refused(&far, &[virq, theirs]);
    expect_one_refused::<P>(refused, 0, Errno::INVAL, ErrorKind::Invalid);
    expect_events(p, &near, &[port]);
}

pub(crate) fn a_batch_of_1100_is_two_hypercalls_and_loses_nothing<P: Platform>(p: &P) {
    let (near, far) = (p.open(), batching(p));
    let (ours, theirs) = ends::<P>(&near, &far, 1_100);
    notify(&far, &theirs);
    p.expect_ready(&near);
    let mut events = read(&near);
    events.extend(read(&near));
    assert_eq!(events, words(&ours));
}

pub(crate) fn a_restricted_device_makes_an_ioctl_for_each<P: Platform>(p: &P) {
    let (near, far, other) = (p.open(), p.open(), batching(p));
    let (_, theirs) = ends::<P>(&near, &far, 2);
    other.restrict(DomId::new(1)).unwrap();
    assert!(!p.has_multicall(&other));
    let refused = refused(&other, &theirs);
    assert_eq!(refused.len(), 2);
    for (_, error) in refused {
        expect_refused::<P, ()>(Err(error), Errno::NOTCONN, ErrorKind::NotBound);
    }
    expect_quiet(p, &near);
}

pub(crate) fn a_context_notifies_many_in_one_call_of_the_device<P: Platform>(p: &P) {
    let rig = Rig::of(p, p.batching());
    let wires = rig.wires::<3>();
    // The bind of each end was an event.
    let theirs = wires.each_ref().map(|wire| wire.peer);
    expect_events(p, &rig.peer, &theirs);
    rig.peer.unmask(&theirs).unwrap();
    let ids = wires.each_ref().map(|wire| wire.channel.id());
    rig.context.notify_many(&ids).unwrap();
    assert_eq!(rig.spy.log().batches, [3]);
    expect_events(p, &rig.peer, &theirs);
}

pub(crate) fn a_context_names_the_channel_of_a_batch_that_is_not_bound<P: Platform>(p: &P) {
    let rig = Rig::of(p, p.batching());
    let [mut gone, one, two] = rig.wires();
    let theirs = [gone.peer, one.peer, two.peer];
    expect_events(p, &rig.peer, &theirs);
    rig.peer.unmask(&theirs).unwrap();
    let ids = [&gone, &one, &two].map(|wire| wire.channel.id());
    gone.channel.unbind().unwrap();
    let Err(Error::NotNotified(refused)) = rig.context.notify_many(&ids) else {
        panic!("one of them is not bound");
    };
    assert!(matches!(refused.failed[..], [(id, Error::NotBound(_))] if id == ids[0]));
    expect_events(p, &rig.peer, &theirs[1..]);
}

pub(crate) fn a_set_of_notifiers_notifies_many_in_one_call_of_the_device<P: Platform>(p: &P) {
    let rig = Rig::of(p, p.batching());
    let wires = rig.wires::<3>();
    let theirs = wires.each_ref().map(|wire| wire.peer);
    expect_events(p, &rig.peer, &theirs);
    rig.peer.unmask(&theirs).unwrap();
    let set: NotifySet = wires.iter().map(|wire| wire.channel.notifier()).collect();
    std::thread::scope(|scope| scope.spawn(|| set.notify()).join().unwrap()).unwrap();
    assert_eq!(rig.spy.log().batches, [3]);
    expect_events(p, &rig.peer, &theirs);
}

pub(crate) fn many_statuses_are_those_of_single_questions<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (ours, theirs) = ends::<P>(&near, &far, 3);
    let waits = near.bind_unbound_port(DomId::SELF).unwrap();
    let virq = near.bind_virq(Virq::TBUF).unwrap();
    near.unbind(ours[1]).unwrap();
    let asked = [
        ours[0],
        theirs[1],
        Port::MAX,
        waits,
        ours[1],
        virq,
        theirs[2],
    ];
    let (one, many) = (p.privcmd(), p.batching_privcmd());
    let mut places = Vec::new();
    many.status_many(DomId::SELF, &asked, &mut |place, answer| {
        assert_eq!(
            answer,
            one.status(DomId::SELF, asked[place]),
            "{}",
            asked[place]
        );
        places.push(place);
        ControlFlow::Continue(())
    });
    assert_eq!(places, [0, 1, 2, 3, 4, 5, 6]);
}
