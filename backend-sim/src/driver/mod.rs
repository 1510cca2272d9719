//! The Linux kernel of one domain, as far as event channels go: the device `/dev/xen/evtchn`
//! (drivers/xen/evtchn.c) and the port table beneath it (drivers/xen/events/).
//!
//! Everything comes in as a C program would pass it: request numbers, words, byte counts.
//! Checks are made in the driver's order. Threads that sleep are not modelled here, only how often
//! they were woken. Also not modelled: memory exhaustion, and the back-off of spurious interrupts, which
//! the driver never reports.

pub(crate) mod abi;
mod device;
mod file;
#[cfg(test)]
mod tests;
mod vfs;

use std::collections::BTreeMap;
use std::fmt;

use evtchn_core::{DomId, Virq};

use crate::config::{Abi, DomainConfig};
use crate::errno::Errno;
use crate::hypervisor::{Hypervisor, Upcall};
use file::File;

/// Ports per page of the FIFO event array.
const PORTS_PER_PAGE: u32 = 1024;

/// One binding of the port table, or none.
#[derive(Debug, Clone, Copy)]
struct Binding {
    owner: Owner,
    /// The driver's own flag: cleared by an event, set by a write (`struct user_evtchn`).
    enabled: bool,
    /// A static port: never closed in Xen.
    is_static: bool,
    /// Its place among the ports of its file.
    place: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Free,
    /// The kernel itself, which has handled this many events.
    Kernel {
        events: u32,
    },
    /// The open file with this index, in few bytes, since there are many ports.
    File(u32),
}

impl Owner {
    fn of(file: usize) -> Owner {
        // A file takes more than a byte, so there are not more.
        Owner::File(u32::try_from(file).unwrap_or(u32::MAX))
    }
}

impl Binding {
    const NONE: Binding = Binding {
        owner: Owner::Free,
        enabled: false,
        is_static: false,
        place: 0,
    };
}

#[derive(Debug)]
pub(crate) struct Driver {
    domid: DomId,
    abi: Abi,
    knows_static: bool,
    page_size: usize,
    /// How many times a file was given a static port that has another owner.
    static_misuses: u64,
    /// The domain was restored since it booted.
    was_restored: bool,
    /// How many ports from before a restore were unbound.
    old_ports_released: u64,
    /// With one vCPU an upcall runs at once, even in the middle of a write.
    pub(crate) one_vcpu: bool,
    /// By port.
    bindings: Vec<Binding>,
    /// Pages of the FIFO event array; never shrinks.
    pages: u32,
    /// The open files by index; no index is used twice.
    files: BTreeMap<usize, Box<File>>,
    /// How many files were ever opened.
    opened: usize,
    /// How many files have no descriptor left but a thread that sleeps in a read.
    closing: usize,
}

impl Driver {
    /// Boots the kernel of a domain: it takes the VIRQs and IPIs of its configuration.
    pub(crate) fn boot(domid: DomId, config: &DomainConfig, xen: &mut Hypervisor) -> Driver {
        let mut driver = Driver {
            domid,
            abi: config.abi,
            knows_static: config.bind_static,
            page_size: config.page_size,
            static_misuses: 0,
            was_restored: false,
            old_ports_released: 0,
            one_vcpu: true,
            bindings: Vec::new(),
            pages: 1,
            files: BTreeMap::new(),
            opened: 0,
            closing: 0,
        };
        driver.begin(config, xen);
        driver
    }

    /// Goes on in a new domain, in which no port of the old one exists. The files keep the numbers of
    /// their ports; the kernel binds its own again.
    pub(crate) fn restore(&mut self, config: &DomainConfig, xen: &mut Hypervisor) {
        for file in self.files.values_mut() {
            file.restore();
        }
        self.was_restored = true;
        self.bindings = Vec::new();
        self.pages = 1;
        self.begin(config, xen);
    }

    /// Takes up the event channels of a new domain.
    fn begin(&mut self, config: &DomainConfig, xen: &mut Hypervisor) {
        let domid = self.domid;
        // This cannot fail: the domain exists, because this is its kernel.
        let _ = xen.switch(domid, config.abi);
        // A kernel that cannot bind one of them boots without it.
        if config.store_port {
            let alloc = |xen: &mut Hypervisor| xen.alloc_unbound(domid, DomId::SELF, domid);
            let _ = self.kernel_bind(xen, alloc);
        }
        for virq in config.kernel_virqs.iter().copied().map(Virq::as_raw) {
            let _ = self.kernel_bind(xen, |xen| xen.bind_virq(domid, virq, 0));
        }
        for _ in 0..config.kernel_ipis {
            if self.kernel_bind(xen, |xen| xen.bind_ipi(domid, 0)).is_err() {
                break;
            }
        }
    }

    // Events and bindings of the kernel itself.

    /// Handles an event: puts it into the ring of the file that bound the port
    /// (`evtchn_interrupt`); a port of the kernel itself is unmasked again at once. A port that is
    /// not bound stays masked. The event of a port that a file has disabled, which something else
    /// unmasked, is ignored (`is_active` in drivers/xen/events/events_base.c).
    #[inline]
    pub(crate) fn upcall(&mut self, xen: &mut Hypervisor, upcall: Upcall) {
        if self.is_active(upcall.port) {
            xen.ignore(upcall);
            return;
        }
        if !xen.handle(upcall) {
            return;
        }
        let Some(binding) = self.bindings.get_mut(upcall.port as usize) else {
            return;
        };
        binding.enabled = false;
        match &mut binding.owner {
            Owner::Free => {}
            Owner::Kernel { events } => {
                *events = events.saturating_add(1);
                self.unmask(xen, upcall.port);
            }
            &mut Owner::File(file) => {
                if let Ok(file) = self.file(file as usize) {
                    file.push(upcall.port);
                }
            }
        }
    }

    /// Binds a port to the kernel itself, as its own drivers do.
    pub(crate) fn kernel_bind(
        &mut self,
        xen: &mut Hypervisor,
        bind: impl FnOnce(&mut Hypervisor) -> Result<u32, Errno>,
    ) -> Result<u32, Errno> {
        let port = bind(xen)?;
        self.check_new(xen, port)?;
        self.bind(xen, port, Owner::Kernel { events: 0 }, false);
        Ok(port)
    }

    /// Closes a port that the kernel itself has bound.
    pub(crate) fn kernel_unbind(&mut self, xen: &mut Hypervisor, port: u32) -> Result<(), Errno> {
        self.kernel_events(port)?;
        self.unbind(xen, port as usize);
        Ok(())
    }

    /// How many events of a port the kernel itself has handled.
    pub(crate) fn kernel_events(&self, port: u32) -> Result<u32, Errno> {
        match self.bindings.get(port as usize).map(|b| b.owner) {
            Some(Owner::Kernel { events }) => Ok(events),
            Some(Owner::Free | Owner::File(_)) | None => Err(Errno::ENOTCONN),
        }
    }

    /// How many port numbers the kernel has room for: all of them under the two-level ABI, those
    /// of the pages added so far under FIFO (`xen_evtchn_nr_channels`).
    pub(crate) fn channels(&self) -> u32 {
        match self.abi {
            Abi::TwoLevel => self.abi.ports(),
            Abi::Fifo => self.pages * PORTS_PER_PAGE,
        }
    }

    // Inside.

    /// Checks a port that Xen just allocated. Where the kernel has a binding for it already (as a
    /// static port that Xen does not know), the port is closed again.
    fn check_new(&self, xen: &mut Hypervisor, port: u32) -> Result<(), Errno> {
        if self.owner(port) == Owner::Free {
            return Ok(());
        }
        let _ = xen.close(self.domid, port);
        Err(Errno::EBUSY)
    }

    /// Enters a binding, enabled, and unmasks the port: a pending event is delivered.
    fn bind(&mut self, xen: &mut Hypervisor, port: u32, owner: Owner, is_static: bool) {
        let index = port as usize;
        if index >= self.bindings.len() {
            self.bindings.resize(index + 1, Binding::NONE);
        }
        self.pages = self.pages.max(port / PORTS_PER_PAGE + 1);
        let place = match owner {
            Owner::File(file) => self
                .file(file as usize)
                .map_or(0, |file| file.bound_one(port)),
            Owner::Free | Owner::Kernel { .. } => 0,
        };
        self.bindings[index] = Binding {
            owner,
            enabled: true,
            is_static,
            place,
        };
        self.unmask(xen, port);
    }

    /// Removes a binding. Its entries stay in the ring. Xen closes the port, unless it is static.
    fn unbind(&mut self, xen: &mut Hypervisor, index: usize) {
        let binding = std::mem::replace(&mut self.bindings[index], Binding::NONE);
        // The table has no more than 2^17 entries.
        let Ok(port) = u32::try_from(index) else {
            return;
        };
        xen.mask(self.domid, port);
        if !binding.is_static {
            let _ = xen.close(self.domid, port);
        }
    }

    /// Clears the mask of a port; with one vCPU a pending event is handled before this returns.
    #[inline]
    fn unmask(&mut self, xen: &mut Hypervisor, port: u32) {
        let before = xen.upcalls();
        xen.unmask(self.domid, port);
        if self.one_vcpu {
            if let Some(upcall) = xen.take_upcall(before) {
                self.upcall(xen, upcall);
            }
        }
    }

    /// Whether a file has a port and has not enabled it again since its event.
    #[inline]
    fn is_active(&self, port: u32) -> bool {
        self.bindings
            .get(port as usize)
            .is_some_and(|it| !it.enabled && matches!(it.owner, Owner::File(_)))
    }

    fn owner(&self, port: u32) -> Owner {
        self.bindings
            .get(port as usize)
            .map_or(Owner::Free, |binding| binding.owner)
    }

    #[inline]
    fn file(&mut self, file: usize) -> Result<&mut File, Errno> {
        let file = self.files.get_mut(&file);
        file.map(Box::as_mut).ok_or(Errno::EBADF)
    }

    pub(crate) fn open_files(&self) -> usize {
        self.files.len()
    }

    /// What has bound a port, for a dump.
    pub(crate) fn describe(&self, port: u32) -> String {
        let Some(binding) = self.bindings.get(port as usize) else {
            return String::new();
        };
        match binding.owner {
            Owner::Free => String::new(),
            Owner::Kernel { events } => format!(" kernel events={events}"),
            Owner::File(file) => {
                let enabled = if binding.enabled {
                    "enabled"
                } else {
                    "disabled"
                };
                format!(" file={file} {enabled}")
            }
        }
    }

    /// One line per open file, for a dump.
    pub(crate) fn describe_files(&self, out: &mut String) -> fmt::Result {
        use fmt::Write;
        for (index, file) in &self.files {
            let bits = file.poll().raw();
            let (size, bound) = (file.ring_size(), file.ports.len());
            write!(
                out,
                "d{} file={index} bound={bound} poll={bits:#05x}",
                self.domid
            )?;
            write!(out, " ring={}/{size}", file.ring().len())?;
            writeln!(out, " {:?}", file.ring().take(16).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
