//! Xen's half of an event channel: domains, port tables, pending and mask bits, VIRQs.
//!
//! It knows no file, no ring and no driver. Ports and virtual interrupts come in as the plain
//! numbers of a hypercall, so bad ones are refused here as Xen refuses them, in the order of its
//! checks (xen/common/event_channel.c).
//!
//! A port that becomes deliverable (pending set while the mask is clear) is *linked*: put into
//! the queue that [`Hypervisor::take_upcall`] empties. That queue is what the vCPUs of the guests
//! have not noticed yet.

mod domain;
mod hypercall;
mod operations;
mod queue;
#[cfg(test)]
mod tests;
mod virq;

use evtchn_core::DomId;

use crate::config::DomainConfig;
use crate::errno::Errno;
use crate::platform::{Policy, XenVersion};
use domain::Domain;
pub(crate) use domain::{Channel, Consumer, State};
use queue::Queue;
use virq::{Class, DOM_EXC, NR_VIRQS};

/// The most vCPUs of a domain (xen/arch/x86/include/asm/config.h, `MAX_VIRT_CPUS`).
const MAX_VCPUS: u32 = 8192;

/// A port of a domain that became deliverable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upcall {
    pub(crate) domid: DomId,
    pub(crate) port: u32,
}

#[derive(Debug)]
pub(crate) struct Hypervisor {
    version: XenVersion,
    policy: Policy,
    /// By domain id.
    domains: Vec<Option<Box<Domain>>>,
    /// The id that was given last to a domain that did not ask for one.
    rover: u16,
    /// The domain that handles each global VIRQ, where that is not the hardware domain.
    handlers: [DomId; NR_VIRQS],
    /// Linked ports, in the order they were linked.
    upcalls: Queue,
}

impl Hypervisor {
    pub(crate) fn new(version: XenVersion, policy: Policy) -> Hypervisor {
        Hypervisor {
            version,
            policy,
            domains: Vec::new(),
            rover: 0,
            handlers: [DomId::DOM0; NR_VIRQS],
            upcalls: Queue::default(),
        }
    }

    // Domains.

    /// Creates a domain. `EEXIST` where the id is in use, `EINVAL` where it is reserved or the
    /// number of vCPUs is out of range.
    pub(crate) fn create(&mut self, domid: DomId, config: &DomainConfig) -> Result<(), Errno> {
        if domid >= DomId::FIRST_RESERVED || !(1..=MAX_VCPUS).contains(&config.vcpus) {
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
            // Closing a free port is refused, which is fine here.
            let _ = self.close_any(domid, port);
        }
        for handler in &mut self.handlers {
            if *handler == domid {
                *handler = DomId::DOM0;
            }
        }
        self.raise(DomId::DOM0, DOM_EXC, 0);
        Ok(())
    }

    /// Ends the death of a domain: its id is free from now on. Ports reserved for it stay so.
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

    pub(crate) fn is_privileged(&self, domid: DomId) -> bool {
        self.domain(domid).is_some_and(|domain| domain.privileged)
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

    // The bits that Xen shares with the guest.

    /// The guest clears the mask; a pending port is then linked. Under the FIFO ABI a guest that
    /// finds the mask clear already leaves it at that
    /// (Linux drivers/xen/events/events_fifo.c, `clear_masked_cond`).
    #[inline]
    pub(crate) fn unmask(&mut self, domid: DomId, port: u32) {
        if self
            .domain(domid)
            .is_some_and(|it| it.is_unmasked_fifo(port))
        {
            return;
        }
        self.with_bits(domid, port, |channel| channel.masked = false);
    }

    /// The guest sets the mask.
    pub(crate) fn mask(&mut self, domid: DomId, port: u32) {
        self.with_bits(domid, port, |channel| channel.masked = true);
    }

    /// Xen sets the pending bit; where it was clear and the port is not masked, it is linked.
    #[inline]
    fn set_pending(&mut self, domid: DomId, port: u32) {
        self.with_bits(domid, port, |channel| match &mut channel.consumer {
            Consumer::Guest => channel.pending = true,
            Consumer::Xen { events } => *events = events.saturating_add(1),
        });
    }

    #[inline]
    fn with_bits(&mut self, domid: DomId, port: u32, change: impl FnOnce(&mut Channel)) {
        let domain = self.domains.get_mut(usize::from(domid.as_raw()));
        let Some(domain) = domain.and_then(Option::as_mut) else {
            return;
        };
        let Some(channel) = domain.channel_mut(port) else {
            return;
        };
        change(channel);
        if channel.pending && !channel.masked && !channel.linked {
            channel.linked = true;
            if !domain.is_running() {
                domain.parked.push(port);
            } else if let Some(channel) = domain.channel_mut(port) {
                channel.ticket = self.upcalls.push_back(Upcall { domid, port });
            }
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

    /// Takes this port out of the queue, to be handled.
    pub(crate) fn take_upcall_of(&mut self, domid: DomId, port: u32) -> Option<Upcall> {
        let channel = self.domain(domid)?.channel(port)?;
        let (linked, ticket) = (channel.linked, channel.ticket);
        linked.then(|| self.upcalls.remove_ticket(ticket)).flatten()
    }

    /// The guest begins to handle a port that it unlinked: masks it and clears its pending bit.
    /// Returns false where there is nothing left to handle.
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

    /// The guest unlinks a port and handles nothing: the bits stay as they are.
    pub(crate) fn ignore(&mut self, Upcall { domid, port }: Upcall) {
        if let Some(domain) = self.domain_mut(domid) {
            domain.unlink(port);
        }
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
