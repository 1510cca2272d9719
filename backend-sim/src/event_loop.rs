//! An event loop without a descriptor, for tests: it counts its calls, fails on demand, and records
//! wrong calls.

mod sleep;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evtchn_core::{Device, LoopError, NewLoop, Registrar, Trigger};

use crate::choice::Choice;
use crate::device::SimDevice;
use crate::errno::Errno;
use crate::error::{Call, loop_error};
use crate::fault::{Fault, Faults, Verdict};
use crate::sim::Sim;
use crate::world::FileId;
use sleep::Asleep;

/// An event loop that never blocks in a poll: [`ready`](Self::ready) is one poll of it.
///
/// Clones are handles on the same loop, so a test can keep one and give one away.
///
/// A loop that is [`on`](Self::on) a machine uses the time and the [`Choice`] of that machine; any
/// other has a time of its own.
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let event_loop = SimLoop::level();
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// guest.send(theirs)?;
/// assert!(!event_loop.ready()); // nothing waits, so nothing is registered
/// channel.wait()?;
/// assert!(event_loop.ready());
/// assert_eq!(ctx.dispatch()?.count(), 1);
/// assert!(!event_loop.is_registered());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SimLoop {
    trigger: Trigger,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    machine: Option<Sim>,
    /// Decides about the faults of a loop that is on no machine.
    choice: Choice,
    watched: Vec<Watch>,
    woken: bool,
    spurious: bool,
    counts: Counts,
    violations: Vec<Violation>,
    faults: Faults,
    asleep: Asleep,
}

/// A registered device. As in epoll, a registration keeps nothing open.
#[derive(Debug)]
struct Watch {
    sim: Sim,
    file: FileId,
    descriptor: u64,
    /// How often the ring had become not empty when this was last reported; `None` where nothing
    /// was reported yet.
    reported: Option<u64>,
}

/// How often the hooks of a loop were called.
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// for _ in 0..3 {
///     channel.wait()?;
///     channel.cancel()?;
/// }
/// let counts = ctx.registrar().counts();
/// assert_eq!((counts.registers, counts.deregisters), (3, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of `register` that succeeded.
    pub registers: u64,
    /// Calls of `deregister` that succeeded.
    pub deregisters: u64,
    /// Calls of `wake`.
    pub wakes: u64,
}

/// A wrong call of an event loop.
///
/// ```
/// use evtchn::sim::{Sim, SimLoop, Violation};
/// use evtchn::{Device, DomId, Open, Registrar};
///
/// let event_loop = SimLoop::level();
/// let device = Device::new(Sim::new(1).open(DomId::DOM0).open()?);
/// event_loop.register(&device)?;
/// event_loop.register(&device).unwrap_err();
/// assert_eq!(event_loop.violations(), [Violation::RegisteredTwice]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A device was registered that is registered already.
    #[error("a device was registered twice")]
    RegisteredTwice,
    /// A device was deregistered that is not registered.
    #[error("a device was deregistered that is not registered")]
    NotRegistered,
    /// A device was closed while it was registered.
    #[error("a device was closed while it was registered")]
    ClosedWhileRegistered,
}

impl SimLoop {
    /// A loop that watches nothing.
    #[must_use]
    pub fn new(trigger: Trigger) -> SimLoop {
        SimLoop {
            trigger,
            state: Arc::new(Mutex::new(State {
                machine: None,
                choice: Choice::seeded(0),
                watched: Vec::new(),
                woken: false,
                spurious: false,
                counts: Counts::default(),
                violations: Vec::new(),
                faults: Faults::default(),
                asleep: Asleep::default(),
            })),
        }
    }

    /// A level-triggered loop.
    #[must_use]
    pub fn level() -> SimLoop {
        SimLoop::new(Trigger::Level)
    }

    /// An edge-triggered loop.
    #[must_use]
    pub fn edge() -> SimLoop {
        SimLoop::new(Trigger::Edge)
    }

    /// The same loop, from now on in the virtual time of this machine: what is due there while a
    /// thread sleeps here happens, in order, and may end the sleep.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Cause, Context, DomId};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let second = Duration::from_secs(1);
    /// let sim = Sim::new(1);
    /// let guest = sim.guest(sim.create_domain()?);
    /// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level().on(&sim));
    /// let channel = ctx.bind_unbound_port(guest.domid())?;
    /// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
    /// let domid = guest.domid();
    /// sim.after(3 * second, move |world| drop(world.kernel_send(domid, theirs.as_raw())));
    ///
    /// assert_eq!(channel.block_until(2 * second)?, None);
    /// assert_eq!(channel.block_until(9 * second)?, Some(Cause::Event));
    /// assert_eq!(sim.now(), 3 * second);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on(self, sim: &Sim) -> SimLoop {
        self.lock().machine = Some(sim.clone());
        self
    }

    /// Whether a device is registered.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        !self.lock().watched.is_empty()
    }

    /// How often its hooks were called.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Polls once without a timeout. Returns true where the loop would return and dispatch.
    ///
    /// That is after a [`wake`](Registrar::wake), which this clears; or while a registered device
    /// shows `IN` or `ERR`. An edge-triggered loop reports that only once per change of the ring
    /// from empty to not empty, and once after registering.
    ///
    /// A fault for [`Call::Ready`] makes this find nothing, as an interrupted poll(2) does.
    #[must_use]
    pub fn ready(&self) -> bool {
        let verdict = self.judge(Call::Ready);
        if let Some(Verdict::Fail(_)) = verdict {
            return false;
        }
        let mut state = self.lock();
        let ready = state.look(self.trigger);
        let woken = std::mem::take(&mut state.woken);
        let spurious = std::mem::take(&mut state.spurious);
        ready || woken || spurious || verdict == Some(Verdict::Spurious)
    }

    /// Makes the next poll report ready, whatever the devices show.
    pub fn spurious(&self) {
        self.lock().spurious = true;
    }

    /// Makes the next [`Call::Register`], [`Call::Deregister`] or [`Call::Sleep`] fail.
    pub fn fail_next(&self, call: Call, errno: Errno) {
        self.fail_nth(call, 1, errno);
    }

    /// Makes the `nth` such call from now on fail; 1 is the next one.
    pub fn fail_nth(&self, call: Call, nth: u64, errno: Errno) {
        self.install(Fault::fail(call, errno).nth(nth));
    }

    /// Installs a fault for this loop.
    pub fn install(&self, fault: Fault) {
        self.lock().faults.install(None, fault);
    }

    /// Removes every fault of this loop.
    pub fn clear_faults(&self) {
        self.lock().faults.clear(None);
    }

    /// The wrong calls so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// The effect of faults on a call. What they do beside it is done by then, under no lock of
    /// ours.
    fn judge(&self, call: Call) -> Option<Verdict> {
        let mut state = self.lock();
        if state.faults.is_empty() {
            return None;
        }
        let State {
            machine,
            choice,
            faults,
            ..
        } = &mut *state;
        let Some(sim) = machine.clone() else {
            return faults.judge(None, call, choice).verdict;
        };
        let judged = sim.with(|world| faults.judge(None, call, world.choice()));
        drop(state);
        sim.lock().happen(&judged.beside, None);
        judged.verdict
    }

    fn fault(&self, call: Call) -> Result<(), LoopError> {
        match self.judge(call) {
            Some(Verdict::Fail(errno)) => Err(loop_error(call, errno)),
            Some(Verdict::Short(_) | Verdict::Spurious) | None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimLoop {
    fn default() -> SimLoop {
        SimLoop::level()
    }
}

impl Watch {
    /// Whether there is something to report, which then counts as reported.
    fn look(&mut self, trigger: Trigger) -> Result<bool, Errno> {
        let world = self.sim.lock();
        let bits = world.poll(self.file)?;
        let has_fired = world.has_fired_watch(self.file);
        let edges = world.wakes(self.file)? + u64::from(has_fired);
        if trigger == Trigger::Edge && self.reported == Some(edges) {
            return Ok(false);
        }
        self.reported = Some(edges);
        Ok(bits.wakes_reader() || has_fired)
    }
}

impl State {
    /// Whether a registered device has something to report, which then counts as reported.
    fn look(&mut self, trigger: Trigger) -> bool {
        let mut ready = false;
        self.watched.retain_mut(|watch| match watch.look(trigger) {
            Ok(look) => {
                ready |= look;
                true
            }
            Err(_) => {
                self.violations.push(Violation::ClosedWhileRegistered);
                false
            }
        });
        ready
    }

    fn register(&mut self, device: &SimDevice) -> Result<(), Errno> {
        if self.place(device).is_some() {
            self.violations.push(Violation::RegisteredTwice);
            return Err(Errno::EEXIST);
        }
        self.watched.push(Watch {
            sim: device.sim().clone(),
            file: device.file(),
            descriptor: device.descriptor(),
            reported: None,
        });
        self.counts.registers += 1;
        Ok(())
    }

    fn deregister(&mut self, device: &SimDevice) -> Result<(), Errno> {
        let Some(place) = self.place(device) else {
            self.violations.push(Violation::NotRegistered);
            return Err(Errno::ENOENT);
        };
        self.watched.remove(place);
        self.counts.deregisters += 1;
        Ok(())
    }

    fn place(&self, device: &SimDevice) -> Option<usize> {
        self.watched
            .iter()
            .position(|watch| watch.descriptor == device.descriptor() && watch.sim == *device.sim())
    }
}

impl Registrar for SimLoop {
    fn trigger(&self) -> Trigger {
        self.trigger
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        self.fault(Call::Register)?;
        let device = simulated(Call::Register, device)?;
        let registered = self.lock().register(device);
        registered.map_err(|errno| loop_error(Call::Register, errno))
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        self.fault(Call::Deregister)?;
        let device = simulated(Call::Deregister, device)?;
        let deregistered = self.lock().deregister(device);
        deregistered.map_err(|errno| loop_error(Call::Deregister, errno))
    }

    fn wake(&self) {
        let mut state = self.lock();
        state.woken = true;
        state.counts.wakes += 1;
    }
}

impl NewLoop for SimLoop {
    /// A level-triggered loop.
    fn new_loop() -> Result<SimLoop, LoopError> {
        Ok(SimLoop::level())
    }
}

/// The simulated device behind the handle. This loop can watch no other.
fn simulated(call: Call, device: &Device) -> Result<&SimDevice, LoopError> {
    let simulated = device.downcast_ref();
    simulated.ok_or_else(|| loop_error(call, Errno::EPERM))
}
