//! What a write unmasks, counts and ignores.

use evtchn_core::{EventChannel, Port, PortBuf};

use super::platform::*;

/// Three wires whose near ends were read and have another event pending.
fn three_latched<P: Platform>(p: &P, near: &P::Device, far: &P::Device) -> [Port; 3] {
    let wires = connect_many(near, far, 3);
    let ports = [0, 1, 2].map(|wire: usize| wires[wire].0);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    expect_events(p, near, &ports);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    expect_quiet(p, near);
    ports
}

pub(crate) fn ports_come_in_the_order_in_which_they_were_written<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let [a, b, c] = three_latched(p, &near, &far);
    assert_eq!(near.unmask(&[c, a, b]).unwrap(), 3);
    expect_events(p, &near, &[c, a, b]);
}

pub(crate) fn only_the_ports_that_were_written_are_unmasked<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let [a, b, c] = three_latched(p, &near, &far);
    near.unmask(&[b]).unwrap();
    expect_events(p, &near, &[b]);
    near.unmask(&[c, a]).unwrap();
    expect_events(p, &near, &[c, a]);
}

pub(crate) fn a_repeated_word_counts_and_brings_no_second_event<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let [a, b, _] = three_latched(p, &near, &far);
    assert_eq!(near.unmask(&[a, a, b, a, b]).unwrap(), 5);
    expect_events(p, &near, &[a, b]);
    expect_quiet(p, &near);
}

/// The first word delivers the event, which masks the port; the second unmasks it again.
pub(crate) fn a_pending_port_written_twice_in_one_write_is_left_unmasked<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    far.notify(peer).unwrap();
    assert_eq!(near.unmask(&[port, port]).unwrap(), 2);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port, port]);
}

pub(crate) fn foreign_and_unknown_ports_count_and_stay_as_they_are<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let [a, b, c] = three_latched(p, &near, &far);
    assert_eq!(far.unmask(&[a, b, Port::MAX, c]).unwrap(), 4);
    expect_quiet(p, &near);
    assert_eq!(near.unmask(&[Port::MAX, a]).unwrap(), 2);
    expect_events(p, &near, &[a]);
}

pub(crate) fn words_that_are_not_ports_count_and_do_nothing<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let [a, ..] = three_latched(p, &near, &far);
    let written = bytes(&[0, u32::MAX, a.as_raw()]);
    assert_eq!(p.raw_write(&near, &written), Ok(12));
    expect_events(p, &near, &[a]);
}

pub(crate) fn a_write_is_cut_to_whole_ports<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let [a, b, _] = three_latched(p, &near, &far);
    assert_eq!(p.raw_write(&near, &bytes(&words(&[a, b]))[..7]), Ok(4));
    expect_events(p, &near, &[a]);
}

pub(crate) fn a_write_of_less_than_a_port_does_nothing<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let [a, ..] = three_latched(p, &near, &far);
    for count in 0..4 {
        assert_eq!(p.raw_write(&near, &bytes(&words(&[a]))[..count]), Ok(0));
    }
    assert_eq!(near.unmask(&[]).unwrap(), 0);
    expect_quiet(p, &near);
}

pub(crate) fn a_write_takes_a_page_of_ports_at_most<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let [a, b, _] = three_latched(p, &near, &far);
    let mut ports = vec![a; PortBuf::MAX];
    ports.push(b);
    assert_eq!(near.unmask(&ports).unwrap(), PortBuf::MAX);
    expect_events(p, &near, &[a]);
    assert_eq!(near.unmask(&ports[PortBuf::MAX..]).unwrap(), 1);
    expect_events(p, &near, &[b]);
}

pub(crate) fn a_write_that_is_too_long_by_bytes_is_cut_to_a_page<P: Platform>(p: &P) {
    let device = p.open();
    assert_eq!(p.raw_write(&device, &[0; 4100]), Ok(4096));
    assert_eq!(p.raw_write(&device, &[0; 4097]), Ok(4096));
}

pub(crate) fn unmasking_an_unmasked_port_does_nothing<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    assert_eq!(near.unmask(&[port]).unwrap(), 1);
    expect_quiet(p, &near);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
}

pub(crate) fn unmask_before_read_queues_a_second_entry<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    near.unmask(&[port]).unwrap();
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port, port]);
}
