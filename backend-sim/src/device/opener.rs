//! Opens simulated devices, and holds the faults for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evtchn_core::{DeviceError, DomId, ForkMark, Open, PortStatuses};

use super::{SimDevice, made_by, open_failed};
use crate::errno::Errno;
use crate::error::Call;
use crate::fault::Fault;
use crate::privcmd::SimPrivcmd;
use crate::sim::Sim;
use crate::world::FileId;

/// Opens the device in one domain of a simulated machine. Clones share counters and faults.
///
/// ```
/// use evtchn::sim::{Call, Errno, Sim, SimLoop};
/// use evtchn::{Context, DomId};
///
/// let opener = Sim::new(1).open(DomId::DOM0);
/// let ctx = Context::with_registrar(opener.clone(), SimLoop::level());
/// opener.fail_next(Call::Open, Errno::ENOENT);
/// assert!(ctx.bind_unbound_port(DomId::SELF).is_err());
/// let _channel = ctx.bind_unbound_port(DomId::SELF)?;
/// assert_eq!((opener.opens(), opener.faults_left()), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SimOpen {
    pub(super) sim: Sim,
    domid: DomId,
    /// Sleeps pass in the time of the machine.
    in_own_time: bool,
    /// Its devices notify many ports in one hypercall.
    multicall: bool,
    /// Its devices do not notice a restore.
    raw: bool,
    pub(super) opener: Arc<Opener>,
}

/// What the clones of a [`SimOpen`] share. The faults of one are the machine's faults that name it.
#[derive(Debug, Default)]
pub(crate) struct Opener {
    opens: AtomicU64,
    last: Mutex<Option<FileId>>,
    /// What [`SimOpen::fork`] adds to the number of the real process.
    forks: Arc<AtomicU64>,
}

/// Greater than every number of a real process.
const ONE_FORK: u64 = 1 << 32;

impl SimOpen {
    pub(crate) fn new(sim: &Sim, domid: DomId) -> SimOpen {
        SimOpen {
            sim: sim.clone(),
            domid,
            in_own_time: false,
            multicall: false,
            raw: false,
            opener: Arc::default(),
        }
    }

    /// Simulates a fork within one process. From now on the calls are those of a forked child:
    /// contexts made and devices opened through this so far are inherited, and belong to the
    /// parent. What holds a second descriptor of the file, from [`dup`](Self::dup) after this,
    /// plays the parent.
    ///
    /// A real fork(2) of the program is noticed as well. There the child has a copy of the machine;
    /// it changes nothing of what parent and child share, such as the descriptor that event loops
    /// poll.
    pub fn fork(&self) {
        self.opener.forks.fetch_add(ONE_FORK, Ordering::Relaxed);
    }

    /// The same opener, but for its devices the loop `evtchn_xen::PollLoop` lets the machine's time
    /// pass instead of sleeping: [`Sim::backend`].
    pub(crate) fn in_own_time(mut self) -> SimOpen {
        self.in_own_time = true;
        self
    }

    /// The same opener, but its devices notify many ports in one hypercall, as those of
    /// `evtchn_xen::XenOpen` with `Multicall::Always`: Xen alone checks the ports. In a domain
    /// that is not privileged, the hypercall is refused, and a device makes an ioctl for each port.
    /// A fault for [`Call::Notify`] hits a port of a batch too.
    ///
    /// ```
    /// use evtchn::sim::{Errno, Sim};
    /// use evtchn::{DomId, EventChannel, Open, RemotePort};
    ///
    /// let device = Sim::new(1).open(DomId::DOM0).multicall().open()?;
    /// let [one, free] = [(); 2].map(|()| device.bind_unbound_port(DomId::SELF));
    /// let (one, free) = (one?, free?);
    /// device.unbind(free)?;
    /// let mut refused = Vec::new();
    /// device.notify_many(&[one, free], &mut |place, error| refused.push((place, error.code())));
    /// // An ioctl would be refused with ENOTCONN.
    /// assert_eq!(refused, [(1, Some(Errno::EINVAL.raw()))]);
    /// # Ok::<_, evtchn::DeviceError>(())
    /// ```
    #[must_use]
    pub fn multicall(mut self) -> SimOpen {
        self.multicall = true;
        self
    }

    /// The same opener, but its devices are as a C program has them, which does not notice a
    /// [restore](crate::World::save_restore) of its domain: their calls go to the kernel as before, and dropping one
    /// closes its file, with its ports from before.
    ///
    /// ```
    /// use evtchn_core::{DomId, Open};
    /// use evtchn_sim::{Sim, abi};
    ///
    /// let sim = Sim::new(1);
    /// let device = sim.open(sim.create_domain()?).raw().open()?;
    /// let port = device.ioctl_raw(abi::BIND_UNBOUND_PORT, [0, 0])?;
    /// sim.save_restore(device.file().domid())?;
    /// device.ioctl_raw(abi::NOTIFY, [port, 0])?; // without effect
    /// drop(device);
    /// assert_eq!(sim.with(|world| world.old_ports_released()), 1); // which a kernel need not survive
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn raw(mut self) -> SimOpen {
        self.raw = true;
        self
    }

    pub(crate) const fn is_raw(&self) -> bool {
        self.raw
    }

    pub(super) const fn has_multicall(&self) -> bool {
        self.multicall
    }

    pub(super) const fn is_in_own_time(&self) -> bool {
        self.in_own_time
    }

    /// The domain.
    #[must_use]
    pub const fn domid(&self) -> DomId {
        self.domid
    }

    /// The machine.
    #[must_use]
    pub const fn sim(&self) -> &Sim {
        &self.sim
    }

    /// What clones share.
    pub(crate) const fn shared(&self) -> &Arc<Opener> {
        &self.opener
    }

    /// How many devices were opened through this.
    #[must_use]
    pub fn opens(&self) -> u64 {
        self.opener.opens.load(Ordering::Relaxed)
    }

    /// Makes the next `call` fail, on this opener or on any device opened through it. The call does
    /// nothing else.
    pub fn fail_next(&self, call: Call, errno: Errno) {
        self.fail_nth(call, 1, errno);
    }

    /// Makes the `nth` such call from now on fail; 1 is the next one. Where two faults are due at
    /// the same call, the one that was set later hits the call after it.
    pub fn fail_nth(&self, call: Call, nth: u64, errno: Errno) {
        self.install(Fault::fail(call, errno).nth(nth));
    }

    /// Makes the next `call` move at most this many ports: for [`Call::Pending`] and
    /// [`Call::Unmask`], without effect on others.
    pub fn shorten_next(&self, call: Call, ports: usize) {
        self.install(Fault::short(call, ports).nth(1));
    }

    /// Installs a fault for opening devices through this, and for those devices.
    pub fn install(&self, fault: Fault) {
        self.sim.lock().install(Some(&self.opener), fault);
    }

    /// Removes every fault that was installed here, even one that was used up.
    pub fn clear_faults(&self) {
        self.sim.lock().faults.clear(Some(&self.opener));
    }

    /// How many faults that were set here for one call have not hit one yet.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.sim.lock().faults.left(Some(&self.opener))
    }

    /// The file that was opened last, open or not, for the calls of [`World`](crate::World).
    #[must_use]
    pub fn last(&self) -> Option<FileId> {
        *self.opener.last()
    }

    /// Makes the ring of the file that was opened last overflow at once: [`World::overflow`](crate::World::overflow).
    ///
    /// # Errors
    /// `EBADF` where it is closed, or none was opened.
    pub fn overflow(&self) -> Result<(), Errno> {
        let last = self.last().ok_or(Errno::EBADF)?;
        self.sim.lock().overflow(last)
    }

    /// A second descriptor of the file that was opened last, as [`SimDevice::dup`] makes it. It
    /// gives a test access to the device that a context has opened.
    ///
    /// # Errors
    /// `EBADF` where it is closed, or none was opened.
    pub fn dup(&self) -> Result<SimDevice, DeviceError> {
        let mut world = self.sim.lock();
        let last = self.last().ok_or(Errno::EBADF);
        last.and_then(|file| SimDevice::dup_of(self, &mut world, file))
            .map_err(open_failed)
    }
}

impl Opener {
    fn last(&self) -> MutexGuard<'_, Option<FileId>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open for SimOpen {
    type Device = SimDevice;

    fn open(&self) -> Result<SimDevice, DeviceError> {
        let process = made_by().map_err(open_failed)?;
        let mut world = self.sim.lock();
        let file = world
            .judge(&self.opener, Call::Open, None)
            .and_then(|_| world.open(self.domid))
            .map_err(open_failed)?;
        if self.raw {
            world.unwatch(file).map_err(open_failed)?;
        }
        self.opener.opens.fetch_add(1, Ordering::Relaxed);
        *self.opener.last() = Some(file);
        Ok(SimDevice::new(self, &mut world, file, process))
    }

    fn process(&self) -> u64 {
        self.opener.forks.load(Ordering::Relaxed) + evtchn_fork::number()
    }

    #[inline]
    fn is_current(&self, process: u64) -> bool {
        self.opener.forks.load(Ordering::Relaxed) + evtchn_fork::seen() == process
    }

    fn mark(&self) -> Option<ForkMark> {
        let forks = Arc::clone(&self.opener.forks);
        Some(ForkMark::new(evtchn_fork::mark()).with(forks))
    }

    /// The simulated `/dev/xen/privcmd` of this domain.
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        Ok(Box::new(SimPrivcmd::new(self.clone())))
    }
}
