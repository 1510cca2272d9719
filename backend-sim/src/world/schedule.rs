//! When events arrive, and virtual time.

use std::time::Duration;

use evtchn_core::DomId;

use super::{Happened, Happening, World};
use crate::choice::Choice;
use crate::errno::Errno;

/// When an event reaches the Linux kernel of its domain.
///
/// An event that has not arrived yet coalesces with later ones for its port, in each kind of
/// delivery.
///
/// ```
/// use evtchn::sim::{Delivery, Sim, SimLoop};
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// channel.wait()?;
///
/// sim.set_delivery(Delivery::Held);
/// guest.send(theirs)?;
/// assert!(!ctx.registrar().ready()); // it is under way
/// assert!(sim.step());
/// assert!(ctx.registrar().ready());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "remote", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "remote", serde(rename_all = "snake_case"))]
pub enum Delivery {
    /// Before the call that caused it returns, as with one vCPU.
    #[default]
    Immediate,
    /// When [`World::step`] is called, in an order that the [`Choice`] decides, as with several
    /// vCPUs: a notify returns before the other side is readable.
    Held,
    /// After each call the [`Choice`] decides how many of the held events arrive, and which. While
    /// every thread sleeps, all of them arrive.
    Chosen,
    /// Within this much virtual time. For each event the [`Choice`] decides when, in eighths of the
    /// delay, and which of the events under way it is. Even where the choice is no delay, the event
    /// arrives only when time passes: by [`World::advance`], or in a sleep in a loop that is
    /// [`on`](crate::SimLoop::on) the machine.
    Delayed(Duration),
}

/// What happens when a timer is due.
pub(super) type Action = Box<dyn FnOnce(&mut World) + Send>;

impl World {
    // When events arrive.

    /// Sets when events reach their domains from now on. Held events arrive now if the new delivery
    /// is immediate.
    pub fn set_delivery(&mut self, delivery: Delivery) {
        self.delivery = delivery;
        if delivery != Delivery::Immediate {
            self.report(Happened::Held);
        }
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

    /// Lets this held port arrive. False where it is not held.
    pub fn step_to(&mut self, domid: DomId, port: u32) -> bool {
        let Some(upcall) = self.xen.take_upcall_of(domid, port) else {
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

    /// The machine's source of decisions, for decisions of the caller.
    pub const fn choice(&mut self) -> &mut Choice {
        &mut self.choice
    }

    /// Ends a call: events arrive as the kind of delivery says.
    #[inline]
    pub(super) fn upcalls(&mut self) {
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
            Delivery::Delayed(most) => self.delay(most),
        }
    }

    /// Sets a timer for every held port that has none yet. Which port arrives is chosen only when
    /// the timer is due, so a timer belongs to no port.
    fn delay(&mut self, most: Duration) {
        while self.late < self.held() {
            self.late += 1;
            let eighths = u32::try_from(self.choice.of(9)).unwrap_or(0);
            self.after(most / 8 * eighths, |world| {
                world.late -= 1;
                if matches!(world.delivery, Delivery::Delayed(_)) {
                    world.step();
                    world.upcalls();
                }
            });
        }
    }

    // Time.

    /// The time since the start of the world.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Lets time pass. Every timer that is due in it acts at its own time.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now().saturating_add(by);
        while self.tick(until) {}
    }

    /// Calls `action` once `delay` has passed.
    pub fn after(&mut self, delay: Duration, action: impl FnOnce(&mut World) + Send + 'static) {
        self.clock.after(delay, Box::new(action));
    }

    /// When the next timer is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.clock.next_deadline()
    }

    /// Moves on to the next timer that is due by `until`, and runs it; returns false where there is
    /// none, and then it is `until`.
    fn tick(&mut self, until: Duration) -> bool {
        match self.clock.next(until) {
            Some(action) => {
                action(self);
                true
            }
            None => false,
        }
    }

    /// Does the next thing that happens while every thread sleeps: an event arrives, or a timer is
    /// due. Returns false where the deadline comes first, and then it is the deadline.
    ///
    /// # Errors
    /// `EDEADLK` where nothing would ever happen.
    pub(crate) fn idle(&mut self, deadline: Option<Duration>) -> Result<bool, Errno> {
        if self.delivery == Delivery::Chosen && self.step() {
            return Ok(true);
        }
        match deadline.or(self.next_deadline()) {
            Some(until) => Ok(self.tick(until)),
            None => Err(Errno::EDEADLK),
        }
    }
}
