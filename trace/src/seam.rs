//! Recording at the seam: around an opener, its devices, and a registrar.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use evtchn_core::{
    Device, DeviceError, DomId, Driver, EventChannel, ForkMark, LoopError, Open, OwnTime, Port,
    PortBuf, PortStatuses, Registrar, RemotePort, Sleep, Slept, Trigger, Virq,
};

use crate::failed::Failed;
use crate::line::{AtSeam, Got, Seam};
use crate::names::Ended;
use crate::tape::Tape;

/// What is called, and where that is written down.
///
/// The line of a call is written when it came back. Nothing is asked of what is inside that was
/// not asked of this.
///
/// ```
/// use evtchn_core::{DomId, EventChannel, Open, Trigger};
/// use evtchn_sim::Sim;
/// use evtchn_trace::{Header, Recorder, Source, Tape};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), std::io::sink());
/// let opener = Recorder::new(Sim::new(7).open(DomId::DOM0), tape);
/// let device = opener.open()?; // a recorded device
/// let _port = device.bind_unbound_port(DomId::SELF)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Recorder<T> {
    of: T,
    tape: Tape,
    peer: Option<u32>,
}

/// A device that is being recorded. Its line of closing is written when it is dropped.
///
/// ```
/// use evtchn_core::{DomId, EventChannel, Open, Trigger};
/// use evtchn_sim::Sim;
/// use evtchn_trace::{Header, RecordedDevice, Source, Tape};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), std::io::sink());
/// // The other end, for which the program has a second handle.
/// let other = Sim::new(7).open(DomId::DOM0).open()?;
/// let other = RecordedDevice::peer(other, &tape);
/// let _port = other.bind_unbound_port(DomId::SELF)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RecordedDevice<D> {
    of: Recorder<D>,
    // After the device, so that it is closed when the line is written.
    _closes: Closes,
}

#[derive(Debug)]
struct Closes(Tape, Option<u32>);

impl Drop for Closes {
    fn drop(&mut self) {
        note(&self.0, self.1, || Seam::Close, None, None);
    }
}

impl<T> Recorder<T> {
    /// Records the calls of `of`.
    pub const fn new(of: T, tape: Tape) -> Recorder<T> {
        Recorder {
            of,
            tape,
            peer: None,
        }
    }

    /// What is called.
    pub const fn inner(&self) -> &T {
        &self.of
    }

    fn record<U, E>(
        &self,
        call: impl FnOnce() -> Seam,
        result: Result<U, E>,
        got: impl FnOnce(&U) -> Option<Got>,
        failed: fn(&E) -> Failed,
    ) -> Result<U, E> {
        if self.tape.is_on() {
            let failed = result.as_ref().err().map(failed);
            let got = result.as_ref().ok().and_then(got);
            note(&self.tape, self.peer, call, got, failed);
        }
        result
    }
}

fn note(
    tape: &Tape,
    peer: Option<u32>,
    call: impl FnOnce() -> Seam,
    got: Option<Got>,
    failed: Option<Failed>,
) {
    tape.seam(|| AtSeam {
        peer,
        got,
        failed: failed.map(Box::new),
        ..AtSeam::new(call())
    });
}

impl<D> RecordedDevice<D> {
    fn new(of: D, tape: Tape, peer: Option<u32>) -> RecordedDevice<D> {
        let closes = Closes(tape.clone(), peer);
        let of = Recorder { of, tape, peer };
        RecordedDevice {
            of,
            _closes: closes,
        }
    }

    /// A device that another process left, to go on with by
    /// [`RecordedContext::from_parts`](crate::RecordedContext::from_parts).
    pub fn adopted(of: D, tape: &Tape) -> RecordedDevice<D> {
        RecordedDevice::new(of, tape.clone(), None)
    }

    /// Another holder of the device, whose calls a trace has beside those of the context.
    pub fn peer(of: D, tape: &Tape) -> RecordedDevice<D> {
        let peer = Some(tape.peer());
        note(tape, peer, || Seam::Open, None, None);
        RecordedDevice::new(of, tape.clone(), peer)
    }

    /// The device.
    pub const fn device(&self) -> &D {
        &self.of.of
    }
}

impl<O: Open> Open for Recorder<O> {
    type Device = RecordedDevice<O::Device>;

    fn open(&self) -> Result<Self::Device, DeviceError> {
        let device = self.record(|| Seam::Open, self.of.open(), |_| None, Failed::of_device)?;
        Ok(RecordedDevice::new(device, self.tape.clone(), None))
    }

    fn process(&self) -> u64 {
        self.of.process()
    }

    fn is_current(&self, process: u64) -> bool {
        self.of.is_current(process)
    }

    fn mark(&self) -> Option<ForkMark> {
        self.of.mark()
    }

    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        self.of.statuses()
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what a call gave, where it gave something"
)]
fn number(port: &Port) -> Option<Got> {
    Some(Got::Number(port.as_raw()))
}

impl<D: EventChannel> EventChannel for RecordedDevice<D> {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        let bound = self.of.of.bind_unbound_port(remote);
        self.of.record(
            || Seam::BindUnboundPort { remote },
            bound,
            number,
            Failed::of_device,
        )
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let RemotePort { domid, port } = remote;
        let bound = self.of.of.bind_interdomain(remote);
        self.of.record(
            || Seam::BindInterdomain { domid, port },
            bound,
            number,
            Failed::of_device,
        )
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        let bound = self.of.of.bind_virq(virq);
        self.of
            .record(|| Seam::BindVirq { virq }, bound, number, Failed::of_device)
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let bound = self.of.of.bind_static(port);
        self.of.record(
            || Seam::BindStatic { port },
            bound,
            |()| None,
            Failed::of_device,
        )
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        let unbound = self.of.of.unbind(port);
        self.of.record(
            || Seam::Unbind { port },
            unbound,
            |()| None,
            Failed::of_device,
        )
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        let notified = self.of.of.notify(port);
        self.of.record(
            || Seam::Notify { port },
            notified,
            |()| None,
            Failed::of_device,
        )
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        let room = buf.capacity();
        let read = self.of.of.pending(buf);
        let ports = |()| Some(Got::Ports(buf.words().to_vec()));
        self.of.record(
            || Seam::Pending { room },
            read,
            |&()| ports(()),
            Failed::of_device,
        )
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let written = self.of.of.unmask(ports);
        let call = || Seam::Unmask {
            ports: ports.to_vec(),
        };
        let count = |count: &usize| u32::try_from(*count).ok().map(Got::Number);
        self.of.record(call, written, count, Failed::of_device)
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.of.record(
            || Seam::Reset,
            self.of.of.reset(),
            |()| None,
            Failed::of_device,
        )
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let restricted = self.of.of.restrict(domid);
        self.of.record(
            || Seam::Restrict { domid },
            restricted,
            |()| None,
            Failed::of_device,
        )
    }

    fn is_inherited(&self) -> bool {
        self.of.of.is_inherited()
    }

    fn own_time(&self) -> Option<&dyn OwnTime> {
        self.of.of.own_time()
    }

    fn inner(&self) -> Option<&dyn EventChannel> {
        Some(&self.of.of)
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        self.of.of.fd()
    }
}

impl<R: Registrar> Registrar for Recorder<R> {
    fn attach(&self, driver: Driver) {
        self.of.attach(driver);
    }

    fn trigger(&self) -> Trigger {
        self.of.trigger()
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        let registered = self.of.register(device);
        self.record(|| Seam::Register, registered, |()| None, Failed::of_loop)
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        let deregistered = self.of.deregister(device);
        self.record(
            || Seam::Deregister,
            deregistered,
            |()| None,
            Failed::of_loop,
        )
    }

    fn wake(&self) {
        self.of.wake();
        note(&self.tape, None, || Seam::Wake, None, None);
    }
}

impl<R: Sleep> Sleep for Recorder<R> {
    type Deadline = R::Deadline;

    fn deadline(&self, timeout: Duration) -> R::Deadline {
        self.of.deadline(timeout)
    }

    fn ticket(&self) -> u64 {
        self.of.ticket()
    }

    fn sleep(&self, ticket: u64, deadline: Option<R::Deadline>) -> Result<Slept, LoopError> {
        let slept = self.of.sleep(ticket, deadline);
        let until = deadline.is_some();
        let ended = |slept: &Slept| Some(Got::Slept(Ended(*slept)));
        self.record(|| Seam::Sleep { until }, slept, ended, Failed::of_loop)
    }
}
