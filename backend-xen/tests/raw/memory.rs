//! Reads and writes of memory that is not there, of files opened for the other, and maps.

use evtchn_sim::abi::{self, Access};
use rustix::io::Errno;

use crate::side::{IN_OUT, Pair, Side, read_one};

/// Overflows the ring of a pair, by enabling its port before it is read.
fn overflow<S: Side>(s: &S, pair: &Pair<S>) {
    for _ in 0..64 {
        pair.fire(s);
        pair.enable(s).unwrap();
    }
    pair.fire(s);
}

pub(crate) fn a_read_into_bad_memory_is_efault_and_consumes_nothing<S: Side>(s: &S) {
    let pair = Pair::new(s, s.open_nonblocking());
    pair.fire(s);
    for count in [4, 7, 4096, 8192] {
        assert_eq!(s.read_bad(pair.near, count), Err(Errno::FAULT));
        assert_eq!(s.poll(pair.near), IN_OUT);
    }
    assert_eq!(read_one(s, pair.near), Ok(pair.port));
}

pub(crate) fn a_read_that_returns_nothing_needs_no_memory<S: Side>(s: &S) {
    let pair = Pair::new(s, s.open_nonblocking());
    assert_eq!(s.read_bad(pair.near, 4), Err(Errno::AGAIN));
    assert_eq!(s.read_bad(pair.near, 3), Ok(0));
    overflow(s, &pair);
    assert_eq!(s.read_bad(pair.near, 4), Err(Errno::FBIG));
    assert_eq!(s.read_bad(pair.near, 3), Ok(0));
}

pub(crate) fn a_write_from_bad_memory_is_efault_and_enables_nothing<S: Side>(s: &S) {
    let pair = Pair::new(s, s.open_nonblocking());
    pair.fire(s);
    assert_eq!(read_one(s, pair.near), Ok(pair.port));
    pair.fire(s);
    for count in [4, 7, 4096, 8192] {
        assert_eq!(s.write_bad(pair.near, count), Err(Errno::FAULT));
    }
    for count in 0..4 {
        assert_eq!(s.write_bad(pair.near, count), Ok(0));
    }
    assert_eq!(read_one(s, pair.near), Err(Errno::AGAIN));
    assert_eq!(pair.enable(s), Ok(4));
    assert_eq!(read_one(s, pair.near), Ok(pair.port));
}

pub(crate) fn a_read_of_a_file_for_writing_is_ebadf_before_everything<S: Side>(s: &S) {
    let pair = Pair::new(s, s.open(Access::WriteOnly, true));
    for count in [0, 4] {
        assert_eq!(s.read_bad(pair.near, count), Err(Errno::BADF));
    }
    overflow(s, &pair);
    assert_eq!(s.read(pair.near, &mut [0; 4]), Err(Errno::BADF));
}

pub(crate) fn a_write_of_a_file_for_reading_is_ebadf_before_everything<S: Side>(s: &S) {
    let pair = Pair::new(s, s.open(Access::ReadOnly, true));
    for count in [0, 4] {
        assert_eq!(s.write_bad(pair.near, count), Err(Errno::BADF));
    }
    pair.fire(s);
    assert_eq!(read_one(s, pair.near), Ok(pair.port));
    assert_eq!(pair.enable(s), Err(Errno::BADF));
    // So the port stays disabled.
    pair.fire(s);
    assert_eq!(read_one(s, pair.near), Err(Errno::AGAIN));
    assert_eq!(s.ioctl(pair.near, abi::UNBIND, pair.port.into()), Ok(0));
}

pub(crate) fn a_map_is_enodev_and_eacces_without_reading<S: Side>(s: &S) {
    for (access, errno) in [
        (Access::ReadWrite, Errno::NODEV),
        (Access::ReadOnly, Errno::NODEV),
        (Access::WriteOnly, Errno::ACCESS),
    ] {
        let file = s.open(access, true);
        assert_eq!(s.map(file), Err(errno), "{access:?}");
    }
}

pub(crate) fn a_vector_is_moved_segment_by_segment_until_one_is_not_filled<S: Side>(s: &S) {
    let file = s.open_nonblocking();
    let pairs = [(); 3].map(|()| Pair::new(s, file));
    for pair in &pairs {
        pair.fire(s);
    }
    let (mut short, mut one, mut other) = ([0; 3], [0; 4], [0; 4]);
    assert_eq!(s.readv(file, [&mut short, &mut one]), Ok(0));
    assert_eq!(s.readv(file, [&mut one, &mut other]), Ok(8));
    let read = [one, other].map(u32::from_ne_bytes);
    assert_eq!(read, [pairs[0].port, pairs[1].port]);
    let mut odd = [0; 6];
    assert_eq!(s.readv(file, [&mut odd, &mut one]), Ok(4));
    assert_eq!(s.readv(file, [&mut one, &mut other]), Err(Errno::AGAIN));

    let words = [0, 1].map(|place: usize| pairs[place].port.to_ne_bytes());
    assert_eq!(s.writev(file, [&[0; 3], &words[0]]), Ok(0));
    pairs[0].fire(s);
    assert_eq!(read_one(s, file), Err(Errno::AGAIN), "nothing was written");
    assert_eq!(s.writev(file, [&words[0], &words[1]]), Ok(8));
    assert_eq!(read_one(s, file), Ok(pairs[0].port));
}
