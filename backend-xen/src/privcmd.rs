//! Hypercalls through `/dev/xen/privcmd`: the state of ports (`EVTCHNOP_status`), and many operations on
//! ports in one call (`batch`).
//!
//! Xen itself reads and writes the argument, at its address in the calling program. Neither Xen nor
//! Linux pages it in, so the page has to be mapped, writable, for as long as the call takes.
//! Locking it (mlock(2)) is not enough: the kernel may still move a locked page, and while it does,
//! nothing is mapped there and the call fails with `EFAULT`. So the argument is in a page of kernel
//! memory that `/dev/xen/hypercall` maps, and that is neither moved nor paged out (Linux 4.18,
//! drivers/xen/privcmd-buf.c). Xen's libxencall does the same.

#[cfg(feature = "multicall")]
pub(crate) mod batch;
pub(crate) mod hypercall;
#[cfg(feature = "status")]
mod status;

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use crate::error::{Call, Error};
#[cfg(feature = "status")]
pub use status::Privcmd;

/// Where Linux puts the device for hypercalls.
pub const PRIVCMD_PATH: &str = "/dev/xen/privcmd";
/// Where Linux puts the device whose memory hypercalls can use.
pub(crate) const HYPERCALL_PATH: &str = "/dev/xen/hypercall";

/// Opens both devices: the first makes hypercalls, the second has the memory for their arguments.
pub(crate) fn open() -> Result<(OwnedFd, OwnedFd), Error> {
    let fd = open_at(PRIVCMD_PATH, Call::OpenPrivcmd)?;
    Ok((fd, open_memory()?))
}

/// Opens the device with the memory for arguments.
pub(crate) fn open_memory() -> Result<OwnedFd, Error> {
    open_at(HYPERCALL_PATH, Call::OpenHypercall)
}

fn open_at(path: &str, call: Call) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::new(call, errno))
}
