//! The hypercalls, with their checks in the order that Xen makes them. `caller` is the domain that
//! makes the call.

use evtchn_core::DomId;

use super::virq::{Class, NR_VIRQS};
use super::{Channel, Hypervisor, State};
use crate::errno::Errno;
use crate::platform::Policy;

impl Hypervisor {
    /// `EVTCHNOP_alloc_unbound`: a port of `dom` that `remote` may bind to. `remote` is stored
    /// unchecked.
    pub(crate) fn alloc_unbound(
        &mut self,
        caller: DomId,
        dom: DomId,
        remote: DomId,
    ) -> Result<u32, Errno> {
        let dom = self.resolve(caller, dom)?;
        let remote = own(caller, remote);
        let permitted = self.may_wait(caller, dom, remote);
        let domain = self.known(dom)?;
        let port = domain.free_port()?;
        permitted?;
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
        let may_connect = self.may_connect(caller, caller, remote);
        let there = self.known(remote)?.channel_mut(remote_port);
        let there = there.ok_or(Errno::EINVAL)?;
        if there.state != (State::Unbound { remote: caller }) {
            return Err(Errno::EINVAL);
        }
        if !may_connect {
            return Err(Errno::EPERM);
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
            && self.version.global_virqs_are_for_their_handler_alone()
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

    /// `EVTCHNOP_close`: the port is free and no longer pending. Its peer is unbound and reserved
    /// for the closer again, keeps what was pending, and gets no event.
    pub(crate) fn close(&mut self, caller: DomId, port: u32) -> Result<(), Errno> {
        let channel = self.known(caller)?.channel(port);
        if channel.ok_or(Errno::EINVAL)?.is_xens() {
            return Err(Errno::EINVAL);
        }
        self.close_any(caller, port)
    }

    /// [`close`](Self::close), also of a port that Xen keeps for itself.
    pub(super) fn close_any(&mut self, caller: DomId, port: u32) -> Result<(), Errno> {
        let domain = self.known(caller)?;
        let state = domain.channel(port).ok_or(Errno::EINVAL)?.state;
        match state {
            State::Free | State::Reserved => return Err(Errno::EINVAL),
            State::Unbound { .. } | State::Ipi { .. } | State::Pirq { .. } => {}
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
        let channel = domain.channel(port).ok_or(Errno::EINVAL)?;
        match channel.state {
            _ if channel.is_xens() => Err(Errno::EINVAL),
            State::Free | State::Reserved | State::Virq { .. } | State::Pirq { .. } => {
                Err(Errno::EINVAL)
            }
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
        if channel.is_xens() && self.version.hides_its_ports() {
            return Err(Errno::EACCES);
        }
        Ok(*channel)
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
        if self.version.global_virqs_are_for_their_handler_alone()
            && bound.is_some_and(|port| port != 0)
        {
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

    /// Raises a VIRQ for a domain. A global one is dropped unless the domain handles it.
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

    /// The domain that `domid` names for `caller`.
    pub(super) fn resolve(&self, caller: DomId, domid: DomId) -> Result<DomId, Errno> {
        let domid = own(caller, domid);
        match self.domain(domid) {
            Some(_) => Ok(domid),
            None => Err(Errno::ESRCH),
        }
    }

    /// Whether `caller` may allocate a port of `dom` that waits for `remote`: as the policy says,
    /// and then for itself or a domain that it controls.
    pub(super) fn may_wait(&self, caller: DomId, dom: DomId, remote: DomId) -> Result<(), Errno> {
        if self.policy == Policy::Silo {
            self.domain(remote).ok_or(Errno::ESRCH)?;
        }
        match self.may_connect(caller, dom, remote) && self.permits(caller, dom) {
            true => Ok(()),
            false => Err(Errno::EPERM),
        }
    }

    /// Whether the policy lets `caller` connect ports of these two domains
    /// (xen/xsm/silo.c, `silo_mode_dom_check`).
    fn may_connect(&self, caller: DomId, one: DomId, other: DomId) -> bool {
        self.policy == Policy::Dummy
            || one == other
            || [caller, one, other]
                .into_iter()
                .any(|domid| self.is_privileged(domid))
    }

    pub(super) fn permits(&self, caller: DomId, dom: DomId) -> bool {
        caller == dom
            || self
                .domain(caller)
                .is_some_and(|domain| domain.privileged || domain.device_model_of == Some(dom))
    }
}

/// Resolves `DOMID_SELF` to the caller's own id (`rcu_lock_domain_by_any_id`).
pub(super) fn own(caller: DomId, domid: DomId) -> DomId {
    if domid == DomId::SELF { caller } else { domid }
}
