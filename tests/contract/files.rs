//! An open file: what its duplicates share, and the calls that it refuses.

use evtchn_core::{DomId, ErrorKind, EventChannel, Virq};
use rustix::io::Errno;

use super::platform::*;

pub(crate) fn a_duplicate_shares_ports_and_ring<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let duplicate = p.dup(&near);
    far.notify(peer).unwrap();
    p.expect_ready(&duplicate);
    assert_eq!(p.poll(&near), IN_OUT);
    assert_eq!(read(&duplicate), words(&[port]));
    duplicate.unmask(&[port]).unwrap();
    duplicate.notify(port).unwrap();
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    duplicate.unbind(port).unwrap();
    expect_refused::<P, _>(near.notify(port), Errno::NOTCONN, ErrorKind::NotBound);
}

pub(crate) fn each_event_goes_to_one_reader_of_two_duplicates<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let duplicate = p.dup(&near);
    let wires = connect_many(&near, &far, 2);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    p.expect_ready(&near);
    assert_eq!(read_at_most(&duplicate, 1), words(&[wires[0].0]));
    assert_eq!(read(&near), words(&[wires[1].0]));
    expect_quiet(p, &duplicate);
}

pub(crate) fn closing_one_duplicate_unbinds_nothing<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let duplicate = p.dup(&near);
    drop(near);
    far.notify(peer).unwrap();
    expect_events(p, &duplicate, &[port]);
    duplicate.notify(port).unwrap();
}

pub(crate) fn closing_the_last_duplicate_unbinds<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, _) = connect(&near, &far);
    near.bind_virq(Virq::TBUF).unwrap();
    let duplicate = p.dup(&near);
    drop(near);
    expect_refused::<P, _>(far.bind_virq(Virq::TBUF), Errno::EXIST, ErrorKind::InUse);
    drop(duplicate);
    assert_eq!(far.bind_virq(Virq::TBUF).unwrap(), port);
}

pub(crate) fn a_restriction_holds_for_every_duplicate<P: Platform>(p: &P) {
    let near = p.open();
    let duplicate = p.dup(&near);
    near.restrict(DomId::new(5)).unwrap();
    let bound = duplicate.bind_unbound_port(DomId::new(5));
    expect_refused::<P, _>(bound, Errno::ACCESS, ErrorKind::NotPermitted);
    let again = p.dup(&duplicate).restrict(DomId::new(5));
    expect_refused::<P, _>(again, Errno::ACCESS, ErrorKind::NotPermitted);
    p.open().restrict(DomId::new(6)).unwrap();
}

pub(crate) fn nonblocking_goes_off_and_on_for_every_duplicate<P: Platform>(p: &P) {
    let near = p.open();
    let duplicate = p.dup(&near);
    p.set_nonblocking(&near, false).unwrap();
    p.set_nonblocking(&duplicate, true).unwrap();
    assert_eq!(p.raw_read(&near, &mut [0; 4]), Err(Errno::AGAIN));
    assert_eq!(p.raw_read(&duplicate, &mut [0; 4]), Err(Errno::AGAIN));
}

pub(crate) fn a_blocking_read_takes_what_is_there<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 2);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    p.expect_ready(&near);
    p.set_nonblocking(&near, false).unwrap();
    // With two ports there, a read does not wait for a third.
    let mut buf = [0; 12];
    assert_eq!(p.raw_read(&near, &mut buf), Ok(8));
    assert_eq!(buf[..8], bytes(&words(&[wires[0].0, wires[1].0])));
    assert_eq!(p.raw_read(&near, &mut [0; 3]), Ok(0));
}

pub(crate) fn a_blocking_read_is_efbig_after_an_overflow<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    overflow(&near, port, || far.notify(peer).unwrap());
    p.expect_ready(&near);
    p.set_nonblocking(&near, false).unwrap();
    assert_eq!(p.raw_read(&near, &mut [0; 4]), Err(Errno::FBIG));
}

pub(crate) fn a_device_has_no_position<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    assert_eq!(p.seek(&near), Err(Errno::SPIPE));
    assert_eq!(p.read_at(&near, &mut [0; 4]), Err(Errno::SPIPE));
    assert_eq!(p.write_at(&near, &[0; 4]), Err(Errno::SPIPE));
    expect_events(p, &near, &[port]);
}

pub(crate) fn the_number_of_readable_bytes_cannot_be_asked<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (_, peer) = connect(&near, &far);
    assert_eq!(p.readable_bytes(&near), Err(Errno::NOSYS));
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    assert_eq!(p.readable_bytes(&near), Err(Errno::NOSYS));
}
