//! The handle that a test holds on the simulated machine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::{Backend, DomId, Port, PortStatus, RemotePort, Virq};

use crate::config::{Config, DomainConfig};
use crate::device::SimOpen;
use crate::errno::Errno;
use crate::fault::Fault;
use crate::privcmd::SimPrivcmd;
use crate::world::{Delivery, World};

/// A handle on one simulated machine; clones are handles on the same one.
///
/// Devices opened through [`open`](Self::open) run on it from any thread. The calls of this handle
/// are those of the world outside of the program under test: other domains, Xen, time.
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, EventChannel, Open, PortBuf};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let domu = sim.create_domain()?;
/// let device = sim.open(DomId::DOM0).open()?;
/// let port = device.bind_unbound_port(domu)?;
///
/// // The guest's side.
/// let guest = sim.guest(domu);
/// let theirs = guest.bind_interdomain(DomId::DOM0, port)?;
/// guest.send(theirs)?;
///
/// let mut fired = PortBuf::with_capacity(16);
/// device.pending(&mut fired)?;
/// assert_eq!(fired.words(), [port.as_raw()]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sim(Arc<Mutex<World>>);

impl PartialEq for Sim {
    /// Whether both are handles on the same machine.
    fn eq(&self, other: &Sim) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Sim {}

impl Sim {
    /// A machine with an ordinary domain 0 ([`Config::seeded`]).
    #[must_use]
    pub fn new(seed: u64) -> Sim {
        Sim::with_config(Config::seeded(seed))
    }

    /// A machine made to order.
    #[must_use]
    pub fn with_config(config: Config) -> Sim {
        Sim(Arc::new(Mutex::new(World::new(config))))
    }

    /// Calls `act` with the machine itself. `act` must not use a handle or a device of this
    /// machine, which is locked meanwhile.
    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.lock())
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        // A test that panics leaves the machine as it is, with nothing half done that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens devices in a domain.
    #[must_use]
    pub fn open(&self, domid: DomId) -> SimOpen {
        SimOpen::new(self, domid)
    }

    /// A backend whose devices are in a domain of this machine.
    ///
    /// In the event loop of `evtchn::poll` it runs in the machine's time: in a sleep, events that
    /// are due arrive, a deadline passes at once, and a sleep that nothing could end returns an
    /// error. Other loops poll a descriptor, in real time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use evtchn::poll::PollLoop;
    /// use evtchn::sim::Sim;
    /// use evtchn::{Context, DomId, Error};
    ///
    /// let sim = Sim::new(1);
    /// let ctx: Context<PollLoop> = Context::new(sim.backend(DomId::DOM0))?;
    /// let channel = ctx.bind_unbound_port(DomId::SELF)?;
    /// assert_eq!(channel.block_for(Duration::from_secs(3600))?, None); // at once
    /// assert_eq!(sim.now(), Duration::from_secs(3600));
    /// assert!(matches!(channel.block(), Err(Error::Sleep(_)))); // it would be for ever
    /// # Ok::<_, Error>(())
    /// ```
    #[must_use]
    pub fn backend(&self, domid: DomId) -> Backend {
        self.open(domid).in_own_time().into()
    }

    /// Asks Xen for the state of ports, as a program in a domain.
    #[must_use]
    pub fn privcmd(&self, domid: DomId) -> SimPrivcmd {
        SimPrivcmd::new(self.open(domid))
    }

    /// What the kernel of a domain does on its own.
    #[must_use]
    pub fn guest(&self, domid: DomId) -> Guest {
        Guest {
            sim: self.clone(),
            domid,
        }
    }

    /// Creates an unprivileged domain with an id of its own ([`DomainConfig::guest`]).
    ///
    /// # Errors
    /// As [`World::create_domain`].
    pub fn create_domain(&self) -> Result<DomId, Errno> {
        self.create_domain_with(None, &DomainConfig::guest())
    }

    /// Creates an unprivileged domain with this id.
    ///
    /// # Errors
    /// As [`World::create_domain`].
    pub fn create_domain_with_id(&self, domid: DomId) -> Result<DomId, Errno> {
        self.create_domain_with(Some(domid), &DomainConfig::guest())
    }

    /// Creates a domain.
    ///
    /// # Errors
    /// As [`World::create_domain`].
    pub fn create_domain_with(
        &self,
        domid: Option<DomId>,
        config: &DomainConfig,
    ) -> Result<DomId, Errno> {
        self.lock().create_domain(domid, config)
    }

    /// Destroys a domain.
    ///
    /// # Errors
    /// As [`World::destroy_domain`].
    pub fn destroy_domain(&self, domid: DomId) -> Result<(), Errno> {
        self.lock().destroy_domain(domid)
    }

    /// Saves a domain and restores it at once, as when it is migrated.
    ///
    /// # Errors
    /// As [`World::save_restore`].
    pub fn save_restore(&self, domid: DomId) -> Result<(), Errno> {
        self.lock().save_restore(domid)
    }

    /// Saves a domain that goes on afterwards.
    ///
    /// # Errors
    /// As [`World::checkpoint`].
    pub fn checkpoint(&self, domid: DomId) -> Result<(), Errno> {
        self.lock().checkpoint(domid)
    }

    /// Raises a virtual interrupt for a domain.
    ///
    /// # Errors
    /// As [`World::raise_virq`].
    pub fn raise_virq(&self, domid: DomId, virq: Virq) -> Result<(), Errno> {
        self.lock().raise_virq(domid, virq)
    }

    /// The state of a port of a domain, asked by that domain.
    ///
    /// # Errors
    /// As [`World::status`].
    pub fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, Errno> {
        self.lock().status(domid, DomId::SELF, port.as_raw())
    }

    /// Sets when events reach their domains from now on.
    pub fn set_delivery(&self, delivery: Delivery) {
        self.lock().set_delivery(delivery);
    }

    /// Installs a fault for every device of the machine, through whichever opener it was opened.
    pub fn install(&self, fault: Fault) {
        self.lock().install(None, fault);
    }

    /// Removes the faults that were installed for every device.
    pub fn clear_faults(&self) {
        self.lock().faults.clear(None);
    }

    /// How many ports are deliverable and held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().held()
    }

    /// Lets one held port arrive. False where none is held.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn step(&self) -> bool {
        self.lock().step()
    }

    /// Lets every held port arrive.
    pub fn run(&self) {
        self.lock().run();
    }

    /// The time since the start of the machine.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.lock().now()
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.lock().advance(by);
    }

    /// When the next timer is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.lock().next_deadline()
    }

    /// Calls `action` with the machine itself, which is locked then, once `delay` has passed.
    pub fn after(&self, delay: Duration, action: impl FnOnce(&mut World) + Send + 'static) {
        self.lock().after(delay, action);
    }

    /// How many files are open in all domains.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.lock().open_files()
    }

    /// Every port that is not free and every open file, a line each.
    #[must_use]
    pub fn dump(&self) -> String {
        self.lock().dump()
    }

    /// A hash over all that happened: [`World::digest`].
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.lock().digest()
    }
}

/// The kernel of one domain: its ports belong to no file, and it handles an event at once.
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, EventChannel, Open};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let device = sim.open(DomId::DOM0).open()?;
/// let ours = device.bind_unbound_port(guest.domid())?;
///
/// let theirs = guest.bind_interdomain(DomId::DOM0, ours)?;
/// assert_eq!(guest.events(theirs)?, 1); // the bind brings one
/// device.notify(ours)?;
/// assert_eq!(guest.events(theirs)?, 2);
/// guest.send(theirs)?;
/// guest.close(theirs)?; // which sends no event to the other end
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Guest {
    sim: Sim,
    domid: DomId,
}

impl Guest {
    /// The id of the domain.
    #[must_use]
    pub const fn domid(&self) -> DomId {
        self.domid
    }

    /// Allocates a port that `remote` may bind to.
    ///
    /// # Errors
    /// As [`World::kernel_alloc_unbound`].
    pub fn alloc_unbound(&self, remote: DomId) -> Result<Port, Errno> {
        port(self.sim.lock().kernel_alloc_unbound(self.domid, remote))
    }

    /// Binds a new port to `port` of `remote`.
    ///
    /// # Errors
    /// As [`World::kernel_bind_interdomain`].
    pub fn bind_interdomain(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno> {
        let mut world = self.sim.lock();
        port(world.kernel_bind_interdomain(self.domid, remote, remote_port.as_raw()))
    }

    /// Binds a virtual interrupt to a new port.
    ///
    /// # Errors
    /// As [`World::kernel_bind_virq`].
    pub fn bind_virq(&self, virq: Virq) -> Result<Port, Errno> {
        port(self.sim.lock().kernel_bind_virq(self.domid, virq))
    }

    /// Sends through a port.
    ///
    /// # Errors
    /// As [`World::kernel_send`].
    pub fn send(&self, port: Port) -> Result<(), Errno> {
        self.sim.lock().kernel_send(self.domid, port.as_raw())
    }

    /// Closes a port.
    ///
    /// # Errors
    /// As [`World::kernel_close`].
    pub fn close(&self, port: Port) -> Result<(), Errno> {
        self.sim.lock().kernel_close(self.domid, port.as_raw())
    }

    /// How many events it has handled on a port.
    ///
    /// # Errors
    /// As [`World::kernel_events`].
    pub fn events(&self, port: Port) -> Result<u32, Errno> {
        self.sim.lock().kernel_events(self.domid, port.as_raw())
    }

    /// A port of this domain, as other domains name it.
    #[must_use]
    pub const fn remote(&self, port: Port) -> RemotePort {
        RemotePort {
            domid: self.domid,
            port,
        }
    }
}

fn port(answer: Result<u32, Errno>) -> Result<Port, Errno> {
    // Xen never gives a port number that a Port cannot hold.
    Port::new(answer?).ok_or(Errno::EINVAL)
}
