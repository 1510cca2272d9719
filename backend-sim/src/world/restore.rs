//! A domain that is saved and restored, or migrated: its kernel and its programs go on in a new domain.
//!
//! Ports do not go with them. A file that was open before still has its *old* ports, which are dead: a
//! notify and a write succeed without effect, and no event comes. A kernel need not survive their
//! unbind, so here an unbind of an old port, and a close of a file that has some, is counted.

use std::time::Duration;

use evtchn_core::DomId;

use super::files::{driver, kernel};
use super::{FileId, Happened, Happening, World};
use crate::errno::Errno;

/// How long after a restore the watches of its programs fire: a round trip to xenstored, measured on
/// guests of Linux 6.1.
const FIRST: Duration = Duration::from_millis(68);
const LAST: Duration = Duration::from_millis(205);

impl World {
    /// Saves a domain and restores it at once, with the same id, as when it is migrated: the old domain
    /// is destroyed, and a new one goes on with its kernel and its programs. Every port that a file
    /// had bound is dead from now on; the kernel has bound its own again. The peers see their end
    /// unbound, without an event. `DOM_EXC` is raised three times.
    ///
    /// A device notices this in its next call ([`ErrorKind::Resumed`](evtchn_core::ErrorKind::Resumed)).
    /// Its event loop is woken later, in 68 to 205 ms of virtual time.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Cause, Context};
    ///
    /// let sim = Sim::new(1);
    /// let domid = sim.create_domain()?;
    /// let ctx = Context::with_registrar(sim.open(domid), SimLoop::level().on(&sim));
    /// let channel = ctx.bind_unbound_port(evtchn::DomId::DOM0)?;
    /// sim.save_restore(domid)?;
    /// assert_eq!(channel.block()?, Cause::Resumed);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for domain 0 and for a dying one.
    pub fn save_restore(&mut self, domid: DomId) -> Result<(), Errno> {
        self.xen.shut_down(domid)?;
        let place = self.kernels.get_mut(usize::from(domid.as_raw()));
        let mut kernel = place.and_then(Option::take).ok_or(Errno::ESRCH)?;
        self.xen.kill(domid)?;
        self.xen.remove(domid)?;
        self.xen.create(domid, &kernel.config)?;
        kernel.driver.restore(&kernel.config, &mut self.xen);
        let boot = kernel.boot;
        self.kernels[usize::from(domid.as_raw())] = Some(kernel);
        self.has_restored = true;
        self.happened(Happening::Restore, domid.as_raw().into());
        self.report(Happened::Other("save_restore"));
        self.upcalls();
        let steps = u32::try_from(self.choice.of(9)).unwrap_or(0);
        let delay = FIRST + (LAST - FIRST) / 8 * steps;
        self.after(delay, move |world| world.fire_watches(domid, boot));
        Ok(())
    }

    /// Saves a domain that goes on afterwards (`xl save -c`): its ports live, and nothing that a
    /// program can see has changed. `DOM_EXC` is raised once.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for domain 0 and for a dying one.
    pub fn checkpoint(&mut self, domid: DomId) -> Result<(), Errno> {
        self.xen.shut_down(domid)?;
        self.xen.resume(domid)?;
        self.happened(Happening::Checkpoint, domid.as_raw().into());
        self.report(Happened::Other("checkpoint"));
        self.upcalls();
        Ok(())
    }

    /// How many ports from before a restore were unbound, by an unbind or by the close of their file. A
    /// real kernel need not survive that. So the number of a correct program is 0.
    #[must_use]
    pub fn old_ports_released(&self) -> u64 {
        let kernels = self.kernels.iter().flatten();
        kernels
            .map(|kernel| kernel.driver.old_ports_released())
            .sum()
    }

    /// Whether the domain of a file was restored after the file was opened.
    #[inline]
    pub(crate) fn is_old(&self, file: FileId) -> bool {
        // On most machines nothing is ever restored.
        self.has_restored
            && kernel(&self.kernels, file).is_ok_and(|kernel| kernel.driver.is_old(file.index))
    }

    /// Whether the watch fired by which the holder of a file notices a restore.
    #[inline]
    pub(crate) fn has_fired_watch(&self, file: FileId) -> bool {
        self.has_restored
            && kernel(&self.kernels, file)
                .is_ok_and(|kernel| kernel.driver.has_fired_watch(file.index))
    }

    /// The holder of a file does not watch for a restore.
    pub(crate) fn unwatch(&mut self, file: FileId) -> Result<(), Errno> {
        driver(&mut self.kernels, file)?.unwatch(file.index)
    }

    /// The watches of all programs that were open before the restore fire.
    fn fire_watches(&mut self, domid: DomId, boot: u64) {
        let kernel = self.kernels.get_mut(usize::from(domid.as_raw()));
        if let Some(kernel) = kernel.and_then(Option::as_deref_mut) {
            if kernel.boot == boot {
                kernel.driver.fire_watches();
            }
        }
    }
}
