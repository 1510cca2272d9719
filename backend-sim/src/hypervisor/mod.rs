//! Xen's half of an event channel: domains, port tables, pending and mask bits, VIRQs.
//!
//! Knows no file, no ring and nothing of a driver. Ports and virtual interrupts come in as the
//! plain numbers of a hypercall, so bad ones are refused here as Xen refuses them, in the order
//! of its checks (xen/common/event_channel.c).
//!
//! A port that becomes deliverable (pending set while the mask is clear) is *linked*: put into
//! the queue that [`Hypervisor::take_upcall`] empties. That queue is what the guests' vCPUs have
//! yet to notice.

mod domain;
#[cfg(test)]
mod tests;
mod virq;

use std::collections::VecDeque;

use evtchn_core::DomId;

use crate::config::{DomainConfig, XenVersion};
use crate::errno::Errno;
use domain::Domain;
pub(crate) use domain::{Channel, State};
use virq::{Class, DOM_EXC, NR_VIRQS};

/// A port of a domain that became deliverable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upcall {
    pub(crate) domid: DomId,
    pub(crate) port: u32,
}

#[derive(Debug)]
pub(crate) struct Hypervisor {
    version: XenVersion,
    /// By domain id.
    domains: Vec<Option<Box<Domain>>>,
    /// The id that was given last to a domain that did not ask for one.
    rover: u16,
    /// Which domain handles each global VIRQ, where not the hardware domain.
    handlers: [DomId; NR_VIRQS],
    /// Linked ports, in the order they were linked.
    upcalls: VecDeque<Upcall>,
}

impl Hypervisor {
    pub(crate) fn new(version: XenVersion) -> Hypervisor {
        Hypervisor {
            version,
            domains: Vec::new(),
            rover: 0,
            handlers: [DomId::DOM0; NR_VIRQS],
            upcalls: VecDeque::new(),
        }
    }

    // Domains.

    /// Creates a domain. `EEXIST` where the id is in use, `EINVAL` where it is reserved.
    pub(crate) fn create(&mut self, domid: DomId, config: &DomainConfig) -> Result<(), Errno> {
        if domid >= DomId::FIRST_RESERVED {
            return Err(Errno::EINVAL);
        }
        let index = usize::from(domid.as_raw());
        if index >= self.domains.len() {
            self.domains.resize_with(index + 1, || None);
        }
        let place = &mut self.domains[index];
        if place.is_some() {
            return Err(Errno::EEXIST);
        }
        *place = Some(Box::new(Domain::new(config)));
        Ok(())
    }

    /// An unused domain id: the next one after the last that was given, so that ids are recycled
    /// as late as possible (xen/common/domctl.c, `XEN_DOMCTL_createdomain`).
    pub(crate) fn unused_domid(&mut self) -> Result<DomId, Errno> {
        let last = DomId::FIRST_RESERVED.as_raw() - 1;
        let domid = (self.rover + 1..=last)
            .chain(1..=self.rover)
            .find(|&raw| self.domain(DomId::new(raw)).is_none())
            .ok_or(Errno::ENOMEM)?;
        self.rover = domid;
        Ok(DomId::new(domid))
    }

    /// Begins the death of a domain other than 0: its ports are closed from the highest down, and from now on
    /// none can be made in it (`domain_kill`, `evtchn_destroy`).
    pub(crate) fn kill(&mut self, domid: DomId) -> Result<(), Errno> {
        let domain = self.domain_mut(domid).ok_or(Errno::ESRCH)?;
        if domain.dying || domid == DomId::DOM0 {
            return Err(Errno::EINVAL);
        }
        domain.dying = true;
        for port in domain.ports().rev() {
            // Free ports refuse; there is nothing to close.
            let _ = self.close(domid, port);
        }
        for handler in &mut self.handlers {
            if *handler == domid {
                *handler = DomId::DOM0;
            }
        }
        self.raise(DomId::DOM0, DOM_EXC, 0);
        Ok(())
    }

    /// Ends the death of a domain: its id names nobody from now on. Ports that wait for it stay.
    pub(crate) fn remove(&mut self, domid: DomId) -> Result<(), Errno> {
        match self.domain(domid) {
            None => return Err(Errno::ESRCH),
            Some(domain) if !domain.dying => return Err(Errno::EBUSY),
            Some(_) => {}
        }
        self.domains[usize::from(domid.as_raw())] = None;
        self.upcalls.retain(|upcall| upcall.domid != domid);
        self.raise(DomId::DOM0, DOM_EXC, 0);
        Ok(())
    }

    /// The ids of all domains, lowest first.
    pub(crate) fn domids(&self) -> impl Iterator<Item = DomId> {
        (0..)
            .zip(&self.domains)
            .filter_map(|(raw, domain)| domain.as_ref().map(|_| DomId::new(raw)))
    }

    /// Every port of a domain that is not free, lowest first.
    pub(crate) fn ports(&self, domid: DomId) -> impl Iterator<Item = (u32, &Channel)> {
        let domain = self.domain(domid);
        domain.into_iter().flat_map(|domain| {
            domain
                .ports()
                .filter_map(|port| Some((port, domain.channel(port)?)))
                .filter(|(_, channel)| channel.state != State::Free || channel.linked)
        })
    }

    // Hypercalls. `caller` is the domain that makes the call.

    /// `EVTCHNOP_alloc_unbound`: a port of `dom` that `remote` may bind to. `remote` is stored
    /// unchecked.
    pub(crate) fn alloc_unbound(
        &mut self,
        caller: DomId,
        dom: DomId,
        remote: DomId,
    ) -> Result<u32, Errno> {
        let dom = self.resolve(caller, dom)?;
        let permitted = self.permits(caller, dom);
        let domain = self.known(dom)?;
        let port = domain.free_port()?;
        if !permitted {
            return Err(Errno::EPERM);
        }
        let remote = own(caller, remote);
        domain.take(port, State::Unbound { remote });
        Ok(port)
    }

    /// `EVTCHNOP_bind_interdomain`: connects a new port to `remote_port` and sets it pending,
    /// since events sent while the other one was unbound are lost.
    pub(crate) fn bind_interdomain(
        &mut self,
        caller: DomId,
        remote: DomId,
        remote_port: u32,
    ) -> Result<u32, Errno> {
        let remote = self.resolve(caller, remote)?;
        let port = self.known(caller)?.free_port()?;
        let there = self.known(remote)?.channel_mut(remote_port);
        let there = there.ok_or(Errno::EINVAL)?;
        if there.state != (State::Unbound { remote: caller }) {
            return Err(Errno::EINVAL);
        }
        there.state = State::Interdomain {
            remote: caller,
            port,
        };
        let here = State::Interdomain {
            remote,
            port: remote_port,
        };
        self.known(caller)?.take(port, here);
        self.set_pending(caller, port);
        Ok(port)
    }

    /// `EVTCHNOP_bind_virq`.
    pub(crate) fn bind_virq(&mut self, caller: DomId, virq: u32, vcpu: u32) -> Result<u32, Errno> {
        let index = virq as usize;
        if index >= NR_VIRQS {
            return Err(Errno::EINVAL);
        }
        let class = Class::of(index, self.version);
        if class != Class::Vcpu && vcpu != 0 {
            return Err(Errno::EINVAL);
        }
        let refused = class == Class::Global
            && self.version >= XenVersion::STRICT_VIRQS
            && self.handlers[index] != caller;
        let domain = self.known(caller)?;
        let bound = *domain.virq(index, vcpu).ok_or(Errno::ENOENT)?;
        if refused {
            return Err(Errno::EBUSY);
        }
        if bound != 0 {
            return Err(Errno::EEXIST);
        }
        let port = domain.free_port()?;
        domain.take(port, State::Virq { virq, vcpu });
        if let Some(slot) = domain.virq(index, vcpu) {
            *slot = port;
        }
        Ok(port)
    }

    /// `EVTCHNOP_bind_ipi`.
    pub(crate) fn bind_ipi(&mut self, caller: DomId, vcpu: u32) -> Result<u32, Errno> {
        let domain = self.known(caller)?;
        if !domain.has_vcpu(vcpu) {
            return Err(Errno::ENOENT);
        }
        let port = domain.free_port()?;
        domain.take(port, State::Ipi { vcpu });
        Ok(port)
    }

    /// `EVTCHNOP_close`: the port is free and no longer pending; its peer waits for the closer
    /// again, keeps what was pending, and is told nothing.
    pub(crate) fn close(&mut self, caller: DomId, port: u32) -> Result<(), Errno> {
        let domain = self.known(caller)?;
        let state = domain.channel(port).ok_or(Errno::EINVAL)?.state;
        match state {
            State::Free | State::Reserved => return Err(Errno::EINVAL),
            State::Unbound { .. } | State::Ipi { .. } => {}
            State::Virq { virq, vcpu } => {
                if let Some(slot) = domain.virq(virq as usize, vcpu) {
                    *slot = 0;
                }
            }
            State::Interdomain {
                remote,
                port: remote_port,
            } => {
                let peer = self.known(remote)?.channel_mut(remote_port);
                if let Some(peer) = peer {
                    peer.state = State::Unbound { remote: caller };
                }
            }
        }
        self.known(caller)?.put(port);
        Ok(())
    }

    /// `EVTCHNOP_send`: sets the other end pending. Through an unbound port it does nothing.
    #[inline]
    pub(crate) fn send(&mut self, caller: DomId, port: u32) -> Result<(), Errno> {
        let domain = self.known(caller)?;
        match domain.channel(port).ok_or(Errno::EINVAL)?.state {
            State::Free | State::Reserved | State::Virq { .. } => Err(Errno::EINVAL),
            State::Unbound { .. } => Ok(()),
            State::Ipi { .. } => {
                self.set_pending(caller, port);
                Ok(())
            }
            State::Interdomain { remote, port } => {
                self.set_pending(remote, port);
                Ok(())
            }
        }
    }

    /// `EVTCHNOP_status`: the state of a port of `dom`.
    pub(crate) fn status(&self, caller: DomId, dom: DomId, port: u32) -> Result<Channel, Errno> {
        let dom = self.resolve(caller, dom)?;
        let domain = self.domain(dom).ok_or(Errno::ESRCH)?;
        let channel = domain.channel(port).ok_or(Errno::EINVAL)?;
        if !self.permits(caller, dom) {
            return Err(Errno::EPERM);
        }
        Ok(*channel)
    }

    /// `EVTCHNOP_reset` of the caller: closes every port.
    pub(crate) fn reset(&mut self, caller: DomId) -> Result<(), Errno> {
        for port in self.known(caller)?.ports() {
            // Free ports refuse; there is nothing to close.
            let _ = self.close(caller, port);
        }
        Ok(())
    }

    /// `XEN_DOMCTL_set_virq_handler`: gives a global VIRQ to another domain.
    pub(crate) fn set_virq_handler(&mut self, domid: DomId, virq: u32) -> Result<(), Errno> {
        let index = virq as usize;
        if index >= NR_VIRQS || Class::of(index, self.version) != Class::Global {
            return Err(Errno::EINVAL);
        }
        self.known(domid)?;
        let present = self.handlers[index];
        if present == domid {
            return Ok(());
        }
        let bound = self
            .domain_mut(present)
            .and_then(|domain| domain.virq(index, 0).copied());
        if self.version >= XenVersion::STRICT_VIRQS && bound.is_some_and(|port| port != 0) {
            return Err(Errno::EBUSY);
        }
        self.handlers[index] = domid;
        Ok(())
    }

    /// Connects two ports by number, as `xen,evtchn-v1` of a device tree does at boot
    /// (xen/arch/arm/domain_build.c, `alloc_static_evtchn`): the second side binds to the first.
    pub(crate) fn connect_static(
        &mut self,
        (dom1, port1): (DomId, u32),
        (dom2, port2): (DomId, u32),
    ) -> Result<(), Errno> {
        let state = |remote, port| State::Interdomain { remote, port };
        self.known(dom1)?.take_static(port1, state(dom2, port2))?;
        let second = self.known(dom2);
        if let Err(errno) = second.and_then(|d| d.take_static(port2, state(dom1, port1))) {
            self.known(dom1)?.put(port1);
            return Err(errno);
        }
        self.set_pending(dom2, port2);
        Ok(())
    }

    /// Raises a VIRQ for a domain. A global one goes nowhere unless the domain handles it.
    pub(crate) fn raise_virq(&mut self, domid: DomId, virq: u32, vcpu: u32) -> Result<(), Errno> {
        self.known(domid)?;
        let index = virq as usize;
        if index >= NR_VIRQS {
            return Err(Errno::EINVAL);
        }
        let global = Class::of(index, self.version) == Class::Global;
        if !global || self.handlers[index] == domid {
            self.raise(domid, index, vcpu);
        }
        Ok(())
    }

    // The bits that Xen shares with the guest.

    /// The guest clears the mask; a pending port is then linked.
    #[inline]
    pub(crate) fn unmask(&mut self, domid: DomId, port: u32) {
        self.with_bits(domid, port, |channel| channel.masked = false);
    }

    /// The guest sets the mask.
    pub(crate) fn mask(&mut self, domid: DomId, port: u32) {
        self.with_bits(domid, port, |channel| channel.masked = true);
    }

    /// Xen sets the pending bit; where it was clear and the port is not masked, it is linked.
    #[inline]
    fn set_pending(&mut self, domid: DomId, port: u32) {
        self.with_bits(domid, port, |channel| channel.pending = true);
    }

    #[inline]
    fn with_bits(&mut self, domid: DomId, port: u32, change: impl FnOnce(&mut Channel)) {
        let domain = self.domains.get_mut(usize::from(domid.as_raw()));
        let Some(channel) = domain
            .and_then(Option::as_mut)
            .and_then(|domain| domain.channel_mut(port))
        else {
            return;
        };
        change(channel);
        if channel.pending && !channel.masked && !channel.linked {
            channel.linked = true;
            self.upcalls.push_back(Upcall { domid, port });
        }
    }

    /// How many ports are linked.
    pub(crate) fn upcalls(&self) -> usize {
        self.upcalls.len()
    }

    /// Takes the port at this place of the queue, to be handled.
    #[inline]
    pub(crate) fn take_upcall(&mut self, index: usize) -> Option<Upcall> {
        self.upcalls.remove(index)
    }

    /// The guest begins to handle a port that it unlinked: masks it and clears its pending bit.
    /// False where there is nothing to handle any more.
    #[inline]
    pub(crate) fn handle(&mut self, Upcall { domid, port }: Upcall) -> bool {
        let Some(domain) = self.domain_mut(domid) else {
            return false;
        };
        if !domain.unlink(port) {
            return false;
        }
        if let Some(channel) = domain.channel_mut(port) {
            channel.masked = true;
            channel.pending = false;
        }
        true
    }

    // Inside.

    fn raise(&mut self, domid: DomId, virq: usize, vcpu: u32) {
        let handler = match Class::of(virq, self.version) {
            Class::Global => self.handlers[virq],
            Class::Vcpu | Class::Domain => domid,
        };
        let bound = self
            .domain_mut(handler)
            .and_then(|domain| domain.virq(virq, vcpu).copied());
        if let Some(port) = bound.filter(|&port| port != 0) {
            self.set_pending(handler, port);
        }
    }

    /// The domain that `domid` names for `caller`.
    fn resolve(&self, caller: DomId, domid: DomId) -> Result<DomId, Errno> {
        let domid = own(caller, domid);
        match self.domain(domid) {
            Some(_) => Ok(domid),
            None => Err(Errno::ESRCH),
        }
    }

    fn permits(&self, caller: DomId, dom: DomId) -> bool {
        caller == dom
            || self
                .domain(caller)
                .is_some_and(|domain| domain.privileged || domain.device_model_of == Some(dom))
    }

    fn domain(&self, domid: DomId) -> Option<&Domain> {
        self.domains.get(usize::from(domid.as_raw()))?.as_deref()
    }

    #[inline]
    fn domain_mut(&mut self, domid: DomId) -> Option<&mut Domain> {
        let domain = self.domains.get_mut(usize::from(domid.as_raw()))?;
        domain.as_deref_mut()
    }

    fn known(&mut self, domid: DomId) -> Result<&mut Domain, Errno> {
        self.domain_mut(domid).ok_or(Errno::ESRCH)
    }
}

/// `DOMID_SELF` as the caller's own id (`rcu_lock_domain_by_any_id`).
fn own(caller: DomId, domid: DomId) -> DomId {
    if domid == DomId::SELF { caller } else { domid }
}
