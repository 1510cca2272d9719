//! Reading, writing, the ring and its overflow, poll bits.

use super::*;

#[test]
fn a_read_of_less_than_a_word_is_0_before_anything_else() {
    let mut bench = Bench::new();
    for count in 0..4 {
        assert_eq!(bench.world.read(bench.file, &mut vec![0; count]), Ok(0));
        assert_eq!(bench.world.read_bad(bench.file, count), Ok(0));
    }
    overflow(&mut bench);
    assert_eq!(bench.world.read(bench.file, &mut [0; 3]), Ok(0));
}

#[test]
fn a_read_rounds_down_to_words_and_never_waits_for_more() {
    let mut bench = Bench::new();
    let ours: Vec<u32> = bench.fired_pairs(5).iter().map(|pair| pair.0).collect();
    assert_eq!(
        read(&mut bench.world, bench.file, 11),
        Ok(ours[..2].to_vec())
    );
    assert_eq!(bench.read(), Ok(ours[2..].to_vec()), "in order");
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn a_read_brings_at_most_a_page() {
    let mut bench = Bench::new();
    let ours: Vec<u32> = bench.fired_pairs(1030).iter().map(|pair| pair.0).collect();
    let first = read(&mut bench.world, bench.file, 8192).unwrap();
    assert_eq!(first, ours[..1024]);
    assert_eq!(bench.read(), Ok(ours[1024..].to_vec()));
}

#[test]
fn a_read_into_bad_memory_consumes_nothing_and_eagain_comes_first() {
    let mut bench = Bench::new();
    assert_eq!(bench.world.read_bad(bench.file, 8), Err(Errno::EAGAIN));
    let (ours, _) = bench.fired_pairs(1)[0];
    assert_eq!(bench.world.read_bad(bench.file, 8), Err(Errno::EFAULT));
    assert_eq!(bench.read(), Ok(vec![ours]));
    overflow(&mut bench);
    assert_eq!(bench.world.read_bad(bench.file, 8), Err(Errno::EFBIG));
}

#[test]
fn a_read_needs_memory_only_for_the_ports_it_returns() {
    let mut bench = Bench::new();
    let ours: Vec<u32> = bench.fired_pairs(3).iter().map(|pair| pair.0).collect();
    let (world, file) = (&mut bench.world, bench.file);
    assert_eq!(world.read_cut(file, 4096, &mut [0; 11]), Err(Errno::EFAULT));
    assert_eq!(world.read_cut(file, 8, &mut [0; 8]), Ok(8));
    let mut buf = [0; 4];
    assert_eq!(world.read_cut(file, 4096, &mut buf), Ok(4));
    assert_eq!(u32::from_ne_bytes(buf), ours[2]);
}

#[test]
fn a_write_counts_the_words_that_it_ignores() {
    let mut bench = Bench::new();
    let enabled = bench.unbound();
    let words = [0, 1, enabled, enabled, 5000, u32::MAX];
    assert_eq!(bench.write(&words), Ok(24));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn a_write_rounds_down_to_words_and_is_clipped_to_a_page() {
    let mut bench = Bench::new();
    for (count, written) in [
        (0, 0),
        (3, 0),
        (7, 4),
        (4096, 4096),
        (4100, 4096),
        (8192, 4096),
    ] {
        let answer = bench.world.write(bench.file, &vec![0; count]);
        assert_eq!(answer, Ok(written), "{count} bytes");
    }
}

#[test]
fn what_is_beyond_the_page_is_not_enabled() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    bench.read().unwrap();
    bench.fire(theirs);
    let mut words = vec![0; 1024];
    words.push(ours);
    assert_eq!(bench.write(&words), Ok(4096));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    assert_eq!(bench.write(&[ours]), Ok(4));
    assert_eq!(bench.read(), Ok(vec![ours]));
}

#[test]
fn a_write_from_bad_memory_enables_nothing() {
    let mut bench = Bench::new();
    let (_, theirs) = bench.fired_pairs(1)[0];
    bench.read().unwrap();
    bench.fire(theirs);
    assert_eq!(bench.world.write_bad(bench.file, 3), Ok(0));
    assert_eq!(bench.world.write_bad(bench.file, 4), Err(Errno::EFAULT));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn a_write_that_runs_out_of_memory_enables_nothing() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    bench.read().unwrap();
    bench.fire(theirs);
    let bytes = ours.to_ne_bytes();
    let (world, file) = (&mut bench.world, bench.file);
    assert_eq!(world.write_cut(file, 8, &bytes), Err(Errno::EFAULT));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    assert_eq!(bench.world.write_cut(bench.file, 7, &bytes), Ok(4));
    assert_eq!(bench.read(), Ok(vec![ours]));
}

/// How many more entries the ring has room for, found by overflowing it with one port.
fn room(bench: &mut Bench) -> usize {
    let (ours, theirs) = bench.pair();
    for entries in 0.. {
        bench.fire(theirs);
        if bench.poll() == PollBits::ERROR {
            return entries;
        }
        bench.write(&[ours]).unwrap();
    }
    unreachable!()
}

#[test]
fn ring_grows_64_then_doubles() {
    for (ports, size) in [(1, 64), (64, 64), (65, 128), (128, 128), (129, 256)] {
        let mut bench = Bench::new();
        for _ in 1..ports {
            bench.unbound();
        }
        assert_eq!(room(&mut bench), size, "{ports} ports");
    }
}

#[test]
fn the_ring_never_shrinks() {
    let mut bench = Bench::new();
    let ports: Vec<u32> = (0..129).map(|_| bench.unbound()).collect();
    for port in ports {
        bench.ioctl(abi::UNBIND, port).unwrap();
    }
    assert_eq!(room(&mut bench), 256);
}

#[test]
fn the_ring_keeps_its_entries_in_order_when_it_grows_also_wrapped() {
    let mut bench = Bench::new();
    let pairs = bench.fired_pairs(64);
    let mut expected: Vec<u32> = pairs.iter().map(|pair| pair.0).collect();
    let read = read(&mut bench.world, bench.file, 40).unwrap();
    bench.write(&read).unwrap();
    pairs[..10].iter().for_each(|pair| bench.fire(pair.1));
    expected.rotate_left(10);
    let extra = bench.fired_pairs(1)[0].0;
    expected.push(extra);
    assert_eq!(bench.read(), Ok(expected));
}

/// Overflows the ring of one port by writing before reading.
fn overflow(bench: &mut Bench) -> (u32, u32) {
    let (ours, theirs) = bench.pair();
    while bench.poll() != PollBits::ERROR {
        bench.fire(theirs);
        bench.write(&[ours]).unwrap();
    }
    (ours, theirs)
}

#[test]
fn write_before_read_queues_the_port_twice() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    bench.write(&[ours]).unwrap();
    bench.fire(theirs);
    assert_eq!(bench.read(), Ok(vec![ours, ours]));
}

#[test]
fn overflow_by_write_before_read_at_entry_65() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.pair();
    for _ in 0..64 {
        bench.fire(theirs);
        assert_eq!(bench.poll(), PollBits::READABLE);
        bench.write(&[ours]).unwrap();
    }
    bench.fire(theirs);
    assert_eq!(bench.poll(), PollBits::ERROR);
}

#[test]
fn overflow_by_stale_entries_at_entry_65() {
    let mut bench = Bench::new();
    let pairs = bench.fired_pairs(64);
    bench.ioctl(abi::UNBIND, pairs[9].0).unwrap();
    assert_eq!(bench.poll(), PollBits::READABLE);
    let again = bench.ioctl(abi::BIND_INTERDOMAIN, [SELF, pairs[9].1]);
    assert_eq!(again, Ok(pairs[9].0));
    assert_eq!(bench.poll(), PollBits::ERROR);
}

#[test]
fn a_reader_that_writes_only_what_it_read_does_not_overflow() {
    let mut bench = Bench::new();
    let pairs = bench.fired_pairs(64);
    for _ in 0..10 {
        for &(_, theirs) in &pairs {
            bench.fire(theirs);
            bench.fire(theirs);
        }
        let fired = bench.read().unwrap();
        assert_eq!(fired.len(), 64);
        bench.write(&fired).unwrap();
    }
}

#[test]
fn an_overflow_lasts_until_a_reset() {
    let mut bench = Bench::new();
    let (ours, _) = overflow(&mut bench);
    let other = bench.unbound();
    bench.ioctl(abi::UNBIND, other).unwrap();
    for _ in 0..64 {
        bench.unbound();
    }
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Err(Errno::EFBIG));
    bench.ioctl(abi::UNBIND, ours).unwrap();
    assert_eq!(bench.read(), Err(Errno::EFBIG));
    assert_eq!(bench.poll(), PollBits::ERROR);
    bench.ioctl(abi::RESET, 0).unwrap();
    assert_eq!(bench.poll(), PollBits::WRITABLE);
    assert_eq!(bench.read(), Err(Errno::EAGAIN), "entries are gone too");
}

#[test]
fn an_overflow_is_efbig_even_with_an_empty_ring() {
    let mut bench = Bench::new();
    bench.world.overflow(bench.file).unwrap();
    assert_eq!(bench.read(), Err(Errno::EFBIG));
    assert_eq!(bench.poll(), PollBits::ERROR);
}

#[test]
fn after_an_overflow_every_port_has_to_be_written_to_fire_again() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.pair();
    for _ in 0..65 {
        bench.write(&[ours]).unwrap();
        bench.fire(theirs);
    }
    bench.ioctl(abi::RESET, 0).unwrap();
    bench.fire(theirs);
    assert_eq!(
        bench.read(),
        Err(Errno::EAGAIN),
        "disabled by the lost event"
    );
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Ok(vec![ours]));
}

#[test]
fn poll_bits_are_those_of_the_device() {
    let mut bench = Bench::new();
    assert_eq!(bench.poll().raw(), 0x104);
    let (ours, theirs) = bench.fired_pairs(1)[0];
    assert_eq!(bench.poll().raw(), 0x145);
    bench.read().unwrap();
    assert_eq!(bench.poll().raw(), 0x104);
    for _ in 0..65 {
        bench.write(&[ours]).unwrap();
        bench.fire(theirs);
    }
    assert_eq!(bench.poll().raw(), 0x008, "ERR alone");
    bench.ioctl(abi::RESET, 0).unwrap();
    assert_eq!(bench.poll().raw(), 0x104);
}

#[test]
fn sleepers_wake_only_when_the_ring_was_empty_and_never_for_an_overflow_or_a_reset() {
    let mut bench = Bench::new();
    let wakes = |bench: &Bench| bench.world.wakes(bench.file).unwrap();
    let pairs = bench.fired_pairs(2);
    assert_eq!(wakes(&bench), 1);
    bench.read().unwrap();
    bench.write(&[pairs[0].0]).unwrap();
    bench.fire(pairs[0].1);
    assert_eq!(wakes(&bench), 2);
    for _ in 0..64 {
        bench.write(&[pairs[0].0]).unwrap();
        bench.fire(pairs[0].1);
    }
    assert_eq!(bench.poll(), PollBits::ERROR);
    bench.ioctl(abi::RESET, 0).unwrap();
    assert_eq!(wakes(&bench), 2);
}
