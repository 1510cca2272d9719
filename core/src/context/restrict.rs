//! Restricting the device to one domain.

use super::observed::done;
use super::{Context, Shared};
use crate::error::Error;
use crate::hal::Registrar;
use crate::ids::DomId;
use crate::observe::Called;

impl<R: Registrar> Context<R> {
    /// Restricts the device to `domid`, for good: from now on it only binds to ports that the domain
    /// `domid` offers ([`bind_interdomain`](Self::bind_interdomain)).
    /// [`bind_unbound_port`](Self::bind_unbound_port) fails for every domain, even for `domid`,
    /// and so does [`bind_virq`](Self::bind_virq) (`EACCES`; Linux drivers/xen/evtchn.c,
    /// evtchn_ioctl). So bind those first. Channels that are bound already stay usable, whatever
    /// their domain.
    ///
    /// A device that is opened later is restricted before its first bind.
    ///
    /// # Errors
    /// Nothing changed. [`Error::Restricted`] if the device is restricted already;
    /// [`Error::NoTarget`] if no device is open and `domid` is domain 0 or a reserved id;
    /// [`Error::Device`] if the device refuses; [`Error::Inherited`] in a forked child.
    pub fn restrict(&self, domid: DomId) -> Result<(), Error> {
        let restrict = || self.shared.restrict(domid);
        self.shared
            .observed(|| Called::Restrict(domid), restrict, done)
    }
}

impl<R: Registrar> Shared<R> {
    fn restrict(&self, domid: DomId) -> Result<(), Error> {
        if self.is_inherited() {
            return Err(Error::Inherited);
        }
        let mut state = self.lock();
        if let Some(already) = state.restriction {
            return Err(Error::Restricted(already));
        }
        match &state.device {
            Some(device) => device.restrict(domid)?,
            // A device that is opened later would refuse it, and so would every bind.
            None if domid == DomId::DOM0 || domid >= DomId::FIRST_RESERVED => {
                return Err(Error::NoTarget(domid));
            }
            None => {}
        }
        state.restriction = Some(domid);
        Ok(())
    }
}
