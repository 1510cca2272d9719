//! The device that a case runs on, and wrappers for what a context is given: they give the case a
//! way to the open device, note the hooks, and refuse them on demand.

use std::error::Error;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use evtchn_core::{
    Device, DeviceError, DomId, Driver, EventChannel, LoopError, Open, Port, PortBuf, Registrar,
    RemotePort, Trigger, Virq,
};

/// The simulator, or the real device. Nothing else uses it while it lives.
pub(crate) trait Backend: Sized + 'static {
    type Device: EventChannel;
    type Open: Open<Device = Self::Device>;

    const NAME: &'static str;
    /// How long an event that must come may take. Only a failure ever waits so long.
    const PATIENCE: Duration;

    /// Why the case is left out here, if it is.
    ///
    /// # Errors
    /// It must not be left out.
    fn excuse() -> Result<Option<String>, String>;

    fn start() -> Self;

    fn opener(&self) -> Self::Open;
}

/// A device that a case can use as well. It closes when the context closes it, unless the case
/// holds it at that moment.
pub(crate) struct Held<D>(Arc<D>);

/// Opens held devices.
pub(crate) struct HeldOpen<O: Open> {
    pub(crate) opener: O,
    pub(crate) last: Arc<Mutex<Weak<O::Device>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<O: Open> Open for HeldOpen<O> {
    type Device = Held<O::Device>;

    fn open(&self) -> Result<Held<O::Device>, DeviceError> {
        let device = Arc::new(self.opener.open()?);
        *lock(&self.last) = Arc::downgrade(&device);
        Ok(Held(device))
    }

    fn process(&self) -> u64 {
        self.opener.process()
    }
}

/// The device that was opened last, while it is open.
pub(crate) fn held<D>(last: &Mutex<Weak<D>>) -> Option<Arc<D>> {
    lock(last).upgrade()
}

impl<D: fmt::Debug> fmt::Debug for Held<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<D: EventChannel> EventChannel for Held<D> {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        self.0.bind_unbound_port(remote)
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        self.0.bind_interdomain(remote)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        self.0.bind_virq(virq)
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        self.0.bind_static(port)
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        self.0.unbind(port)
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        self.0.notify(port)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        self.0.pending(buf)
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        self.0.unmask(ports)
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.0.reset()
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        self.0.restrict(domid)
    }

    fn is_inherited(&self) -> bool {
        self.0.is_inherited()
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        self.0.fd()
    }
}

/// What the context asked of its event loop so far.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) registers: AtomicU32,
    pub(crate) deregisters: AtomicU32,
    pub(crate) wakes: AtomicU32,
    /// Whether the event loop refuses the next of these calls.
    pub(crate) refuse_register: AtomicBool,
    pub(crate) refuse_deregister: AtomicBool,
}

/// An adapter that records its hooks.
pub(crate) struct Spied<R> {
    pub(crate) adapter: R,
    pub(crate) log: Arc<Log>,
}

/// The event loop refused on demand.
#[derive(Debug)]
pub(crate) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("on demand")
    }
}

impl Error for Refused {}

fn refuse_if(demanded: &AtomicBool) -> Result<(), LoopError> {
    match demanded.swap(false, Ordering::Relaxed) {
        true => Err(LoopError::new(Refused)),
        false => Ok(()),
    }
}

impl<R: Registrar> Registrar for Spied<R> {
    fn attach(&self, driver: Driver) {
        self.adapter.attach(driver);
    }

    fn trigger(&self) -> Trigger {
        self.adapter.trigger()
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        refuse_if(&self.log.refuse_register)?;
        self.adapter.register(device)?;
        self.log.registers.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        refuse_if(&self.log.refuse_deregister)?;
        self.adapter.deregister(device)?;
        self.log.deregisters.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn wake(&self) {
        self.log.wakes.fetch_add(1, Ordering::Relaxed);
        self.adapter.wake();
    }
}
