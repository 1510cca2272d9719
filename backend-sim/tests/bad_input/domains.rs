//! Calls on domains and their ports, and calls of their kernels.

use evtchn_core::{Port, Virq};
use evtchn_sim::Errno;

use super::rig::*;

pub(crate) const DOMAINS: &[Row] = &[
    ("create an id in use", Errno::EEXIST, |rig| {
        say(rig.sim.create_domain_with_id(DOM0))
    }),
    ("create a reserved id", Errno::EINVAL, |rig| {
        say(rig.sim.create_domain_with_id(RESERVED))
    }),
    ("create without a vCPU", Errno::EINVAL, |rig| {
        create(rig, |c| c.vcpus = 0)
    }),
    ("create with all vCPUs", Errno::EINVAL, |rig| {
        create(rig, |c| c.vcpus = u32::MAX)
    }),
    ("destroy nobody", Errno::ESRCH, |rig| {
        say(rig.sim.destroy_domain(NOBODY))
    }),
    ("destroy domain 0", Errno::EINVAL, |rig| {
        say(rig.sim.destroy_domain(DOM0))
    }),
    ("kill nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(NOBODY))
    }),
    ("kill a reserved id", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(RESERVED))
    }),
    ("kill SELF", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(SELF))
    }),
    ("remove nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.remove_domain(NOBODY))
    }),
    ("remove a live one", Errno::EBUSY, |rig| {
        rig.world(|w| w.remove_domain(DOM0))
    }),
    ("kexec of nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.kexec_domain(NOBODY))
    }),
    ("pause nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.pause_domain(NOBODY))
    }),
    ("unpause nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.unpause_domain(NOBODY))
    }),
    ("unpause one that runs", Errno::EINVAL, |rig| {
        rig.world(|w| w.unpause_domain(DOM0))
    }),
    ("shut down nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.shut_down_domain(NOBODY))
    }),
    ("shut down domain 0", Errno::EINVAL, |rig| {
        rig.world(|w| w.shut_down_domain(DOM0))
    }),
    ("reset nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.reset_ports(DOM0, NOBODY))
    }),
    ("reset by nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.reset_ports(NOBODY, SELF))
    }),
    ("reset by a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.reset_ports(rig.guest.domid(), DOM0))
    }),
    ("reset one that runs", Errno::EINVAL, |rig| {
        rig.world(|w| w.reset_ports(DOM0, rig.guest.domid()))
    }),
    ("alloc in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.alloc_unbound(DOM0, NOBODY, DOM0))
    }),
    ("alloc by a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.alloc_unbound(rig.guest.domid(), DOM0, DOM0))
    }),
    ("alloc by nobody", Errno::EPERM, |rig| {
        rig.world(|w| w.alloc_unbound(NOBODY, DOM0, DOM0))
    }),
    ("alloc for Xen in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.alloc_for_xen(NOBODY, DOM0))
    }),
    ("Xen's events in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.xen_events(NOBODY, 1))
    }),
    ("Xen's events of a kernel's port", Errno::EINVAL, |rig| {
        rig.world(|w| w.xen_events(DOM0, 1))
    }),
    ("Xen's events beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.xen_events(DOM0, u32::MAX))
    }),
    ("virq for nobody", Errno::ESRCH, |rig| {
        say(rig.sim.raise_virq(NOBODY, Virq::DOM_EXC))
    }),
    ("virq 24", Errno::EINVAL, |rig| {
        say(rig.sim.raise_virq(DOM0, Virq::new(24)))
    }),
    ("the largest virq", Errno::EINVAL, |rig| {
        say(rig.sim.raise_virq(DOM0, Virq::new(u32::MAX)))
    }),
    ("pirq for nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.raise_pirq(NOBODY, 1))
    }),
    ("the largest pirq", Errno::EINVAL, |rig| {
        rig.world(|w| w.raise_pirq(DOM0, u32::MAX))
    }),
    ("handler nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.set_virq_handler(NOBODY, Virq::DOM_EXC))
    }),
    ("handler of a vCPU's virq", Errno::EINVAL, |rig| {
        rig.world(|w| w.set_virq_handler(DOM0, Virq::DEBUG))
    }),
    ("handler of virq 2^32", Errno::EINVAL, |rig| {
        rig.world(|w| w.set_virq_handler(DOM0, Virq::new(u32::MAX)))
    }),
    ("connect nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.connect_static((DOM0, 500), (NOBODY, 500)))
    }),
    ("connect port 0", Errno::EBUSY, |rig| {
        rig.world(|w| w.connect_static((DOM0, 0), (DOM0, 500)))
    }),
    ("connect the largest port", Errno::ENOSPC, |rig| {
        rig.world(|w| w.connect_static((DOM0, 500), (DOM0, u32::MAX)))
    }),
    ("connect a port with itself", Errno::EBUSY, |rig| {
        rig.world(|w| w.connect_static((DOM0, 500), (DOM0, 500)))
    }),
    ("status in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.status(DOM0, NOBODY, 1))
    }),
    ("status by nobody", Errno::EPERM, |rig| {
        rig.world(|w| w.status(NOBODY, DOM0, 1))
    }),
    ("status by a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.status(rig.guest.domid(), DOM0, 1))
    }),
    ("status beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.status(DOM0, SELF, u32::MAX))
    }),
    ("status just beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.status(DOM0, SELF, BEYOND))
    }),
    ("status of SELF in nobody", Errno::ESRCH, |rig| {
        say(rig.sim.status(NOBODY, port(1)))
    }),
];

pub(crate) const KERNELS: &[Row] = &[
    ("alloc of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).alloc_unbound(DOM0))
    }),
    ("bind of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).bind_interdomain(DOM0, port(1)))
    }),
    ("virq of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).bind_virq(Virq::DEBUG))
    }),
    ("send of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).send(port(1)))
    }),
    ("close of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).close(port(1)))
    }),
    ("events of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).events(port(1)))
    }),
    ("bind to nobody", Errno::ESRCH, |rig| {
        say(rig.guest.bind_interdomain(NOBODY, port(1)))
    }),
    ("bind to a kernel's port", Errno::EINVAL, |rig| {
        say(rig.guest.bind_interdomain(DOM0, port(1)))
    }),
    ("bind to the largest port", Errno::EINVAL, |rig| {
        say(rig.guest.bind_interdomain(DOM0, Port::MAX))
    }),
    ("bind to port 0", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_bind_interdomain(DOM0, DOM0, 0))
    }),
    ("the largest virq", Errno::EINVAL, |rig| {
        say(rig.guest.bind_virq(Virq::new(u32::MAX)))
    }),
    ("send through a free port", Errno::EINVAL, |rig| {
        say(rig.guest.send(port(9)))
    }),
    ("send beyond", Errno::EINVAL, |rig| {
        say(rig.guest.send(Port::MAX))
    }),
    ("send through port 0", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_send(DOM0, 0))
    }),
    ("close a free port", Errno::ENOTCONN, |rig| {
        say(rig.guest.close(port(9)))
    }),
    ("close beyond", Errno::ENOTCONN, |rig| {
        say(rig.guest.close(Port::MAX))
    }),
    ("close port 0", Errno::ENOTCONN, |rig| {
        rig.world(|w| w.kernel_close(DOM0, 0))
    }),
    ("events of a free port", Errno::ENOTCONN, |rig| {
        say(rig.guest.events(port(9)))
    }),
    ("the largest pirq", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_bind_pirq(DOM0, u32::MAX))
    }),
    ("a pirq of a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.kernel_bind_pirq(rig.guest.domid(), 1))
    }),
    ("move to no vCPU", Errno::ENOENT, |rig| {
        rig.world(|w| w.kernel_bind_vcpu(DOM0, 1, u32::MAX))
    }),
    ("move a port beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_bind_vcpu(DOM0, u32::MAX, 0))
    }),
    ("move in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.kernel_bind_vcpu(NOBODY, 1, 0))
    }),
    ("unmask beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_unmask(DOM0, u32::MAX))
    }),
    ("unmask in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.kernel_unmask(NOBODY, 1))
    }),
];
