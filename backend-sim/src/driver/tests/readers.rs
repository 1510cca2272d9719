//! Threads that sleep in a read, by what ends their sleep and what does not.

use super::*;
use crate::choice::Choice;
use crate::world::ReaderId;

impl Bench {
    /// A bench whose file under test blocks.
    fn blocking(choice: Choice) -> Bench {
        let mut bench = Bench::new();
        *bench.world.choice() = choice;
        bench.world.set_nonblocking(bench.file, false).unwrap();
        bench
    }

    fn sleeper(&mut self) -> ReaderId {
        let reader = self.world.read_blocking(self.file, 4096).unwrap();
        assert_eq!(self.world.end_of_read(reader), None);
        reader
    }

    /// What a read that is over has answered.
    fn end(&mut self, reader: ReaderId) -> Result<Vec<u32>, Errno> {
        let answer = self.world.end_of_read(reader).expect("it is over");
        let bytes = answer?;
        let words = bytes.as_chunks().0;
        Ok(words.iter().map(|&word| u32::from_ne_bytes(word)).collect())
    }

    fn expect_asleep(&mut self, reader: ReaderId) {
        assert_eq!(self.world.end_of_read(reader), None);
    }
}

fn bench() -> Bench {
    Bench::blocking(Choice::seeded(0))
}

#[test]
fn a_read_of_an_empty_ring_sleeps_until_an_event_arrives() {
    let mut bench = bench();
    let (ours, theirs) = bench.pair();
    let reader = bench.sleeper();
    assert_eq!(bench.world.sleepers(), 1);
    bench.fire(theirs);
    assert_eq!(bench.end(reader), Ok(vec![ours]));
    assert_eq!(bench.world.sleepers(), 0);
    assert_eq!(bench.end(reader), Err(Errno::EBADF), "returned once");
}

#[test]
fn a_read_of_a_ring_with_entries_does_not_sleep() {
    let mut bench = bench();
    let fired = bench.fired_pairs(2);
    let file = bench.file;
    let reader = bench.world.read_blocking(file, 4).unwrap();
    assert_eq!(bench.end(reader), Ok(vec![fired[0].0]));
    let reader = bench.world.read_blocking(file, 4096).unwrap();
    assert_eq!(
        bench.end(reader),
        Ok(vec![fired[1].0]),
        "it waits for no more"
    );
}

#[test]
fn a_read_of_less_than_a_port_does_not_sleep() {
    let mut bench = bench();
    for count in 0..4 {
        let reader = bench.world.read_blocking(bench.file, count).unwrap();
        assert_eq!(bench.end(reader), Ok(vec![]));
    }
}

#[test]
fn a_read_after_an_overflow_is_efbig_at_once() {
    let mut bench = bench();
    bench.world.overflow(bench.file).unwrap();
    let reader = bench.world.read_blocking(bench.file, 4096).unwrap();
    assert_eq!(bench.end(reader), Err(Errno::EFBIG));
}

#[test]
fn an_overflow_without_an_entry_wakes_no_sleeper_and_a_signal_is_eintr() {
    let mut bench = bench();
    let reader = bench.sleeper();
    bench.world.overflow(bench.file).unwrap();
    bench.expect_asleep(reader);
    bench.world.signal(reader).unwrap();
    assert_eq!(bench.end(reader), Err(Errno::EINTR));
}

#[test]
fn a_sleeper_that_is_woken_after_an_overflow_is_efbig() {
    let mut bench = bench();
    let (_, theirs) = bench.pair();
    let reader = bench.sleeper();
    bench.world.overflow(bench.file).unwrap();
    bench.fire(theirs);
    assert_eq!(bench.end(reader), Err(Errno::EFBIG));
}

#[test]
fn a_signal_is_eintr_and_one_that_restarts_is_not() {
    let mut bench = bench();
    let (ours, theirs) = bench.pair();
    let [first, second] = [bench.sleeper(), bench.sleeper()];
    bench.world.signal(first).unwrap();
    bench.world.signal_restarting(second).unwrap();
    assert_eq!(bench.end(first), Err(Errno::EINTR));
    bench.expect_asleep(second);
    bench.fire(theirs);
    assert_eq!(bench.end(second), Ok(vec![ours]));
    assert_eq!(bench.world.signal(second), Err(Errno::ESRCH), "it is awake");
}

#[test]
fn nonblocking_wakes_no_sleeper_and_ends_the_read_that_a_signal_restarts() {
    let mut bench = bench();
    let reader = bench.sleeper();
    bench.world.set_nonblocking(bench.file, true).unwrap();
    bench.expect_asleep(reader);
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    bench.world.signal_restarting(reader).unwrap();
    assert_eq!(bench.end(reader), Err(Errno::EAGAIN));
}

#[test]
fn a_sleeper_sleeps_on_over_reset_and_the_unbind_of_every_port() {
    let mut bench = bench();
    let (ours, theirs) = bench.pair();
    let reader = bench.sleeper();
    bench.ioctl(abi::RESET, 0).unwrap();
    bench.expect_asleep(reader);
    bench.ioctl(abi::UNBIND, ours).unwrap();
    bench.expect_asleep(reader);
    let again = bench.ioctl(abi::BIND_INTERDOMAIN, [SELF, theirs]).unwrap();
    assert_eq!(bench.end(reader), Ok(vec![again]));
}

#[test]
fn a_sleeper_sleeps_on_when_the_peer_closes_or_dies() {
    let mut bench = bench();
    let (_, theirs) = bench.pair();
    let domu = bench.domu;
    let ours = bench.ioctl(abi::BIND_UNBOUND_PORT, u32::from(domu.as_raw()));
    let world = &mut bench.world;
    let bound = world.kernel_bind_interdomain(domu, DomId::DOM0, ours.unwrap());
    bound.unwrap();
    let reader = bench.sleeper();
    bench.world.ioctl(bench.peer, abi::UNBIND, theirs).unwrap();
    bench.world.destroy_domain(domu).unwrap();
    bench.expect_asleep(reader);
}

#[test]
fn of_two_sleepers_one_gets_the_event_and_the_other_sleeps_on() {
    for (choice, winner) in [(0, 0), (1, 1)] {
        let mut bench = Bench::blocking(Choice::scripted([choice]));
        let (ours, theirs) = bench.pair();
        let sleepers = [bench.sleeper(), bench.sleeper()];
        bench.fire(theirs);
        assert_eq!(bench.end(sleepers[winner]), Ok(vec![ours]));
        bench.expect_asleep(sleepers[1 - winner]);
        bench.write(&[ours]).unwrap();
        bench.fire(theirs);
        assert_eq!(bench.end(sleepers[1 - winner]), Ok(vec![ours]));
    }
}

#[test]
fn two_sleepers_with_room_for_one_port_share_a_burst() {
    let mut bench = bench();
    let (first, second) = (bench.pair(), bench.pair());
    bench.world.set_delivery(crate::world::Delivery::Held);
    let reads = [(); 2].map(|()| bench.world.read_blocking(bench.file, 4).unwrap());
    bench.fire(first.1);
    bench.fire(second.1);
    bench.world.run();
    let mut got: Vec<u32> = reads.map(|read| bench.end(read).unwrap()[0]).to_vec();
    got.sort_unstable();
    assert_eq!(got, [first.0, second.0]);
}

#[test]
fn close_returns_while_a_thread_sleeps_and_the_ports_go_when_it_wakes() {
    for is_event in [true, false] {
        let mut bench = bench();
        let (ours, theirs) = bench.pair();
        let reader = bench.sleeper();
        bench.world.close(bench.file).unwrap();
        bench.expect_asleep(reader);
        assert_ne!(bench.status(ours), Status::Closed, "still bound");
        assert_eq!(bench.ioctl(abi::NOTIFY, ours), Err(Errno::EBADF));
        assert_eq!(bench.world.close(bench.file), Err(Errno::EBADF));
        assert_eq!(bench.world.open_files(), 2);
        if is_event {
            bench.fire(theirs);
            assert_eq!(bench.end(reader), Ok(vec![ours]));
        } else {
            bench.world.signal(reader).unwrap();
            assert_eq!(bench.end(reader), Err(Errno::EINTR));
        }
        assert_eq!(bench.status(ours), Status::Closed);
        assert_eq!(bench.world.open_files(), 1);
    }
}

#[test]
fn a_closed_file_lives_until_the_last_of_its_sleepers_wakes() {
    let mut bench = bench();
    let (ours, _) = bench.pair();
    let [first, second] = [bench.sleeper(), bench.sleeper()];
    bench.world.close(bench.file).unwrap();
    bench.world.signal(first).unwrap();
    assert_ne!(bench.status(ours), Status::Closed);
    bench.world.signal_restarting(second).unwrap();
    assert_eq!(
        bench.end(second),
        Err(Errno::EBADF),
        "no descriptor is left"
    );
    assert_eq!(bench.status(ours), Status::Closed);
}

#[test]
fn a_duplicate_that_stays_open_keeps_the_file_when_its_sleeper_wakes() {
    let mut bench = bench();
    let (ours, _) = bench.pair();
    bench.world.dup(bench.file).unwrap();
    let reader = bench.sleeper();
    bench.world.close(bench.file).unwrap();
    bench.world.signal(reader).unwrap();
    assert_ne!(bench.status(ours), Status::Closed);
    assert_eq!(bench.ioctl(abi::NOTIFY, ours), Ok(0));
}

#[test]
fn a_sleeping_read_does_not_keep_a_write_waiting() {
    let mut bench = bench();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    assert_eq!(bench.read(), Ok(vec![ours]));
    bench.fire(theirs);
    let reader = bench.sleeper();
    assert_eq!(bench.write(&[ours]), Ok(4));
    assert_eq!(bench.end(reader), Ok(vec![ours]), "what was latched");
}

#[test]
fn a_reader_of_a_domain_that_is_gone_is_gone_too() {
    let mut bench = Bench::new();
    let file = bench.world.open(bench.domu).unwrap();
    bench.world.set_nonblocking(file, false).unwrap();
    let reader = bench.world.read_blocking(file, 4).unwrap();
    bench.world.destroy_domain(bench.domu).unwrap();
    assert_eq!(bench.world.signal(reader), Err(Errno::ESRCH));
    assert_eq!(bench.end(reader), Err(Errno::EBADF));
    assert_eq!(bench.world.sleepers(), 0);
}
