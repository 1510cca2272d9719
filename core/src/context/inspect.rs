//! What a context reports of itself: its link, its failure, its counts.

use std::fmt;

use super::Context;
use crate::hal::{DeviceError, Registrar};
use crate::machine::Stats;
use crate::machine::link::Link;

impl<R: Registrar> Context<R> {
    /// Whether the calling process was forked from the one that made this context. Then every call
    /// fails with [`Error::Inherited`](crate::Error::Inherited). This takes no lock and makes no
    /// system call.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.shared.is_inherited()
    }

    /// Whether the device is open and registered with the event loop. In a forked child it is
    /// [`Closed`](Link::Closed), because the device belongs to the parent.
    #[must_use]
    pub fn link(&self) -> Link {
        if self.shared.is_inherited() {
            return Link::Closed;
        }
        self.shared.lock().machine.link()
    }

    /// Why the device that was opened last failed, if it did. Its channels are
    /// [`NotBound`](crate::Error::NotBound). In a forked child it is `None`.
    ///
    /// ```
    /// use evtchn::sim::{Call, Errno, Sim, SimLoop};
    /// use evtchn::{Cause, Context, DomId, Error};
    ///
    /// let opener = Sim::new(1).open(DomId::DOM0);
    /// let ctx = Context::with_registrar(opener.clone(), SimLoop::level());
    /// let channel = ctx.bind_unbound_port(DomId::SELF)?;
    /// channel.wait()?;
    /// opener.fail_next(Call::Pending, Errno::EIO);
    /// let mut round = ctx.dispatch()?;
    /// assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    /// assert!(round.finish().is_err());
    /// assert!(matches!(channel.notify(), Err(Error::NotBound(_))));
    /// let failure = ctx.failure().ok_or("it failed")?;
    /// assert_eq!(failure.code(), Some(Errno::EIO.raw()));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn failure(&self) -> Option<DeviceError> {
        if self.shared.is_inherited() {
            return None;
        }
        self.shared.lock().failure.clone()
    }

    /// Counts of what happened so far. In a forked child they are all 0.
    #[must_use]
    pub fn stats(&self) -> Stats {
        if self.shared.is_inherited() {
            return Stats::default();
        }
        self.shared.lock().machine.stats
    }

    /// The event loop's registrar.
    #[must_use]
    pub fn registrar(&self) -> &R {
        &self.shared.registrar
    }
}

impl<R: Registrar> fmt::Debug for Context<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shared.is_inherited() {
            let mut context = f.debug_struct("Context");
            return context.field("is_inherited", &true).finish_non_exhaustive();
        }
        let state = self.shared.lock();
        f.debug_struct("Context")
            .field("link", &state.machine.link())
            .field("bound", &state.machine.bound().count())
            .finish_non_exhaustive()
    }
}
