//! The device and the loop of a replay: each call must be the next one of the trace, and is
//! answered as that says. Once it is over, they do nothing and find nothing.

use std::fmt;
use std::sync::Arc;

use evtchn_core::{
    DomId, ErrorKind, EventChannel, Open, Port, PortBuf, Registrar, RemotePort, Sleep, Slept,
    Trigger, Virq,
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

    fn bind(&self, call: &Seam) -> Result<Port, Failed> {
        match self.call(call)? {
            Some(Got::Number(port)) => Port::new(port).ok_or_else(nonsense),
            _ => Err(nonsense()),
        }
    }
}

fn over() -> Failed {
    Failed::new(ErrorKind::Other, "the replay is over")
}

fn nonsense() -> Failed {
    Failed::new(ErrorKind::Other, "the trace gives what no such call gives")
}

impl Open for Stage {
    type Device = Prop;

    fn open(&self) -> Result<Prop, Failed> {
        self.call(&Seam::Open)?;
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
    type Error = Failed;

    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, Failed> {
        self.0.bind(&Seam::BindUnboundPort { remote })
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, Failed> {
        let RemotePort { domid, port } = remote;
        self.0.bind(&Seam::BindInterdomain { domid, port })
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, Failed> {
        self.0.bind(&Seam::BindVirq { virq })
    }

    fn bind_static(&self, port: Port) -> Result<(), Failed> {
        self.0.call(&Seam::BindStatic { port }).map(drop)
    }

    fn unbind(&self, port: Port) -> Result<(), Failed> {
        self.0.call(&Seam::Unbind { port }).map(drop)
    }

    fn notify(&self, port: Port) -> Result<(), Failed> {
        self.0.call(&Seam::Notify { port }).map(drop)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), Failed> {
        let room = buf.capacity();
        let got = self.0.call(&Seam::Pending { room });
        buf.fill(|words| match got? {
            Some(Got::Ports(ports)) if ports.len() <= words.len() => {
                words[..ports.len()].copy_from_slice(&ports);
                Ok(ports.len())
            }
            _ => Err(nonsense()),
        })
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, Failed> {
        let ports = ports.to_vec();
        match self.0.call(&Seam::Unmask { ports })? {
            Some(Got::Number(count)) => usize::try_from(count).map_err(|_| nonsense()),
            _ => Err(nonsense()),
        }
    }

    fn reset(&self) -> Result<(), Failed> {
        self.0.call(&Seam::Reset).map(drop)
    }

    fn restrict(&self, domid: DomId) -> Result<(), Failed> {
        self.0.call(&Seam::Restrict { domid }).map(drop)
    }

    fn is_inherited(&self) -> bool {
        false
    }
}

impl Registrar<Prop> for Stage {
    type Error = Failed;

    fn trigger(&self) -> Trigger {
        self.trigger
    }

    fn register(&self, _device: &Prop) -> Result<(), Failed> {
        self.call(&Seam::Register).map(drop)
    }

    fn deregister(&self, _device: &Prop) -> Result<(), Failed> {
        match self.call(&Seam::Deregister).map(drop) {
            // Once it is over, whatever is torn down is let go of.
            Err(_) if self.script.is_over() => Ok(()),
            answer => answer,
        }
    }

    fn wake(&self) {
        // As in a drop.
        let _woken = self.call(&Seam::Wake);
    }
}

impl Sleep<Prop> for Stage {
    /// Of a deadline the trace says only that there was one.
    type Deadline = ();
    type SleepError = Failed;

    fn ticket(&self) -> u64 {
        0
    }

    fn sleep(&self, _ticket: u64, deadline: Option<()>) -> Result<Slept, Failed> {
        let until = deadline.is_some();
        match self.call(&Seam::Sleep { until })? {
            Some(Got::Slept(Ended(slept))) => Ok(slept),
            _ => Err(nonsense()),
        }
    }
}
