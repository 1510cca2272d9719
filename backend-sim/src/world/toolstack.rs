//! What the toolstack of a control domain and Xen itself do to a domain.

use evtchn_core::DomId;

use super::{Happened, Happening, World};
use crate::errno::Errno;

impl World {
    /// Pauses a domain, as the toolstack of domain 0 does: its vCPUs stop, and events on its ports wait until it runs again. Pauses
    /// count. What a test makes its programs do meanwhile is done all the same.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for domain 0, which would pause itself.
    pub fn pause_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.xen.pause(DomId::DOM0, domid)?;
        self.happened(Happening::Pause, domid.as_raw().into());
        self.report(Happened::Other("pause"));
        Ok(())
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for one that was not paused.
    pub fn unpause_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.xen.unpause(domid)?;
        self.happened(Happening::Unpause, domid.as_raw().into());
        self.report(Happened::Other("unpause"));
        self.upcalls();
        Ok(())
    }

    /// A domain shuts itself down: its vCPUs stop for ever and `DOM_EXC` is raised, once. Its ports
    /// stay as they are, and it still has to be destroyed.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for domain 0, with which the machine would go down,
    /// and for a dying one.
    pub fn shut_down_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.xen.shut_down(domid)?;
        self.happened(Happening::ShutDown, domid.as_raw().into());
        self.report(Happened::Other("shut_down"));
        self.upcalls();
        Ok(())
    }

    /// Closes every port of `dom` but those that Xen keeps for itself (`EVTCHNOP_reset`), on behalf
    /// of `caller`. The kernel of `dom` does not learn of it and believes that it still has them.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EPERM` where `caller` may not, `EINVAL` where `dom` is
    /// another domain and not paused.
    pub fn reset_ports(&mut self, caller: DomId, dom: DomId) -> Result<(), Errno> {
        self.xen.reset(caller, dom)?;
        self.happened(Happening::Reset, dom.as_raw().into());
        self.report(Happened::Other("reset"));
        Ok(())
    }

    /// Allocates a port of `dom` that `remote` may bind to (`EVTCHNOP_alloc_unbound`), on behalf
    /// of `caller`, as a toolstack does before `dom` boots. No kernel handles its events.
    ///
    /// # Errors
    /// `ESRCH` for an unknown `dom`, `EINVAL` for a dying one, `ENOSPC` where it has no port left,
    /// `EPERM` where `caller` may not.
    pub fn alloc_unbound(
        &mut self,
        caller: DomId,
        dom: DomId,
        remote: DomId,
    ) -> Result<u32, Errno> {
        let port = self.xen.alloc_unbound(caller, dom, remote)?;
        self.happened(Happening::Alloc, port);
        self.report(Happened::Other("alloc"));
        Ok(port)
    }

    /// Binds a new port of `caller` to a port of `remote` (`EVTCHNOP_bind_interdomain`), as a program
    /// can through privcmd. No file and no kernel has the new port, so its first event stays pending
    /// until one does. With [`alloc_unbound`](Self::alloc_unbound) it makes a pair of static ports:
    ///
    /// ```
    /// use evtchn::DomId;
    /// use evtchn::sim::abi::BIND_STATIC;
    /// use evtchn::sim::{Errno, Platform, World};
    ///
    /// let mut world = World::new(Platform::LINUX_6_12_ON_XEN_4_20.config(1));
    /// let one = world.alloc_unbound(DomId::DOM0, DomId::SELF, DomId::SELF)?;
    /// let other = world.bind_interdomain(DomId::DOM0, DomId::SELF, one)?;
    /// let file = world.open(DomId::DOM0)?;
    /// assert_eq!(world.ioctl(file, BIND_STATIC, other)?, 0); // not the port
    /// assert_eq!(world.read(file, &mut [0; 64])?, 4); // what was pending
    /// # Ok::<_, Errno>(())
    /// ```
    ///
    /// # Errors
    /// Those of Xen: `ESRCH` for an unknown domain, `EINVAL` for a port that does not wait for
    /// `caller`, `ENOSPC` where no port is left, `EPERM` where the policy forbids it.
    pub fn bind_interdomain(
        &mut self,
        caller: DomId,
        remote: DomId,
        remote_port: u32,
    ) -> Result<u32, Errno> {
        let port = self.xen.bind_interdomain(caller, remote, remote_port)?;
        self.happened(Happening::Alloc, port);
        self.report(Happened::Other("bind_interdomain"));
        self.upcalls();
        Ok(port)
    }

    /// Xen takes a port of `domid` for itself, to which `remote` may bind, as it does for the
    /// device model of a domain. The domain cannot use it.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for a dying one, `ENOSPC` where it has no port left.
    pub fn alloc_for_xen(&mut self, domid: DomId, remote: DomId) -> Result<u32, Errno> {
        let port = self.xen.alloc_for_xen(domid, remote)?;
        self.happened(Happening::Alloc, port);
        self.report(Happened::Other("alloc"));
        Ok(port)
    }

    /// How many events Xen got on a port that it keeps for itself.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for a port that is not Xen's.
    pub fn xen_events(&self, domid: DomId, port: u32) -> Result<u32, Errno> {
        self.xen.xen_events(domid, port)
    }

    /// Raises a physical interrupt. Where the domain has not bound it, nothing happens.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for a number that this machine does not have.
    pub fn raise_pirq(&mut self, domid: DomId, pirq: u32) -> Result<(), Errno> {
        self.xen.raise_pirq(domid, pirq)?;
        self.happened(Happening::RaisePirq, pirq);
        self.report(Happened::Other("raise_pirq"));
        self.upcalls();
        Ok(())
    }
}
