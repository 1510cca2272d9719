//! What ports are, asked of Xen: the hypercall `EVTCHNOP_status`.
#![expect(
    unsafe_code,
    reason = "a hypercall takes an address, and the page there has to be mapped"
)]

use core::mem::{offset_of, size_of};
use core::ptr::{self, NonNull};
#[cfg(feature = "multicall")]
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use evtchn_core::{DeviceError, DomId, Port, PortStatus, PortStatuses, RemotePort, Status, Virq};
use evtchn_fork::Process;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

#[cfg(feature = "multicall")]
use super::batch::{Batch, MakeHypercall, Operation};
use super::hypercall::{EVTCHNOP_STATUS, Hypercall};
use crate::error::{Call, Error};
#[cfg(feature = "multicall")]
use crate::multicall::Multicall;

/// Asks Xen for the state of ports.
///
/// It needs `/dev/xen/privcmd` and `/dev/xen/hypercall` of the module xen-privcmd, which belong to
/// root. Each question takes a lock and makes one system call. It belongs to the process that
/// opened it: in a forked child every question fails with `EBADF`, because parent and child share
/// the memory of the argument.
///
/// ```no_run
/// use evtchn::xen::Privcmd;
/// use evtchn::{DomId, PortStatuses};
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
    /// Room to ask about many ports in one call, until that is refused.
    #[cfg(feature = "multicall")]
    batch: Mutex<Option<Batch<EvtchnStatus>>>,
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
        let (fd, memory) = super::open()?;
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
            #[cfg(feature = "multicall")]
            batch: Mutex::default(),
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
        let hypercall = Hypercall::on_port(EVTCHNOP_STATUS, argument.address());
        // SAFETY: Xen reads and writes one `EvtchnStatus`. The argument has room for that, and
        // nothing else uses it while it is locked.
        unsafe { hypercall.make(&self.fd) }?;
        argument.get().answer()
    }
}

impl PortStatuses for Privcmd {
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
        let asked = RemotePort { domid, port };
        self.ask(domid, port)
            .map_err(|errno| Error::new(Call::Status(asked), errno).into())
    }

    /// One hypercall for up to 1,024 ports [with multicall](Privcmd::with_multicall). Otherwise, and
    /// for a single port, one each.
    #[cfg(feature = "multicall")]
    fn status_many(
        &self,
        domid: DomId,
        ports: &[Port],
        each: &mut dyn FnMut(usize, Result<PortStatus, DeviceError>) -> ControlFlow<()>,
    ) {
        let ControlFlow::Continue(asked) = self.ask_many(&self.fd, domid, ports, each) else {
            return;
        };
        for (place, port) in ports.iter().enumerate().skip(asked) {
            if each(place, self.status(domid, *port)).is_break() {
                return;
            }
        }
    }
}

#[cfg(feature = "multicall")]
impl Operation for EvtchnStatus {
    const OPERATION: u64 = EVTCHNOP_STATUS;
}

#[cfg(feature = "multicall")]
impl Privcmd {
    /// It asks about many ports in one hypercall if `when` says so.
    #[must_use]
    pub fn with_multicall(self, when: Multicall) -> Privcmd {
        let map = || Batch::map(&super::open_memory().ok()?).ok();
        let batch = when.is_wanted().then(map).flatten();
        Privcmd {
            batch: Mutex::new(batch),
            ..self
        }
    }

    /// Asks about the first of these ports in hypercalls for many, and returns how many: all of
    /// them, or fewer if a hypercall is refused or the rest is too small.
    fn ask_many(
        &self,
        privcmd: &dyn MakeHypercall,
        domid: DomId,
        ports: &[Port],
        each: &mut dyn FnMut(usize, Result<PortStatus, DeviceError>) -> ControlFlow<()>,
    ) -> ControlFlow<(), usize> {
        // In a forked child the lock may be held for ever.
        if ports.len() < Multicall::FEWEST || !self.process.is_current() {
            return ControlFlow::Continue(0);
        }
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = 0;
        for chunk in ports.chunks(Batch::<EvtchnStatus>::MOST) {
            let Some(asking) = batch.as_mut().filter(|_| chunk.len() >= Multicall::FEWEST) else {
                break;
            };
            let questions = chunk.iter().map(|port| EvtchnStatus::of(domid, *port));
            if asking.make(questions, privcmd).is_err() {
                *batch = None;
                break;
            }
            for (index, port) in chunk.iter().enumerate() {
                let answer = asking.answer(index).and_then(|it| it.answer());
                let remote = RemotePort { domid, port: *port };
                let answer = answer.map_err(|errno| Error::new(Call::Status(remote), errno).into());
                each(asked + index, answer)?;
            }
            asked += chunk.len();
        }
        ControlFlow::Continue(asked)
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
