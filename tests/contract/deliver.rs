//! From a notify to the results of `read` and `poll`.

use evtchn_core::{DomId, EventChannel, PortBuf, Virq};
use rustix::io::Errno;

use super::platform::*;

pub(crate) fn a_notify_is_read_once_at_the_other_end<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    expect_quiet(p, &near);
}

pub(crate) fn notifies_go_both_ways<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    expect_events(p, &far, &[peer]);
    far.unmask(&[peer]).unwrap();
    expect_quiet(p, &far);
    near.notify(port).unwrap();
    expect_events(p, &far, &[peer]);
}

pub(crate) fn notifies_to_a_disabled_port_are_one_event_after_unmask<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    for _ in 0..100 {
        far.notify(peer).unwrap();
    }
    expect_events(p, &near, &[port]);
    expect_quiet(p, &near);

    near.unmask(&[port]).unwrap();
    expect_events(p, &near, &[port]);
    near.unmask(&[port]).unwrap();
    expect_quiet(p, &near);
}

pub(crate) fn a_port_that_was_read_is_silent_until_it_is_unmasked<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    far.notify(peer).unwrap();
    expect_quiet(p, &near);
    near.unmask(&[port]).unwrap();
    expect_events(p, &near, &[port]);
}

pub(crate) fn many_ports_come_in_one_read<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 150);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    p.expect_ready(&near);
    let mut fired = read(&near);
    fired.sort_unstable();
    let ports: Vec<_> = wires.iter().map(|(port, _)| *port).collect();
    assert_eq!(fired, words(&ports));
    expect_quiet(p, &near);
}

pub(crate) fn ports_are_read_in_the_order_of_the_notifies<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 4);
    let order = [2, 0, 3, 1];
    for wire in order {
        far.notify(wires[wire].1).unwrap();
    }
    expect_events(p, &near, &order.map(|wire| wires[wire].0));
}

pub(crate) fn a_port_that_fires_again_goes_to_the_end<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 2);
    let [(first, first_peer), (second, second_peer)] = [wires[0], wires[1]];
    far.notify(first_peer).unwrap();
    expect_events(p, &near, &[first]);
    far.notify(second_peer).unwrap();
    near.unmask(&[first]).unwrap();
    far.notify(first_peer).unwrap();
    expect_events(p, &near, &[second, first]);
}

pub(crate) fn a_short_buffer_takes_the_front_and_leaves_the_rest<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 3);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    p.expect_ready(&near);
    assert_eq!(read_at_most(&near, 2), words(&[wires[0].0, wires[1].0]));
    assert_eq!(p.poll(&near), IN_OUT);
    assert_eq!(read_at_most(&near, 2), words(&[wires[2].0]));
    expect_quiet(p, &near);
}

pub(crate) fn a_read_is_cut_to_whole_ports<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 2);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    p.expect_ready(&near);
    let mut buf = [0xff; 7];
    assert_eq!(p.raw_read(&near, &mut buf), Ok(4));
    assert_eq!(buf[..4], bytes(&words(&[wires[0].0])));
    assert_eq!(buf[4..], [0xff; 3]);
    assert_eq!(read(&near), words(&[wires[1].0]));
}

pub(crate) fn a_read_of_less_than_a_port_takes_nothing<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    for count in 0..4 {
        assert_eq!(p.raw_read(&near, &mut vec![0; count]), Ok(0));
    }
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    for count in 0..4 {
        assert_eq!(p.raw_read(&near, &mut vec![0; count]), Ok(0));
    }
    expect_events(p, &near, &[port]);
}

pub(crate) fn a_read_of_an_empty_ring_is_eagain<P: Platform>(p: &P) {
    let device = p.open();
    assert_eq!(p.raw_read(&device, &mut [0; 4]), Err(Errno::AGAIN));
    device.bind_unbound_port(DomId::SELF).unwrap();
    assert_eq!(p.raw_read(&device, &mut [0; 4]), Err(Errno::AGAIN));
    assert!(read(&device).is_empty());
}

pub(crate) fn a_read_brings_a_page_of_ports_at_most<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, PortBuf::MAX + 1);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    p.expect_ready(&near);
    assert_eq!(read_at_most(&near, 2 * PortBuf::MAX).len(), PortBuf::MAX);
    assert_eq!(p.poll(&near), IN_OUT);
    assert_eq!(read_at_most(&near, 2 * PortBuf::MAX).len(), 1);
}

pub(crate) fn a_notify_before_the_peer_binds_is_lost<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let port = near.bind_unbound_port(DomId::SELF).unwrap();
    near.notify(port).unwrap();
    expect_quiet(p, &near);
    let peer = far.bind_interdomain(local(port)).unwrap();
    // The event of the bind stands for all notifies before it.
    expect_events(p, &far, &[peer]);
    far.unmask(&[peer]).unwrap();
    expect_quiet(p, &far);
    expect_quiet(p, &near);
}

pub(crate) fn a_notify_of_a_virq_port_goes_nowhere<P: Platform>(p: &P) {
    let device = p.open();
    let port = device.bind_virq(Virq::CON_RING).unwrap();
    device.notify(port).unwrap();
    expect_quiet(p, &device);
}

pub(crate) fn an_event_goes_to_the_device_that_bound_the_port<P: Platform>(p: &P) {
    let (near, far, other) = (p.open(), p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    other.bind_unbound_port(DomId::SELF).unwrap();
    far.notify(peer).unwrap();
    expect_quiet(p, &other);
    expect_events(p, &near, &[port]);
}

pub(crate) fn poll_says_writable_always_and_readable_with_events<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    assert_eq!(p.poll(&near), OUT);
    let (port, peer) = connect(&near, &far);
    assert_eq!(p.poll(&near), OUT);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    assert_eq!(p.poll(&near), IN_OUT);
    assert_eq!(read(&near), words(&[port]));
    assert_eq!(p.poll(&near), OUT);
}
