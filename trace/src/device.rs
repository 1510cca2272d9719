//! A device that is recorded.

use std::os::fd::BorrowedFd;

use evtchn_core::{
    Device, DeviceError, DomId, EventChannel, OwnTime, Port, PortBuf, RemotePort, Virq,
};

use crate::failed::Failed;
use crate::line::{AtSeam, Got, Seam};
use crate::tape::Tape;

/// A device that is recorded.
///
/// The line of a call is written when it came back, that of closing when this is dropped. Nothing is
/// asked of what is inside that was not asked of this.
#[derive(Debug)]
pub(crate) struct RecordedDevice {
    of: Device,
    // After the device, so that it is closed when the line is written.
    closes: Closes,
}

/// Where the lines go, and which holder of the device makes the calls, if not the context.
#[derive(Debug)]
struct Closes {
    tape: Tape,
    peer: Option<u32>,
}

impl Drop for Closes {
    fn drop(&mut self) {
        note(&self.tape, self.peer, || Seam::Close, None, None);
    }
}

pub(crate) fn note(
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

impl RecordedDevice {
    /// A device whose calls are those of a context, or those of another holder.
    pub(crate) fn new(of: Device, tape: &Tape, peer: Option<u32>) -> RecordedDevice {
        let tape = tape.clone();
        RecordedDevice {
            of,
            closes: Closes { tape, peer },
        }
    }

    /// Whether it is recorded there.
    pub(crate) fn is_on(&self, tape: &Tape) -> bool {
        self.closes.tape.is(tape)
    }

    fn record<U>(
        &self,
        call: impl FnOnce() -> Seam,
        result: Result<U, DeviceError>,
        got: impl FnOnce(&U) -> Option<Got>,
    ) -> Result<U, DeviceError> {
        let Closes { tape, peer } = &self.closes;
        let failed = result.as_ref().err().map(Failed::of_device);
        let gave = result.as_ref().ok().and_then(got);
        note(tape, *peer, call, gave, failed);
        result
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what a call gave, where it gave something"
)]
fn number(port: &Port) -> Option<Got> {
    Some(Got::Number(port.as_raw()))
}

impl EventChannel for RecordedDevice {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        let bound = self.of.bind_unbound_port(remote);
        self.record(|| Seam::BindUnboundPort { remote }, bound, number)
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let RemotePort { domid, port } = remote;
        let bound = self.of.bind_interdomain(remote);
        self.record(|| Seam::BindInterdomain { domid, port }, bound, number)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        let bound = self.of.bind_virq(virq);
        self.record(|| Seam::BindVirq { virq }, bound, number)
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let bound = self.of.bind_static(port);
        self.record(|| Seam::BindStatic { port }, bound, |()| None)
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        let unbound = self.of.unbind(port);
        self.record(|| Seam::Unbind { port }, unbound, |()| None)
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        let notified = self.of.notify(port);
        self.record(|| Seam::Notify { port }, notified, |()| None)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        let room = buf.capacity();
        let read = self.of.pending(buf);
        let ports = |()| Some(Got::Ports(buf.words().to_vec()));
        self.record(|| Seam::Pending { room }, read, |&()| ports(()))
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let written = self.of.unmask(ports);
        let call = || Seam::Unmask {
            ports: ports.to_vec(),
        };
        let count = |count: &usize| u32::try_from(*count).ok().map(Got::Number);
        self.record(call, written, count)
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.record(|| Seam::Reset, self.of.reset(), |()| None)
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let restricted = self.of.restrict(domid);
        self.record(|| Seam::Restrict { domid }, restricted, |()| None)
    }

    fn is_inherited(&self) -> bool {
        self.of.is_inherited()
    }

    fn own_time(&self) -> Option<&dyn OwnTime> {
        self.of.own_time()
    }

    fn inner(&self) -> Option<&dyn EventChannel> {
        Some(&*self.of)
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        self.of.fd()
    }
}
