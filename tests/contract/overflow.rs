//! The ring: how it grows and overflows, what a reset leaves, and what an unbind leaves in it.

use evtchn_core::{DomId, ErrorKind, EventChannel, Port, PortBuf};
use rustix::io::Errno;

use super::platform::*;

/// A device with one port in overflow: the device, its port, the peer's device and port.
struct Overflowed<P: Platform> {
    near: P::Device,
    port: Port,
    far: P::Device,
    peer: Port,
}

impl<P: Platform> Overflowed<P> {
    fn new(p: &P) -> Self {
        let (near, far) = (p.open(), p.open());
        let (port, peer) = connect(&near, &far);
        overflow(&near, port, || far.notify(peer).unwrap());
        p.expect_ready(&near);
        Overflowed {
            near,
            port,
            far,
            peer,
        }
    }

    fn expect_in_overflow(&self, p: &P) {
        assert_eq!(p.poll(&self.near), ERR);
        let read = self.near.pending(&mut PortBuf::with_capacity(1));
        expect_refused::<P, _>(read, Errno::FBIG, ErrorKind::Overflow);
    }
}

pub(crate) fn entry_65_overflows_a_ring_of_64<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    fill(&near, port, || far.notify(peer).unwrap());
    assert_eq!(p.poll(&near), IN_OUT);
    far.notify(peer).unwrap();
    assert_eq!(p.poll(&near), ERR);
}

pub(crate) fn a_full_ring_is_read_whole<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    fill(&near, port, || far.notify(peer).unwrap());
    expect_events(p, &near, &[port; 64]);
}

pub(crate) fn an_overflow_is_efbig_and_the_error_bit_alone<P: Platform>(p: &P) {
    let overflowed = Overflowed::new(p);
    overflowed.expect_in_overflow(p);
    // Checked before everything, the count included.
    assert_eq!(p.raw_read(&overflowed.near, &mut [0; 3]), Ok(0));
    assert_eq!(p.raw_read(&overflowed.near, &mut [0; 8]), Err(Errno::FBIG));
}

pub(crate) fn only_reset_ends_an_overflow<P: Platform>(p: &P) {
    let overflowed = Overflowed::new(p);
    let near = &overflowed.near;
    let bound = connect_many(near, &overflowed.far, 100);
    overflowed.expect_in_overflow(p);
    near.unmask(&[overflowed.port]).unwrap();
    overflowed.expect_in_overflow(p);
    near.unbind(overflowed.port).unwrap();
    for (port, _) in bound {
        near.unbind(port).unwrap();
    }
    overflowed.expect_in_overflow(p);
    near.reset().unwrap();
    expect_quiet(p, near);
}

pub(crate) fn reset_unmasks_nothing<P: Platform>(p: &P) {
    let Overflowed {
        near,
        port,
        far,
        peer,
    } = Overflowed::new(p);
    near.reset().unwrap();
    expect_quiet(p, &near);
    far.notify(peer).unwrap();
    expect_quiet(p, &near);
    near.unmask(&[port]).unwrap();
    expect_events(p, &near, &[port]);
}

pub(crate) fn reset_drops_what_was_not_read<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    near.reset().unwrap();
    expect_quiet(p, &near);
    near.unmask(&[port]).unwrap();
    expect_quiet(p, &near);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
}

pub(crate) fn reset_of_an_empty_ring_changes_nothing<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    near.reset().unwrap();
    let (port, peer) = connect(&near, &far);
    near.reset().unwrap();
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
}

pub(crate) fn the_ring_grows_with_the_ports<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let first = connect_many(&near, &far, 60);
    for (_, peer) in &first {
        far.notify(*peer).unwrap();
    }
    p.expect_ready(&near);
    // Each read moves the front, so the ring wraps before it grows.
    assert_eq!(read_at_most(&near, 50).len(), 50);
    let then = connect_many(&near, &far, 140);
    for (_, peer) in &then {
        far.notify(*peer).unwrap();
    }
    let unread = first[50..].iter().chain(&then);
    expect_events(p, &near, &unread.map(|wire| wire.0).collect::<Vec<_>>());
}

pub(crate) fn stale_entries_overflow_a_ring_that_did_not_grow<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 64);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    assert_eq!(p.poll(&near), IN_OUT);
    near.unbind(wires[7].0).unwrap();
    let remote = far.bind_unbound_port(DomId::SELF).unwrap();
    near.bind_interdomain(local(remote)).unwrap();
    assert_eq!(p.poll(&near), ERR);
}

pub(crate) fn an_unread_entry_survives_the_unbind<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    near.unbind(port).unwrap();
    assert_eq!(p.poll(&near), IN_OUT);
    expect_events(p, &near, &[port]);
    assert_eq!(near.unmask(&[port]).unwrap(), 1);
}

pub(crate) fn a_stale_entry_reads_as_the_next_owner_of_the_number<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    near.unbind(port).unwrap();
    assert_eq!(near.bind_unbound_port(DomId::SELF).unwrap(), port);
    expect_events(p, &near, &[port]);
    // The new port is not masked, so writing it does nothing.
    near.unmask(&[port]).unwrap();
    expect_quiet(p, &near);
}

pub(crate) fn a_stale_entry_comes_before_the_event_of_the_new_bind<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let remote = far.bind_unbound_port(DomId::SELF).unwrap();
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    near.unbind(port).unwrap();
    assert_eq!(near.bind_interdomain(local(remote)).unwrap(), port);
    expect_events(p, &near, &[port, port]);
}

pub(crate) fn an_unbind_drops_the_latched_event<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    far.notify(peer).unwrap();
    near.unbind(port).unwrap();
    assert_eq!(near.bind_unbound_port(DomId::SELF).unwrap(), port);
    near.unmask(&[port]).unwrap();
    expect_quiet(p, &near);
}
