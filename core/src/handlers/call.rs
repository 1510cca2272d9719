//! What a handler is given, and how it ends the interrupt.

use std::fmt;

use crate::context::WeakContext;
use crate::hal::Registrar;
use crate::machine::{ChannelId, Wake};
use crate::sync::{Arc, Mutex};

/// One call of a handler.
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
/// use std::time::Duration;
///
/// use evtchn::{AfterHandler, Call, Cause};
///
/// let mut handlers = ctx.handlers();
/// let port = channel.port();
/// handlers.add(channel.id(), AfterHandler, move |call: &mut Call| {
///     assert_eq!((call.wake().port(), call.wake().cause), (port, Cause::Event));
/// })?;
/// guest.send(theirs)?;
/// handlers.round(Duration::ZERO)?;
/// assert_eq!(ctx.stats().wakes, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Call {
    pub(super) wake: Wake,
    pub(super) eoi: Option<Eoi>,
}

impl Call {
    /// The wake that it is for.
    #[must_use]
    pub const fn wake(&self) -> Wake {
        self.wake
    }

    /// Takes the [`Eoi`] that unmasks the port, under the policy [`OnEoi`](crate::OnEoi); otherwise
    /// `None`. Keep it for as long as the port is to stay masked. If the handler does not take it,
    /// it is dropped when the handler returns.
    #[must_use = "dropped at once it unmasks the port"]
    pub fn take_eoi(&mut self) -> Option<Eoi> {
        self.eoi.take()
    }
}

/// The end of an interrupt. Completing or dropping it makes the next round unmask the port, and
/// wakes the event loop for that. Any thread may complete it. (Linux calls this *lateeoi*;
/// drivers/xen/events.)
///
/// It belongs to one wake of one handler. It does nothing once the handler was removed, even if the
/// channel has another handler by then, and nothing after a later wake of the channel.
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
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// use evtchn::{Eoi, OnEoi};
///
/// let kept: Arc<Mutex<Option<Eoi>>> = Arc::default();
/// let keep = Arc::clone(&kept);
/// let mut handlers = ctx.handlers();
/// handlers.add(channel.id(), OnEoi, move |call| *keep.lock().unwrap() = call.take_eoi())?;
/// guest.send(theirs)?;
/// handlers.round(Duration::ZERO)?;
/// guest.send(theirs)?; // it is masked: nothing comes
/// handlers.round(Duration::ZERO)?;
/// assert_eq!(ctx.stats().wakes, 1);
///
/// let eoi = kept.lock().unwrap().take().expect("the handler kept it");
/// assert_eq!(eoi.channel(), channel.id());
/// eoi.complete(); // the next round unmasks the port, the one after it reads
/// handlers.round(Duration::ZERO)?;
/// handlers.round(Duration::ZERO)?;
/// assert_eq!(ctx.stats().wakes, 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropped at once it unmasks the port"]
pub struct Eoi {
    pub(super) pending: Arc<dyn Complete>,
    pub(super) turn: Turn,
}

impl Eoi {
    /// The channel whose port it unmasks.
    #[must_use]
    pub const fn channel(&self) -> ChannelId {
        self.turn.channel
    }

    /// Completes it, as dropping does.
    pub fn complete(self) {}
}

impl Drop for Eoi {
    fn drop(&mut self) {
        self.pending.complete(self.turn);
    }
}

impl fmt::Debug for Eoi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Eoi").field(&self.turn).finish()
    }
}

/// Identifies one call of a handler. Once the channel has a later call or another handler, the
/// unmask that this call left to do is void, because the policy of the later call decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) channel: ChannelId,
    /// Counts the handlers that were added and their calls.
    pub(super) number: u64,
}

/// The turns whose [`Eoi`] was completed since the last round.
pub(super) struct PendingEois<R: Registrar> {
    pub(super) turns: Mutex<Vec<Turn>>,
    pub(super) context: WeakContext<R>,
}

pub(super) trait Complete: Send + Sync {
    fn complete(&self, turn: Turn);
}

impl<R: Registrar> Complete for PendingEois<R> {
    fn complete(&self, turn: Turn) {
        // In a forked child a lock may be held for ever.
        let context = self.context.upgrade().filter(|it| !it.is_inherited());
        let Some(context) = context else {
            return;
        };
        let mut turns = self.turns.lock();
        turns.push(turn);
        let is_first = turns.len() == 1;
        drop(turns);
        if is_first {
            context.wake();
        }
    }
}
