//! A peer that closes sends no event, and leaves a port that can be bound to again.

use evtchn_core::EventChannel;

use super::platform::*;

pub(crate) fn the_peer_of_an_unbind_gets_no_event<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (_, peer) = connect(&near, &far);
    far.unbind(peer).unwrap();
    expect_quiet(p, &near);
}

pub(crate) fn the_peer_of_a_close_gets_no_event<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    connect(&near, &far);
    drop(far);
    expect_quiet(p, &near);
}

pub(crate) fn a_notify_of_a_half_closed_port_goes_nowhere<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    drop(read(&far));
    far.unbind(peer).unwrap();
    near.notify(port).unwrap();
    expect_quiet(p, &near);
    expect_quiet(p, &far);
}

pub(crate) fn a_half_closed_port_can_be_bound_to_again<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, mut peer) = connect(&near, &far);
    for _ in 0..3 {
        expect_events(p, &far, &[peer]);
        far.unbind(peer).unwrap();
        peer = far.bind_interdomain(local(port)).unwrap();
        expect_quiet(p, &near);
        far.notify(peer).unwrap();
        expect_events(p, &near, &[port]);
        near.unmask(&[port]).unwrap();
    }
}

pub(crate) fn either_end_can_be_half_closed<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    expect_events(p, &far, &[peer]);
    far.unmask(&[peer]).unwrap();
    near.unbind(port).unwrap();
    let again = near.bind_interdomain(local(peer)).unwrap();
    expect_events(p, &near, &[again]);
    near.notify(again).unwrap();
    expect_events(p, &far, &[peer]);
}

pub(crate) fn an_event_sent_before_the_peer_closed_still_comes<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    far.notify(peer).unwrap();
    far.unbind(peer).unwrap();
    expect_events(p, &near, &[port]);
    near.unmask(&[port]).unwrap();
    expect_events(p, &near, &[port]);
    near.unmask(&[port]).unwrap();
    expect_quiet(p, &near);
}
