//! The device and the loop of a replay: each call must be the next one of the trace, and is
//! answered as that says. Once it is over, they do nothing and find nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evtchn_core::{
    Device, DeviceCall, DeviceError, DomId, ErrorKind, EventChannel, LoopError, Open, Port,
    PortBuf, PortStatus, PortStatuses, Registrar, RemotePort, Sleep, Slept, Trigger, Virq,
};

use super::script::{Recorded, Script};
use crate::failed::Failed;
use crate::line::{Got, Seam};
use crate::names::Ended;

/// Opener, device and loop.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) script: Arc<Script>,
    pub(super) trigger: Trigger,
}

/// The device.
pub(super) struct Prop(pub(super) Stage);

impl Stage {
    fn call(&self, call: &Seam) -> Result<Option<Got>, Failed> {
        match self.script.seam(call) {
            None => Err(over()),
            Some(Recorded {
                failed: Some(failed),
                ..
            }) => Err(*failed),
            Some(Recorded { got, failed: None }) => Ok(got),
        }
    }

    fn device(&self, call: &Seam, of: DeviceCall) -> Result<Option<Got>, DeviceError> {
        self.call(call).map_err(|failed| failed.of_call(of))
    }

    fn bind(&self, call: &Seam, of: DeviceCall) -> Result<Port, DeviceError> {
        match self.device(call, of)? {
            Some(Got::Number(port)) => Port::new(port).ok_or_else(|| nonsense(of)),
            _ => Err(nonsense(of)),
        }
    }
}

fn over() -> Failed {
    Failed::new(ErrorKind::Other, "the replay is over")
}

fn nonsense(call: DeviceCall) -> DeviceError {
    Failed::new(ErrorKind::Other, "the trace gives what no such call gives").of_call(call)
}

impl Open for Stage {
    type Device = Prop;

    fn open(&self) -> Result<Prop, DeviceError> {
        self.device(&Seam::Open, DeviceCall::Open)?;
        Ok(Prop(self.clone()))
    }

    fn process(&self) -> u64 {
        0
    }
}

impl Drop for Prop {
    fn drop(&mut self) {
        // There is nobody to tell; the script knows.
        let _closed = self.0.call(&Seam::Close);
    }
}

impl fmt::Debug for Prop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prop").finish()
    }
}

impl EventChannel for Prop {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        let call = Seam::BindUnboundPort { remote };
        self.0.bind(&call, DeviceCall::BindUnboundPort(remote))
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let RemotePort { domid, port } = remote;
        let call = Seam::BindInterdomain { domid, port };
        self.0.bind(&call, DeviceCall::BindInterdomain(remote))
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        let call = Seam::BindVirq { virq };
        self.0.bind(&call, DeviceCall::BindVirq(virq))
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let of = DeviceCall::BindStatic(port);
        self.0.device(&Seam::BindStatic { port }, of).map(drop)
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        let of = DeviceCall::Unbind(port);
        self.0.device(&Seam::Unbind { port }, of).map(drop)
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        let of = DeviceCall::Notify(port);
        self.0.device(&Seam::Notify { port }, of).map(drop)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        let room = buf.capacity();
        let got = self.0.device(&Seam::Pending { room }, DeviceCall::Pending);
        buf.fill(|words| match got? {
            Some(Got::Ports(ports)) if ports.len() <= words.len() => {
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
        match self.0.device(&Seam::Unmask { ports }, of)? {
            Some(Got::Number(count)) => usize::try_from(count).map_err(|_| nonsense(of)),
            _ => Err(nonsense(of)),
        }
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.0.device(&Seam::Reset, DeviceCall::Reset).map(drop)
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let of = DeviceCall::Restrict(domid);
        self.0.device(&Seam::Restrict { domid }, of).map(drop)
    }

    fn is_inherited(&self) -> bool {
        false
    }
}

impl Registrar for Stage {
    fn trigger(&self) -> Trigger {
        self.trigger
    }

    fn register(&self, _device: &Device) -> Result<(), LoopError> {
        self.call(&Seam::Register).map(drop).map_err(LoopError::new)
    }

    fn deregister(&self, _device: &Device) -> Result<(), LoopError> {
        match self.call(&Seam::Deregister) {
            // Once it is over, whatever is torn down is let go of.
            Err(_) if self.script.is_over() => Ok(()),
            answer => answer.map(drop).map_err(LoopError::new),
        }
    }

    fn wake(&self) {
        // As in a drop.
        let _woken = self.call(&Seam::Wake);
    }
}

impl PortStatuses for Stage {
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
        let of = DeviceCall::Status(RemotePort { domid, port });
        match self.device(&Seam::Status { port }, of)? {
            // No check looks at the vCPU.
            Some(Got::Is(state)) => Ok(PortStatus {
                state: state.status(),
                vcpu: 0,
            }),
            _ => Err(nonsense(of)),
        }
    }
}

impl Sleep for Stage {
    /// Of a deadline the trace says only that there was one.
    type Deadline = ();

    fn deadline(&self, _timeout: Duration) {}

    fn ticket(&self) -> u64 {
        0
    }

    fn sleep(&self, _ticket: u64, deadline: Option<()>) -> Result<Slept, LoopError> {
        let until = deadline.is_some();
        let nonsense = || Failed::new(ErrorKind::Other, "the trace gives what no sleep gives");
        match self.call(&Seam::Sleep { until }).map_err(LoopError::new)? {
            Some(Got::Slept(Ended(slept))) => Ok(slept),
            _ => Err(LoopError::new(nonsense())),
        }
    }
}
