//! The simulator behind the twelve functions: one machine for the process, on which `xenevtchn_open` opens devices.
#![expect(unsafe_code, reason = "a read of a descriptor that C may have closed")]

pub mod calls;
mod later;
mod machine;

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use evtchn_core::Open;
use evtchn_sim::{FileId, SimDevice};
use evtchn_xen::abi;
use rustix::io::FdFlags;

use crate::errno::Errno;
use crate::file::Request;
use crate::system::{self, is_nonblocking};
pub(crate) use machine::Machine;

/// A simulated device that is open.
#[derive(Debug)]
pub(crate) struct SimFile {
    device: SimDevice,
    machine: Arc<Machine>,
    /// The descriptor that C gave us, where it gave one.
    adopted: Option<RawFd>,
}

impl SimFile {
    pub(crate) fn open(closes_on_exec: bool) -> Result<SimFile, Errno> {
        let machine = Machine::current();
        let opener = machine.opener();
        let device = opener.open().map_err(|error| {
            let code = error.code();
            code.map_or(Errno::EIO, Errno::new)
        })?;
        let fd = device.try_fd().map_err(|error| errno_of(&error))?;
        if !closes_on_exec {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())
                .map_err(|errno| Errno::new(errno.raw_os_error()))?;
        }
        system::set_nonblocking(fd.as_raw_fd(), false)?;
        machine.opened(fd, opener);
        Ok(SimFile {
            device,
            machine,
            adopted: None,
        })
    }

    /// The open device that a descriptor is a duplicate of.
    pub(crate) fn adopt(fd: RawFd) -> Option<SimFile> {
        let machine = Machine::current();
        let device = machine.opener_of(fd)?.dup().ok()?;
        // It has to exist before the first event.
        device.try_fd().ok()?;
        Some(SimFile {
            device,
            machine,
            adopted: Some(fd),
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.adopted.unwrap_or_else(|| {
            let fd = self.device.try_fd();
            // It was made when the device was opened.
            fd.map_or(-1, |fd| fd.as_raw_fd())
        })
    }

    pub(crate) fn id(&self) -> FileId {
        self.device.file()
    }

    pub(crate) const fn machine(&self) -> &Arc<Machine> {
        &self.machine
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
        let answer = self.device.ioctl_raw(code, words).map_err(errno)?;
        Ok(c_int::try_from(answer).unwrap_or(c_int::MAX))
    }

    /// Reads one port, as read(2) of the device: a blocking descriptor sleeps.
    pub(crate) fn read(&self) -> Result<u32, Errno> {
        let mut answer = self.device.read_raw();
        while answer == Err(evtchn_sim::Errno::EAGAIN) {
            self.sleep()?;
            answer = self.device.sim().with(|world| {
                let mut port = [0; 4];
                world.read(self.id(), &mut port)?;
                Ok(u32::from_ne_bytes(port))
            });
        }
        answer.map_err(errno)
    }

    pub(crate) fn write(&self, port: u32) -> Result<(), Errno> {
        self.machine.judge_unmask(self.id(), port);
        self.device.write_raw(port).map_err(errno)
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
        if self.machine.is_in_own_time() {
            return match is_nonblocking(self.fd())? {
                true => Err(Errno::EAGAIN),
                false => self.machine.pass(),
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
