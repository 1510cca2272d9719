//! The simulated device, as a context calls it.

mod opener;
mod raw;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evtchn_core::{
    DeviceCall, DeviceError, DomId, ErrorKind, EventChannel, Open, OwnTime, Passed, Port, PortBuf,
    RemotePort, Virq,
};
use evtchn_fork::Process;

use crate::driver::abi::{self, PollBits};
use crate::errno::Errno;
use crate::error::{Call, Error, device_error};
use crate::sim::Sim;
use crate::world::{FileId, World};

pub(crate) use opener::Opener;
pub use opener::SimOpen;

/// One descriptor of an open device. Dropping the last one of a file closes its ports.
///
/// It notices a [restore](World::save_restore) of its domain: then its binds, `unbind` and `pending` fail
/// with [`ErrorKind::Resumed`], and dropping it leaves the file open.
///
/// In a forked child it is inherited ([`EventChannel::is_inherited`]). After a real fork(2) its
/// calls reach the child's copy of the machine and nothing of the parent's, and dropping it closes
/// only the child's descriptor.
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::sim::abi::PollBits;
/// use evtchn::{DomId, EventChannel, Open, RemotePort};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Sim::new(1).open(DomId::DOM0).open()?;
/// let port = device.bind_unbound_port(DomId::SELF)?;
/// assert_eq!(device.poll()?, PollBits::WRITABLE);
/// let _other_end = device.bind_interdomain(RemotePort { domid: DomId::SELF, port })?;
/// assert_eq!(device.poll()?, PollBits::READABLE);
/// let _pollable = device.try_fd()?; // for a real event loop
/// # Ok(())
/// # }
/// ```
pub struct SimDevice {
    opener: SimOpen,
    file: FileId,
    descriptor: u64,
    /// The process that opened it, as the opener numbers it.
    process: u64,
    /// The process whose memory the machine is in.
    made_by: Process,
    /// It notifies many ports in one hypercall.
    multicall: AtomicBool,
    /// What a real event loop polls; made at the first call that needs it.
    fd: OnceLock<OwnedFd>,
}

impl SimDevice {
    /// A second descriptor of the same open file, as dup(2) and fork(2) make: it shares ports,
    /// ring and restriction, and each event goes to one reader.
    ///
    /// # Errors
    /// `EBADF` where the domain is gone.
    pub fn dup(&self) -> Result<SimDevice, DeviceError> {
        let mut world = self.sim().lock();
        SimDevice::dup_of(&self.opener, &mut world, self.file).map_err(open_failed)
    }

    fn dup_of(opener: &SimOpen, world: &mut World, file: FileId) -> Result<SimDevice, Errno> {
        let process = made_by()?;
        world.dup(file)?;
        Ok(SimDevice::new(opener, world, file, process))
    }

    fn new(opener: &SimOpen, world: &mut World, file: FileId, made_by: Process) -> SimDevice {
        world.descriptors += 1;
        SimDevice {
            opener: opener.clone(),
            file,
            descriptor: world.descriptors,
            process: opener.process(),
            made_by,
            multicall: AtomicBool::new(
                opener.has_multicall() && world.makes_multicalls(opener.domid()),
            ),
            fd: OnceLock::new(),
        }
    }

    /// Identifies this descriptor among all descriptors of the machine.
    pub(crate) const fn descriptor(&self) -> u64 {
        self.descriptor
    }

    /// The open file, for the calls of [`World`].
    #[must_use]
    pub const fn file(&self) -> FileId {
        self.file
    }

    /// The machine.
    #[must_use]
    pub const fn sim(&self) -> &Sim {
        &self.opener.sim
    }

    /// Whether it notifies many ports in one hypercall.
    #[must_use]
    pub fn has_multicall(&self) -> bool {
        self.multicall.load(Ordering::Relaxed)
    }

    /// What poll(2) would report for the device.
    ///
    /// # Errors
    /// `EBADF` where the domain is gone.
    pub fn poll(&self) -> Result<PollBits, Errno> {
        self.sim().lock().poll(self.file)
    }

    /// A descriptor that real event loops can poll in place of the device: `IN` while there is
    /// something to read, `ERR` without `IN` after an overflow, else only `OUT`. An edge-triggered
    /// loop reports it once per change from empty to not empty.
    ///
    /// It is a socket, so some things differ from the device: `OUT` stays set together with
    /// `ERR`, an overflow is an edge too, and an edge-triggered `OUT` comes more often. Use it for
    /// polling only: reading it, writing it, or reading its `SO_ERROR` takes the state away.
    ///
    /// # Errors
    /// Where it does not exist yet, those of making sockets (`EMFILE`), and `EBADF` where the
    /// domain is gone.
    pub fn try_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if self.fd.get().is_none() {
            let fd = self.sim().lock().pollable(self.file)?;
            // Where another thread was faster, its descriptor is used and ours is closed.
            drop(self.fd.set(fd));
        }
        match self.fd.get() {
            Some(fd) => Ok(fd.as_fd()),
            None => Err(io::Error::from_raw_os_error(Errno::EBADF.raw())),
        }
    }

    /// Whether its domain was restored, and it notices that.
    fn has_noticed(&self, world: &World) -> bool {
        !self.opener.is_raw() && world.is_old(self.file)
    }

    /// Makes a call on the open file. `act` gets the most ports that it may move.
    #[inline]
    fn call<T>(
        &self,
        call: Call,
        of: impl FnOnce() -> DeviceCall,
        act: impl FnOnce(&mut World, usize) -> Result<T, Errno>,
    ) -> Result<T, DeviceError> {
        let mut world = self.sim().lock();
        let judged = world.judge(&self.opener.opener, call, Some(self.file));
        if call.needs_current_device() && self.has_noticed(&world) {
            return Err(DeviceError::new(ErrorKind::Resumed, of()));
        }
        judged
            .and_then(|most| act(&mut world, most))
            .map_err(|errno| device_error(of(), errno))
    }

    #[inline]
    fn ioctl(
        &self,
        call: Call,
        of: impl FnOnce() -> DeviceCall,
        request: u32,
        arg: impl Into<abi::Arg>,
    ) -> Result<u32, DeviceError> {
        self.call(call, of, |world, _| world.ioctl(self.file, request, arg))
    }

    fn bind(
        &self,
        call: Call,
        of: impl Fn() -> DeviceCall,
        request: u32,
        arg: impl Into<abi::Arg>,
    ) -> Result<Port, DeviceError> {
        let answer = self.ioctl(call, &of, request, arg)?;
        // Xen never gives a port number that a Port cannot hold.
        Port::new(answer).ok_or_else(|| device_error(of(), Errno::EINVAL))
    }
}

/// The calling process, as the real device determines it too.
fn made_by() -> Result<Process, Errno> {
    Process::current().map_err(|error| Errno::new(error.errno.raw_os_error()))
}

fn open_failed(errno: Errno) -> DeviceError {
    device_error(DeviceCall::Open, errno)
}

impl EventChannel for SimDevice {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        let raw = u32::from(remote.as_raw());
        self.bind(
            Call::BindUnboundPort,
            || DeviceCall::BindUnboundPort(remote),
            abi::BIND_UNBOUND_PORT,
            raw,
        )
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let words = [u32::from(remote.domid.as_raw()), remote.port.as_raw()];
        self.bind(
            Call::BindInterdomain,
            || DeviceCall::BindInterdomain(remote),
            abi::BIND_INTERDOMAIN,
            words,
        )
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        self.bind(
            Call::BindVirq,
            || DeviceCall::BindVirq(virq),
            abi::BIND_VIRQ,
            virq.as_raw(),
        )
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let raw = port.as_raw();
        self.ioctl(
            Call::BindStatic,
            || DeviceCall::BindStatic(port),
            abi::BIND_STATIC,
            raw,
        )?;
        Ok(())
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        self.ioctl(
            Call::Unbind,
            || DeviceCall::Unbind(port),
            abi::UNBIND,
            port.as_raw(),
        )?;
        Ok(())
    }

    #[inline]
    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        self.ioctl(
            Call::Notify,
            || DeviceCall::Notify(port),
            abi::NOTIFY,
            port.as_raw(),
        )?;
        Ok(())
    }

    /// One hypercall for two ports and more [with multicall](SimOpen::multicall); otherwise one ioctl
    /// each.
    fn notify_many(&self, ports: &[Port], failed: &mut dyn FnMut(usize, DeviceError)) {
        let is_batch = ports.len() > 1 && self.multicall.load(Ordering::Relaxed);
        if !is_batch || self.is_inherited() {
            for (place, port) in ports.iter().enumerate() {
                if let Err(error) = self.notify(*port) {
                    failed(place, error);
                }
            }
            return;
        }
        let mut world = self.sim().lock();
        for (place, port) in ports.iter().enumerate() {
            let judged = world.judge(&self.opener.opener, Call::Notify, Some(self.file));
            let domid = self.opener.domid();
            let sent = judged.and_then(|_| world.send_in_multicall(domid, port.as_raw()));
            if let Err(errno) = sent {
                failed(place, device_error(DeviceCall::Notify(*port), errno));
            }
        }
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        buf.fill(|words| {
            self.call(
                Call::Pending,
                || DeviceCall::Pending,
                |world, most| {
                    let room = words.len().min(most);
                    match world.read_words(self.file, &mut words[..room]) {
                        Err(Errno::EAGAIN) => Ok(0),
                        answer => answer,
                    }
                },
            )
        })
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let Some(&first) = ports.first() else {
            return Ok(0);
        };
        let count = ports.len();
        let of = || DeviceCall::Unmask { first, count };
        self.call(Call::Unmask, of, |world, most| {
            let ports = &ports[..ports.len().min(most)];
            let word = |index: usize| ports.get(index).map_or(0, |port| port.as_raw());
            let bytes =
                world.write_with(self.file, size_of_val(ports), size_of_val(ports), word)?;
            Ok(bytes / size_of::<u32>())
        })
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.ioctl(Call::Reset, || DeviceCall::Reset, abi::RESET, 0)?;
        Ok(())
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let raw = u32::from(domid.as_raw());
        self.ioctl(
            Call::Restrict,
            || DeviceCall::Restrict(domid),
            abi::RESTRICT_DOMID,
            raw,
        )?;
        self.multicall.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn is_resumed(&self) -> bool {
        self.has_noticed(&self.sim().lock())
    }

    #[inline]
    fn is_inherited(&self) -> bool {
        !self.opener.is_current(self.process)
    }

    fn own_time(&self) -> Option<&dyn OwnTime> {
        self.opener.is_in_own_time().then_some(self)
    }

    /// The descriptor of [`try_fd`](SimDevice::try_fd).
    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        self.try_fd().map_err(|error| {
            let call = DeviceCall::Descriptor;
            DeviceError::new(ErrorKind::Other, call).with_source(error)
        })
    }
}

impl OwnTime for SimDevice {
    fn now(&self) -> Duration {
        self.sim().now()
    }

    fn pass(&self, deadline: Option<Duration>) -> Result<Passed, DeviceError> {
        let mut world = self.sim().lock();
        let bits = world.poll(self.file).map_err(sleep_failed)?;
        if bits.wakes_reader() || world.has_fired_watch(self.file) {
            return Ok(Passed::Readable);
        }
        if deadline.is_some_and(|deadline| deadline <= world.now()) {
            return Ok(Passed::TimeOver);
        }
        match world.idle(deadline).map_err(sleep_failed)? {
            true => Ok(Passed::Happened),
            false => Ok(Passed::TimeOver),
        }
    }
}

fn sleep_failed(errno: Errno) -> DeviceError {
    let call = DeviceCall::Other("sleep until something happens");
    let error = DeviceError::new(errno.kind(), call)
        .with_code(errno.raw(), errno.name().unwrap_or("errno"))
        .with_source(Error {
            call: Call::Sleep,
            port: None,
            errno,
        });
    match errno {
        Errno::EDEADLK => error.with_hint("nothing that could still happen would end it"),
        _ => error,
    }
}

impl AsFd for SimDevice {
    /// The descriptor of [`try_fd`](SimDevice::try_fd).
    ///
    /// # Panics
    /// Where [`try_fd`](Self::try_fd) fails, with its error.
    fn as_fd(&self) -> BorrowedFd<'_> {
        #[expect(clippy::panic, reason = "the trait has no room for an error")]
        match self.try_fd() {
            Ok(fd) => fd,
            Err(error) => panic!("cannot make a descriptor to poll: {error}"),
        }
    }
}

impl Drop for SimDevice {
    fn drop(&mut self) {
        // After a fork(2) the file is the parent's too. The child's copy of the machine is left as
        // it is, because another thread may have held its lock.
        if !self.made_by.is_current() {
            return;
        }
        let mut world = self.sim().lock();
        // The ports of one from before a restore must not be unbound, so it stays open.
        if !self.has_noticed(&world) {
            // This fails only where the domain is gone, which has closed its files.
            let _ = world.close(self.file);
        }
    }
}

impl fmt::Debug for SimDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDevice")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
