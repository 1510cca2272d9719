//! The simulator behind the twelve functions: a machine on which `xenevtchn_open` opens devices. It is in this process, or
//! where the environment names a socket, in that of a server.
#![expect(unsafe_code, reason = "a read of a descriptor that C may have closed")]

pub mod calls;
mod device;
mod later;
mod machine;

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use evtchn_xen::abi;
use rustix::io::FdFlags;

use crate::errno::Errno;
use crate::file::Request;
use crate::system::{self, is_nonblocking};
use device::Device;
pub(crate) use machine::Machine;

/// A simulated device that is open.
#[derive(Debug)]
pub(crate) struct SimFile {
    device: Device,
    machine: Arc<Machine>,
    /// The descriptor that C gave us, where it gave one.
    adopted: Option<RawFd>,
}

impl SimFile {
    pub(crate) fn open(closes_on_exec: bool) -> Result<SimFile, Errno> {
        let machine = Machine::current();
        let device = machine.open()?;
        let fd = device.fd()?;
        if !closes_on_exec {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())
                .map_err(|errno| Errno::new(errno.raw_os_error()))?;
        }
        system::set_nonblocking(fd.as_raw_fd(), false)?;
        Ok(SimFile {
            device,
            machine,
            adopted: None,
        })
    }

    /// The open device that a descriptor is a duplicate of.
    pub(crate) fn adopt(fd: RawFd) -> Option<SimFile> {
        let machine = Machine::current();
        Some(SimFile {
            device: machine.adopt(fd)?,
            machine,
            adopted: Some(fd),
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.adopted.unwrap_or_else(|| {
            let fd = self.device.fd();
            // It was made when the device was opened.
            fd.map_or(-1, |fd| fd.as_raw_fd())
        })
    }

    /// Its ring overflows.
    pub(crate) fn overflow(&self) -> Result<(), Errno> {
        self.device.overflow()
    }

    pub(crate) fn request(&self, request: Request) -> Result<c_int, Errno> {
        let (code, words) = match request {
            Request::BindVirq(virq) => (abi::BIND_VIRQ, [virq, 0]),
            Request::BindInterdomain(domid, port) => (abi::BIND_INTERDOMAIN, [domid, port]),
            Request::BindUnboundPort(domid) => (abi::BIND_UNBOUND_PORT, [domid, 0]),
            Request::Unbind(port) => (abi::UNBIND, [port, 0]),
            Request::Notify(port) => (abi::NOTIFY, [port, 0]),
            Request::Reset => (abi::RESET, [0; 2]),
            Request::Restrict(domid) => (abi::RESTRICT_DOMID, [domid.into(), 0]),
        };
        self.machine.judge_request(request);
        let answer = self.device.ioctl(code, words)?;
        Ok(c_int::try_from(answer).unwrap_or(c_int::MAX))
    }

    /// Reads one port, as read(2) of the device: a blocking descriptor sleeps.
    pub(crate) fn read(&self) -> Result<u32, Errno> {
        let mut answer = self.device.read();
        while answer == Err(Errno::EAGAIN) {
            self.sleep()?;
            answer = self.device.read_after_sleep();
        }
        answer
    }

    pub(crate) fn write(&self, port: u32) -> Result<(), Errno> {
        self.machine.judge_unmask(self.device.file(), port);
        self.device.write(port)
    }

    pub(crate) fn close(self) -> Result<(), Errno> {
        self.machine.closed(self.fd());
        match self.adopted {
            None => Ok(()),
            Some(fd) => system::close(fd),
        }
    }

    /// Sleeps until something may be there to read. `EAGAIN` where the descriptor is not blocking.
    fn sleep(&self) -> Result<(), Errno> {
        if let Some(sim) = self.machine.in_own_time() {
            return match is_nonblocking(self.fd())? {
                true => Err(Errno::EAGAIN),
                false => self.machine.pass(sim),
            };
        }
        // The kernel sleeps, and ends or restarts it after a signal, as it does for the device.
        let mut byte = 0_u8;
        let room: *mut c_void = (&raw mut byte).cast();
        // SAFETY: there is room for the byte.
        let peeked = unsafe { libc::recv(self.fd(), room, 1, libc::MSG_PEEK) };
        match peeked {
            // It has overflowed.
            ..0 if Errno::last() == Errno::new(libc::ECONNRESET) => Ok(()),
            ..0 => Err(Errno::last()),
            _ => Ok(()),
        }
    }
}

fn errno(errno: evtchn_sim::Errno) -> Errno {
    Errno::new(errno.raw())
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::new)
}
