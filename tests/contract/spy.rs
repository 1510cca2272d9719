//! Wrappers for the backend, the device and the event loop of a context: they log the calls of the
//! context, and refuse on demand.

use std::error::Error;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use evtchn_core::{
    Device, DeviceError, DomId, EventChannel, LoopError, Open, OwnTime, Port, PortBuf, Registrar,
    RemotePort, Sleep, Slept, Trigger, Virq,
};

/// What the context did so far.
#[derive(Debug)]
pub(crate) struct Log<D> {
    pub(crate) opens: u32,
    pub(crate) closes: u32,
    pub(crate) registers: u32,
    pub(crate) deregisters: u32,
    /// Calls of [`Registrar::wake`].
    pub(crate) wakes: u32,
    /// How many ports each batch of notifies had.
    pub(crate) batches: Vec<usize>,
    /// The ports of each write to the device.
    pub(crate) writes: Vec<Vec<Port>>,
    /// Whether the event loop refuses the next registration.
    pub(crate) refuse_register: bool,
    /// Whether the event loop refuses the next deregistration.
    pub(crate) refuse_deregister: bool,
    device: Weak<D>,
}

/// The log, shared between the wrappers and the case.
pub(crate) struct Spy<D>(Arc<Mutex<Log<D>>>);

impl<D> Spy<D> {
    pub(crate) fn new() -> Spy<D> {
        Spy(Arc::new(Mutex::new(Log {
            opens: 0,
            closes: 0,
            registers: 0,
            deregisters: 0,
            wakes: 0,
            batches: Vec::new(),
            writes: Vec::new(),
            refuse_register: false,
            refuse_deregister: false,
            device: Weak::new(),
        })))
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device of the context, to act on behind its back. Not to be kept: the device closes with
    /// its last holder.
    pub(crate) fn device(&self) -> Arc<D> {
        self.log().device.upgrade().unwrap()
    }

    pub(crate) fn opens_and_closes(&self) -> (u32, u32) {
        let log = self.log();
        (log.opens, log.closes)
    }

    pub(crate) fn is_open(&self) -> bool {
        let (opens, closes) = self.opens_and_closes();
        opens == closes + 1
    }

    pub(crate) fn is_registered(&self) -> bool {
        let log = self.log();
        log.registers == log.deregisters + 1
    }
}

impl<D> Clone for Spy<D> {
    fn clone(&self) -> Spy<D> {
        Spy(Arc::clone(&self.0))
    }
}

/// Opens watched devices.
pub(crate) struct SpyOpen<O: Open> {
    pub(crate) opener: O,
    pub(crate) spy: Spy<O::Device>,
}

impl<O: Open> Open for SpyOpen<O> {
    type Device = Watched<O::Device>;

    fn open(&self) -> Result<Watched<O::Device>, DeviceError> {
        let device = Arc::new(self.opener.open()?);
        let mut log = self.spy.log();
        log.opens += 1;
        log.device = Arc::downgrade(&device);
        Ok(Watched {
            device,
            spy: self.spy.clone(),
        })
    }

    fn process(&self) -> u64 {
        self.opener.process()
    }
}

/// A device that logs its writes and its close.
pub(crate) struct Watched<D> {
    device: Arc<D>,
    spy: Spy<D>,
}

impl<D> Drop for Watched<D> {
    fn drop(&mut self) {
        self.spy.log().closes += 1;
    }
}

impl<D: fmt::Debug> fmt::Debug for Watched<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.device.fmt(f)
    }
}

impl<D: EventChannel> EventChannel for Watched<D> {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        self.device.bind_unbound_port(remote)
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        self.device.bind_interdomain(remote)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        self.device.bind_virq(virq)
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        self.device.bind_static(port)
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        self.device.unbind(port)
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        self.device.notify(port)
    }

    fn notify_many(&self, ports: &[Port], failed: &mut dyn FnMut(usize, DeviceError)) {
        self.spy.log().batches.push(ports.len());
        self.device.notify_many(ports, failed);
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        self.device.pending(buf)
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        self.spy.log().writes.push(ports.to_vec());
        self.device.unmask(ports)
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.device.reset()
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        self.device.restrict(domid)
    }

    fn is_inherited(&self) -> bool {
        self.device.is_inherited()
    }

    fn inner(&self) -> Option<&dyn EventChannel> {
        Some(&*self.device)
    }

    fn is_resumed(&self) -> bool {
        self.device.is_resumed()
    }

    fn own_time(&self) -> Option<&dyn OwnTime> {
        self.device.own_time()
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        self.device.fd()
    }
}

/// An event loop that logs its hooks.
pub(crate) struct SpyLoop<D, R> {
    pub(crate) event_loop: R,
    pub(crate) spy: Spy<D>,
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

fn refuse_if(demanded: &mut bool) -> Result<(), LoopError> {
    match std::mem::take(demanded) {
        true => Err(LoopError::new(Refused)),
        false => Ok(()),
    }
}

impl<D: EventChannel, R: Registrar> Registrar for SpyLoop<D, R> {
    fn trigger(&self) -> Trigger {
        self.event_loop.trigger()
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        refuse_if(&mut self.spy.log().refuse_register)?;
        self.event_loop.register(device)?;
        self.spy.log().registers += 1;
        Ok(())
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        refuse_if(&mut self.spy.log().refuse_deregister)?;
        self.event_loop.deregister(device)?;
        self.spy.log().deregisters += 1;
        Ok(())
    }

    /// Not passed on: in these cases the event loop reports only the device.
    fn wake(&self) {
        self.spy.log().wakes += 1;
    }
}

impl<D: EventChannel, R: Sleep> Sleep for SpyLoop<D, R> {
    type Deadline = R::Deadline;

    fn deadline(&self, timeout: Duration) -> R::Deadline {
        self.event_loop.deadline(timeout)
    }

    fn ticket(&self) -> u64 {
        self.event_loop.ticket()
    }

    fn sleep(&self, ticket: u64, deadline: Option<R::Deadline>) -> Result<Slept, LoopError> {
        self.event_loop.sleep(ticket, deadline)
    }
}
