//! Static channels, whose ports a toolstack or the hypervisor has made. No other number is bound
//! here: the kernel does not refuse each of them, nor each port that another file has.

use evtchn_sim::abi;
use rustix::io::Errno;

use crate::side::{Answer, OUT, SELF, Side, read_one};

fn bind<S: Side>(s: &S, file: S::File, port: u32) -> Answer<u32> {
    s.ioctl(file, abi::BIND_STATIC, port.into())
}

fn notify<S: Side>(s: &S, file: S::File, port: u32) {
    assert_eq!(s.ioctl(file, abi::NOTIFY, port.into()), Ok(0));
}

fn enable<S: Side>(s: &S, file: S::File, port: u32) {
    assert_eq!(s.write(file, &port.to_ne_bytes()), Ok(4));
}

/// A static channel with a file at each end, and no event.
fn bound<S: Side>(s: &S) -> [(S::File, u32); 2] {
    let ends = s.static_pair().map(|port| {
        let file = s.open_nonblocking();
        assert_eq!(bind(s, file, port), Ok(0));
        (file, port)
    });
    let (file, port) = ends[1];
    assert_eq!(read_one(s, file), Ok(port));
    enable(s, file, port);
    ends
}

pub(crate) fn a_static_bind_returns_0_and_what_was_pending_comes_at_once<S: Side>(s: &S) {
    let [one, other] = s.static_pair();
    let file = s.open_nonblocking();
    assert_eq!(bind(s, file, one), Ok(0));
    assert_eq!(s.poll(file), OUT);
    assert_eq!(bind(s, file, other), Ok(0));
    assert_eq!(read_one(s, file), Ok(other));
    assert_eq!(read_one(s, file), Err(Errno::AGAIN));
}

pub(crate) fn a_second_static_bind_of_one_file_is_eisconn_and_changes_nothing<S: Side>(s: &S) {
    let [(near, port), (far, peer)] = bound(s);
    assert_eq!(bind(s, near, port), Err(Errno::ISCONN));
    notify(s, far, peer);
    assert_eq!(read_one(s, near), Ok(port));
}

pub(crate) fn events_go_both_ways_and_are_one_until_the_port_is_enabled<S: Side>(s: &S) {
    let [one, other] = bound(s);
    for ((near, port), (far, peer)) in [(one, other), (other, one)] {
        for _ in 0..3 {
            notify(s, far, peer);
        }
        assert_eq!(read_one(s, near), Ok(port));
        assert_eq!(read_one(s, near), Err(Errno::AGAIN));
        enable(s, near, port);
        assert_eq!(read_one(s, near), Ok(port));
        enable(s, near, port);
        assert_eq!(read_one(s, near), Err(Errno::AGAIN));
    }
}

pub(crate) fn an_unbind_leaves_the_channel_open_and_its_events_to_the_next_bind<S: Side>(s: &S) {
    let [(near, port), (far, peer)] = bound(s);
    assert_eq!(s.ioctl(near, abi::UNBIND, port.into()), Ok(0));
    for request in [abi::UNBIND, abi::NOTIFY] {
        let refused = s.ioctl(near, request, port.into());
        assert_eq!(refused, Err(Errno::NOTCONN));
    }
    for _ in 0..2 {
        notify(s, far, peer);
    }
    assert_eq!(read_one(s, near), Err(Errno::AGAIN));
    assert_eq!(bind(s, near, port), Ok(0));
    assert_eq!(read_one(s, near), Ok(port));
    enable(s, near, port);
    assert_eq!(read_one(s, near), Err(Errno::AGAIN));
}

pub(crate) fn a_close_leaves_the_channel_open_and_its_events_to_the_next_file<S: Side>(s: &S) {
    let [(near, port), (far, peer)] = bound(s);
    s.close(near);
    notify(s, far, peer);
    let next = s.open_nonblocking();
    assert_eq!(bind(s, next, port), Ok(0));
    assert_eq!(read_one(s, next), Ok(port));
    enable(s, next, port);
    notify(s, far, peer);
    assert_eq!(read_one(s, next), Ok(port));
    notify(s, next, port);
    assert_eq!(read_one(s, far), Ok(peer));
}

pub(crate) fn an_event_that_was_read_and_not_enabled_is_over_at_the_next_bind<S: Side>(s: &S) {
    let [(near, port), (far, peer)] = bound(s);
    notify(s, far, peer);
    assert_eq!(read_one(s, near), Ok(port));
    assert_eq!(s.ioctl(near, abi::UNBIND, port.into()), Ok(0));
    assert_eq!(bind(s, near, port), Ok(0));
    assert_eq!(read_one(s, near), Err(Errno::AGAIN));
    notify(s, far, peer);
    assert_eq!(read_one(s, near), Ok(port));
}

pub(crate) fn a_restricted_file_binds_static_ports<S: Side>(s: &S) {
    let [one, other] = s.static_pair();
    let file = s.open_nonblocking();
    s.ioctl(file, abi::RESTRICT_DOMID, 5.into()).unwrap();
    assert_eq!(bind(s, file, one), Ok(0));
    assert_eq!(bind(s, file, other), Ok(0));
    notify(s, file, other);
    assert_eq!(read_one(s, file), Ok(other));
    assert_eq!(read_one(s, file), Ok(one));
}

pub(crate) fn no_other_bind_takes_a_static_port<S: Side>(s: &S) {
    let ends = s.static_pair();
    let file = s.open_nonblocking();
    for port in ends {
        let bound = s.ioctl(file, abi::BIND_INTERDOMAIN, [SELF, port].into());
        assert_eq!(bound, Err(Errno::INVAL));
    }
    for _ in 0..20 {
        let port = s.ioctl(file, abi::BIND_UNBOUND_PORT, SELF.into());
        assert!(!ends.contains(&port.unwrap()));
    }
}

pub(crate) fn a_static_port_whose_peer_is_gone_has_no_event_and_can_be_bound_again<S: Side>(s: &S) {
    let (port, peer) = s.static_port();
    let file = s.open_nonblocking();
    assert_eq!(bind(s, file, port), Ok(0));
    // What was pending from the beginning.
    while read_one(s, file).is_ok() {
        enable(s, file, port);
    }
    s.lose_peer(peer);
    assert_eq!(read_one(s, file), Err(Errno::AGAIN));
    notify(s, file, port);
    assert_eq!(s.ioctl(file, abi::UNBIND, port.into()), Ok(0));
    assert_eq!(bind(s, file, port), Ok(0));
    assert_eq!(read_one(s, file), Err(Errno::AGAIN));
}
