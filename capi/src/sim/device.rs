//! A simulated device, in this process or in another one.

use std::os::fd::{AsFd, BorrowedFd};

use evtchn_sim::remote::RemoteDevice;
use evtchn_sim::{FileId, SimDevice};

use super::{errno, errno_of};
use crate::errno::Errno;

#[derive(Debug)]
pub(crate) enum Device {
    Here(SimDevice),
    Served(RemoteDevice),
}

impl Device {
    /// What shows its state.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        match self {
            Device::Here(device) => device.try_fd().map_err(|error| errno_of(&error)),
            Device::Served(device) => Ok(device.as_fd()),
        }
    }

    pub(crate) fn ioctl(&self, request: u32, words: [u32; 2]) -> Result<u32, Errno> {
        let answer = match self {
            Device::Here(device) => device.ioctl_raw(request, words),
            Device::Served(device) => device.ioctl_raw(request, words),
        };
        answer.map_err(errno)
    }

    /// Reads one port. It never sleeps.
    pub(crate) fn read(&self) -> Result<u32, Errno> {
        let port = match self {
            Device::Here(device) => device.read_raw(),
            Device::Served(device) => device.read_raw(),
        };
        port.map_err(errno)
    }

    /// Reads one port once a sleep is over: it is the same call, which no fault hits a second time.
    pub(crate) fn read_after_sleep(&self) -> Result<u32, Errno> {
        let Device::Here(device) = self else {
            return self.read();
        };
        let mut port = [0; 4];
        let read = device
            .sim()
            .with(|world| world.read(device.file(), &mut port));
        read.map(|_| u32::from_ne_bytes(port)).map_err(errno)
    }

    /// Unmasks a port.
    pub(crate) fn write(&self, port: u32) -> Result<(), Errno> {
        let written = match self {
            Device::Here(device) => device.write_raw(port),
            Device::Served(device) => device.write_raw(port),
        };
        written.map_err(errno)
    }

    pub(crate) fn overflow(&self) -> Result<(), Errno> {
        let overflowed = match self {
            Device::Here(device) => device.sim().with(|world| world.overflow(device.file())),
            Device::Served(device) => device.overflow(),
        };
        overflowed.map_err(errno)
    }

    /// The open file, if the machine is in this process.
    pub(crate) fn file(&self) -> Option<FileId> {
        match self {
            Device::Here(device) => Some(device.file()),
            Device::Served(_) => None,
        }
    }
}
