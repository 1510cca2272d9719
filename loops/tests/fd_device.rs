//! A device that is any descriptor, for what only looks at that: a pipe or a socket, say.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use evtchn_core::{
    Device, DeviceCall, DeviceError, DomId, ErrorKind, EventChannel, Port, PortBuf, RemotePort,
    Virq,
};

/// Has no ports.
#[derive(Debug)]
struct FdDevice(OwnedFd);

/// A device whose descriptor this is. It is closed with the last handle.
pub(crate) fn device(fd: impl Into<OwnedFd>) -> Device {
    Device::new(FdDevice(fd.into()))
}

fn refused<T>() -> Result<T, DeviceError> {
    let call = DeviceCall::Other("use ports of a bare descriptor");
    Err(DeviceError::new(ErrorKind::Unsupported, call))
}

impl EventChannel for FdDevice {
    fn bind_unbound_port(&self, _: DomId) -> Result<Port, DeviceError> {
        refused()
    }

    fn bind_interdomain(&self, _: RemotePort) -> Result<Port, DeviceError> {
        refused()
    }

    fn bind_virq(&self, _: Virq) -> Result<Port, DeviceError> {
        refused()
    }

    fn bind_static(&self, _: Port) -> Result<(), DeviceError> {
        refused()
    }

    fn unbind(&self, _: Port) -> Result<(), DeviceError> {
        refused()
    }

    fn notify(&self, _: Port) -> Result<(), DeviceError> {
        refused()
    }

    fn pending(&self, _: &mut PortBuf) -> Result<(), DeviceError> {
        refused()
    }

    fn unmask(&self, _: &[Port]) -> Result<usize, DeviceError> {
        refused()
    }

    fn reset(&self) -> Result<(), DeviceError> {
        refused()
    }

    fn restrict(&self, _: DomId) -> Result<(), DeviceError> {
        refused()
    }

    fn is_inherited(&self) -> bool {
        false
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        Ok(self.0.as_fd())
    }
}
