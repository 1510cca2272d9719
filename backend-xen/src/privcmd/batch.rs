//! Many operations on ports in one hypercall.
//!
//! `__HYPERVISOR_multicall` takes a list of calls and writes the result of each into its entry
//! (xen/common/multicall.c). List and arguments are in memory of `/dev/xen/hypercall`, as with a
//! single hypercall. The entries never change but for their results, so they are written once.
#![expect(
    unsafe_code,
    reason = "hypercalls take addresses, and the pages there have to be mapped"
)]

use core::marker::PhantomData;
use core::mem::{offset_of, size_of};
use core::ptr::{self, NonNull};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::hypercall::{EVENT_CHANNEL_OP, EVTCHNOP_SEND, Hypercall};

/// Makes hypercalls: an open `/dev/xen/privcmd`.
pub(crate) trait MakeHypercall: Send + Sync {
    /// Makes a hypercall.
    ///
    /// # Safety
    /// Xen may read and write what this hypercall reads and writes at the addresses it names.
    unsafe fn make(&self, hypercall: Hypercall) -> Result<(), Errno>;
}

impl MakeHypercall for OwnedFd {
    unsafe fn make(&self, hypercall: Hypercall) -> Result<(), Errno> {
        // SAFETY: the caller answers for what Xen does.
        unsafe { hypercall.make(self) }
    }
}

/// The argument of an operation on a port. Every pattern of its bits is a value.
pub(crate) trait Operation: Copy {
    /// The number of the operation (xen/include/public/event_channel.h, `EVTCHNOP_*`).
    const OPERATION: u64;
}

/// `struct evtchn_send`
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct EvtchnSend {
    pub(crate) port: u32,
}

impl Operation for EvtchnSend {
    const OPERATION: u64 = EVTCHNOP_SEND;
}

/// `struct multicall_entry` (xen/include/public/xen.h) of a 64-bit kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Entry {
    op: u64,
    result: i64,
    args: [u64; 6],
}

const _: () = {
    assert!(size_of::<EvtchnSend>() == 4);
    assert!(size_of::<Entry>() == 64);
    assert!(offset_of!(Entry, result) == 8);
    assert!(offset_of!(Entry, args) == 16);
};

/// Room for a list of operations with their arguments.
#[derive(Debug)]
pub(crate) struct Batch<A: Operation> {
    /// The entries. The arguments follow them.
    entries: NonNull<Entry>,
    of: PhantomData<A>,
}

// SAFETY: the mapping belongs to no thread, and only this points to it.
unsafe impl<A: Operation + Send> Send for Batch<A> {}

impl<A: Operation> Batch<A> {
    /// The most operations of one hypercall. With them the mapping stays below the 64 pages that the
    /// driver gives to one open file (drivers/xen/privcmd-buf.c, `limit`).
    pub(crate) const MOST: usize = 1024;

    const SIZE: usize = Self::MOST * (size_of::<Entry>() + size_of::<A>());

    /// Maps the memory and fills in the entries. A program of 32 bits has none: the entries are
    /// those of its kernel, which may have 64.
    pub(crate) fn map(memory: &OwnedFd) -> Result<Batch<A>, Errno> {
        const { assert!(align_of::<A>() <= align_of::<Entry>()) }
        if size_of::<usize>() != size_of::<u64>() {
            return Err(Errno::NOSYS);
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let (anywhere, flags) = (ptr::null_mut(), MapFlags::SHARED);
        // SAFETY: a null address lets the kernel choose one that nothing uses.
        let pages = unsafe { mmap(anywhere, Self::SIZE, access, flags, memory, 0) }?;
        let entries = NonNull::new(pages.cast()).ok_or(Errno::FAULT)?;
        let batch = Batch::<A> {
            entries,
            of: PhantomData,
        };
        for index in 0..Self::MOST {
            let argument = batch.argument(index).as_ptr().expose_provenance() as u64;
            let entry = Entry {
                op: EVENT_CHANNEL_OP,
                result: 0,
                args: [A::OPERATION, argument, 0, 0, 0, 0],
            };
            // SAFETY: as in `entry`.
            unsafe { batch.entry(index).write_volatile(entry) }
        }
        Ok(batch)
    }

    /// Makes these operations, up to [`MOST`](Self::MOST) of them, in one hypercall. Returns how many
    /// there were.
    pub(crate) fn make(
        &mut self,
        arguments: impl Iterator<Item = A>,
        privcmd: &dyn MakeHypercall,
    ) -> Result<usize, Errno> {
        let mut count = 0;
        for argument in arguments.take(Self::MOST) {
            // SAFETY: as in `argument`.
            unsafe { self.argument(count).write_volatile(argument) }
            count += 1;
        }
        let list = self.entries.as_ptr().expose_provenance() as u64;
        let hypercall = Hypercall::multicall(list, count as u64);
        // SAFETY: Xen reads and writes the first entries, and each one's operation its argument. All
        // of them are in the mapping, which nothing else uses while this is borrowed.
        unsafe { privcmd.make(hypercall) }?;
        Ok(count)
    }

    /// The result of an operation of the last hypercall, and its argument as Xen left it.
    pub(crate) fn answer(&self, index: usize) -> Result<A, Errno> {
        let index = index.min(Self::MOST - 1);
        // SAFETY: it stays inside of the entry.
        let result = unsafe { self.entry(index).byte_add(offset_of!(Entry, result)) };
        // SAFETY: as in `entry`.
        let result = unsafe { result.cast::<i64>().read_volatile() };
        if result < 0 {
            let errno = i32::try_from(result.unsigned_abs());
            return Err(errno.map_or(Errno::PROTO, Errno::from_raw_os_error));
        }
        // SAFETY: as in `argument`; every pattern of bits is a value.
        Ok(unsafe { self.argument(index).read_volatile() })
    }

    // Reads and writes are volatile, because Xen reads and writes the memory too.

    /// The place of an entry. As long as this lives, it is mapped, writable and aligned, for every
    /// index below `MOST`.
    fn entry(&self, index: usize) -> NonNull<Entry> {
        debug_assert!(index < Self::MOST, "no such entry");
        // SAFETY: the mapping begins with `MOST` entries.
        unsafe { self.entries.add(index) }
    }

    /// The place of an argument: as [`entry`](Self::entry).
    fn argument(&self, index: usize) -> NonNull<A> {
        debug_assert!(index < Self::MOST, "no such argument");
        // SAFETY: it is the end of the entries, inside of the mapping.
        let first = unsafe { self.entries.add(Self::MOST) }.cast::<A>();
        // SAFETY: `MOST` arguments follow the entries.
        unsafe { first.add(index) }
    }
}

impl<A: Operation> Drop for Batch<A> {
    fn drop(&mut self) {
        // SAFETY: it is the mapping of `map`, which nothing else points to; a forked child has its
        // own mapping at the same address.
        let unmapped = unsafe { munmap(self.entries.as_ptr().cast(), Self::SIZE) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
