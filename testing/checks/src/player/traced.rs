//! The simulator's device and loop, with a list of the calls that the core makes of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::{
    Device, DeviceError, DomId, EventChannel, LoopError, Open, Port, PortBuf, Registrar,
    RemotePort, Sleep, Slept, Trigger, Virq,
};
use evtchn_sim::{Call, Errno, SimDevice, SimLoop, SimOpen};

use crate::op::Failing;

/// The backend calls so far, in order, and which failed. Clones are handles on the same list.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) calls: Vec<Call>,
    pub(super) faults: Faults,
    /// The calls that failed since this was taken last, without overflows and signals.
    pub(super) failed: Vec<Call>,
}

impl Made {
    pub(super) fn clear(&mut self) {
        self.calls.clear();
        self.faults = Faults::default();
    }
}

/// Which backend calls failed: a bit for each of [`Failing::ALL`], and one for an overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults(u16);

impl Faults {
    /// No fault.
    pub const NONE: Faults = Faults(0);
    /// The driver's ring overflowed.
    pub const OVERFLOW: Faults = Faults(1 << Failing::ALL.len());
    /// One call that failed.
    #[must_use]
    pub const fn of(failing: Failing) -> Faults {
        Faults(1 << failing as u16)
    }

    /// From bits. Unknown bits are left out.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Faults {
        Faults(bits & (Faults::OVERFLOW.0 * 2 - 1))
    }

    /// As bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, more: Faults) -> Faults {
        Faults(self.0 | more.0)
    }

    fn seen(call: Call, errno: Errno) -> Faults {
        match errno {
            Errno::EFBIG => Faults::OVERFLOW,
            Errno::EINTR => Faults::of(Failing::Interrupted),
            _ => Failing::of(call).next().map_or(Faults::NONE, |failing| {
                let failing = match (failing, errno) {
                    (Failing::Interrupted, _) => Failing::Reading,
                    (failing, _) => failing,
                };
                Faults::of(failing)
            }),
        }
    }
}

impl Calls {
    pub(super) fn get(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, call: Call) {
        self.get().calls.push(call);
    }
}

/// A device, an opener or a loop, and the list of its calls.
#[derive(Debug)]
pub(super) struct Traced<T> {
    of: T,
    calls: Calls,
}

impl<T> Traced<T> {
    pub(super) const fn new(of: T, calls: Calls) -> Traced<T> {
        Traced { of, calls }
    }

    fn noted<A, E: std::error::Error + 'static>(
        &self,
        call: Call,
        make: impl FnOnce(&T) -> Result<A, E>,
    ) -> Result<A, E> {
        self.calls.note(call);
        let made = make(&self.of);
        if let Some(errno) = made.as_ref().err().and_then(|error| Errno::of(error)) {
            let mut calls = self.calls.get();
            calls.faults = calls.faults.and(Faults::seen(call, errno));
            if errno != Errno::EFBIG && errno != Errno::EINTR {
                calls.failed.push(call);
            }
        }
        made
    }
}

impl Open for Traced<SimOpen> {
    type Device = Traced<SimDevice>;

    fn open(&self) -> Result<Traced<SimDevice>, DeviceError> {
        let device = self.noted(Call::Open, Open::open)?;
        Ok(Traced::new(device, self.calls.clone()))
    }

    fn process(&self) -> u64 {
        self.of.process()
    }
}

impl EventChannel for Traced<SimDevice> {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        self.noted(Call::BindUnboundPort, |of| of.bind_unbound_port(remote))
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        self.noted(Call::BindInterdomain, |of| of.bind_interdomain(remote))
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        self.noted(Call::BindVirq, |of| of.bind_virq(virq))
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        self.noted(Call::BindStatic, |of| of.bind_static(port))
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        self.noted(Call::Unbind, |of| of.unbind(port))
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        self.noted(Call::Notify, |of| of.notify(port))
    }

    // `notify_many` calls `notify` for each, so that each is noted.

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        self.noted(Call::Pending, |of| of.pending(buf))
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let written = self.noted(Call::Unmask, |of| of.unmask(ports))?;
        if written < ports.len() {
            let mut calls = self.calls.get();
            calls.faults = calls.faults.and(Faults::of(Failing::ShortUnmask));
            if written == 0 {
                calls.failed.push(Call::Unmask);
            }
        }
        Ok(written)
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.noted(Call::Reset, EventChannel::reset)
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        self.noted(Call::Restrict, |of| of.restrict(domid))
    }

    fn is_inherited(&self) -> bool {
        self.of.is_inherited()
    }

    fn inner(&self) -> Option<&dyn EventChannel> {
        Some(&self.of)
    }
}

impl Registrar for Traced<SimLoop> {
    fn trigger(&self) -> Trigger {
        self.of.trigger()
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        self.noted(Call::Register, |of| of.register(device))
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        self.noted(Call::Deregister, |of| of.deregister(device))
    }

    fn wake(&self) {
        self.of.wake();
    }
}

impl Sleep for Traced<SimLoop> {
    type Deadline = Duration;

    fn deadline(&self, timeout: Duration) -> Duration {
        self.of.deadline(timeout)
    }

    fn ticket(&self) -> u64 {
        self.of.ticket()
    }

    fn sleep(&self, ticket: u64, deadline: Option<Duration>) -> Result<Slept, LoopError> {
        self.noted(Call::Sleep, |of| of.sleep(ticket, deadline))
    }
}
