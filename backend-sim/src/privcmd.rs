//! The simulated `/dev/xen/privcmd`, as far as the status of ports goes.

use evtchn_core::{DeviceCall, DeviceError, DomId, Port, PortStatus, PortStatuses, RemotePort};

use crate::device::SimOpen;
use crate::errno::Errno;
use crate::error::{Call, device_error};

/// Asks Xen for the state of ports, as a program in one domain: [`Sim::privcmd`](crate::Sim::privcmd).
///
/// Its answers are those of [`World::status`](crate::World::status), unless the kernel of the
/// domain refuses hypercalls ([`Hypercalls::Refused`](crate::Hypercalls::Refused)). A fault for [`Call::Status`]
/// that is installed for the whole machine applies here too.
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, EventChannel, Open, PortStatuses, Status, Virq};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let device = sim.open(DomId::DOM0).open()?;
/// let port = device.bind_virq(Virq::DOM_EXC)?;
/// let status = sim.privcmd(DomId::DOM0).status(DomId::SELF, port)?;
/// assert_eq!(status.state, Status::Virq { virq: Virq::DOM_EXC });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SimPrivcmd(SimOpen);

impl SimPrivcmd {
    pub(crate) const fn new(opener: SimOpen) -> SimPrivcmd {
        SimPrivcmd(opener)
    }
}

impl PortStatuses for SimPrivcmd {
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
        let SimPrivcmd(opener) = self;
        let call = DeviceCall::Status(RemotePort { domid, port });
        let mut world = opener.sim().lock();
        world
            .judge(opener.shared(), Call::Status, None)
            .and_then(|_| match world.makes_hypercalls(opener.domid()) {
                true => world.status(opener.domid(), domid, port.as_raw()),
                false => Err(Errno::EPERM),
            })
            .map_err(|errno| device_error(call, errno))
    }
}
