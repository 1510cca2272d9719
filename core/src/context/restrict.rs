//! Restricting the device to one domain.

use super::observed::done;
use super::{Context, Shared};
use crate::error::Error;
use crate::hal::Registrar;
use crate::ids::DomId;
use crate::observe::Called;

impl<R: Registrar> Context<R> {
    /// Restricts the device to `domid`, for good: from now on it binds to ports that this domain
    /// offers ([`bind_interdomain`](Self::bind_interdomain)) and to nothing else.
    /// [`bind_unbound_port`](Self::bind_unbound_port) is refused too, for this domain like for
    /// every other, and so is [`bind_virq`](Self::bind_virq) (`EACCES`; Linux
    /// drivers/xen/evtchn.c, evtchn_ioctl). So bind those first. What is bound already stays bound
    /// and usable, of whatever domain.
    ///
    /// A device that is opened later is restricted before anything else.
    ///
    /// # Errors
    /// Nothing changed: [`Error::Restricted`] where it is restricted already; [`Error::NoTarget`];
    /// [`Error::Device`] where the device refuses; [`Error::Inherited`].
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
            // A device opened later would refuse it, and every bind with it.
            None if domid == DomId::DOM0 || domid >= DomId::FIRST_RESERVED => {
                return Err(Error::NoTarget(domid));
            }
            None => {}
        }
        state.restriction = Some(domid);
        Ok(())
    }
}
