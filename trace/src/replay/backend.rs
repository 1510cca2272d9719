//! The backend, device and event loop of a replay. Each call must be the next one of the trace, and
//! gets the recorded answer. Once the replay is over, every call fails and nothing is compared.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evtchn_core::{
    Device, DeviceCall, DeviceError, DomId, ErrorKind, EventChannel, LoopError, Open, Port,
    PortBuf, PortStatus, PortStatuses, Registrar, RemotePort, Sleep, Slept, Trigger, Virq,
};

use super::cursor::{Cursor, Recorded};
use crate::failed::Failed;
use crate::line::{BackendAnswer, BackendCall};
use crate::names::SleepEnd;

/// The backend and the event loop.
#[derive(Clone)]
pub(super) struct ReplayBackend {
    pub(super) cursor: Arc<Cursor>,
    pub(super) trigger: Trigger,
}

/// The device.
pub(super) struct ReplayDevice(pub(super) ReplayBackend);

impl ReplayBackend {
    fn call(&self, call: &BackendCall) -> Result<Option<BackendAnswer>, Failed> {
        match self.cursor.backend_call(call) {
            None => Err(over()),
            Some(Recorded {
                failed: Some(failed),
                ..
            }) => Err(*failed),
            Some(Recorded {
                answer,
                failed: None,
            }) => Ok(answer),
        }
    }

    fn device(
        &self,
        call: &BackendCall,
        of: DeviceCall,
    ) -> Result<Option<BackendAnswer>, DeviceError> {
        self.call(call).map_err(|failed| failed.of_call(of))
    }

    fn bind(&self, call: &BackendCall, of: DeviceCall) -> Result<Port, DeviceError> {
        match self.device(call, of)? {
            Some(BackendAnswer::Number(port)) => Port::new(port).ok_or_else(|| nonsense(of)),
            _ => Err(nonsense(of)),
        }
    }
}

fn over() -> Failed {
    Failed::new(ErrorKind::Other, "the replay is over")
}

fn nonsense(call: DeviceCall) -> DeviceError {
    Failed::new(
        ErrorKind::Other,
        "the recorded answer is not one of this call",
    )
    .of_call(call)
}

impl Open for ReplayBackend {
    type Device = ReplayDevice;

    fn open(&self) -> Result<ReplayDevice, DeviceError> {
        self.device(&BackendCall::Open, DeviceCall::Open)?;
        Ok(ReplayDevice(self.clone()))
    }

    fn process(&self) -> u64 {
        0
    }

    /// A context asks before a static bind, if it could ask when it was recorded.
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        if self.cursor.is_at_status() {
            return Ok(Box::new(self.clone()));
        }
        let call = DeviceCall::Other("ask what ports are");
        Err(DeviceError::new(ErrorKind::Unsupported, call))
    }
}

impl Drop for ReplayDevice {
    fn drop(&mut self) {
        // A drop returns nothing; the cursor keeps a difference.
        let _closed = self.0.call(&BackendCall::Close);
    }
}

impl fmt::Debug for ReplayDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplayDevice").finish()
    }
}

impl EventChannel for ReplayDevice {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        let call = BackendCall::BindUnboundPort { remote };
        self.0.bind(&call, DeviceCall::BindUnboundPort(remote))
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let RemotePort { domid, port } = remote;
        let call = BackendCall::BindInterdomain { domid, port };
        self.0.bind(&call, DeviceCall::BindInterdomain(remote))
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        let call = BackendCall::BindVirq { virq };
        self.0.bind(&call, DeviceCall::BindVirq(virq))
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let of = DeviceCall::BindStatic(port);
        self.0
            .device(&BackendCall::BindStatic { port }, of)
            .map(drop)
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        let of = DeviceCall::Unbind(port);
        self.0.device(&BackendCall::Unbind { port }, of).map(drop)
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        let of = DeviceCall::Notify(port);
        self.0.device(&BackendCall::Notify { port }, of).map(drop)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        let room = buf.capacity();
        let answer = self
            .0
            .device(&BackendCall::Pending { room }, DeviceCall::Pending);
        buf.fill(|words| match answer? {
            Some(BackendAnswer::Ports(ports)) if ports.len() <= words.len() => {
                words[..ports.len()].copy_from_slice(&ports);
                Ok(ports.len())
            }
            _ => Err(nonsense(DeviceCall::Pending)),
        })
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let Some(&first) = ports.first() else {
            return Ok(0);
        };
        let of = DeviceCall::Unmask {
            first,
            count: ports.len(),
        };
        let ports = ports.to_vec();
        match self.0.device(&BackendCall::Unmask { ports }, of)? {
            Some(BackendAnswer::Number(count)) => usize::try_from(count).map_err(|_| nonsense(of)),
            _ => Err(nonsense(of)),
        }
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.0
            .device(&BackendCall::Reset, DeviceCall::Reset)
            .map(drop)
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let of = DeviceCall::Restrict(domid);
        self.0
            .device(&BackendCall::Restrict { domid }, of)
            .map(drop)
    }

    fn is_inherited(&self) -> bool {
        false
    }
}

impl Registrar for ReplayBackend {
    fn trigger(&self) -> Trigger {
        self.trigger
    }

    fn register(&self, _device: &Device) -> Result<(), LoopError> {
        self.call(&BackendCall::Register)
            .map(drop)
            .map_err(LoopError::new)
    }

    fn deregister(&self, _device: &Device) -> Result<(), LoopError> {
        match self.call(&BackendCall::Deregister) {
            // Once the replay is over, its teardown must not fail here.
            Err(_) if self.cursor.is_over() => Ok(()),
            answer => answer.map(drop).map_err(LoopError::new),
        }
    }

    fn wake(&self) {
        // A wake returns nothing; the cursor keeps a difference.
        let _woken = self.call(&BackendCall::Wake);
    }
}

impl PortStatuses for ReplayBackend {
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
        let of = DeviceCall::Status(RemotePort { domid, port });
        match self.device(&BackendCall::Status { port }, of)? {
            // The context does not use the vCPU.
            Some(BackendAnswer::Status(status)) => Ok(PortStatus {
                state: status.status(),
                vcpu: 0,
            }),
            _ => Err(nonsense(of)),
        }
    }
}

impl Sleep for ReplayBackend {
    /// The trace says whether there was a deadline, not when.
    type Deadline = ();

    fn deadline(&self, _timeout: Duration) {}

    fn ticket(&self) -> u64 {
        0
    }

    fn sleep(&self, _ticket: u64, deadline: Option<()>) -> Result<Slept, LoopError> {
        let until = deadline.is_some();
        let nonsense = || {
            Failed::new(
                ErrorKind::Other,
                "the recorded answer is not one of a sleep",
            )
        };
        match self
            .call(&BackendCall::Sleep { until })
            .map_err(LoopError::new)?
        {
            Some(BackendAnswer::Sleep(SleepEnd(slept))) => Ok(slept),
            _ => Err(LoopError::new(nonsense())),
        }
    }
}
