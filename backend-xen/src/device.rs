//! One open `/dev/xen/evtchn`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use evtchn_core::{DeviceCall, DeviceError, DomId, EventChannel, Port, PortBuf, RemotePort, Virq};
use evtchn_fork::Process;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};

use crate::abi;
use crate::error::{Call, Error};
#[cfg(feature = "multicall")]
use crate::multicall::{Multicall, Sender};
use crate::opener::DEVICE_PATH;
use crate::restore::Watch;

/// One open event-channel device.
///
/// Ports, ring, non-blocking mode and restriction belong to the open file: a duplicate or
/// inherited descriptor shares them, and each event goes to one of the readers. Dropping the
/// device only closes its descriptor; the kernel unbinds the ports when the last descriptor is
/// closed (evtchn_release).
///
/// It notices that this domain was saved and restored, or migrated, after it was opened. Then its binds,
/// `unbind` and `pending` fail with [`ErrorKind::Resumed`](evtchn_core::ErrorKind::Resumed), and
/// dropping it leaves its file open until the process ends, because a kernel need not survive the
/// unbind of a port from before. Poll [`EventChannel::fd`], which becomes readable then, and not
/// `as_fd`, which does not.
///
/// In a forked child it is inherited ([`EventChannel::is_inherited`]): its calls work, and act on
/// the ports of the parent. A child that wants events of its own opens a device of its own.
///
/// No call takes a lock in user space, or allocates unless it fails.
///
/// ```no_run
/// use evtchn::xen::Device;
/// use evtchn::{DomId, EventChannel, PortBuf, RemotePort};
///
/// let device = Device::open()?;
/// let ours = device.bind_unbound_port(DomId::SELF)?;
/// let theirs = device.bind_interdomain(RemotePort { domid: DomId::SELF, port: ours })?;
/// device.notify(theirs)?;
/// let mut fired = PortBuf::with_capacity(PortBuf::MAX);
/// device.pending(&mut fired)?;
/// device.unmask(&[ours, theirs])?;
/// # Ok::<_, evtchn::DeviceError>(())
/// ```
#[derive(Debug)]
pub struct Device {
    fd: Arc<OwnedFd>,
    /// The process that opened or adopted it.
    process: Process,
    /// Notices that this domain was restored. `None` where that never happens.
    watch: Option<Watch>,
    #[cfg(feature = "multicall")]
    sender: Option<Sender>,
}

impl Device {
    /// Opens the device at [`DEVICE_PATH`], non-blocking and close-on-exec.
    ///
    /// # Errors
    /// [`NoDevice`](evtchn_core::ErrorKind::NoDevice) where there is no device,
    /// [`NotPermitted`](evtchn_core::ErrorKind::NotPermitted) where the process may not open it: it
    /// belongs to root. [`Call::NoticeForks`] failed on a kernel where a fork of this process
    /// cannot be noticed.
    pub fn open() -> Result<Device, DeviceError> {
        Device::open_at(DEVICE_PATH)
    }

    /// Opens the device at `path`, non-blocking and close-on-exec.
    ///
    /// # Errors
    /// [`NoDevice`](evtchn_core::ErrorKind::NoDevice) where there is no device,
    /// [`NotPermitted`](evtchn_core::ErrorKind::NotPermitted) where the process may not open it, and
    /// [`Call::NoticeForks`] as with [`open`](Self::open).
    pub fn open_at(path: impl AsRef<Path>) -> Result<Device, DeviceError> {
        let path = path.as_ref();
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let process = Process::current().map_err(Error::from)?;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Device::with(fd, process)),
            Err(errno) => Err(Error::new(Call::Open(path.into()), errno).into()),
        }
    }

    /// Makes a device of a descriptor that was inherited or received, and sets non-blocking and
    /// close-on-exec. Every duplicate of the descriptor shares the non-blocking mode.
    ///
    /// The driver cannot report which ports are bound on it, so their numbers have to be handed
    /// over too. Nothing here checks that the descriptor is the device; another file refuses every
    /// request.
    ///
    /// # Errors
    /// `EBADF` where the descriptor is not open for reading and writing, or [`Call::NoticeForks`] as
    /// with [`open`](Self::open). The descriptor is closed.
    pub fn from_fd(fd: OwnedFd) -> Result<Device, DeviceError> {
        let process = Process::current().map_err(Error::from)?;
        set_modes(&fd).map_err(|errno| Error::new(Call::Adopt, errno))?;
        Ok(Device::with(fd, process))
    }

    fn with(fd: OwnedFd, process: Process) -> Device {
        let fd = Arc::new(fd);
        let watch = Watch::begin(&fd);
        Device::watched(fd, process, watch)
    }

    pub(crate) fn watched(fd: Arc<OwnedFd>, process: Process, watch: Option<Watch>) -> Device {
        Device {
            fd,
            process,
            watch,
            #[cfg(feature = "multicall")]
            sender: None,
        }
    }

    /// The device, which notifies many ports in one hypercall if `when` says so. Where `/dev/xen/privcmd`
    /// cannot be opened, it makes an ioctl for each.
    #[cfg(feature = "multicall")]
    #[must_use]
    pub fn with_multicall(self, when: Multicall) -> Device {
        self.with_sender(Sender::open(when))
    }

    #[cfg(feature = "multicall")]
    pub(crate) fn with_sender(self, sender: Option<Sender>) -> Device {
        Device { sender, ..self }
    }

    /// Whether it notifies many ports in one hypercall. It does so until one is refused.
    #[cfg(feature = "multicall")]
    #[must_use]
    pub fn has_multicall(&self) -> bool {
        self.sender.as_ref().is_some_and(Sender::is_open)
    }

    /// Sets whether the descriptor is closed when the process executes another program. By default
    /// it is; for a hand-over it has to stay open.
    ///
    /// # Errors
    /// Those of `fcntl(2)`, which has none for an open descriptor.
    pub fn set_close_on_exec(&self, closes: bool) -> Result<(), DeviceError> {
        rustix::io::fcntl_getfd(&self.fd)
            .map(|flags| match closes {
                true => flags | FdFlags::CLOEXEC,
                false => flags - FdFlags::CLOEXEC,
            })
            .and_then(|flags| rustix::io::fcntl_setfd(&self.fd, flags))
            .map_err(|errno| Error::new(Call::SetCloseOnExec, errno).into())
    }
}

fn set_modes(fd: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    // The driver checks the access mode only in read and write, which would fail late.
    if flags & OFlags::RWMODE != OFlags::RDWR {
        return Err(Errno::BADF);
    }
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    rustix::io::fcntl_setfd(fd, rustix::io::fcntl_getfd(fd)? | FdFlags::CLOEXEC)
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Hands the descriptor out with all its bindings, for example to the next version of the program.
/// It is close-on-exec unless [`Device::set_close_on_exec`] has changed that.
impl From<Device> for OwnedFd {
    fn from(device: Device) -> OwnedFd {
        let Device { fd, watch, .. } = device;
        if let Some(watch) = watch {
            watch.give_up();
        }
        match Arc::try_unwrap(fd) {
            Ok(fd) => fd,
            Err(_) => unreachable!("only the watch has another handle, and it is dropped"),
        }
    }
}

impl EventChannel for Device {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        let request = abi::BindUnboundPort {
            remote_domain: remote.as_raw().into(),
        };
        self.bind(request, || Call::BindUnboundPort(remote))
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let request = abi::BindInterdomain {
            remote_domain: remote.domid.as_raw().into(),
            remote_port: remote.port.as_raw(),
        };
        self.bind(request, || Call::BindInterdomain(remote))
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        let request = abi::BindVirq {
            virq: virq.as_raw(),
        };
        self.bind(request, || Call::BindVirq(virq))
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let request = abi::BindStatic {
            port: port.as_raw(),
        };
        self.bind(request, || Call::BindStatic(port))
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        self.check(|| DeviceCall::Unbind(port))?;
        let request = abi::Unbind {
            port: port.as_raw(),
        };
        self.request(request, || Call::Unbind(port))
    }

    #[inline]
    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        let request = abi::Notify {
            port: port.as_raw(),
        };
        self.request(request, || Call::Notify(port))
    }

    /// One hypercall for up to 1,024 ports with `XenOpen::multicall`, whose Xen does not check that
    /// this device has bound them. Otherwise, and for a single port, one ioctl each.
    #[cfg(feature = "multicall")]
    fn notify_many(&self, ports: &[Port], failed: &mut dyn FnMut(usize, DeviceError)) {
        let sender = self.sender.as_ref();
        let sent = sender.map_or(0, |sender| sender.send(ports, failed));
        for (place, port) in ports.iter().enumerate().skip(sent) {
            if let Err(error) = self.notify(*port) {
                failed(place, error);
            }
        }
    }

    /// One `read` (evtchn_read): up to a page of ports, and `EFBIG` before anything else while
    /// the ring is in overflow.
    #[inline]
    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        self.check(|| DeviceCall::Pending)?;
        buf.fill(|words| {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *bytes)) {
                Ok(count) => Ok(count / size_of::<u32>()),
                Err(Errno::AGAIN) => self.nothing_pending(),
                Err(errno) => Err(Error::new(Call::Pending, errno).into()),
            }
        })
    }

    /// One `write` (evtchn_write): up to a page of ports, so at most [`PortBuf::MAX`] of them.
    #[inline]
    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let Some(&first) = ports.first() else {
            return Ok(0);
        };
        let bytes = abi::as_bytes(ports);
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, bytes)) {
            Ok(count) => Ok(count / size_of::<u32>()),
            Err(errno) => {
                let count = ports.len();
                Err(Error::new(Call::Unmask { first, count }, errno).into())
            }
        }
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.request(abi::Reset {}, || Call::Reset)
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let request = abi::RestrictDomid {
            domid: domid.as_raw(),
        };
        self.request(request, || Call::Restrict(domid))?;
        // Hypercalls know no such restriction.
        #[cfg(feature = "multicall")]
        if let Some(sender) = &self.sender {
            sender.close();
        }
        Ok(())
    }

    #[inline]
    fn is_inherited(&self) -> bool {
        !self.process.is_current()
    }

    /// In a domain that can be restored, that of an epoll instance with the device and with what
    /// becomes readable after a restore; else that of the device.
    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        let watched = self.watch.as_ref().and_then(Watch::fd);
        Ok(watched.unwrap_or(self.fd.as_fd()))
    }

    fn is_resumed(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_resumed)
    }
}

impl Device {
    /// Fails if this domain was restored after the device was opened.
    #[inline]
    fn check(&self, call: impl FnOnce() -> DeviceCall) -> Result<(), DeviceError> {
        match &self.watch {
            Some(watch) => watch.check(call),
            None => Ok(()),
        }
    }

    /// A read found nothing. In a domain that can be restored, the poll may have ended because it was.
    #[inline]
    fn nothing_pending(&self) -> Result<usize, DeviceError> {
        if let Some(watch) = &self.watch {
            watch.drain();
            watch.check(|| DeviceCall::Pending)?;
        }
        Ok(0)
    }

    /// A port that was bound before a restore and is returned after it is dead, so this looks before
    /// and after.
    fn bind<R: abi::Request>(
        &self,
        request: R,
        call: impl Fn() -> Call,
    ) -> Result<R::Answer, DeviceError> {
        self.check(|| call().of_device())?;
        let bound = self.request(request, &call);
        self.check(|| call().of_device())?;
        bound
    }

    fn request<R: abi::Request>(
        &self,
        request: R,
        call: impl FnOnce() -> Call,
    ) -> Result<R::Answer, DeviceError> {
        let answer = abi::request(self.fd.as_fd(), request);
        answer.map_err(|errno| Error::new(call(), errno).into())
    }
}
