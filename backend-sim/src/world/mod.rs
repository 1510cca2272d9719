//! The whole machine: Xen, the Linux kernel of each domain, virtual time, and the order in which
//! events reach their domains.

mod faults;
mod files;
mod kernel;
mod observe;
mod readers;
mod restore;
mod schedule;
#[cfg(test)]
mod tests;
mod toolstack;
mod view;

use std::sync::atomic::{AtomicU64, Ordering};

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
pub use observe::Happened;
use observe::Observer;
pub use readers::ReaderId;
use readers::Readers;
use schedule::Action;
pub use schedule::Delivery;

/// A Linux kernel, and which boot it is.
#[derive(Debug)]
struct Kernel {
    /// The number of this boot, among all boots of all machines.
    boot: u64,
    config: DomainConfig,
    driver: Driver,
}

/// What happened besides calls on files, as the digest distinguishes it.
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
    KernelUnmask,
    KernelMove,
    Fault,
    Upcall,
    SetNonblocking,
    BlockingRead,
    Signal,
    Pause,
    Unpause,
    ShutDown,
    Restore,
    Checkpoint,
    Reset,
    Alloc,
    RaisePirq,
}

/// How many machines were made. It makes the boots of one machine differ from those of another, so
/// that a file of another machine is refused.
static MACHINES: AtomicU64 = AtomicU64::new(0);

/// The simulated machine.
///
/// Its calls on files are those of a C program, with any number and any pointer:
///
/// | the C program | here |
/// | --- | --- |
/// | `open`, `dup` and `fork`, `close` | [`open`](World::open), [`open_with`](World::open_with), [`dup`](World::dup), [`close`](World::close) |
/// | `ioctl` with any number and pointer | [`ioctl`](World::ioctl), an [`Arg`](crate::abi::Arg) |
/// | `read`, `write` | [`read`](World::read), [`write`](World::write) |
/// | the same with memory that is not mapped, or ends early | [`read_bad`](World::read_bad), [`read_cut`](World::read_cut), [`write_bad`](World::write_bad), [`write_cut`](World::write_cut) |
/// | `read` that may sleep, in a thread | [`read_blocking`](World::read_blocking), [`end_of_read`](World::end_of_read) |
/// | a signal for that thread | [`signal`](World::signal), [`signal_restarting`](World::signal_restarting) |
/// | `O_NONBLOCK` and `O_ASYNC` later | [`set_nonblocking`](World::set_nonblocking), the requests `FIONBIO`, `FIOASYNC` |
/// | `poll`; edges; `SIGIO` | [`poll`](World::poll), [`wakes`](World::wakes), [`signals`](World::signals) |
/// | `lseek`, `pread` and `pwrite`, `mmap` | [`seek`](World::seek), [`at_offset`](World::at_offset), [`map`](World::map) |
///
/// An open file is named by its [`FileId`], whatever descriptor a program would use.
///
/// ```
/// use evtchn::DomId;
/// use evtchn::sim::abi::{self, Access, Arg};
/// use evtchn::sim::{Config, Errno, World};
///
/// # fn main() -> Result<(), Errno> {
/// let mut world = World::new(Config::seeded(1));
/// let file = world.open_with(DomId::DOM0, Access::ReadWrite, false)?;
/// assert_eq!(world.ioctl(file, abi::NOTIFY, Arg::Bad), Err(Errno::EFAULT));
///
/// let waiting = world.ioctl(file, abi::BIND_UNBOUND_PORT, 0)?;
/// let reader = world.read_blocking(file, 4)?;
/// assert_eq!(world.end_of_read(reader), None);
/// let bound = world.ioctl(file, abi::BIND_INTERDOMAIN, [0, waiting])?;
/// assert_eq!(world.end_of_read(reader), Some(Ok(bound.to_ne_bytes().to_vec())));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct World {
    xen: Hypervisor,
    readers: Readers,
    /// By domain id.
    kernels: Vec<Option<Box<Kernel>>>,
    boots: u64,
    delivery: Delivery,
    /// How many timers are set to let a delayed port arrive.
    late: usize,
    choice: Choice,
    clock: Clock<Action>,
    digest: Digest,
    observer: Option<Observer>,
    /// A call on a file is about to return.
    within: bool,
    /// Some domain was restored.
    has_restored: bool,
    pub(crate) faults: Faults,
    /// How many descriptors were ever made.
    pub(crate) descriptors: u64,
}

impl World {
    /// A machine on which domain 0 has booted.
    #[must_use]
    pub fn new(config: Config) -> World {
        let mut world = World {
            xen: Hypervisor::new(config.xen, config.policy),
            readers: Readers::default(),
            kernels: Vec::new(),
            boots: MACHINES.fetch_add(1, Ordering::Relaxed) << 32,
            delivery: Delivery::Immediate,
            late: 0,
            choice: config.choice,
            clock: Clock::new(),
            digest: Digest::new(),
            observer: None,
            within: false,
            has_restored: false,
            faults: Faults::default(),
            descriptors: 0,
        };
        // This cannot fail: id 0 is free on a new machine.
        let _ = world.create_domain(Some(DomId::DOM0), &config.dom0);
        world
    }

    // Domains.

    /// Creates a domain and boots its kernel. Without an id it gets the one that was unused for
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
        self.report(Happened::Create(domid, config.max_port));
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
        self.report(Happened::Other("kexec"));
        self.xen.reset(domid, DomId::SELF)?;
        self.boot(domid, kernel.config);
        Ok(())
    }

    /// Destroys a domain: its programs and its kernel are gone, and its ports are closed from the
    /// highest down, which sends no event to their peers. `DOM_EXC` is raised twice, as Xen does.
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
        self.report(Happened::Kill(domid));
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
        self.report(Happened::Remove(domid));
        self.upcalls();
        Ok(())
    }

    /// Raises a virtual interrupt for a domain, on its first vCPU. A global one is dropped unless
    /// this domain handles it.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for a number that Xen does not have.
    pub fn raise_virq(&mut self, domid: DomId, virq: Virq) -> Result<(), Errno> {
        self.raise_virq_on(domid, virq, 0)
    }

    /// Raises a virtual interrupt for a domain, on one of its vCPUs. It is dropped where no port of that
    /// vCPU is bound to it.
    ///
    /// # Errors
    /// As [`raise_virq`](Self::raise_virq).
    pub fn raise_virq_on(&mut self, domid: DomId, virq: Virq, vcpu: u32) -> Result<(), Errno> {
        self.xen.raise_virq(domid, virq.as_raw(), vcpu)?;
        self.happened(Happening::Raise, virq.as_raw());
        self.report(Happened::Raise(domid, virq));
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
        let Upcall { domid, port } = upcall;
        let within = self.within;
        self.report(Happened::Deliver {
            domid,
            port,
            within,
        });
        let kernel = self.kernels.get_mut(usize::from(upcall.domid.as_raw()));
        if let Some(kernel) = kernel.and_then(Option::as_deref_mut) {
            kernel.driver.upcall(&mut self.xen, upcall);
        }
        self.run_readers();
    }

    fn happened(&mut self, what: Happening, number: u32) {
        self.digest.pair(u32::MAX - what as u32, number);
    }
}
