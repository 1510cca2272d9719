//! What can be seen of the machine from outside.

use std::fmt::{self, Write};

use evtchn_core::{DomId, Virq};

use super::World;
use crate::errno::Errno;
use crate::hypervisor::State;

/// What a port is, as `EVTCHNOP_status` tells.
///
/// ```
/// use evtchn_core::DomId;
/// use evtchn_sim::{Sim, Status};
///
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let port = guest.alloc_unbound(DomId::DOM0)?;
/// let waits = Status::Unbound { remote: DomId::DOM0 };
/// assert_eq!(sim.status(guest.domid(), port)?, waits);
/// guest.close(port)?;
/// assert_eq!(sim.status(guest.domid(), port)?, Status::Closed);
/// # Ok::<_, evtchn_sim::Errno>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Free, or reserved.
    Closed,
    /// Waits for this domain to bind to it.
    Unbound {
        /// The domain, which need not exist.
        remote: DomId,
    },
    /// Connected.
    Interdomain {
        /// The domain of the other end.
        remote: DomId,
        /// The port there.
        port: u32,
    },
    /// Bound to a virtual interrupt.
    Virq {
        /// The number.
        virq: u32,
    },
    /// Bound between vCPUs of one domain.
    Ipi,
    /// Bound to a physical interrupt.
    Pirq {
        /// The number.
        pirq: u32,
    },
}

impl From<State> for Status {
    fn from(state: State) -> Status {
        match state {
            State::Free | State::Reserved => Status::Closed,
            State::Unbound { remote } => Status::Unbound { remote },
            State::Interdomain { remote, port } => Status::Interdomain { remote, port },
            State::Virq { virq, .. } => Status::Virq { virq },
            State::Ipi { .. } => Status::Ipi,
            State::Pirq { pirq } => Status::Pirq { pirq },
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Status::Closed => f.write_str("closed"),
            Status::Unbound { remote } => write!(f, "unbound for d{remote}"),
            Status::Interdomain { remote, port } => write!(f, "interdomain d{remote}:{port}"),
            Status::Virq { virq } => write!(f, "virq {}", Virq::new(virq)),
            Status::Ipi => f.write_str("ipi"),
            Status::Pirq { pirq } => write!(f, "pirq {pirq}"),
        }
    }
}

impl World {
    /// What a port of `dom` is, asked by `caller`.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for a port that was never valid there, `EPERM`
    /// where `caller` may not ask,
    /// from Xen 4.15 to 4.18 `EACCES` for a port that Xen keeps for itself.
    pub fn status(&self, caller: DomId, dom: DomId, port: u32) -> Result<Status, Errno> {
        Ok(self.xen.status(caller, dom, port)?.state.into())
    }

    /// The vCPU that is told of events on a port, which `EVTCHNOP_status` tells too.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub fn notify_vcpu(&self, caller: DomId, dom: DomId, port: u32) -> Result<u32, Errno> {
        Ok(self.xen.status(caller, dom, port)?.vcpu)
    }

    /// A hash over every call, its answer, and the order of all that happened: two runs with
    /// the same one were the same.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// How many files are open in all domains.
    #[must_use]
    pub fn open_files(&self) -> usize {
        let kernels = self.kernels.iter().flatten();
        kernels.map(|kernel| kernel.driver.open_files()).sum()
    }

    /// Every port that is not free and every open file, a line each.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut out = String::new();
        for domid in self.xen.domids() {
            // A String takes whatever is written to it.
            let _ = self.dump_domain(domid, &mut out);
        }
        out
    }

    fn dump_domain(&self, domid: DomId, out: &mut String) -> fmt::Result {
        let kernel = self.kernels.get(usize::from(domid.as_raw()));
        let driver = kernel.and_then(Option::as_ref).map(|kernel| &kernel.driver);
        for (port, channel) in self.xen.ports(domid) {
            write!(out, "d{domid}:{port} {}", Status::from(channel.state))?;
            for (set, name) in [
                (channel.pending, " pending"),
                (channel.masked, " masked"),
                (channel.linked, " held"),
                (channel.is_xens(), " xen"),
            ] {
                out.push_str(if set { name } else { "" });
            }
            match driver {
                Some(driver) => writeln!(out, "{}", driver.describe(port))?,
                None => out.push('\n'),
            }
        }
        match driver {
            Some(driver) => driver.describe_files(out),
            None => Ok(()),
        }
    }
}
