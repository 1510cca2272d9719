//! Calls on files.

use evtchn_sim::abi::{self, Access, Arg};
use evtchn_sim::{Errno, World};

use super::rig::*;

pub(crate) const FILES: &[Row] = &[
    ("open for an unknown domain", Errno::ENOENT, |rig| {
        rig.world(|w| w.open(UNKNOWN))
    }),
    ("open for a reserved id", Errno::ENOENT, |rig| {
        rig.world(|w| w.open(RESERVED))
    }),
    ("open for SELF", Errno::ENOENT, |rig| {
        rig.world(|w| w.open(SELF))
    }),
    ("open_with for an unknown domain", Errno::ENOENT, |rig| {
        rig.world(|w| w.open_with(UNKNOWN, Access::ReadOnly, false))
    }),
    ("dup", Errno::EBADF, |rig| rig.gone(World::dup)),
    ("close", Errno::EBADF, |rig| rig.gone(World::close)),
    ("ioctl", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.ioctl(f, abi::RESET, 0))
    }),
    ("ioctl of no request", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.ioctl(f, 0, Arg::Bad))
    }),
    ("read", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.read(f, &mut [0; 4]))
    }),
    ("read_bad", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.read_bad(f, usize::MAX))
    }),
    ("read_blocking", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.read_blocking(f, 4))
    }),
    ("write", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.write(f, &[0; 4]))
    }),
    ("write_bad", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.write_bad(f, usize::MAX))
    }),
    ("poll", Errno::EBADF, |rig| rig.gone(|w, f| w.poll(f))),
    ("wakes", Errno::EBADF, |rig| rig.gone(|w, f| w.wakes(f))),
    ("signals", Errno::EBADF, |rig| rig.gone(|w, f| w.signals(f))),
    ("overflow", Errno::EBADF, |rig| rig.gone(World::overflow)),
    ("set_nonblocking", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.set_nonblocking(f, true))
    }),
    ("seek", Errno::EBADF, |rig| rig.gone(|w, f| w.seek(f))),
    ("at_offset", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.at_offset(f, i64::MAX))
    }),
    ("at_offset below 0", Errno::EINVAL, |rig| {
        rig.gone(|w, f| w.at_offset(f, i64::MIN))
    }),
    ("map", Errno::EBADF, |rig| rig.gone(|w, f| w.map(f))),
    ("signal", Errno::ESRCH, |rig| {
        rig.world(|w| w.signal(rig.finished))
    }),
    ("signal_restarting", Errno::ESRCH, |rig| {
        rig.world(|w| w.signal_restarting(rig.finished))
    }),
    ("end_of_read", Errno::EBADF, |rig| {
        rig.world(|w| w.end_of_read(rig.finished).unwrap())
    }),
    ("an unknown request", Errno::ENOSYS, |rig| {
        rig.world(|w| w.ioctl(rig.file(), u32::MAX, u32::MAX))
    }),
    ("a bad pointer", Errno::EFAULT, |rig| {
        rig.world(|w| w.ioctl(rig.file(), abi::NOTIFY, Arg::Bad))
    }),
    ("a huge read of nothing", Errno::EAGAIN, |rig| {
        rig.world(|w| w.read_bad(rig.file(), usize::MAX))
    }),
    ("a huge write of nothing", Errno::EFAULT, |rig| {
        rig.world(|w| w.write_bad(rig.file(), usize::MAX))
    }),
];
