//! A device of a machine that another process serves.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evtchn_core::{
    DeviceCall, DeviceError, DomId, ErrorKind, EventChannel, Port, PortBuf, RemotePort, Virq,
};
use evtchn_fork::Process;

use super::client::Connection;
use super::protocol::{Answer, MOST_PORTS, OnDevice, RESUMED, Request};
use super::served::errno;
use crate::driver::abi;
use crate::errno::Errno;
use crate::error::device_error;

/// One descriptor of an open device, which another process simulates: what [`RemoteOpen`](super::RemoteOpen) opens.
///
/// In a forked child it is inherited ([`EventChannel::is_inherited`]), and dropping it closes only the child's
/// descriptors. [`ioctl_raw`](Self::ioctl_raw), [`read_raw`](Self::read_raw) and [`write_raw`](Self::write_raw) work
/// there all the same: parent and child share the open device, as on Xen. Dropping one from before a restore leaves
/// its descriptor open.
///
/// ```no_run
/// use evtchn_core::{DomId, EventChannel, Open};
/// use evtchn_sim::remote::RemoteOpen;
///
/// let device = RemoteOpen::at("/tmp/machine", DomId::DOM0).open()?;
/// let port = device.bind_unbound_port(DomId::SELF)?;
/// device.unbind(port)?;
/// # Ok::<_, evtchn_core::DeviceError>(())
/// ```
pub struct RemoteDevice {
    path: Arc<Path>,
    /// What shows the state. It is closed before the connection says so.
    shown: OwnedFd,
    made_by: Process,
    connection: Mutex<Connected>,
}

struct Connected {
    connection: Connection,
    /// The process that made it. A forked child makes one of its own.
    made_by: Process,
}

impl RemoteDevice {
    pub(super) fn open(path: Arc<Path>, domid: DomId, raw: bool) -> Result<RemoteDevice, Errno> {
        let mut connection = Connection::new(&path)?;
        let domid = domid.as_raw();
        let (_, shown) = connection.call(&Request::Open { domid, raw }, None)?;
        RemoteDevice::with(path, connection, shown.ok_or(Errno::EIO)?)
    }

    /// Opens the device as a C program has it: it does not notice a restore ([`SimOpen::raw`](crate::SimOpen::raw)).
    ///
    /// # Errors
    /// Those of connect(2), `ENOENT` if there is no such domain, `EIO` if the server went away.
    pub fn open_raw(path: impl AsRef<Path>, domid: DomId) -> Result<RemoteDevice, Errno> {
        RemoteDevice::open(path.as_ref().into(), domid, true)
    }

    /// The device of a descriptor that was inherited over a fork or an exec, or of a duplicate. It keeps a duplicate
    /// of its own.
    ///
    /// # Errors
    /// Those of connect(2), `EBADF` if `shown` is no device of this machine, `EIO` if the server went away.
    pub fn adopt_raw(path: impl AsRef<Path>, shown: impl AsFd) -> Result<RemoteDevice, Errno> {
        let path: Arc<Path> = path.as_ref().into();
        let shown = rustix::io::fcntl_dupfd_cloexec(shown, 0).map_err(errno)?;
        let connection = attached(&path, shown.as_fd())?;
        RemoteDevice::with(path, connection, shown)
    }

    fn with(
        path: Arc<Path>,
        connection: Connection,
        shown: OwnedFd,
    ) -> Result<RemoteDevice, Errno> {
        let made_by = made_by()?;
        Ok(RemoteDevice {
            path,
            shown,
            made_by,
            connection: Mutex::new(Connected {
                connection,
                made_by,
            }),
        })
    }

    /// ioctl(2): [`SimDevice::ioctl_raw`](crate::SimDevice::ioctl_raw).
    ///
    /// # Errors
    /// Those of the simulated device, and `EIO` if the server went away.
    pub fn ioctl_raw(&self, request: u32, words: [u32; 2]) -> Result<u32, Errno> {
        self.ioctl(request, words)
    }

    /// read(2) of four bytes, which never sleeps: [`SimDevice::read_raw`](crate::SimDevice::read_raw).
    ///
    /// # Errors
    /// Those of the simulated device, and `EIO` if the server went away.
    pub fn read_raw(&self) -> Result<u32, Errno> {
        let ports = self.read(1)?;
        ports.first().copied().ok_or(Errno::EAGAIN)
    }

    /// write(2) of four bytes: [`SimDevice::write_raw`](crate::SimDevice::write_raw).
    ///
    /// # Errors
    /// Those of the simulated device, and `EIO` if the server went away.
    pub fn write_raw(&self, port: u32) -> Result<(), Errno> {
        self.write(vec![port]).map(drop)
    }

    /// The ring overflows at once: [`World::overflow`](crate::World::overflow).
    ///
    /// # Errors
    /// `EBADF` where the domain is gone, and `EIO` if the server went away.
    pub fn overflow(&self) -> Result<(), Errno> {
        self.call(OnDevice::Overflow).map(drop)
    }

    fn call(&self, call: OnDevice) -> Result<Answer, Errno> {
        let mut connected = self.connected()?;
        let (answer, _) = connected.connection.call(&Request::OnDevice(call), None)?;
        Ok(answer)
    }

    /// The connection of this process.
    fn connected(&self) -> Result<MutexGuard<'_, Connected>, Errno> {
        let mut connected = lock(&self.connection);
        if !connected.made_by.is_current() {
            let connection = attached(&self.path, self.shown.as_fd())?;
            let made_by = made_by()?;
            *connected = Connected {
                connection,
                made_by,
            };
        }
        Ok(connected)
    }

    fn number(&self, call: OnDevice) -> Result<u64, Errno> {
        self.call(call)?.number()
    }

    fn ioctl(&self, request: u32, words: [u32; 2]) -> Result<u32, Errno> {
        let answer = self.number(OnDevice::Ioctl { request, words })?;
        u32::try_from(answer).map_err(|_| Errno::EIO)
    }

    fn read(&self, most: usize) -> Result<Vec<u32>, Errno> {
        match self.call(OnDevice::Read { most }) {
            Ok(Answer::Ports(ports)) => Ok(ports),
            Ok(Answer::Number(_) | Answer::Status { .. } | Answer::Refused(_)) => Err(Errno::EIO),
            Err(Errno::EAGAIN) => Ok(Vec::new()),
            Err(errno) => Err(errno),
        }
    }

    fn write(&self, ports: Vec<u32>) -> Result<usize, Errno> {
        let written = self.number(OnDevice::Write { ports })?;
        usize::try_from(written).map_err(|_| Errno::EIO)
    }

    fn request(&self, of: DeviceCall, request: u32, words: [u32; 2]) -> Result<u32, DeviceError> {
        self.ioctl(request, words)
            .map_err(|errno| failed(of, errno))
    }

    fn bind(&self, of: DeviceCall, request: u32, words: [u32; 2]) -> Result<Port, DeviceError> {
        let answer = self.request(of, request, words)?;
        // Xen never gives a port number that a Port cannot hold.
        Port::new(answer).ok_or_else(|| device_error(of, Errno::EINVAL))
    }
}

/// A connection for the device of a descriptor.
fn attached(path: &Path, shown: BorrowedFd<'_>) -> Result<Connection, Errno> {
    let mut connection = Connection::new(path)?;
    connection.call(&Request::Attach, Some(shown))?;
    Ok(connection)
}

fn made_by() -> Result<Process, Errno> {
    Process::current().map_err(|error| errno(error.errno))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(call: DeviceCall, errno: Errno) -> DeviceError {
    match errno {
        RESUMED => DeviceError::new(ErrorKind::Resumed, call),
        errno => device_error(call, errno),
    }
}

impl EventChannel for RemoteDevice {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        let words = [remote.as_raw().into(), 0];
        self.bind(
            DeviceCall::BindUnboundPort(remote),
            abi::BIND_UNBOUND_PORT,
            words,
        )
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let words = [remote.domid.as_raw().into(), remote.port.as_raw()];
        self.bind(
            DeviceCall::BindInterdomain(remote),
            abi::BIND_INTERDOMAIN,
            words,
        )
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        let words = [virq.as_raw(), 0];
        self.bind(DeviceCall::BindVirq(virq), abi::BIND_VIRQ, words)
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let words = [port.as_raw(), 0];
        self.request(DeviceCall::BindStatic(port), abi::BIND_STATIC, words)?;
        Ok(())
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        let words = [port.as_raw(), 0];
        self.request(DeviceCall::Unbind(port), abi::UNBIND, words)?;
        Ok(())
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        let words = [port.as_raw(), 0];
        self.request(DeviceCall::Notify(port), abi::NOTIFY, words)?;
        Ok(())
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        buf.fill(|words| {
            let ports = self.read(words.len());
            let ports = ports.map_err(|errno| failed(DeviceCall::Pending, errno))?;
            for (word, port) in words.iter_mut().zip(&ports) {
                *word = *port;
            }
            Ok(ports.len().min(words.len()))
        })
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let Some(&first) = ports.first() else {
            return Ok(0);
        };
        let count = ports.len();
        let words = ports.iter().take(MOST_PORTS).map(|port| port.as_raw());
        self.write(words.collect())
            .map_err(|errno| failed(DeviceCall::Unmask { first, count }, errno))
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.request(DeviceCall::Reset, abi::RESET, [0; 2])?;
        Ok(())
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let words = [domid.as_raw().into(), 0];
        self.request(DeviceCall::Restrict(domid), abi::RESTRICT_DOMID, words)?;
        Ok(())
    }

    /// False too if the server went away.
    fn is_resumed(&self) -> bool {
        self.number(OnDevice::IsResumed).is_ok_and(|it| it == 1)
    }

    #[inline]
    fn is_inherited(&self) -> bool {
        !self.made_by.is_current()
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        Ok(self.shown.as_fd())
    }
}

impl AsFd for RemoteDevice {
    /// The descriptor that shows the state of the device, as that of [`SimDevice::try_fd`](crate::SimDevice::try_fd) does.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shown.as_fd()
    }
}

impl Drop for RemoteDevice {
    fn drop(&mut self) {
        if self.made_by.is_current() && self.is_resumed() {
            // Its ports must not be unbound, so a descriptor stays open until the process ends.
            drop(self.shown.try_clone().map(IntoRawFd::into_raw_fd));
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        // A forked child shares the connection of its parent.
        if self.made_by.is_current() {
            // The server closes the device before the drop returns. If the server is gone, so is the device.
            let _ = self.connection.number(&Request::Close);
        }
    }
}

impl fmt::Debug for RemoteDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteDevice")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
