//! The whole machine: Xen, the Linux kernel of each domain, virtual time, and the order in which
//! events reach their domains.

mod files;
mod kernel;
mod readers;
#[cfg(test)]
mod tests;
mod toolstack;
mod view;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evtchn_core::{DomId, Virq};

use crate::choice::Choice;
use crate::clock::Clock;
use crate::config::{Config, DomainConfig};
use crate::digest::Digest;
use crate::driver::Driver;
use crate::errno::Errno;
use crate::fault::{Faults, Verdict};
use crate::hypervisor::{Hypervisor, Upcall};
pub use files::FileId;
pub use readers::ReaderId;
use readers::Readers;
pub use view::Status;

/// When an event reaches the Linux kernel of its domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Before the call that caused it returns, as with one vCPU.
    #[default]
    Immediate,
    /// When [`World::step`] says so, in an order that the [`Choice`] decides, as with several
    /// vCPUs: a notify returns before the other side is readable.
    Held,
    /// After each call the [`Choice`] decides how many of the held ones arrive, and which.
    Chosen,
}

/// What happens when a timer is due.
type Action = Box<dyn FnOnce(&mut World) + Send>;

/// A Linux kernel and the boot that it is.
#[derive(Debug)]
struct Kernel {
    /// Which boot it is, of all boots of all machines.
    boot: u64,
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
    Reset,
    Alloc,
    RaisePirq,
}

/// One who opens devices: the faults that are set for him, and what he opened.
#[derive(Debug, Default)]
pub(crate) struct Opener {
    pub(crate) faults: Faults,
    pub(crate) opens: u64,
    pub(crate) last: Option<FileId>,
}

/// How many machines were made: what tells the boots of one from those of another, so that a file
/// of another machine is none of this one.
static MACHINES: AtomicU64 = AtomicU64::new(0);

/// The simulated machine.
///
/// On files it takes the calls of a C program, with any number and any pointer:
///
/// | the C program | here |
/// | --- | --- |
/// | `open`, `dup` and `fork`, `close` | [`open`](World::open), [`open_with`](World::open_with), [`dup`](World::dup), [`close`](World::close) |
/// | `ioctl` with any number and pointer | [`ioctl`](World::ioctl), an [`Arg`](crate::abi::Arg) |
/// | `read`, `write`, also of bad memory | [`read`](World::read), [`read_bad`](World::read_bad), [`write`](World::write), [`write_bad`](World::write_bad) |
/// | `read` that may sleep, in a thread | [`read_blocking`](World::read_blocking), [`end_of_read`](World::end_of_read) |
/// | a signal for that thread | [`signal`](World::signal), [`signal_restarting`](World::signal_restarting) |
/// | `O_NONBLOCK` and `O_ASYNC` later | [`set_nonblocking`](World::set_nonblocking), the requests `FIONBIO`, `FIOASYNC` |
/// | `poll`; edges; `SIGIO` | [`poll`](World::poll), [`wakes`](World::wakes), [`signals`](World::signals) |
/// | `lseek`, `pread` and `pwrite`, `mmap` | [`seek`](World::seek), [`at_offset`](World::at_offset), [`map`](World::map) |
///
/// An open file is named by its [`FileId`], whatever descriptor a program would use.
///
/// ```
/// use evtchn_core::DomId;
/// use evtchn_sim::abi::{self, Access, Arg};
/// use evtchn_sim::{Config, Errno, World};
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
    choice: Choice,
    clock: Clock<Action>,
    digest: Digest,
    pub(crate) openers: Vec<Opener>,
    /// How many descriptors were ever made.
    pub(crate) descriptors: u64,
}

impl World {
    /// A machine on which domain 0 has booted.
    #[must_use]
    pub fn new(config: Config) -> World {
        let mut world = World {
            xen: Hypervisor::new(config.xen),
            readers: Readers::default(),
            kernels: Vec::new(),
            boots: MACHINES.fetch_add(1, Ordering::Relaxed) << 32,
            delivery: Delivery::Immediate,
            choice: config.choice,
            clock: Clock::new(),
            digest: Digest::new(),
            openers: Vec::new(),
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
        self.xen.reset(domid, DomId::SELF)?;
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

    // When events arrive.

    /// Decides when events reach their domains from now on. What is held arrives now, if it is
    /// to be immediate.
    pub fn set_delivery(&mut self, delivery: Delivery) {
        self.delivery = delivery;
        for kernel in self.kernels.iter_mut().flatten() {
            kernel.driver.one_vcpu = delivery == Delivery::Immediate;
        }
        self.upcalls();
    }

    /// How many ports are deliverable and held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.xen.upcalls()
    }

    /// Lets one of the held ports arrive, chosen by the [`Choice`]. False where none is held.
    pub fn step(&mut self) -> bool {
        let index = self.choice.of(self.xen.upcalls());
        let Some(upcall) = self.xen.take_upcall(index) else {
            return false;
        };
        self.happened(Happening::Upcall, upcall.port);
        self.deliver(upcall);
        true
    }

    /// Lets every held port arrive, in a chosen order.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// The source of the free decisions, for those of the caller.
    pub const fn choice(&mut self) -> &mut Choice {
        &mut self.choice
    }

    // Time.

    /// The time since the start of the world.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Lets time pass. Every timer that is due meanwhile acts at its own time.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now().saturating_add(by);
        while let Some(action) = self.clock.next(until) {
            action(self);
        }
    }

    /// Acts once `delay` has passed.
    pub fn after(&mut self, delay: Duration, action: impl FnOnce(&mut World) + Send + 'static) {
        self.clock.after(delay, Box::new(action));
    }

    /// When the next timer is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.clock.next_deadline()
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

    /// Ends a call: lets arrive what the kind of delivery says.
    #[inline]
    fn upcalls(&mut self) {
        if self.xen.upcalls() == 0 {
            return;
        }
        match self.delivery {
            Delivery::Immediate => {
                while let Some(upcall) = self.xen.take_upcall(0) {
                    self.deliver(upcall);
                }
            }
            Delivery::Held => {}
            Delivery::Chosen => while self.choice.flip() && self.step() {},
        }
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
        self.run_readers();
    }

    /// Enters a fault into the digest; answers the most ports that the call may move.
    pub(crate) fn faulted(&mut self, verdict: Verdict) -> Result<usize, Errno> {
        match verdict {
            Verdict::Fail(errno) => {
                self.happened(Happening::Fault, errno.raw().cast_unsigned());
                Err(errno)
            }
            Verdict::Short(ports) => Ok(ports),
        }
    }

    fn happened(&mut self, what: Happening, number: u32) {
        self.digest.pair(u32::MAX - what as u32, number);
    }
}
