//! Rounds with handlers, each channel under a policy that says when its port is unmasked.
//!
//! A layer over the public calls of a context. It keeps no wakes: what a wait finds latched goes to
//! the end of the ready queue, and everything else that is due is a wait that is still to be made.

mod call;
mod time;
mod turns;

use std::fmt;
use std::time::Duration;

use crate::channel_map::ChannelMap;
use crate::context::{Context, Outcome, Round, WeakContext};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::{ChannelId, Wake};
use crate::policy::UnmaskPolicy;
pub use call::{Call, Eoi};
use time::Time;
use turns::{Turns, Wait};

type Handler = Box<dyn FnMut(&mut Call) + Send>;

/// The handlers of channels, each under an [`UnmaskPolicy`]. Made by [`Context::handlers`].
///
/// It has no clock: the caller passes the time, counted from any start. A time that goes back
/// counts as having stood still.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId, RateLimit, Registrar, Sleep};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let event_loop = SimLoop::level().on(&sim);
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// // Two wakes in a row, then one after each 200 ms.
/// let mut handlers = ctx.handlers();
/// let limit = RateLimit::new(2, Duration::from_millis(200))?;
/// let storm = guest.clone();
/// handlers.add(channel.id(), limit, move |_call| storm.send(theirs).unwrap())?;
///
/// guest.send(theirs)?; // and again from each call of the handler
/// while sim.now() < Duration::from_secs(1) {
///     let timeout = handlers.next_timeout(sim.now());
///     event_loop.sleep(event_loop.ticket(), timeout.map(|timeout| sim.now() + timeout))?;
///     handlers.round(sim.now())?;
/// }
/// assert_eq!(ctx.stats().wakes, 2 + 4);
/// # Ok(())
/// # }
/// ```
pub struct Handlers<R: Registrar> {
    context: WeakContext<R>,
    slots: ChannelMap<Slot>,
    turns: Turns<R>,
    time: Time,
}

struct Slot {
    /// The number of the turn that counts.
    turn: u64,
    wait: Wait,
    policy: Box<dyn UnmaskPolicy>,
    handler: Handler,
}

impl<R: Registrar> Context<R> {
    /// An empty set of handlers for channels of this context. It does not keep the context alive:
    /// once the context is gone, its rounds do nothing.
    #[must_use]
    pub fn handlers(&self) -> Handlers<R> {
        Handlers {
            context: self.downgrade(),
            slots: ChannelMap::new(),
            turns: Turns::new(self.downgrade()),
            time: Time::default(),
        }
    }
}

impl<R: Registrar> Handlers<R> {
    /// Sets the handler of a channel and its policy, and waits for the channel.
    ///
    /// The handler runs inside a round, with no lock held, and may do what a program may do in a
    /// round. After [`Cause::Gone`](crate::Cause::Gone) and [`Cause::Resumed`](crate::Cause::Resumed) it is not called again.
    /// To end it, [`remove`](Self::remove) it: a cancel of its channel's wait may be undone by the
    /// next wait that its policy asks for.
    ///
    /// # Errors
    /// Nothing changed. [`Error::AlreadyWaited`] if the channel already has a handler here, or a
    /// task or a blocked thread waits for it; otherwise those of [`Context::wait`].
    pub fn add(
        &mut self,
        id: ChannelId,
        policy: impl UnmaskPolicy + 'static,
        handler: impl FnMut(&mut Call) + Send + 'static,
    ) -> Result<(), Error> {
        if self.slots.contains(id) {
            return Err(Error::AlreadyWaited(id));
        }
        let context = self.context.upgrade().ok_or(Error::NotBound(id))?;
        context.wait(id)?;
        let slot = Slot {
            turn: self.turns.next(),
            wait: Wait::ForOne,
            policy: Box::new(policy),
            handler: Box::new(handler),
        };
        self.slots.insert(id, slot);
        Ok(())
    }

    /// Ends the wait for a channel and drops its handler. Returns whether there was one. A wake
    /// that was not handed out is kept for the next wait.
    pub fn remove(&mut self, id: ChannelId) -> bool {
        let Some(slot) = self.slots.remove(id) else {
            return false;
        };
        self.turns.remove(id);
        if let Some(context) = self.context.upgrade() {
            context.end_waits(&[id]);
        }
        drop(slot);
        true
    }

    /// How long the event loop may sleep: zero if there is something to do; otherwise until the
    /// first delayed port is due; `None` if nothing is delayed.
    #[must_use]
    pub fn next_timeout(&self, now: Duration) -> Option<Duration> {
        let context = self.context.upgrade()?;
        if self.turns.has_due(&context) {
            return Some(Duration::ZERO);
        }
        context.next_timeout().or_else(|| {
            let due = self.turns.first_deferred()?;
            Some(due.saturating_sub(self.time.at(now)))
        })
    }

    /// Runs a round: waits for the channels that are due, and calls the handler of each channel
    /// that fired. Call it whenever the event loop returns, whatever the reason.
    ///
    /// The wake of a channel that has no handler here is kept for the next wait on it.
    ///
    /// # Errors
    /// The first error of the round; the others are counted in
    /// [`Stats::unreported`](crate::Stats::unreported). [`Error::Busy`] while another thread has a
    /// round, and inside a callback; those of [`Round::finish`]; those of [`Context::wait`] for a
    /// channel whose port is due, which the next round tries again.
    ///
    /// # Panics
    /// If a handler panics, after the rest of the round was queued. Its port is unmasked as if the
    /// handler had returned.
    pub fn round(&mut self, now: Duration) -> Result<Outcome, Error> {
        self.round_at_most(now, Round::<R>::BUDGET)
    }

    /// [`round`](Self::round) with a budget of wakes.
    ///
    /// # Errors
    /// Those of [`round`](Self::round).
    ///
    /// # Panics
    /// If a handler panics, as [`round`](Self::round).
    pub fn round_at_most(&mut self, now: Duration, wakes: usize) -> Result<Outcome, Error> {
        let Some(context) = self.context.upgrade() else {
            return Ok(Outcome::Done);
        };
        let mut round = context.dispatch_at_most(wakes)?;
        let mut failed = None;
        let mut fail = |error| match failed {
            None => failed = Some(error),
            Some(_) => context.count_unreported(),
        };
        let now = self.time.pass(now);
        self.turns.take_deferred(now);
        self.turns.wait(&mut self.slots, &context, &mut fail);
        while let Some((wake, slot)) = round.next_of(&mut self.slots) {
            if wake.cause.is_unbound() {
                self.call_last(wake);
                continue;
            }
            let eoi = self
                .turns
                .begin(slot, wake.channel, now, &context, &mut round);
            (slot.handler)(&mut Call { wake, eoi });
        }
        self.turns.tidy(&self.slots);
        self.turns.wait(&mut self.slots, &context, &mut fail);
        let outcome = round.finish().unwrap_or_else(|error| {
            fail(error);
            Outcome::Done
        });
        match failed {
            Some(error) => Err(error),
            None if self.turns.has_due(&context) => Ok(Outcome::More),
            None => Ok(outcome),
        }
    }

    /// Calls the handler of a channel that is gone, for the last time.
    #[cold]
    fn call_last(&mut self, wake: Wake) {
        if let Some(mut slot) = self.slots.remove(wake.channel) {
            (slot.handler)(&mut Call { wake, eoi: None });
        }
    }
}

impl<R: Registrar> Drop for Handlers<R> {
    fn drop(&mut self) {
        if let Some(context) = self.context.upgrade() {
            let ids: Vec<_> = self.slots.channels().collect();
            context.end_waits(&ids);
        }
    }
}

impl<R: Registrar> fmt::Debug for Handlers<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("channels", &self.slots.len())
            .field("turns", &self.turns)
            .finish_non_exhaustive()
    }
}
