//! One hypercall, as the driver takes it.
#![expect(unsafe_code, reason = "a hypercall takes an address")]

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, opcode};

/// `__HYPERVISOR_multicall` (xen/include/public/xen.h)
#[cfg(feature = "multicall")]
const MULTICALL: u64 = 13;
/// `__HYPERVISOR_event_channel_op` (xen/include/public/xen.h)
pub(crate) const EVENT_CHANNEL_OP: u64 = 32;
/// xen/include/public/event_channel.h
#[cfg(feature = "multicall")]
pub(crate) const EVTCHNOP_SEND: u64 = 4;
/// xen/include/public/event_channel.h
#[cfg(feature = "status")]
pub(crate) const EVTCHNOP_STATUS: u64 = 5;

/// `struct privcmd_hypercall` (Linux include/uapi/xen/privcmd.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hypercall {
    pub(crate) op: u64,
    pub(crate) arg: [u64; 5],
}

impl Hypercall {
    /// An operation on a port, with its argument at this address.
    #[cfg(feature = "status")]
    pub(crate) const fn on_port(operation: u64, argument: u64) -> Hypercall {
        Hypercall {
            op: EVENT_CHANNEL_OP,
            arg: [operation, argument, 0, 0, 0],
        }
    }

    /// The first `count` calls of the list at this address.
    #[cfg(feature = "multicall")]
    pub(crate) const fn multicall(list: u64, count: u64) -> Hypercall {
        Hypercall {
            op: MULTICALL,
            arg: [list, count, 0, 0, 0],
        }
    }

    /// Makes it, through an open `/dev/xen/privcmd`.
    ///
    /// # Safety
    /// Xen may read and write what this hypercall reads and writes at the addresses it names.
    pub(crate) unsafe fn make(self, fd: &OwnedFd) -> Result<(), Errno> {
        // SAFETY: the code belongs to a `Hypercall`, of which the driver reads one and writes
        // nothing. The caller answers for what Xen does.
        unsafe { rustix::ioctl::ioctl(fd, self) }
    }
}

/// `IOCTL_PRIVCMD_HYPERCALL`
const HYPERCALL: Opcode = opcode::from_components(Direction::None, b'P', 0, size_of::<Hypercall>());

const _: () = assert!(HYPERCALL == 0x0030_5000);

// SAFETY: drivers/xen/privcmd.c reads one `privcmd_hypercall` from the pointer under this code and
// writes nothing there. The caller answers for what the hypercall itself does.
unsafe impl Ioctl for Hypercall {
    type Output = ();

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        HYPERCALL
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}
