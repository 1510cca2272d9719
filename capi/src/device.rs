//! The device: its four system calls, made with whatever number C has for a descriptor.
#![expect(
    unsafe_code,
    reason = "system calls, with a descriptor that may not be open"
)]

use std::ffi::c_int;

use evtchn_xen::abi;

use crate::errno::{Errno, result};
use crate::file::Request;

/// Opens the device, blocking.
#[cfg(not(feature = "sim"))]
pub(crate) fn open(closes_on_exec: bool) -> Result<c_int, Errno> {
    const PATH: &std::ffi::CStr = c"/dev/xen/evtchn";
    let close_on_exec = if closes_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: the path ends with a zero, and without O_CREAT there is no third argument.
    result(unsafe { libc::open(PATH.as_ptr(), libc::O_RDWR | close_on_exec) })
}

/// Makes a request. Its answer is a port, or 0.
#[inline(always)]
pub(crate) fn request(fd: c_int, request: Request) -> Result<c_int, Errno> {
    match request {
        Request::BindVirq(virq) => ioctl::<{ abi::BIND_VIRQ }, _>(fd, &virq),
        Request::BindInterdomain(domid, port) => {
            ioctl::<{ abi::BIND_INTERDOMAIN }, _>(fd, &[domid, port])
        }
        Request::BindUnboundPort(domid) => ioctl::<{ abi::BIND_UNBOUND_PORT }, _>(fd, &domid),
        Request::Unbind(port) => ioctl::<{ abi::UNBIND }, _>(fd, &port),
        Request::Notify(port) => ioctl::<{ abi::NOTIFY }, _>(fd, &port),
        Request::Reset => ioctl::<{ abi::RESET }, _>(fd, &()),
        Request::Restrict(domid) => ioctl::<{ abi::RESTRICT_DOMID }, _>(fd, &domid),
    }
}

#[inline(always)]
fn ioctl<const CODE: u32, T>(fd: c_int, argument: &T) -> Result<c_int, Errno> {
    const { assert!(CODE as usize >> 16 == size_of::<T>()) }
    // SAFETY: the driver reads as many bytes as the code has in its upper half, which is the size of `T`, and
    // writes none. A file of another driver refuses the code (see `evtchn_xen::abi`).
    result(unsafe { libc::ioctl(fd, CODE.into(), std::ptr::from_ref(argument)) })
}

/// Reads one port.
#[inline]
pub(crate) fn read(fd: c_int) -> Result<u32, Errno> {
    let mut port = 0_u32;
    // SAFETY: there is room for the four bytes.
    let count = unsafe { libc::read(fd, (&raw mut port).cast(), size_of::<u32>()) };
    whole(count).map(|()| port)
}

/// Writes one port.
#[inline]
pub(crate) fn write(fd: c_int, port: u32) -> Result<(), Errno> {
    // SAFETY: these are the four bytes.
    let count = unsafe { libc::write(fd, (&raw const port).cast(), size_of::<u32>()) };
    whole(count)
}

/// The device moves four bytes or fails; another file may move fewer.
fn whole(count: isize) -> Result<(), Errno> {
    match count {
        4 => Ok(()),
        ..0 => Err(Errno::last()),
        _ => Err(Errno::EIO),
    }
}
