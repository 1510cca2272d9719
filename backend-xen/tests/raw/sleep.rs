//! Threads that sleep in a read: what ends their sleep, and what does not.

use evtchn_sim::abi::{self, Access};
use rustix::io::Errno;

use crate::side::{OUT, Pair, SELF, Side, Signal, read_one};

/// A pair whose near end blocks.
fn pair<S: Side>(s: &S) -> Pair<S> {
    Pair::new(s, s.open(Access::ReadWrite, false))
}

pub(crate) fn a_blocking_read_sleeps_until_an_event<S: Side>(s: &S) {
    let pair = pair(s);
    for _ in 0..3 {
        let mut reader = s.begin_read(pair.near);
        s.expect_asleep(&mut reader);
        pair.fire(s);
        assert_eq!(s.end(reader), Ok(pair.port));
        assert_eq!(s.poll(pair.near), OUT);
        pair.enable(s).unwrap();
    }
}

pub(crate) fn a_signal_ends_a_read_with_eintr<S: Side>(s: &S) {
    let pair = pair(s);
    let mut reader = s.begin_read(pair.near);
    s.signal(&mut reader, Signal::Interrupts);
    assert_eq!(s.end(reader), Err(Errno::INTR));
    pair.fire(s);
    assert_eq!(read_one(s, pair.near), Ok(pair.port));
}

pub(crate) fn a_signal_that_restarts_leaves_the_read_asleep<S: Side>(s: &S) {
    let pair = pair(s);
    let mut reader = s.begin_read(pair.near);
    s.signal(&mut reader, Signal::Restarts);
    s.expect_asleep(&mut reader);
    pair.fire(s);
    assert_eq!(s.end(reader), Ok(pair.port));
}

pub(crate) fn nonblocking_wakes_no_sleeper_and_ends_the_read_that_a_signal_restarts<S: Side>(
    s: &S,
) {
    let pair = pair(s);
    let mut reader = s.begin_read(pair.near);
    s.ioctl(pair.near, abi::FIONBIO, 1.into()).unwrap();
    s.expect_asleep(&mut reader);
    assert_eq!(read_one(s, pair.near), Err(Errno::AGAIN));
    s.signal(&mut reader, Signal::Restarts);
    assert_eq!(s.end(reader), Err(Errno::AGAIN));
}

pub(crate) fn reset_and_unbind_wake_no_sleeper<S: Side>(s: &S) {
    let pair = pair(s);
    let mut reader = s.begin_read(pair.near);
    s.ioctl(pair.near, abi::RESET, 0.into()).unwrap();
    s.expect_asleep(&mut reader);
    s.ioctl(pair.near, abi::UNBIND, pair.port.into()).unwrap();
    s.expect_asleep(&mut reader);
    let again = s.ioctl(pair.near, abi::BIND_INTERDOMAIN, [SELF, pair.peer].into());
    assert_eq!(s.end(reader), again);
}

pub(crate) fn the_peers_close_wakes_no_sleeper<S: Side>(s: &S) {
    let pair = pair(s);
    let mut reader = s.begin_read(pair.near);
    s.close(pair.far);
    s.expect_asleep(&mut reader);
    s.signal(&mut reader, Signal::Interrupts);
    assert_eq!(s.end(reader), Err(Errno::INTR));
}

pub(crate) fn of_two_sleepers_one_gets_the_event_and_the_other_sleeps_on<S: Side>(s: &S) {
    let pair = pair(s);
    let mut readers = [s.begin_read(pair.near), s.begin_read(pair.near)];
    pair.fire(s);
    // Nothing says which of them.
    let first = loop {
        match readers.iter_mut().position(|reader| s.is_over(reader)) {
            Some(first) => break first,
            None => std::thread::yield_now(),
        }
    };
    let [one, two] = readers;
    let (winner, mut other) = if first == 0 { (one, two) } else { (two, one) };
    assert_eq!(s.end(winner), Ok(pair.port));
    s.expect_asleep(&mut other);
    pair.enable(s).unwrap();
    pair.fire(s);
    assert_eq!(s.end(other), Ok(pair.port));
}

pub(crate) fn a_write_goes_on_while_a_read_sleeps<S: Side>(s: &S) {
    let pair = pair(s);
    pair.fire(s);
    assert_eq!(read_one(s, pair.near), Ok(pair.port));
    pair.fire(s);
    let reader = s.begin_read(pair.near);
    assert_eq!(pair.enable(s), Ok(4));
    assert_eq!(s.end(reader), Ok(pair.port), "what was latched");
}

pub(crate) fn close_returns_while_a_read_sleeps_and_the_ports_stay_until_it_ends<S: Side>(s: &S) {
    let pair = pair(s);
    let next = |s: &S| {
        let file = s.open_nonblocking();
        let port = s.ioctl(file, abi::BIND_UNBOUND_PORT, SELF.into());
        s.close(file);
        port.unwrap()
    };
    let mut reader = s.begin_read(pair.near);
    s.close(pair.near);
    s.expect_asleep(&mut reader);
    assert_ne!(next(s), pair.port, "still bound");
    // And still delivered to.
    pair.fire(s);
    assert_eq!(s.end(reader), Ok(pair.port));
    assert_eq!(next(s), pair.port, "free");
}
