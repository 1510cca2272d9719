//! The check before a static bind, because a kernel does not refuse every number.

use super::Shared;
use super::peers::known;
use crate::error::Error;
use crate::hal::{ErrorKind, Registrar};
use crate::ids::{DomId, Port};
use crate::not_static::NotStatic;
use crate::observe::Hook;

impl<R: Registrar> Shared<R> {
    /// Refuses a port that is known not to be the end of a static channel: a port of this context,
    /// and, if the backend can ask Xen, one of another kind. Holds no lock while it asks.
    pub(super) fn check_static(&self, port: Port) -> Result<(), Error> {
        if self.lock().machine.has_bound(port) {
            return Err(NotStatic::Ours(port).into());
        }
        let Ok(statuses) = self.statuses() else {
            return Ok(());
        };
        let status = statuses.status(DomId::SELF, port);
        self.observe_hook(|| Hook::Status {
            port,
            status: &status,
        });
        // `statuses` may be code of the program, and may have forked.
        if self.is_inherited() {
            return Err(Error::Inherited);
        }
        match known(status) {
            Ok(status) => Ok(NotStatic::of(port, status.state)?),
            Err(error) if error.kind() == ErrorKind::Hidden => Err(NotStatic::Hidden(port).into()),
            // Whoever cannot ask knows no more than the caller.
            Err(_) => Ok(()),
        }
    }
}
