//! What a domain's own kernel does with event channels, as its drivers would: the ports belong to
//! no file, and an event is handled, and its port unmasked, at once.

use evtchn_core::{DomId, Virq};

use super::{Happened, Happening, World};
use crate::errno::Errno;
use crate::hypervisor::Hypervisor;

impl World {
    /// Allocates a port of `domid`'s kernel that `remote` may bind to.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain; then those of Xen's `EVTCHNOP_alloc_unbound`.
    pub fn kernel_alloc_unbound(&mut self, domid: DomId, remote: DomId) -> Result<u32, Errno> {
        let event = |port| Happened::Alloc(domid, remote, port);
        let alloc = |xen: &mut Hypervisor| xen.alloc_unbound(domid, DomId::SELF, remote);
        self.kernel_bind(domid, alloc, event)
    }

    /// Binds a new port of `domid`'s kernel to a port of `remote`.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain; then those of Xen's `EVTCHNOP_bind_interdomain`.
    pub fn kernel_bind_interdomain(
        &mut self,
        domid: DomId,
        remote: DomId,
        remote_port: u32,
    ) -> Result<u32, Errno> {
        let event = |port| Happened::Bind(domid, remote, remote_port, port);
        let bind = |xen: &mut Hypervisor| xen.bind_interdomain(domid, remote, remote_port);
        self.kernel_bind(domid, bind, event)
    }

    /// Binds a virtual interrupt to a new port of `domid`'s kernel, on its first vCPU.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain; then those of Xen's `EVTCHNOP_bind_virq`.
    pub fn kernel_bind_virq(&mut self, domid: DomId, virq: Virq) -> Result<u32, Errno> {
        let event = |_| Happened::Other("bind_virq");
        self.kernel_bind(domid, |xen| xen.bind_virq(domid, virq.as_raw(), 0), event)
    }

    /// Binds a virtual interrupt to a new port of `domid`'s kernel, on one of its vCPUs.
    ///
    /// ```
    /// use evtchn::sim::{Config, Errno, World};
    /// use evtchn::{DomId, Virq};
    ///
    /// let mut config = Config::seeded(1);
    /// config.dom0.vcpus = 2;
    /// let mut world = World::new(config);
    /// let port = world.kernel_bind_virq_on(DomId::DOM0, Virq::TIMER, 1)?;
    /// world.raise_virq_on(DomId::DOM0, Virq::TIMER, 1)?;
    /// assert_eq!(world.kernel_events(DomId::DOM0, port), Ok(1));
    /// // A global one is bound on vCPU 0.
    /// let refused = world.kernel_bind_virq_on(DomId::DOM0, Virq::DOM_EXC, 1);
    /// assert_eq!(refused, Err(Errno::EINVAL));
    /// # Ok::<_, Errno>(())
    /// ```
    ///
    /// # Errors
    /// As [`kernel_bind_virq`](Self::kernel_bind_virq); `ENOENT` for a vCPU that does not exist.
    pub fn kernel_bind_virq_on(
        &mut self,
        domid: DomId,
        virq: Virq,
        vcpu: u32,
    ) -> Result<u32, Errno> {
        let event = |_| Happened::Other("bind_virq");
        let bind = |xen: &mut Hypervisor| xen.bind_virq(domid, virq.as_raw(), vcpu);
        self.kernel_bind(domid, bind, event)
    }

    /// Binds an interrupt between vCPUs to a new port of `domid`'s kernel. A
    /// [send](Self::kernel_send) through it is an event of the same port.
    ///
    /// ```
    /// use evtchn::DomId;
    /// use evtchn::sim::{Config, Errno, World};
    ///
    /// let mut world = World::new(Config::seeded(1));
    /// let port = world.kernel_bind_ipi(DomId::DOM0, 0)?;
    /// world.kernel_send(DomId::DOM0, port)?;
    /// assert_eq!(world.kernel_events(DomId::DOM0, port), Ok(1));
    /// # Ok::<_, Errno>(())
    /// ```
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain; then those of Xen's `EVTCHNOP_bind_ipi`: `ENOENT` for a vCPU that
    /// does not exist, `ENOSPC` where no port is left.
    pub fn kernel_bind_ipi(&mut self, domid: DomId, vcpu: u32) -> Result<u32, Errno> {
        let event = |_| Happened::Other("bind_ipi");
        self.kernel_bind(domid, |xen| xen.bind_ipi(domid, vcpu), event)
    }

    /// Binds a physical interrupt to a new port of `domid`'s kernel.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain; then those of Xen's `EVTCHNOP_bind_pirq`.
    pub fn kernel_bind_pirq(&mut self, domid: DomId, pirq: u32) -> Result<u32, Errno> {
        let event = |_| Happened::Other("bind_pirq");
        self.kernel_bind(domid, |xen| xen.bind_pirq(domid, pirq), event)
    }

    /// Moves a port of `domid`, whether a file or the kernel has bound it, to another vCPU.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain; then those of Xen's `EVTCHNOP_bind_vcpu`.
    pub fn kernel_bind_vcpu(&mut self, domid: DomId, port: u32, vcpu: u32) -> Result<(), Errno> {
        self.xen.bind_vcpu(domid, port, vcpu)?;
        self.happened(Happening::KernelMove, port);
        self.report(Happened::Other("bind_vcpu"));
        Ok(())
    }

    /// Unmasks a port of `domid` in Xen, without the knowledge of what has bound it.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for a port that was never valid.
    pub fn kernel_unmask(&mut self, domid: DomId, port: u32) -> Result<(), Errno> {
        self.xen.unmask_port(domid, port)?;
        self.happened(Happening::KernelUnmask, port);
        self.report(Happened::Other("unmask"));
        self.upcalls();
        Ok(())
    }

    /// Closes a port that `domid`'s kernel has bound.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `ENOTCONN` for a port that is not its kernel's.
    pub fn kernel_close(&mut self, domid: DomId, port: u32) -> Result<(), Errno> {
        let (driver, xen) = self.booted(domid)?;
        driver.kernel_unbind(xen, port)?;
        self.happened(Happening::KernelClose, port);
        self.report(Happened::Close(domid, port));
        Ok(())
    }

    /// Sends through a port, as any code in the kernel of `domid` could.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain; then those of Xen's `EVTCHNOP_send`.
    #[inline]
    pub fn kernel_send(&mut self, domid: DomId, port: u32) -> Result<(), Errno> {
        self.xen.send(domid, port)?;
        self.happened(Happening::KernelSend, port);
        self.report(Happened::Send(domid, port));
        self.upcalls();
        Ok(())
    }

    /// How many events the kernel of `domid` has handled on a port of its own.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `ENOTCONN` for a port that is not its kernel's.
    pub fn kernel_events(&mut self, domid: DomId, port: u32) -> Result<u32, Errno> {
        self.booted(domid)?.0.kernel_events(port)
    }

    fn kernel_bind(
        &mut self,
        domid: DomId,
        bind: impl FnOnce(&mut Hypervisor) -> Result<u32, Errno>,
        event: impl FnOnce(u32) -> Happened,
    ) -> Result<u32, Errno> {
        let (driver, xen) = self.booted(domid)?;
        let port = driver.kernel_bind(xen, bind)?;
        self.happened(Happening::KernelBind, port);
        self.report(event(port));
        self.upcalls();
        Ok(port)
    }
}
