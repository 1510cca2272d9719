//! What Linux answers for every file: access modes, `O_NONBLOCK`, `O_ASYNC`, positions, maps.

use super::*;
use crate::driver::abi::Access;

/// A file that was opened so, with an event to read.
fn opened(access: Access) -> (Bench, u32) {
    let mut bench = Bench::new();
    bench.file = bench.world.open_with(DomId::DOM0, access, true).unwrap();
    let (ours, _) = bench.fired_pairs(1)[0];
    (bench, ours)
}

#[test]
fn ioctl_and_poll_work_in_every_access_mode() {
    for access in [Access::ReadOnly, Access::WriteOnly, Access::ReadWrite] {
        let (mut bench, ours) = opened(access);
        assert_eq!(bench.poll(), PollBits::READABLE, "{access:?}");
        assert_eq!(bench.ioctl(abi::NOTIFY, ours), Ok(0));
        assert_eq!(bench.ioctl(abi::RESTRICT_DOMID, 5), Ok(0));
        assert_eq!(bench.ioctl(abi::UNBIND, ours), Ok(0));
        assert_eq!(bench.ioctl(abi::RESET, 0), Ok(0));
        assert_eq!(bench.poll(), PollBits::WRITABLE);
    }
}

#[test]
fn a_read_of_a_file_for_writing_is_ebadf_before_everything() {
    let (mut bench, ours) = opened(Access::WriteOnly);
    for count in [0, 3, 4096] {
        assert_eq!(bench.world.read_bad(bench.file, count), Err(Errno::EBADF));
    }
    let blocking = bench.world.read_blocking(bench.file, 4);
    assert_eq!(blocking, Err(Errno::EBADF));
    bench.world.overflow(bench.file).unwrap();
    assert_eq!(bench.read(), Err(Errno::EBADF));
    assert_eq!(bench.write(&[ours]), Ok(4));
}

#[test]
fn a_write_of_a_file_for_reading_is_ebadf_before_everything() {
    let (mut bench, ours) = opened(Access::ReadOnly);
    for count in [0, 3, 4096] {
        assert_eq!(bench.world.write_bad(bench.file, count), Err(Errno::EBADF));
    }
    assert_eq!(bench.read(), Ok(vec![ours]));
    assert_eq!(bench.write(&[ours]), Err(Errno::EBADF));
}

#[test]
fn nonblocking_is_set_by_open_fcntl_or_ioctl_and_shared_by_duplicates() {
    let mut bench = Bench::new();
    bench.world.dup(bench.file).unwrap();
    let world = &mut bench.world;
    let asleep = |world: &mut World, file| {
        let reader = world.read_blocking(file, 4).unwrap();
        let is_asleep = world.end_of_read(reader).is_none();
        if is_asleep {
            world.signal(reader).unwrap();
        }
        is_asleep
    };
    let file = bench.file;
    assert!(!asleep(world, file));
    world.ioctl(file, abi::FIONBIO, 0).unwrap();
    assert!(asleep(world, file));
    world.ioctl(file, abi::FIONBIO, 7).unwrap();
    assert!(!asleep(world, file));
    world.set_nonblocking(file, false).unwrap();
    assert!(asleep(world, file));
    let file = world.open_with(DomId::DOM0, Access::ReadWrite, false);
    assert!(asleep(world, file.unwrap()));
}

#[test]
fn requests_that_the_kernel_answers_itself_come_before_the_driver() {
    let mut bench = Bench::new();
    for request in [abi::FIONBIO, abi::FIOASYNC] {
        assert_eq!(bench.ioctl(request, Arg::Bad), Err(Errno::EFAULT));
        assert_eq!(bench.ioctl(request, 0), Ok(0));
    }
    for request in [abi::FIOCLEX, abi::FIONCLEX] {
        assert_eq!(bench.ioctl(request, Arg::Bad), Ok(0));
    }
    assert_eq!(bench.ioctl(abi::FIOQSIZE, Arg::Bad), Err(Errno::ENOTTY));
}

#[test]
fn sigio_comes_with_the_first_entry_of_an_empty_ring_while_async_is_on() {
    let mut bench = Bench::new();
    bench.fired_pairs(2);
    assert_eq!(bench.world.signals(bench.file), Ok(0), "it is off");
    bench.ioctl(abi::RESET, 0).unwrap();
    bench.ioctl(abi::FIOASYNC, 1).unwrap();
    bench.fired_pairs(3);
    assert_eq!(bench.world.signals(bench.file), Ok(1));
    bench.world.overflow(bench.file).unwrap();
    bench.ioctl(abi::RESET, 0).unwrap();
    assert_eq!(bench.world.signals(bench.file), Ok(1), "neither is a wake");
    bench.fired_pairs(1);
    assert_eq!(bench.world.signals(bench.file), Ok(2));
}

#[test]
fn there_is_no_position_and_no_map() {
    let (bench, _) = opened(Access::ReadWrite);
    assert_eq!(bench.world.seek(bench.file), Err(Errno::ESPIPE));
    assert_eq!(bench.world.at_offset(bench.file, 0), Err(Errno::ESPIPE));
    assert_eq!(bench.world.at_offset(bench.file, -1), Err(Errno::EINVAL));
    assert_eq!(bench.world.map(bench.file), Err(Errno::ENODEV));
    let (bench, _) = opened(Access::WriteOnly);
    assert_eq!(bench.world.map(bench.file), Err(Errno::EACCES));
    assert_eq!(bench.world.at_offset(bench.file, 0), Err(Errno::ESPIPE));
}

#[test]
fn a_file_of_another_machine_is_ebadf() {
    let (mut bench, _) = opened(Access::ReadWrite);
    let (other, _) = opened(Access::ReadWrite);
    let file = other.file;
    assert_eq!(format!("{file:?}"), format!("{:?}", bench.file));
    assert_eq!(bench.world.ioctl(file, abi::RESET, 0), Err(Errno::EBADF));
    assert_eq!(bench.world.poll(file), Err(Errno::EBADF));
    assert_eq!(bench.world.close(file), Err(Errno::EBADF));
}
