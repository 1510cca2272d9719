//! What a test does to a machine, as a value.

use std::time::Duration;

use evtchn_core::{DomId, Virq};
use serde::{Deserialize, Serialize};

use crate::errno::Errno;
use crate::error::Call;
use crate::fault::Fault;
use crate::sim::Sim;
use crate::world::Delivery;

/// What a test does to a machine around the programs on it. Domains, ports and virtual interrupts are numbers.
///
/// ```
/// use evtchn_sim::Sim;
/// use evtchn_sim::remote::Act;
///
/// let sim = Sim::new(1);
/// assert_eq!(Act::CreateDomain.on(&sim)?, 1); // its id
/// let port = Act::AllocUnbound { domid: 1, remote: 0 }.on(&sim)?;
/// let port = u32::try_from(port)?;
/// Act::Send { domid: 1, port }.on(&sim)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "each field is the argument of the call that is named"
)]
pub enum Act {
    /// [`Sim::create_domain`]. The answer is the id.
    CreateDomain,
    /// [`Sim::destroy_domain`].
    DestroyDomain { domid: u16 },
    /// [`Sim::save_restore`].
    SaveRestore { domid: u16 },
    /// [`Sim::checkpoint`].
    Checkpoint { domid: u16 },
    /// [`World::kernel_alloc_unbound`](crate::World::kernel_alloc_unbound). The answer is the port.
    AllocUnbound { domid: u16, remote: u16 },
    /// [`World::kernel_bind_interdomain`](crate::World::kernel_bind_interdomain). The answer is the port.
    BindInterdomain { domid: u16, remote: u16, port: u32 },
    /// [`World::kernel_send`](crate::World::kernel_send).
    Send { domid: u16, port: u32 },
    /// [`World::kernel_close`](crate::World::kernel_close).
    Close { domid: u16, port: u32 },
    /// [`World::kernel_events`](crate::World::kernel_events). The answer is the number.
    Events { domid: u16, port: u32 },
    /// [`Sim::raise_virq`].
    RaiseVirq { domid: u16, virq: u32 },
    /// [`Sim::set_delivery`].
    SetDelivery { delivery: Delivery },
    /// [`Sim::step`]. The answer is 1 if an event arrived, else 0.
    Step,
    /// [`Sim::held`]. The answer is the number.
    Held,
    /// [`Sim::install`] of a fault that fails the `nth` such call, or each one if `nth` is 0.
    Fail { call: Call, errno: i32, nth: u64 },
    /// [`Sim::clear_faults`].
    ClearFaults,
    /// [`Sim::now`]. The answer is in nanoseconds.
    Now,
    /// [`Sim::advance`].
    Advance { by: Duration },
    /// [`Sim::open_files`]. The answer is the number.
    OpenFiles,
    /// [`World::old_ports_released`](crate::World::old_ports_released). The answer is the number.
    OldPortsReleased,
    /// [`Sim::digest`].
    Digest,
}

impl Act {
    /// Does it to a machine of this process. If there is nothing to answer, the answer is 0.
    ///
    /// # Errors
    /// Those of the call that is named.
    pub fn on(self, sim: &Sim) -> Result<u64, Errno> {
        let id = DomId::new;
        Ok(match self {
            Act::CreateDomain => sim.create_domain()?.as_raw().into(),
            Act::DestroyDomain { domid } => done(sim.destroy_domain(id(domid)))?,
            Act::SaveRestore { domid } => done(sim.save_restore(id(domid)))?,
            Act::Checkpoint { domid } => done(sim.checkpoint(id(domid)))?,
            Act::AllocUnbound { domid, remote } => {
                let allocated = sim.with(|it| it.kernel_alloc_unbound(id(domid), id(remote)));
                allocated?.into()
            }
            Act::BindInterdomain {
                domid,
                remote,
                port,
            } => {
                let (own, remote) = (id(domid), id(remote));
                let bound = sim.with(|it| it.kernel_bind_interdomain(own, remote, port));
                bound?.into()
            }
            Act::Send { domid, port } => done(sim.with(|it| it.kernel_send(id(domid), port)))?,
            Act::Close { domid, port } => done(sim.with(|it| it.kernel_close(id(domid), port)))?,
            Act::Events { domid, port } => sim.with(|it| it.kernel_events(id(domid), port))?.into(),
            Act::RaiseVirq { domid, virq } => done(sim.raise_virq(id(domid), Virq::new(virq)))?,
            Act::SetDelivery { delivery } => {
                sim.set_delivery(delivery);
                0
            }
            Act::Fail { call, errno, nth } => {
                let fault = Fault::fail(call, Errno::new(errno));
                sim.install(if nth == 0 { fault } else { fault.nth(nth) });
                0
            }
            Act::ClearFaults => {
                sim.clear_faults();
                0
            }
            Act::Advance { by } => {
                sim.advance(by);
                0
            }
            Act::Step => sim.step().into(),
            Act::Held => sim.held() as u64,
            Act::OpenFiles => sim.open_files() as u64,
            Act::OldPortsReleased => sim.with(|it| it.old_ports_released()),
            Act::Now => u64::try_from(sim.now().as_nanos()).unwrap_or(u64::MAX),
            Act::Digest => sim.digest(),
        })
    }
}

/// The answer of a call that returns nothing.
fn done(done: Result<(), Errno>) -> Result<u64, Errno> {
    done.map(|()| 0)
}
