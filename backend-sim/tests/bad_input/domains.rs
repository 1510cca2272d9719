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
    ("destroy an unknown domain", Errno::ESRCH, |rig| {
        say(rig.sim.destroy_domain(UNKNOWN))
    }),
    ("destroy domain 0", Errno::EINVAL, |rig| {
        say(rig.sim.destroy_domain(DOM0))
    }),
    ("kill an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(UNKNOWN))
    }),
    ("kill a reserved id", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(RESERVED))
    }),
    ("kill SELF", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(SELF))
    }),
    ("remove an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.remove_domain(UNKNOWN))
    }),
    ("remove a live one", Errno::EBUSY, |rig| {
        rig.world(|w| w.remove_domain(DOM0))
    }),
    ("kexec of an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.kexec_domain(UNKNOWN))
    }),
    ("pause an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.pause_domain(UNKNOWN))
    }),
    ("unpause an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.unpause_domain(UNKNOWN))
    }),
    ("unpause one that runs", Errno::EINVAL, |rig| {
        rig.world(|w| w.unpause_domain(DOM0))
    }),
    ("shut down an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.shut_down_domain(UNKNOWN))
    }),
    ("shut down domain 0", Errno::EINVAL, |rig| {
        rig.world(|w| w.shut_down_domain(DOM0))
    }),
    ("reset an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.reset_ports(DOM0, UNKNOWN))
    }),
    ("reset by an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.reset_ports(UNKNOWN, SELF))
    }),
    ("reset by a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.reset_ports(rig.guest.domid(), DOM0))
    }),
    ("reset one that runs", Errno::EINVAL, |rig| {
        rig.world(|w| w.reset_ports(DOM0, rig.guest.domid()))
    }),
    ("alloc in an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.alloc_unbound(DOM0, UNKNOWN, DOM0))
    }),
    ("alloc by a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.alloc_unbound(rig.guest.domid(), DOM0, DOM0))
    }),
    ("alloc by an unknown domain", Errno::EPERM, |rig| {
        rig.world(|w| w.alloc_unbound(UNKNOWN, DOM0, DOM0))
    }),
    ("alloc for Xen in an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.alloc_for_xen(UNKNOWN, DOM0))
    }),
    ("Xen's events in an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.xen_events(UNKNOWN, 1))
    }),
    ("Xen's events of a kernel's port", Errno::EINVAL, |rig| {
        rig.world(|w| w.xen_events(DOM0, 1))
    }),
    ("Xen's events beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.xen_events(DOM0, u32::MAX))
    }),
    ("virq for an unknown domain", Errno::ESRCH, |rig| {
        say(rig.sim.raise_virq(UNKNOWN, Virq::DOM_EXC))
    }),
    ("virq 24", Errno::EINVAL, |rig| {
        say(rig.sim.raise_virq(DOM0, Virq::new(24)))
    }),
    ("the largest virq", Errno::EINVAL, |rig| {
        say(rig.sim.raise_virq(DOM0, Virq::new(u32::MAX)))
    }),
    ("pirq for an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.raise_pirq(UNKNOWN, 1))
    }),
    ("the largest pirq", Errno::EINVAL, |rig| {
        rig.world(|w| w.raise_pirq(DOM0, u32::MAX))
    }),
    ("handler an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.set_virq_handler(UNKNOWN, Virq::DOM_EXC))
    }),
    ("handler of a vCPU's virq", Errno::EINVAL, |rig| {
        rig.world(|w| w.set_virq_handler(DOM0, Virq::DEBUG))
    }),
    ("handler of virq 2^32", Errno::EINVAL, |rig| {
        rig.world(|w| w.set_virq_handler(DOM0, Virq::new(u32::MAX)))
    }),
    ("connect an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.connect_static((DOM0, 500), (UNKNOWN, 500)))
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
    ("status in an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.status(DOM0, UNKNOWN, 1))
    }),
    ("status by an unknown domain", Errno::EPERM, |rig| {
        rig.world(|w| w.status(UNKNOWN, DOM0, 1))
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
    ("status of SELF in an unknown domain", Errno::ESRCH, |rig| {
        say(rig.sim.status(UNKNOWN, port(1)))
    }),
];

pub(crate) const KERNELS: &[Row] = &[
    ("alloc of an unknown domain", Errno::ESRCH, |rig| {
        say(unknown_guest(rig).alloc_unbound(DOM0))
    }),
    ("bind of an unknown domain", Errno::ESRCH, |rig| {
        say(unknown_guest(rig).bind_interdomain(DOM0, port(1)))
    }),
    ("virq of an unknown domain", Errno::ESRCH, |rig| {
        say(unknown_guest(rig).bind_virq(Virq::DEBUG))
    }),
    ("send of an unknown domain", Errno::ESRCH, |rig| {
        say(unknown_guest(rig).send(port(1)))
    }),
    ("close of an unknown domain", Errno::ESRCH, |rig| {
        say(unknown_guest(rig).close(port(1)))
    }),
    ("events of an unknown domain", Errno::ESRCH, |rig| {
        say(unknown_guest(rig).events(port(1)))
    }),
    ("bind to an unknown domain", Errno::ESRCH, |rig| {
        say(rig.guest.bind_interdomain(UNKNOWN, port(1)))
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
    ("move in an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.kernel_bind_vcpu(UNKNOWN, 1, 0))
    }),
    ("unmask beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_unmask(DOM0, u32::MAX))
    }),
    ("unmask in an unknown domain", Errno::ESRCH, |rig| {
        rig.world(|w| w.kernel_unmask(UNKNOWN, 1))
    }),
];
