//! What a handler is given, and how it says that it has done.

use std::fmt;

use super::super::Shared;
use crate::hal::Registrar;
use crate::machine::{ChannelId, Wake};
use crate::sync::{Arc, Mutex, Weak};

/// One call of a handler.
///
/// ```
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use std::time::Duration;
///
/// use evtchn_core::{Call, Cause, WhenDone};
///
/// let mut handlers = ctx.handlers();
/// let port = channel.port();
/// handlers.add(channel.id(), WhenDone, move |call: &mut Call| {
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

    /// Under [`WhenTold`](crate::WhenTold) what enables the port again, to be kept for as long as
    /// it is to stay masked. One that is left here is dropped when the handler returns.
    #[must_use = "dropped at once it enables the port"]
    pub fn take_eoi(&mut self) -> Option<Eoi> {
        self.eoi.take()
    }
}

/// The end of an interrupt, to be told: the port is enabled again by the next round, for which
/// the event loop is woken. Any thread may do it.
///
/// It is for one wake of one handler. Told after the handler was removed, also where the channel
/// has another one by then, or after a later wake of the channel, it changes nothing.
///
/// ```
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// use evtchn_core::{Eoi, WhenTold};
///
/// let kept: Arc<Mutex<Option<Eoi>>> = Arc::default();
/// let keep = Arc::clone(&kept);
/// let mut handlers = ctx.handlers();
/// handlers.add(channel.id(), WhenTold, move |call| *keep.lock().unwrap() = call.take_eoi())?;
/// guest.send(theirs)?;
/// handlers.round(Duration::ZERO)?;
/// guest.send(theirs)?; // it is masked: nothing comes
/// handlers.round(Duration::ZERO)?;
/// assert_eq!(ctx.stats().wakes, 1);
///
/// let eoi = kept.lock().unwrap().take().expect("the handler kept it");
/// assert_eq!(eoi.channel(), channel.id());
/// eoi.tell(); // the next round enables the port, the one after it reads
/// handlers.round(Duration::ZERO)?;
/// handlers.round(Duration::ZERO)?;
/// assert_eq!(ctx.stats().wakes, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropped at once it enables the port"]
pub struct Eoi {
    pub(super) told: Arc<Told>,
    pub(super) turn: Turn,
}

impl Eoi {
    /// The channel whose port it enables.
    #[must_use]
    pub const fn channel(&self) -> ChannelId {
        self.turn.channel
    }

    /// Tells it, as dropping does.
    pub fn tell(self) {}
}

impl Drop for Eoi {
    fn drop(&mut self) {
        let Some(shared) = self.told.shared.upgrade().filter(|it| it.is_ours()) else {
            return;
        };
        let mut turns = self.told.turns.lock();
        turns.push(self.turn);
        let is_first = turns.len() == 1;
        drop(turns);
        if is_first {
            shared.rouse();
        }
    }
}

/// One call of a handler. What it left to be done is void once the channel has a later one or
/// another handler, whose policy decides then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) channel: ChannelId,
    /// Counts the handlers that were added and their calls.
    pub(super) number: u64,
}

/// The turns whose [`Eoi`] was told since the last round.
pub(super) struct Told {
    pub(super) turns: Mutex<Vec<Turn>>,
    pub(super) shared: Weak<dyn Rouse>,
}

pub(super) trait Rouse: Send + Sync {
    /// Whether this is the process of the context. In another one a lock may be held for ever.
    fn is_ours(&self) -> bool;

    /// Makes the loop come back, unless this thread is in the round.
    fn rouse(&self);
}

impl<R: Registrar> Rouse for Shared<R> {
    fn is_ours(&self) -> bool {
        !self.is_inherited()
    }

    fn rouse(&self) {
        if !self.in_round.is_me() {
            self.tell_loop();
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Told").field(&*self.turns.lock()).finish()
    }
}
