//! Virtual interrupts: how many there are and which domains may bind which.

use crate::platform::XenVersion;

/// Numbers at or over this do not exist (xen/include/public/xen.h, `NR_VIRQS`).
pub(crate) const NR_VIRQS: usize = 24;

/// `VIRQ_DOM_EXC`.
pub(crate) const DOM_EXC: usize = 3;

const ARGO: usize = 11;

/// What gets a virtual interrupt (xen/common/event_channel.c, `get_virq_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// To one vCPU; each vCPU may have a port of its own.
    Vcpu,
    /// To a domain, bound on vCPU 0.
    Domain,
    /// To the one domain that handles it, bound on vCPU 0.
    Global,
}

impl Class {
    /// The class of VIRQ `virq`; unassigned numbers are global.
    pub(crate) fn of(virq: usize, xen: XenVersion) -> Class {
        match virq {
            // TIMER, DEBUG, XENOPROF, XENPMU.
            0 | 1 | 7 | 13 => Class::Vcpu,
            ARGO if !xen.argo_is_global() => Class::Domain,
            _ => Class::Global,
        }
    }
}
