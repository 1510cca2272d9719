//! The driver's binary interface: the requests, their codes, and the only ioctl call.
//!
//! One table gives each request its number, its argument, the meaning of its result, and its code
//! (Linux include/uapi/xen/evtchn.h). The codes are computed from numbers and sizes, as the header
//! does it, and compared with the values in the table when this file is compiled.
#![expect(
    unsafe_code,
    reason = "only this module makes ioctls, and ports go to the driver as bytes"
)]

use core::ffi::{c_int, c_void};
use core::mem::{align_of, size_of};
use std::os::fd::BorrowedFd;

use evtchn_core::Port;
use rustix::io::Errno;
use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, opcode};

/// A request of the driver: a C struct that the driver reads and does not write.
///
/// # Safety
/// The driver reads exactly one `Self` under [`CODE`](Self::CODE), and writes nothing to the
/// memory of the program.
pub(crate) unsafe trait Request {
    /// The request code.
    const CODE: Opcode;
    /// What the return value of a successful call means.
    type Answer: Answer;
}

/// The meaning of the non-negative number that a successful request returns.
pub(crate) trait Answer: Sized {
    fn from_return(value: c_int) -> Result<Self, Errno>;
}

impl Answer for () {
    fn from_return(_: c_int) -> Result<(), Errno> {
        Ok(())
    }
}

impl Answer for Port {
    fn from_return(value: c_int) -> Result<Port, Errno> {
        u32::try_from(value)
            .ok()
            .and_then(Port::new)
            .ok_or(Errno::PROTO)
    }
}

/// `_IOC(_IOC_NONE, 'E', number, sizeof(T))`
const fn code<T>(number: u8) -> Opcode {
    opcode::from_components(Direction::None, b'E', number, size_of::<T>())
}

macro_rules! requests {
    ($(
        $(#[$doc:meta])*
        $number:literal $header:ident = $code:literal:
        $name:ident { $($field:ident: $type:ty),* } -> $answer:ty;
    )*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Debug)]
            pub(crate) struct $name {
                $(pub(crate) $field: $type,)*
            }

            // SAFETY: the row is the struct, number and answer of Linux
            // include/uapi/xen/evtchn.h; drivers/xen/evtchn.c only copies from the pointer.
            unsafe impl Request for $name {
                const CODE: Opcode = code::<$name>($number);
                type Answer = $answer;
            }

            const _: () = assert!(
                $name::CODE == $code,
                concat!("wrong request code of IOCTL_EVTCHN_", stringify!($header))
            );
        )*

        $(
            $(#[$doc])*
            pub const $header: u32 = $code;
        )*

        /// Every request of the driver: its name in the header after `IOCTL_EVTCHN_`, and its
        /// code. The codes are the same on x86, Arm and RISC-V.
        pub const REQUESTS: &[(&str, u32)] = &[$((stringify!($header), $code)),*];
    };
}

requests! {
    /// Binds a virtual interrupt and returns the new port.
    0 BIND_VIRQ = 0x0004_4500: BindVirq { virq: u32 } -> Port;

    /// Binds to a port of another domain and returns the new local port. The driver silently
    /// truncates `remote_domain` to 16 bits.
    1 BIND_INTERDOMAIN = 0x0008_4501: BindInterdomain { remote_domain: u32, remote_port: u32 } -> Port;

    /// Allocates a port that `remote_domain` may bind to, and returns it.
    2 BIND_UNBOUND_PORT = 0x0004_4502: BindUnboundPort { remote_domain: u32 } -> Port;

    /// Closes a port that this device bound.
    3 UNBIND = 0x0004_4503: Unbind { port: u32 } -> ();

    /// Sets the other end pending.
    4 NOTIFY = 0x0004_4504: Notify { port: u32 } -> ();

    /// Empties the ring and ends an overflow. The driver ignores the argument.
    5 RESET = 0x0000_4505: Reset {} -> ();

    /// Restricts the device to one domain for good.
    6 RESTRICT_DOMID = 0x0002_4506: RestrictDomid { domid: u16 } -> ();

    /// Takes over a port that was set up at boot (Linux 6.6). Returns 0, not the port.
    7 BIND_STATIC = 0x0004_4507: BindStatic { port: u32 } -> ();
}

/// A request in the form that `rustix` takes.
struct Argument<R>(R);

// SAFETY: by the contract of `Request` the driver reads one `R` from the pointer under this
// code and writes nothing; the answer is made from the return value alone.
unsafe impl<R: Request> Ioctl for Argument<R> {
    type Output = R::Answer;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        R::CODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(
        value: IoctlOutput,
        _: *mut c_void,
    ) -> rustix::io::Result<Self::Output> {
        R::Answer::from_return(value)
    }
}

/// Makes one request.
pub(crate) fn request<R: Request>(fd: BorrowedFd<'_>, request: R) -> Result<R::Answer, Errno> {
    // SAFETY: `Request` ties the code to the argument that the driver reads under it. A file of
    // another driver refuses the code: the only other user of group 'E', linux/input.h, has a
    // direction in all of its codes.
    unsafe { rustix::ioctl::ioctl(fd, Argument(request)) }
}

/// The words that `write` hands to the driver: the port numbers in native byte order.
#[inline]
pub(crate) fn as_bytes(ports: &[Port]) -> &[u8] {
    const {
        assert!(size_of::<Port>() == size_of::<u32>());
        assert!(align_of::<Port>() == align_of::<u32>());
    }
    // SAFETY: `Port` is a transparent `NonZeroU32`, so its bytes are all initialized; pointer
    // and length are those of the slice, and the borrow is passed on.
    unsafe { core::slice::from_raw_parts(ports.as_ptr().cast(), size_of_val(ports)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_become_their_words_in_native_byte_order() {
        let ports = [1, 0x0102_0304, 0x7fff_ffff].map(|raw| Port::new(raw).unwrap());
        let words = [1_u32, 0x0102_0304, 0x7fff_ffff];
        assert_eq!(as_bytes(&ports), bytemuck::cast_slice::<u32, u8>(&words));
        assert!(as_bytes(&[]).is_empty());
    }

    #[test]
    fn a_bind_that_returns_no_port_is_an_error() {
        assert_eq!(Port::from_return(7).map(Port::as_raw), Ok(7));
        assert_eq!(Port::from_return(0), Err(Errno::PROTO));
        assert_eq!(Port::from_return(-1), Err(Errno::PROTO));
    }

    #[test]
    fn a_file_that_is_no_device_refuses_every_request() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let fd = std::os::fd::AsFd::as_fd(&reader);
        assert_eq!(request(fd, BindVirq { virq: 3 }), Err(Errno::NOTTY));
        assert_eq!(request(fd, Notify { port: 1 }), Err(Errno::NOTTY));
        assert_eq!(request(fd, Reset {}), Err(Errno::NOTTY));
    }
}
