//! What the toolstack does to a domain, and the rarer operations on ports.

use evtchn_core::DomId;

use super::domain::Consumer;
use super::hypercall::own;
use super::virq::{Class, DOM_EXC};
use super::{Channel, Hypervisor, State, Upcall};
use crate::config::Abi;
use crate::errno::Errno;

/// Physical interrupts at or over this do not exist on this machine (`nr_pirqs`).
const NR_PIRQS: u32 = 256;

impl Hypervisor {
    /// `EVTCHNOP_bind_vcpu`: sets the vCPU that gets the events of a port.
    pub(crate) fn bind_vcpu(&mut self, caller: DomId, port: u32, vcpu: u32) -> Result<(), Errno> {
        let version = self.version;
        let domain = self.known(caller)?;
        if !domain.has_vcpu(vcpu) {
            return Err(Errno::ENOENT);
        }
        let channel = domain.channel_mut(port).ok_or(Errno::EINVAL)?;
        let may_move = match channel.state {
            State::Unbound { .. } | State::Interdomain { .. } | State::Pirq { .. } => true,
            State::Virq { virq, .. } => Class::of(virq as usize, version) != Class::Vcpu,
            State::Free | State::Reserved | State::Ipi { .. } => false,
        };
        if channel.is_xens() || !may_move {
            return Err(Errno::EINVAL);
        }
        channel.vcpu = vcpu;
        Ok(())
    }

    /// `EVTCHNOP_unmask`: does nothing for a port that is free or Xen's own.
    pub(crate) fn unmask_port(&mut self, caller: DomId, port: u32) -> Result<(), Errno> {
        let channel = self.known(caller)?.channel(port).ok_or(Errno::EINVAL)?;
        let is_bound = !matches!(channel.state, State::Free | State::Reserved);
        if is_bound && !channel.is_xens() {
            self.with_bits(caller, port, |channel| channel.masked = false);
        }
        Ok(())
    }

    /// `EVTCHNOP_bind_pirq`.
    pub(crate) fn bind_pirq(&mut self, caller: DomId, pirq: u32) -> Result<u32, Errno> {
        if pirq >= NR_PIRQS {
            return Err(Errno::EINVAL);
        }
        if !self.known(caller)?.pirqs.contains(&pirq) {
            return Err(Errno::EPERM);
        }
        if self.port_of_pirq(caller, pirq).is_some() {
            return Err(Errno::EEXIST);
        }
        let domain = self.known(caller)?;
        let port = domain.free_port()?;
        domain.take(port, State::Pirq { pirq });
        Ok(port)
    }

    /// A physical interrupt is raised, for the domain that has bound it.
    pub(crate) fn raise_pirq(&mut self, domid: DomId, pirq: u32) -> Result<(), Errno> {
        self.known(domid)?;
        if pirq >= NR_PIRQS {
            return Err(Errno::EINVAL);
        }
        if let Some(port) = self.port_of_pirq(domid, pirq) {
            self.set_pending(domid, port);
        }
        Ok(())
    }

    fn port_of_pirq(&self, domid: DomId, pirq: u32) -> Option<u32> {
        let bound = State::Pirq { pirq };
        let mut ports = self.ports(domid);
        ports
            .find(|(_, channel)| channel.state == bound)
            .map(|(port, _)| port)
    }

    /// Takes a port of a domain for Xen itself, to which `remote` may bind
    /// (`alloc_unbound_xen_event_channel`): an I/O request server has one per vCPU.
    pub(crate) fn alloc_for_xen(&mut self, domid: DomId, remote: DomId) -> Result<u32, Errno> {
        let remote = own(domid, remote);
        // Xen does it when the toolstack of domain 0 asks.
        let permitted = self.may_wait(DomId::DOM0, domid, remote);
        let domain = self.known(domid)?;
        let port = domain.free_port()?;
        permitted?;
        domain.take(port, State::Unbound { remote });
        if let Some(channel) = domain.channel_mut(port) {
            channel.consumer = Consumer::Xen { events: 0 };
        }
        Ok(port)
    }

    /// How many events Xen got on a port of its own.
    pub(crate) fn xen_events(&self, domid: DomId, port: u32) -> Result<u32, Errno> {
        let domain = self.domain(domid).ok_or(Errno::ESRCH)?;
        match domain.channel(port) {
            Some(&Channel {
                consumer: Consumer::Xen { events },
                ..
            }) => Ok(events),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `EVTCHNOP_reset`: closes every port but Xen's own, and goes back to the two-level ABI.
    /// Another domain has to be paused by the toolstack.
    pub(crate) fn reset(&mut self, caller: DomId, dom: DomId) -> Result<(), Errno> {
        let dom = self.resolve(caller, dom)?;
        if !self.permits(caller, dom) {
            return Err(Errno::EPERM);
        }
        let domain = self.known(dom)?;
        if dom != caller && domain.pauses == 0 {
            return Err(Errno::EINVAL);
        }
        for port in domain.ports() {
            // Free ports and Xen's own are refused, and stay.
            let _ = self.close(dom, port);
        }
        self.switch(dom, Abi::TwoLevel)
    }

    /// A guest sets how it shares event bits (`EVTCHNOP_init_control`, or no call for two levels).
    pub(crate) fn switch(&mut self, domid: DomId, abi: Abi) -> Result<(), Errno> {
        self.known(domid)?.switch(abi);
        self.upcalls.retain(|upcall| upcall.domid != domid);
        Ok(())
    }

    /// `XEN_DOMCTL_pausedomain`: events of the domain wait until it runs again. A domain may not
    /// pause itself.
    pub(crate) fn pause(&mut self, caller: DomId, domid: DomId) -> Result<(), Errno> {
        let domain = self.known(domid)?;
        if caller == domid {
            return Err(Errno::EINVAL);
        }
        domain.pauses = domain.pauses.checked_add(1).ok_or(Errno::EINVAL)?;
        self.park(domid);
        Ok(())
    }

    /// `XEN_DOMCTL_unpausedomain`. `EINVAL` where the domain is not paused.
    pub(crate) fn unpause(&mut self, domid: DomId) -> Result<(), Errno> {
        let domain = self.known(domid)?;
        domain.pauses = domain.pauses.checked_sub(1).ok_or(Errno::EINVAL)?;
        self.unpark(domid)
    }

    /// `XEN_DOMCTL_resumedomain`: a domain that shut down goes on.
    pub(crate) fn resume(&mut self, domid: DomId) -> Result<(), Errno> {
        self.known(domid)?.shut_down = false;
        self.unpark(domid)
    }

    /// Moves the linked ports of a domain that runs again back into the queue.
    fn unpark(&mut self, domid: DomId) -> Result<(), Errno> {
        let domain = self.known(domid)?;
        if domain.is_running() {
            for port in std::mem::take(&mut domain.parked) {
                let ticket = self.upcalls.push_back(Upcall { domid, port });
                if let Some(channel) = self.known(domid)?.channel_mut(port) {
                    channel.ticket = ticket;
                }
            }
        }
        Ok(())
    }

    /// A domain other than 0 shuts itself down: its vCPUs stop, its ports stay as they are, and
    /// `DOM_EXC` is raised. A second shutdown does nothing (`domain_shutdown`).
    pub(crate) fn shut_down(&mut self, domid: DomId) -> Result<(), Errno> {
        let domain = self.known(domid)?;
        if domain.dying || domid == DomId::DOM0 {
            return Err(Errno::EINVAL);
        }
        if !std::mem::replace(&mut domain.shut_down, true) {
            self.park(domid);
            self.raise(DomId::DOM0, DOM_EXC, 0);
        }
        Ok(())
    }

    /// Moves the linked ports of a domain that stopped out of the queue of those that run.
    fn park(&mut self, domid: DomId) {
        let is_its = |upcall: &Upcall| upcall.domid == domid;
        let parked = self.upcalls.iter().filter(is_its);
        let parked: Vec<_> = parked.map(|upcall| upcall.port).collect();
        self.upcalls.retain(|upcall| !is_its(&upcall));
        if let Some(domain) = self.domain_mut(domid) {
            domain.parked.extend(parked);
        }
    }
}
