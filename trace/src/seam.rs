//! Recording at the seam: around an opener, its devices, and a registrar.

use evtchn_core::{
    DeviceError, DomId, EventChannel, Open, Port, PortBuf, Registrar, RemotePort, Sleep, Slept,
    Trigger, Virq,
};

use crate::failed::Failure;
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

    fn record<U, E: Failure>(
        &self,
        call: impl FnOnce() -> Seam,
        result: Result<U, E>,
        got: impl FnOnce(&U) -> Option<Got>,
    ) -> Result<U, E> {
        if self.tape.is_on() {
            let failed = result.as_ref().err().map(Failure::failed);
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
    failed: Option<crate::Failed>,
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
    pub const fn inner(&self) -> &D {
        &self.of.of
    }
}

impl<O: Open> Open for Recorder<O>
where
    DeviceError<O>: Failure,
{
    type Device = RecordedDevice<O::Device>;

    fn open(&self) -> Result<Self::Device, DeviceError<O>> {
        let device = self.record(|| Seam::Open, self.of.open(), |_| None)?;
        Ok(RecordedDevice::new(device, self.tape.clone(), None))
    }

    fn process(&self) -> u64 {
        self.of.process()
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what a call gave, where it gave something"
)]
fn number(port: &Port) -> Option<Got> {
    Some(Got::Number(port.as_raw()))
}

impl<D: EventChannel> EventChannel for RecordedDevice<D>
where
    D::Error: Failure,
{
    type Error = D::Error;

    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, D::Error> {
        let bound = self.inner().bind_unbound_port(remote);
        self.of
            .record(|| Seam::BindUnboundPort { remote }, bound, number)
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, D::Error> {
        let RemotePort { domid, port } = remote;
        let bound = self.inner().bind_interdomain(remote);
        self.of
            .record(|| Seam::BindInterdomain { domid, port }, bound, number)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, D::Error> {
        let bound = self.inner().bind_virq(virq);
        self.of.record(|| Seam::BindVirq { virq }, bound, number)
    }

    fn bind_static(&self, port: Port) -> Result<(), D::Error> {
        let bound = self.inner().bind_static(port);
        self.of
            .record(|| Seam::BindStatic { port }, bound, |()| None)
    }

    fn unbind(&self, port: Port) -> Result<(), D::Error> {
        let unbound = self.inner().unbind(port);
        self.of.record(|| Seam::Unbind { port }, unbound, |()| None)
    }

    fn notify(&self, port: Port) -> Result<(), D::Error> {
        let notified = self.inner().notify(port);
        self.of
            .record(|| Seam::Notify { port }, notified, |()| None)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), D::Error> {
        let room = buf.capacity();
        let read = self.inner().pending(buf);
        let ports = |()| Some(Got::Ports(buf.words().to_vec()));
        self.of
            .record(|| Seam::Pending { room }, read, |&()| ports(()))
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, D::Error> {
        let written = self.inner().unmask(ports);
        let call = || Seam::Unmask {
            ports: ports.to_vec(),
        };
        let count = |count: &usize| u32::try_from(*count).ok().map(Got::Number);
        self.of.record(call, written, count)
    }

    fn reset(&self) -> Result<(), D::Error> {
        self.of
            .record(|| Seam::Reset, self.inner().reset(), |()| None)
    }

    fn restrict(&self, domid: DomId) -> Result<(), D::Error> {
        let restricted = self.inner().restrict(domid);
        self.of
            .record(|| Seam::Restrict { domid }, restricted, |()| None)
    }

    fn is_inherited(&self) -> bool {
        self.inner().is_inherited()
    }
}

impl<D, R: Registrar<D>> Registrar<RecordedDevice<D>> for Recorder<R>
where
    R::Error: Failure,
{
    type Error = R::Error;

    fn trigger(&self) -> Trigger {
        self.of.trigger()
    }

    fn register(&self, device: &RecordedDevice<D>) -> Result<(), R::Error> {
        let registered = self.of.register(device.inner());
        self.record(|| Seam::Register, registered, |()| None)
    }

    fn deregister(&self, device: &RecordedDevice<D>) -> Result<(), R::Error> {
        let deregistered = self.of.deregister(device.inner());
        self.record(|| Seam::Deregister, deregistered, |()| None)
    }

    fn wake(&self) {
        self.of.wake();
        note(&self.tape, None, || Seam::Wake, None, None);
    }
}

impl<D, R: Sleep<D>> Sleep<RecordedDevice<D>> for Recorder<R>
where
    R::Error: Failure,
    R::SleepError: Failure,
{
    type Deadline = R::Deadline;
    type SleepError = R::SleepError;

    fn ticket(&self) -> u64 {
        self.of.ticket()
    }

    fn sleep(&self, ticket: u64, deadline: Option<R::Deadline>) -> Result<Slept, R::SleepError> {
        let slept = self.of.sleep(ticket, deadline);
        let until = deadline.is_some();
        let ended = |slept: &Slept| Some(Got::Slept(Ended(*slept)));
        self.record(|| Seam::Sleep { until }, slept, ended)
    }
}
