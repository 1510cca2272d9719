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
    assert_eq!(bench.ioctl(abi::FIGETBSZ, 0), Ok(0));
    assert_eq!(bench.ioctl(abi::FIGETBSZ, Arg::Bad), Err(Errno::EFAULT));
    for (request, errno) in [
        (abi::FIFREEZE, Errno::EOPNOTSUPP),
        (abi::FITHAW, Errno::EINVAL),
        (abi::FIEMAP, Errno::EOPNOTSUPP),
        (abi::FICLONE, Errno::EBADF),
    ] {
        assert_eq!(bench.ioctl(request, Arg::Bad), Err(errno), "{request:#x}");
    }
    assert_eq!(bench.ioctl(abi::FICLONERANGE, Arg::Bad), Err(Errno::EFAULT));
    assert_eq!(bench.ioctl(abi::FICLONERANGE, 77), Err(Errno::EBADF));
}

#[test]
fn a_vector_is_moved_segment_by_segment_until_one_is_not_filled() {
    let (mut bench, _) = opened(Access::ReadWrite);
    let more = bench.fired_pairs(3);
    let (world, file) = (&mut bench.world, bench.file);
    let mut room = [0; 32];
    let (head, tail) = room.split_at_mut(3);
    assert_eq!(world.readv(file, &mut [head, tail]), Ok(0), "nothing fits");
    let (head, tail) = room.split_at_mut(4);
    let (next, tail) = tail.split_at_mut(4);
    let mut empty = [];
    let segments = &mut [&mut empty[..], head, next];
    assert_eq!(world.readv(file, segments), Ok(8), "two ports");
    // A segment of 6 bytes takes one port, which does not fill it.
    let (odd, rest) = tail.split_at_mut(6);
    assert_eq!(world.readv(file, &mut [odd, rest]), Ok(4));
    let (four, rest) = rest.split_at_mut(4);
    // What was read before the end stays read.
    assert_eq!(world.readv(file, &mut [four, rest]), Ok(4));
    assert_eq!(world.readv(file, &mut [rest]), Err(Errno::EAGAIN));
    assert_eq!(world.readv(file, &mut []), Ok(0));

    let words: Vec<[u8; 4]> = more.iter().map(|(port, _)| port.to_ne_bytes()).collect();
    assert_eq!(world.writev(file, &[&[0; 3], &words[0]]), Ok(0));
    assert_eq!(world.writev(file, &[&words[0], &[], &words[1]]), Ok(8));
    for (_, theirs) in &more {
        world.ioctl(bench.peer, abi::NOTIFY, *theirs).unwrap();
    }
    let enabled: Vec<u32> = more[..2].iter().map(|(port, _)| *port).collect();
    assert_eq!(bench.read(), Ok(enabled), "two were written");
}

#[test]
fn a_vector_of_a_file_that_is_not_open_for_it_is_ebadf() {
    let (mut bench, _) = opened(Access::ReadOnly);
    assert_eq!(bench.world.writev(bench.file, &[]), Err(Errno::EBADF));
    let (mut bench, _) = opened(Access::WriteOnly);
    assert_eq!(bench.world.readv(bench.file, &mut []), Err(Errno::EBADF));
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
