//! Counters.

/// Counts of what happened since the context was made.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// channel.wait()?;
/// guest.send(theirs)?;
/// assert_eq!(ctx.dispatch()?.count(), 1);
/// let stats = ctx.stats();
/// assert_eq!((stats.opens, stats.reads, stats.wakes), (1, 1, 1));
/// assert_eq!((stats.registers, stats.deregisters), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Devices opened.
    pub opens: u64,
    /// Registrations with the event loop.
    pub registers: u64,
    /// Deregistrations from the event loop.
    pub deregisters: u64,
    /// Reads of the device that brought ports.
    pub reads: u64,
    /// Reads that found nothing.
    pub empty_reads: u64,
    /// Writes to the device.
    pub writes: u64,
    /// Wakes handed to waiters, including those that a task or a blocked thread took at once.
    pub wakes: u64,
    /// Wakes that came while nothing waited and were kept.
    pub latched: u64,
    /// Events of ports that were masked, so that none was expected.
    pub spurious: u64,
    /// Events of ports that are not bound here. They stay masked.
    pub foreign: u64,
    /// Overflows of the driver's ring after which the device went on.
    pub overflows: u64,
    /// Peers that a check found connected and that were not known.
    pub peers_connected: u64,
    /// Peers that a check found gone.
    pub peers_gone: u64,
    /// Channels whose port a check found closed by Xen.
    pub closed: u64,
    /// Devices that failed.
    pub faults: u64,
    /// Devices that were found to be from before a restore of this domain.
    pub resumes: u64,
    /// Errors that no call could return: of a drop, or further errors of a call that returned one.
    pub unreported: u64,
}
