//! The simulator's device and loop, with a note of each call that the core makes of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::{
    DomId, EventChannel, Open, Port, PortBuf, Registrar, RemotePort, Sleep, Slept, Trigger, Virq,
};
use evtchn_sim::{Call, Error, SimDevice, SimLoop, SimOpen};
use evtchn_trace::{RecordedDevice, Recorder};

/// The calls so far, the oldest first. Clones are handles on the same list.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    pub(super) fn get(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, call: Call) {
        self.get().push(call);
    }
}

/// What is called, and where that is noted.
#[derive(Debug)]
pub(super) struct Traced<T> {
    of: T,
    calls: Calls,
}

impl<T> Traced<T> {
    pub(super) const fn new(of: T, calls: Calls) -> Traced<T> {
        Traced { of, calls }
    }

    fn noted(&self, call: Call) -> &T {
        self.calls.note(call);
        &self.of
    }
}

impl Open for Traced<Recorder<SimOpen>> {
    type Device = Traced<RecordedDevice<SimDevice>>;

    fn open(&self) -> Result<Traced<RecordedDevice<SimDevice>>, Error> {
        let device = self.noted(Call::Open).open()?;
        Ok(Traced::new(device, self.calls.clone()))
    }

    fn process(&self) -> u64 {
        self.of.process()
    }
}

impl EventChannel for Traced<RecordedDevice<SimDevice>> {
    type Error = Error;

    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, Error> {
        self.noted(Call::BindUnboundPort).bind_unbound_port(remote)
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, Error> {
        self.noted(Call::BindInterdomain).bind_interdomain(remote)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, Error> {
        self.noted(Call::BindVirq).bind_virq(virq)
    }

    fn bind_static(&self, port: Port) -> Result<(), Error> {
        self.noted(Call::BindStatic).bind_static(port)
    }

    fn unbind(&self, port: Port) -> Result<(), Error> {
        self.noted(Call::Unbind).unbind(port)
    }

    fn notify(&self, port: Port) -> Result<(), Error> {
        self.noted(Call::Notify).notify(port)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), Error> {
        self.noted(Call::Pending).pending(buf)
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, Error> {
        self.noted(Call::Unmask).unmask(ports)
    }

    fn reset(&self) -> Result<(), Error> {
        self.noted(Call::Reset).reset()
    }

    fn restrict(&self, domid: DomId) -> Result<(), Error> {
        self.noted(Call::Restrict).restrict(domid)
    }

    fn is_inherited(&self) -> bool {
        self.of.is_inherited()
    }
}

impl Registrar<Traced<RecordedDevice<SimDevice>>> for Traced<Recorder<SimLoop>> {
    type Error = Error;

    fn trigger(&self) -> Trigger {
        self.of.trigger()
    }

    fn register(&self, device: &Traced<RecordedDevice<SimDevice>>) -> Result<(), Error> {
        self.noted(Call::Register).register(&device.of)
    }

    fn deregister(&self, device: &Traced<RecordedDevice<SimDevice>>) -> Result<(), Error> {
        self.noted(Call::Deregister).deregister(&device.of)
    }

    fn wake(&self) {
        self.of.wake();
    }
}

impl Sleep<Traced<RecordedDevice<SimDevice>>> for Traced<Recorder<SimLoop>> {
    type Deadline = Duration;
    type SleepError = Error;

    fn ticket(&self) -> u64 {
        self.of.ticket()
    }

    fn sleep(&self, ticket: u64, deadline: Option<Duration>) -> Result<Slept, Error> {
        self.noted(Call::Sleep).sleep(ticket, deadline)
    }
}
