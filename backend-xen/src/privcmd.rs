//! What ports are, asked of Xen: the hypercall `EVTCHNOP_status` through `/dev/xen/privcmd`.
//!
//! Xen itself reads and writes the argument, at its address in the calling program. Neither Xen nor
//! Linux pages it in, so the page has to be mapped, writable, for as long as the call takes.
//! Locking it (mlock(2)) is not enough: the kernel may still move a locked page, and while it does,
//! nothing is mapped there and the call fails with `EFAULT`. So the argument is in a page of kernel
//! memory that `/dev/xen/hypercall` maps, and that is neither moved nor paged out (Linux 4.18,
//! drivers/xen/privcmd-buf.c). Xen's libxencall does the same.
#![expect(
    unsafe_code,
    reason = "a hypercall takes an address, and the page there has to be mapped"
)]

use core::ffi::c_void;
use core::mem::{offset_of, size_of};
use core::ptr::{self, NonNull};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use evtchn_core::{DeviceError, DomId, Port, PortStatus, PortStatuses, RemotePort, Status, Virq};
use evtchn_fork::Process;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::{Call, Error};

/// Where Linux puts the device for hypercalls.
pub const PRIVCMD_PATH: &str = "/dev/xen/privcmd";
/// Where Linux puts the device whose memory hypercalls can use.
pub(crate) const HYPERCALL_PATH: &str = "/dev/xen/hypercall";

/// Asks Xen what ports are.
///
/// It needs `/dev/xen/privcmd` and `/dev/xen/hypercall` of the module xen-privcmd, which belong to
/// root. Each question takes a lock and makes one system call. It belongs to the process that
/// opened it: in a forked child every question fails with `EBADF`, because parent and child share
/// the memory of the argument.
///
/// ```no_run
/// use evtchn_core::{DomId, PortStatuses};
/// use evtchn_xen::Privcmd;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let privcmd = Privcmd::open()?;
/// for (port, status) in privcmd.ports(DomId::SELF) {
///     println!("{port}: {}", status?.state);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Privcmd {
    fd: OwnedFd,
    argument: Mutex<Argument>,
    /// The process that opened it.
    process: Process,
}

impl Privcmd {
    /// Opens the devices.
    ///
    /// # Errors
    /// [`NoDevice`](evtchn_core::ErrorKind::NoDevice) where one of the devices is missing,
    /// [`NotPermitted`](evtchn_core::ErrorKind::NotPermitted) where the process may not open it;
    /// the error says which device it was. [`Call::NoticeForks`] failed on a kernel where a fork of
    /// this process cannot be noticed.
    pub fn open() -> Result<Privcmd, DeviceError> {
        let open = |path, call| {
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::new(call, errno))
        };
        let fd = open(PRIVCMD_PATH, Call::OpenPrivcmd)?;
        let memory = open(HYPERCALL_PATH, Call::OpenHypercall)?;
        Ok(Privcmd::with(fd, &memory)?)
    }

    /// Asks through `fd`, with the argument in a page of `memory`.
    fn with(fd: OwnedFd, memory: &OwnedFd) -> Result<Privcmd, Error> {
        let process = Process::current()?;
        let argument = Argument::map(memory);
        let argument = argument.map_err(|errno| Error::new(Call::MapArgument, errno))?;
        Ok(Privcmd {
            fd,
            argument: Mutex::new(argument),
            process,
        })
    }

    fn ask(&self, domid: DomId, port: Port) -> Result<PortStatus, Errno> {
        if !self.process.is_current() {
            return Err(Errno::BADF);
        }
        // A panic leaves an old argument there, and the next question overwrites it.
        let argument = self.argument.lock().unwrap_or_else(PoisonError::into_inner);
        argument.put(EvtchnStatus::of(domid, port));
        let hypercall = Hypercall::status(&argument);
        // SAFETY: the code belongs to a `Hypercall`, of which the driver reads one and writes
        // nothing; Xen reads and writes one `EvtchnStatus`. The argument has room for that, and
        // nothing else uses it while it is locked.
        unsafe { rustix::ioctl::ioctl(&self.fd, hypercall) }?;
        argument.get().answer()
    }
}

impl PortStatuses for Privcmd {
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
        let asked = RemotePort { domid, port };
        self.ask(domid, port)
            .map_err(|errno| Error::new(Call::Status(asked), errno).into())
    }
}

/// `__HYPERVISOR_event_channel_op` (xen/include/public/xen.h)
const EVENT_CHANNEL_OP: u64 = 32;
/// xen/include/public/event_channel.h
const EVTCHNOP_STATUS: u64 = 5;

/// `struct privcmd_hypercall` (Linux include/uapi/xen/privcmd.h).
#[repr(C)]
#[derive(Debug)]
struct Hypercall {
    op: u64,
    arg: [u64; 5],
}

impl Hypercall {
    fn status(argument: &Argument) -> Hypercall {
        Hypercall {
            op: EVENT_CHANNEL_OP,
            arg: [EVTCHNOP_STATUS, argument.address(), 0, 0, 0],
        }
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

/// `struct evtchn_status` (xen/include/public/event_channel.h), the same on x86 and Arm, for 32
/// bits and 64.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct EvtchnStatus {
    // The question:
    dom: u16,
    unused: u16,
    port: u32,
    // The answer:
    status: u32,
    vcpu: u32,
    /// A union: a domain id, a domain id and a port, or one number.
    bound_to: [u32; 2],
}

const _: () = {
    assert!(size_of::<EvtchnStatus>() == 24);
    assert!(align_of::<EvtchnStatus>() == 4);
    assert!(offset_of!(EvtchnStatus, dom) == 0);
    assert!(offset_of!(EvtchnStatus, port) == 4);
    assert!(offset_of!(EvtchnStatus, status) == 8);
    assert!(offset_of!(EvtchnStatus, vcpu) == 12);
    assert!(offset_of!(EvtchnStatus, bound_to) == 16);
};

impl EvtchnStatus {
    const fn of(domid: DomId, port: Port) -> EvtchnStatus {
        EvtchnStatus {
            dom: domid.as_raw(),
            unused: 0,
            port: port.as_raw(),
            status: 0,
            vcpu: 0,
            bound_to: [0; 2],
        }
    }

    /// Xen's answer. One that no version of Xen gives is `EPROTO`.
    fn answer(&self) -> Result<PortStatus, Errno> {
        let [first, second] = self.bound_to;
        let [low, high, ..] = first.to_ne_bytes();
        let domid = DomId::new(u16::from_ne_bytes([low, high]));
        let state = match self.status {
            0 => Status::Closed,
            1 => Status::Unbound { remote: domid },
            2 => {
                let port = Port::new(second).ok_or(Errno::PROTO)?;
                let remote = RemotePort { domid, port };
                Status::Interdomain { remote }
            }
            3 => Status::Pirq { pirq: first },
            4 => {
                let virq = Virq::new(first);
                Status::Virq { virq }
            }
            5 => Status::Ipi,
            _ => return Err(Errno::PROTO),
        };
        let vcpu = self.vcpu;
        Ok(PortStatus { state, vcpu })
    }
}

/// The memory of a hypercall's argument: a page of kernel memory.
#[derive(Debug)]
struct Argument(NonNull<EvtchnStatus>);

// SAFETY: the mapping belongs to no thread, and only this points to it.
unsafe impl Send for Argument {}

impl Argument {
    /// The kernel maps whole pages.
    const SIZE: usize = size_of::<EvtchnStatus>();

    fn map(memory: &OwnedFd) -> Result<Argument, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let anywhere = ptr::null_mut();
        // SAFETY: a null address lets the kernel choose one that nothing uses.
        let page = unsafe {
            mmap(
                anywhere,
                Argument::SIZE,
                access,
                MapFlags::SHARED,
                memory,
                0,
            )
        }?;
        NonNull::new(page.cast()).map(Argument).ok_or(Errno::FAULT)
    }

    fn address(&self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    // Volatile, because Xen reads and writes it too.

    fn put(&self, asked: EvtchnStatus) {
        // SAFETY: the page is mapped, writable, large enough and aligned as long as this lives.
        unsafe { self.0.write_volatile(asked) }
    }

    fn get(&self) -> EvtchnStatus {
        // SAFETY: as in `put`; every pattern of bits is a valid value.
        unsafe { self.0.read_volatile() }
    }
}

impl Drop for Argument {
    fn drop(&mut self) {
        // SAFETY: it is the mapping of `map`, which nothing else points to; a forked child has its
        // own mapping at the same address.
        let unmapped = unsafe { munmap(self.0.as_ptr().cast(), Argument::SIZE) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests;
