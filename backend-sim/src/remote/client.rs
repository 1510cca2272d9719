//! The connection of a client, and what opens devices and acts on the machine over it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evtchn_core::{
    DeviceCall, DeviceError, DomId, ForkMark, Open, Port, PortStatus, PortStatuses, RemotePort,
};
use rustix::net::{RecvFlags, SendFlags};

use super::protocol::{Answer, LARGEST, Request, VERSION};
use super::served::{errno, errno_of};
use super::socket::{self, Received};
use super::{Act, RemoteDevice};
use crate::errno::Errno;
use crate::error::device_error;

/// A connection to the server, on which one call at a time is made.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    buf: Box<[u8; LARGEST]>,
}

impl Connection {
    pub(super) fn new(path: &Path) -> Result<Connection, Errno> {
        let socket = socket::connect(path).map_err(errno)?;
        let buf = Box::new([0; LARGEST]);
        let mut connection = Connection { socket, buf };
        let version = VERSION;
        connection.call(&Request::Hello { version }, None)?;
        Ok(connection)
    }

    /// Makes a request, and waits for its answer. `EIO` if the server is gone.
    pub(super) fn call(
        &mut self,
        request: &Request,
        passed: Option<BorrowedFd<'_>>,
    ) -> Result<(Answer, Option<OwnedFd>), Errno> {
        let socket = self.socket.as_fd();
        let sent = socket::send(socket, request, passed, SendFlags::empty());
        sent.map_err(|_| Errno::EIO)?;
        match socket::receive(socket, &mut self.buf, RecvFlags::empty()) {
            Ok(Received::Message(Answer::Refused(errno), _)) => Err(Errno::new(errno)),
            Ok(Received::Message(answer, passed)) => Ok((answer, passed)),
            Ok(Received::Bad | Received::End) | Err(_) => Err(Errno::EIO),
        }
    }

    /// Makes a request whose answer is a number.
    pub(super) fn number(&mut self, request: &Request) -> Result<u64, Errno> {
        let (answer, _) = self.call(request, None)?;
        answer.number()
    }
}

/// Opens the device in one domain of a machine that a [`Server`](super::Server) serves, as
/// [`SimOpen`](crate::SimOpen) does in one process. It lives in real time.
///
/// ```
/// use evtchn_core::{Backend, DomId};
/// use evtchn_sim::Sim;
/// use evtchn_sim::remote::RemoteOpen;
///
/// /// The machine at this path, or one of this process.
/// fn backend(path: Option<&str>) -> Backend {
///     match path {
///         Some(path) => RemoteOpen::at(path, DomId::DOM0).into(),
///         None => Sim::new(1).backend(DomId::DOM0),
///     }
/// }
/// assert!(backend(None).open().is_ok());
/// assert!(backend(Some("/nowhere")).open().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteOpen {
    path: Arc<Path>,
    domid: DomId,
}

impl RemoteOpen {
    /// Opens devices on the machine that is served at `path`, in this domain.
    pub fn at(path: impl Into<PathBuf>, domid: DomId) -> RemoteOpen {
        RemoteOpen {
            path: path.into().into(),
            domid,
        }
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The domain.
    #[must_use]
    pub const fn domid(&self) -> DomId {
        self.domid
    }
}

impl Open for RemoteOpen {
    type Device = RemoteDevice;

    fn open(&self) -> Result<RemoteDevice, DeviceError> {
        RemoteDevice::open(Arc::clone(&self.path), self.domid, false)
            .map_err(|errno| device_error(DeviceCall::Open, errno))
    }

    #[inline]
    fn process(&self) -> u64 {
        evtchn_fork::number()
    }

    #[inline]
    fn is_current(&self, process: u64) -> bool {
        evtchn_fork::is_current(process)
    }

    fn mark(&self) -> Option<ForkMark> {
        Some(ForkMark::new(evtchn_fork::mark()))
    }

    /// The `/dev/xen/privcmd` of this domain.
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        Ok(Box::new(RemotePrivcmd(self.clone())))
    }
}

/// Asks what ports are, as a program in one domain.
#[derive(Debug)]
struct RemotePrivcmd(RemoteOpen);

impl PortStatuses for RemotePrivcmd {
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
        let RemotePrivcmd(opener) = self;
        let request = Request::Status {
            caller: opener.domid.as_raw(),
            domid: domid.as_raw(),
            port: port.as_raw(),
        };
        let answered = Connection::new(&opener.path).and_then(|mut it| it.call(&request, None));
        let status = answered.and_then(|(answer, _)| match answer {
            Answer::Status { state, vcpu } => {
                let state = state.status().ok_or(Errno::EIO)?;
                Ok(PortStatus { state, vcpu })
            }
            Answer::Number(_) | Answer::Ports(_) | Answer::Refused(_) => Err(Errno::EIO),
        });
        let call = DeviceCall::Status(RemotePort { domid, port });
        status.map_err(|errno| device_error(call, errno))
    }
}

/// A machine that a [`Server`](super::Server) serves. Each call makes a connection of its own, so it may be used in a
/// forked child.
///
/// ```no_run
/// use evtchn_sim::remote::{Act, RemoteSim};
///
/// let machine = RemoteSim::at("/tmp/machine");
/// let guest = machine.act(Act::CreateDomain)?;
/// print!("domain {guest}\n{}", machine.dump()?);
/// # Ok::<_, evtchn_sim::Errno>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSim {
    path: Arc<Path>,
}

impl RemoteSim {
    /// The machine that is served at `path`.
    pub fn at(path: impl Into<PathBuf>) -> RemoteSim {
        RemoteSim {
            path: path.into().into(),
        }
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does something to it, and returns the answer.
    ///
    /// # Errors
    /// Those of [`Act::on`], those of connect(2), and `EIO` if the server went away.
    pub fn act(&self, act: Act) -> Result<u64, Errno> {
        Connection::new(&self.path)?.number(&Request::Act(act))
    }

    /// Every port that is not free and every open device, a line each: [`Sim::dump`](crate::Sim::dump).
    ///
    /// # Errors
    /// Those of connect(2), and `EIO` if the server went away.
    pub fn dump(&self) -> Result<String, Errno> {
        let (_, passed) = Connection::new(&self.path)?.call(&Request::Dump, None)?;
        let mut file = File::from(passed.ok_or(Errno::EIO)?);
        let mut text = String::new();
        let read = rewound(&mut file).and_then(|()| file.read_to_string(&mut text));
        read.map_err(|error| errno_of(error.raw_os_error()))?;
        Ok(text)
    }
}

fn rewound(file: &mut File) -> std::io::Result<()> {
    std::io::Seek::rewind(file)
}
