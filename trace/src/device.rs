//! A device that is recorded.

use std::os::fd::BorrowedFd;

use evtchn_core::{
    Device, DeviceError, DomId, EventChannel, OwnTime, Port, PortBuf, RemotePort, Virq,
};

use crate::failed::Failed;
use crate::line::{BackendAnswer, BackendCall, BackendRecord};
use crate::tape::Tape;

/// A device that is recorded.
///
/// The line of a call is written when the call has returned, and the line of the close when this is
/// dropped. Each call is passed on to the device inside, which gets no other calls. A batch of notifies
/// is passed on one by one, so that what each one causes stands before its line.
#[derive(Debug)]
pub(crate) struct RecordedDevice {
    of: Device,
    // Dropped after the device, so the device is closed when the line is written.
    log: Log,
}

/// The tape that the lines go to, and the number of the holder that makes the calls, if that is not the
/// context. Its drop writes the line of the close.
#[derive(Debug)]
struct Log {
    tape: Tape,
    peer: Option<u32>,
}

impl Drop for Log {
    fn drop(&mut self) {
        note(&self.tape, self.peer, || BackendCall::Close, None, None);
    }
}

/// Writes the line of a backend call.
pub(crate) fn note(
    tape: &Tape,
    peer: Option<u32>,
    call: impl FnOnce() -> BackendCall,
    answer: Option<BackendAnswer>,
    failed: Option<Failed>,
) {
    tape.backend_call(|| BackendRecord {
        peer,
        answer,
        failed: failed.map(Box::new),
        ..BackendRecord::new(call())
    });
}

impl RecordedDevice {
    /// Records a device. `peer` is the number of the other holder that it belongs to; none for a
    /// context.
    pub(crate) fn new(of: Device, tape: &Tape, peer: Option<u32>) -> RecordedDevice {
        let tape = tape.clone();
        RecordedDevice {
            of,
            log: Log { tape, peer },
        }
    }

    /// Whether it is recorded on this tape.
    pub(crate) fn is_on(&self, tape: &Tape) -> bool {
        self.log.tape.is(tape)
    }

    fn record<U>(
        &self,
        call: impl FnOnce() -> BackendCall,
        result: Result<U, DeviceError>,
        answer: impl FnOnce(&U) -> Option<BackendAnswer>,
    ) -> Result<U, DeviceError> {
        let Log { tape, peer } = &self.log;
        let failed = result.as_ref().err().map(Failed::of_device);
        let answer = result.as_ref().ok().and_then(answer);
        note(tape, *peer, call, answer, failed);
        result
    }
}

#[expect(clippy::unnecessary_wraps, reason = "other calls may return nothing")]
fn number(port: &Port) -> Option<BackendAnswer> {
    Some(BackendAnswer::Number(port.as_raw()))
}

impl EventChannel for RecordedDevice {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        let bound = self.of.bind_unbound_port(remote);
        self.record(|| BackendCall::BindUnboundPort { remote }, bound, number)
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let RemotePort { domid, port } = remote;
        let bound = self.of.bind_interdomain(remote);
        self.record(
            || BackendCall::BindInterdomain { domid, port },
            bound,
            number,
        )
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        let bound = self.of.bind_virq(virq);
        self.record(|| BackendCall::BindVirq { virq }, bound, number)
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let bound = self.of.bind_static(port);
        self.record(|| BackendCall::BindStatic { port }, bound, |()| None)
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        let unbound = self.of.unbind(port);
        self.record(|| BackendCall::Unbind { port }, unbound, |()| None)
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        let notified = self.of.notify(port);
        self.record(|| BackendCall::Notify { port }, notified, |()| None)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        let room = buf.capacity();
        let read = self.of.pending(buf);
        let ports = |()| Some(BackendAnswer::Ports(buf.words().to_vec()));
        self.record(|| BackendCall::Pending { room }, read, |&()| ports(()))
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let written = self.of.unmask(ports);
        let call = || BackendCall::Unmask {
            ports: ports.to_vec(),
        };
        let count = |count: &usize| u32::try_from(*count).ok().map(BackendAnswer::Number);
        self.record(call, written, count)
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.record(|| BackendCall::Reset, self.of.reset(), |()| None)
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let restricted = self.of.restrict(domid);
        self.record(|| BackendCall::Restrict { domid }, restricted, |()| None)
    }

    fn is_inherited(&self) -> bool {
        self.of.is_inherited()
    }

    fn own_time(&self) -> Option<&dyn OwnTime> {
        self.of.own_time()
    }

    fn is_resumed(&self) -> bool {
        self.of.is_resumed()
    }

    fn inner(&self) -> Option<&dyn EventChannel> {
        Some(&*self.of)
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        self.of.fd()
    }
}
