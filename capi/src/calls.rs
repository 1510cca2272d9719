//! The twelve functions, under their C names.
#![expect(unsafe_code, reason = "C passes pointers, and C names are global")]

use std::ffi::{c_int, c_uint, c_void};

use crate::errno::Errno;
use crate::file::Request;
use crate::handle::Handle;
use crate::toolcore;

/// The only flag of [`xenevtchn_open`]: the descriptor stays open when the process executes another program.
pub const XENEVTCHN_NO_CLOEXEC: c_uint = 1;

/// Opens the device, blocking and close-on-exec. The logger is not used: errno says what failed.
///
/// Null with errno: `EINVAL` for a flag other than [`XENEVTCHN_NO_CLOEXEC`], else that of open(2).
#[unsafe(no_mangle)]
pub extern "C" fn xenevtchn_open(_logger: *mut c_void, flags: c_uint) -> *mut Handle {
    if flags & !XENEVTCHN_NO_CLOEXEC != 0 {
        return handed_out(Err(Errno::EINVAL));
    }
    handed_out(Handle::open(flags & XENEVTCHN_NO_CLOEXEC == 0))
}

/// Makes a handle of a descriptor that was inherited over an exec, and owns the descriptor from then on. Whether it is the device is
/// not checked: another file refuses each call.
///
/// Null with errno: `EINVAL` for any flag.
#[unsafe(no_mangle)]
pub extern "C" fn xenevtchn_fdopen(_logger: *mut c_void, fd: c_int, flags: c_uint) -> *mut Handle {
    if flags != 0 {
        return handed_out(Err(Errno::EINVAL));
    }
    handed_out(Handle::adopt(fd))
}

/// Closes a handle; the kernel unbinds its ports when the last descriptor is closed. For null it does nothing. In a
/// forked child this is the only call that the contract allows.
///
/// # Safety
/// `xce` is null, or a handle that is not closed and that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_close(xce: *mut Handle) -> c_int {
    if xce.is_null() {
        return 0;
    }
    // SAFETY: it is a handle of `handed_out`, which the caller gives back.
    let handle = unsafe { Box::from_raw(xce) };
    toolcore::deregister(&handle);
    status(handle.close())
}

/// The descriptor to poll for reading.
///
/// It is the device, unless the environment has `EVTCHN_SURVIVE_OVERFLOW=1` when the handle is opened. Then it is an epoll instance,
/// which is only good for polling, `F_SETFL` and [`xenevtchn_fdopen`]. It is readable while [`xenevtchn_pending`] has a port: after
/// an overflow, that is each bound port, once.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_fd(xce: *mut Handle) -> c_int {
    // SAFETY: as the caller promises.
    answer(unsafe { get(xce) }.map(Handle::fd))
}

/// Sets the other end pending.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_notify(xce: *mut Handle, port: u32) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { request(xce, Request::Notify(port)) }
}

/// Allocates a port that `domid` may bind to, and returns it. Linux looks at the low 16 bits of `domid` only.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_bind_unbound_port(xce: *mut Handle, domid: u32) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { request(xce, Request::BindUnboundPort(domid)) }
}

/// Binds a new port to a port of `domid`, and returns it.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_bind_interdomain(
    xce: *mut Handle,
    domid: u32,
    remote_port: u32,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { request(xce, Request::BindInterdomain(domid, remote_port)) }
}

/// Binds a virtual interrupt to a new port, and returns it.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_bind_virq(xce: *mut Handle, virq: c_uint) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { request(xce, Request::BindVirq(virq)) }
}

/// Unbinds a port.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_unbind(xce: *mut Handle, port: u32) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { request(xce, Request::Unbind(port)) }
}

/// Reads one port that has fired, in one read(2): it sleeps if the descriptor is blocking, and a signal ends it with `EINTR`.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_pending(xce: *mut Handle) -> c_int {
    // SAFETY: as the caller promises.
    let port = unsafe { get(xce) }.and_then(Handle::pending);
    // A port fits in 31 bits.
    answer(port.and_then(|port| c_int::try_from(port).map_err(|_| Errno::EIO)))
}

/// Unmasks a port. A port that this handle has not bound is ignored, with success.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_unmask(xce: *mut Handle, port: u32) -> c_int {
    // SAFETY: as the caller promises.
    status(unsafe { get(xce) }.and_then(|handle| handle.unmask(port)))
}

/// Restricts the handle to one domain, for good.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xenevtchn_restrict(xce: *mut Handle, domid: u16) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { request(xce, Request::Restrict(domid)) }
}

/// Inlined, as all below it, so that each function of C has the code of its own request alone.
///
/// # Safety
/// `xce` is null, or a handle that is not closed.
#[inline(always)]
unsafe fn request(xce: *mut Handle, request: Request) -> c_int {
    // SAFETY: as the caller promises.
    answer(unsafe { get(xce) }.and_then(|handle| handle.request(request)))
}

/// # Safety
/// `xce` is null, or a handle that is not closed before the reference is gone.
pub(crate) unsafe fn get<'a>(xce: *mut Handle) -> Result<&'a Handle, Errno> {
    // SAFETY: as the caller promises; a handle is only ever borrowed shared.
    unsafe { xce.as_ref() }.ok_or(Errno::EINVAL)
}

fn handed_out(handle: Result<Box<Handle>, Errno>) -> *mut Handle {
    match handle {
        Ok(handle) => Box::into_raw(handle),
        Err(errno) => {
            errno.set();
            std::ptr::null_mut()
        }
    }
}

pub(crate) fn status(done: Result<(), Errno>) -> c_int {
    answer(done.map(|()| 0))
}

/// As C has it: -1 and errno where the call failed.
pub(crate) fn answer(answer: Result<c_int, Errno>) -> c_int {
    answer.unwrap_or_else(|errno| {
        errno.set();
        -1
    })
}
