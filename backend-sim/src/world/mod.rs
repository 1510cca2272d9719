//! The whole machine: Xen, the Linux kernel of each domain, virtual time, and the order in which
//! events reach their domains.

mod faults;
mod files;
mod kernel;
mod schedule;
#[cfg(test)]
mod tests;
mod view;

use evtchn_core::{DomId, Virq};

use crate::choice::Choice;
use crate::clock::Clock;
use crate::config::{Config, DomainConfig};
use crate::digest::Digest;
use crate::driver::Driver;
use crate::errno::Errno;
use crate::fault::Faults;
use crate::hypervisor::{Hypervisor, Upcall};
pub use files::FileId;
use schedule::Action;
pub use schedule::Delivery;
pub use view::Status;

/// A Linux kernel and the boot that it is.
#[derive(Debug)]
struct Kernel {
    boot: u32,
    config: DomainConfig,
    driver: Driver,
}

/// What happened besides calls on files, as the digest tells it apart.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Create,
    Kexec,
    Kill,
    Remove,
    Raise,
    Open,
    Dup,
    Close,
    Overflow,
    KernelBind,
    KernelSend,
    KernelClose,
    Fault,
    Upcall,
}

/// The simulated machine.
#[derive(Debug)]
pub struct World {
    xen: Hypervisor,
    /// By domain id.
    kernels: Vec<Option<Box<Kernel>>>,
    boots: u32,
    delivery: Delivery,
    /// How many timers are set to let a delayed port arrive.
    late: usize,
    choice: Choice,
    clock: Clock<Action>,
    digest: Digest,
    pub(crate) faults: Faults,
    /// How many descriptors were ever made.
    pub(crate) descriptors: u64,
}

impl World {
    /// A machine on which domain 0 has booted.
    #[must_use]
    pub fn new(config: Config) -> World {
        let mut world = World {
            xen: Hypervisor::new(config.xen),
            kernels: Vec::new(),
            boots: 0,
            delivery: Delivery::Immediate,
            late: 0,
            choice: config.choice,
            clock: Clock::new(),
            digest: Digest::new(),
            faults: Faults::default(),
            descriptors: 0,
        };
        // Id 0 is free on a new machine.
        let _ = world.create_domain(Some(DomId::DOM0), &config.dom0);
        world
    }

    // Domains.

    /// Creates a domain and boots its kernel. Without an id it gets one that was not used for
    /// the longest time.
    ///
    /// # Errors
    /// `EEXIST` for an id in use, `EINVAL` for a reserved one or a number of vCPUs out of
    /// range, `ENOMEM` where no id is left.
    pub fn create_domain(
        &mut self,
        domid: Option<DomId>,
        config: &DomainConfig,
    ) -> Result<DomId, Errno> {
        let domid = match domid {
            Some(domid) => domid,
            None => self.xen.unused_domid()?,
        };
        self.xen.create(domid, config)?;
        self.happened(Happening::Create, domid.as_raw().into());
        self.boot(domid, config.clone());
        Ok(domid)
    }

    /// Starts another kernel in a domain: its programs are gone, its ports are closed
    /// (`EVTCHNOP_reset`), and the new kernel boots as the old one did.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain.
    pub fn kexec_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        let place = self.kernels.get_mut(usize::from(domid.as_raw()));
        let kernel = place.and_then(Option::take).ok_or(Errno::ESRCH)?;
        self.happened(Happening::Kexec, domid.as_raw().into());
        self.xen.reset(domid)?;
        self.boot(domid, kernel.config);
        Ok(())
    }

    /// Destroys a domain: its programs and its kernel are gone, its ports are closed from the
    /// highest down, peers are told nothing. `DOM_EXC` is raised twice, as Xen does.
    ///
    /// # Errors
    /// As [`kill_domain`](Self::kill_domain).
    pub fn destroy_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.kill_domain(domid)?;
        self.remove_domain(domid)
    }

    /// The first half of [`destroy_domain`](Self::destroy_domain): afterwards the id still names
    /// the domain, but nothing can be bound in it or to it.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for one that is dying already and for domain 0.
    pub fn kill_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.xen.kill(domid)?;
        if let Some(kernel) = self.kernels.get_mut(usize::from(domid.as_raw())) {
            *kernel = None;
        }
        self.happened(Happening::Kill, domid.as_raw().into());
        self.upcalls();
        Ok(())
    }

    /// The second half of [`destroy_domain`](Self::destroy_domain): the id is free again.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EBUSY` for one that was not killed.
    pub fn remove_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.xen.remove(domid)?;
        self.happened(Happening::Remove, domid.as_raw().into());
        self.upcalls();
        Ok(())
    }

    /// Raises a virtual interrupt for a domain, on its first vCPU. A global one goes nowhere
    /// unless this domain handles it.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for a number that Xen does not have.
    pub fn raise_virq(&mut self, domid: DomId, virq: Virq) -> Result<(), Errno> {
        self.xen.raise_virq(domid, virq.as_raw(), 0)?;
        self.happened(Happening::Raise, virq.as_raw());
        self.upcalls();
        Ok(())
    }

    /// Makes a domain the handler of a global virtual interrupt.
    ///
    /// # Errors
    /// `EINVAL` for one that is not global, `ESRCH` for an unknown domain, from Xen 4.21 on
    /// `EBUSY` while the present handler has it bound.
    pub fn set_virq_handler(&mut self, domid: DomId, virq: Virq) -> Result<(), Errno> {
        self.xen.set_virq_handler(domid, virq.as_raw())
    }

    /// Connects two ports by number, as the device tree of a statically partitioned machine
    /// does. The second one is pending.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `ENOSPC` for a number that it cannot have, `EBUSY` for a
    /// port in use.
    pub fn connect_static(&mut self, one: (DomId, u32), two: (DomId, u32)) -> Result<(), Errno> {
        self.xen.connect_static(one, two)
    }

    // Inside.

    /// Boots a kernel in a domain that has none.
    fn boot(&mut self, domid: DomId, config: DomainConfig) {
        let mut driver = Driver::boot(domid, &config, &mut self.xen);
        driver.one_vcpu = self.delivery == Delivery::Immediate;
        self.boots += 1;
        let index = usize::from(domid.as_raw());
        if index >= self.kernels.len() {
            self.kernels.resize_with(index + 1, || None);
        }
        self.kernels[index] = Some(Box::new(Kernel {
            boot: self.boots,
            config,
            driver,
        }));
        self.upcalls();
    }

    /// The kernel of a domain.
    fn booted(&mut self, domid: DomId) -> Result<(&mut Driver, &mut Hypervisor), Errno> {
        let kernel = self.kernels.get_mut(usize::from(domid.as_raw()));
        match kernel.and_then(Option::as_deref_mut) {
            Some(kernel) => Ok((&mut kernel.driver, &mut self.xen)),
            None => Err(Errno::ESRCH),
        }
    }

    #[inline]
    fn deliver(&mut self, upcall: Upcall) {
        let kernel = self.kernels.get_mut(usize::from(upcall.domid.as_raw()));
        if let Some(kernel) = kernel.and_then(Option::as_deref_mut) {
            kernel.driver.upcall(&mut self.xen, upcall);
        }
    }

    fn happened(&mut self, what: Happening, number: u32) {
        self.digest.pair(u32::MAX - what as u32, number);
    }
}
