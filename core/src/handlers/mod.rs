//! Rounds with handlers, each channel under a policy that says when its port is unmasked.
//!
//! A layer over the public calls of a context. It keeps no wakes: what a wait finds latched goes to
//! the end of the ready queue, and everything else that is due is a wait that is still to be made.

mod call;
mod time;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::context::{Context, Outcome, Round, WeakContext};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::{ChannelId, Wake};
use crate::policy::{Unmask, UnmaskPolicy};
use crate::sync::{Arc, Mutex};
pub use call::{Call, Eoi};
use call::{Complete, PendingEois, Turn};
use time::Time;

type Handler = Box<dyn FnMut(&mut Call) + Send>;

/// How many deferred turns may be void beside those that count.
const SPARE: usize = 16;

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
    slots: BTreeMap<ChannelId, Slot>,
    /// The number of the last turn.
    turns: u64,
    /// Turns whose channels are to be waited for now; a wait that failed stays here.
    due: VecDeque<Turn>,
    /// Turns whose channels are to be waited for later, the first on top.
    deferred: BinaryHeap<Reverse<(Duration, Turn)>>,
    eois: Arc<PendingEois<R>>,
    time: Time,
}

struct Slot {
    /// The number of the turn that counts.
    turn: u64,
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
            slots: BTreeMap::new(),
            turns: 0,
            due: VecDeque::new(),
            deferred: BinaryHeap::new(),
            eois: Arc::new(PendingEois {
                turns: Mutex::default(),
                context: self.downgrade(),
            }),
            time: Time::default(),
        }
    }
}

impl<R: Registrar> Handlers<R> {
    /// Sets the handler of a channel and its policy, and waits for the channel.
    ///
    /// The handler runs inside a round, with no lock held, and may do what a program may do in a
    /// round. After [`Cause::Gone`](crate::Cause::Gone) and [`Cause::Resumed`](crate::Cause::Resumed) it is not called again.
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
        if self.slots.contains_key(&id) {
            return Err(Error::AlreadyWaited(id));
        }
        let context = self.context.upgrade().ok_or(Error::NotBound(id))?;
        context.wait(id)?;
        self.turns += 1;
        let slot = Slot {
            turn: self.turns,
            policy: Box::new(policy),
            handler: Box::new(handler),
        };
        self.slots.insert(id, slot);
        Ok(())
    }

    /// Ends the wait for a channel and drops its handler. Returns whether there was one. A wake
    /// that was not handed out is kept for the next wait.
    pub fn remove(&mut self, id: ChannelId) -> bool {
        let Some(slot) = self.slots.remove(&id) else {
            return false;
        };
        self.deferred
            .retain(|Reverse((_, turn))| turn.channel != id);
        self.due.retain(|turn| turn.channel != id);
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
        if self.has_due(&context) {
            return Some(Duration::ZERO);
        }
        context.next_timeout().or_else(|| {
            let Reverse((due, _)) = self.deferred.peek()?;
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
        self.take_deferred(now);
        self.wait_for_due(&context, &mut fail);
        while let Some(wake) = round.next_of(&self.slots) {
            self.handle(wake, now, &context, &mut round);
        }
        self.wait_for_due(&context, &mut fail);
        let outcome = round.finish().unwrap_or_else(|error| {
            fail(error);
            Outcome::Done
        });
        match failed {
            Some(error) => Err(error),
            None if self.has_due(&context) => Ok(Outcome::More),
            None => Ok(outcome),
        }
    }

    /// Whether a round has waits to make.
    fn has_due(&self, context: &Context<R>) -> bool {
        // In a forked child the lock may be held for ever.
        !context.is_inherited() && (!self.due.is_empty() || !self.eois.turns.lock().is_empty())
    }

    /// What was deferred until now is due.
    fn take_deferred(&mut self, now: Duration) {
        while let Some(Reverse((due, turn))) = self.deferred.peek() {
            if *due > now {
                break;
            }
            self.due.push_back(*turn);
            self.deferred.pop();
        }
    }

    /// Waits for every channel that is due, including those whose [`Eoi`] was completed. A channel
    /// whose wait fails stays due.
    fn wait_for_due(&mut self, context: &Context<R>, fail: &mut impl FnMut(Error)) {
        self.due.extend(self.eois.turns.lock().drain(..));
        for _ in 0..self.due.len() {
            let Some(turn) = self.due.pop_front() else {
                return;
            };
            if !turn.counts(&self.slots) {
                continue;
            }
            let id = turn.channel;
            match context.wait(id) {
                Ok(()) => {}
                Err(Error::NotBound(_)) => drop(self.slots.remove(&id)),
                Err(error) => {
                    self.due.push_back(turn);
                    fail(error);
                }
            }
        }
    }

    fn handle(
        &mut self,
        wake: Wake,
        now: Duration,
        context: &Context<R>,
        round: &mut Round<'_, R>,
    ) {
        let id = wake.channel;
        let mut call = Call { wake, eoi: None };
        if wake.cause.is_unbound() {
            if let Some(mut slot) = self.slots.remove(&id) {
                (slot.handler)(&mut call);
            }
            return;
        }
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        self.turns += 1;
        slot.turn = self.turns;
        let turn = Turn {
            channel: id,
            number: slot.turn,
        };
        // Queued before code of the program runs, because that may panic.
        self.due.push_back(turn);
        match slot.policy.woke(now) {
            Unmask::BeforeHandler => {
                if context.wait(id).is_ok() {
                    self.due.pop_back();
                    // If it fails, the end of the round unmasks the port.
                    let _unmasked = round.unmask();
                }
            }
            Unmask::AfterHandler => {}
            Unmask::OnEoi => {
                self.due.pop_back();
                let pending: Arc<dyn Complete> = Arc::<PendingEois<R>>::clone(&self.eois);
                call.eoi = Some(Eoi { pending, turn });
            }
            Unmask::NotBefore(due) => {
                if due > now {
                    self.due.pop_back();
                    self.deferred.push(Reverse((due, turn)));
                }
            }
        }
        (slot.handler)(&mut call);
        // At most one for each channel counts. A later turn made the others void.
        if self.deferred.len() > 2 * self.slots.len() + SPARE {
            let slots = &self.slots;
            self.deferred
                .retain(|Reverse((_, turn))| turn.counts(slots));
        }
    }
}

impl Turn {
    /// Whether it is the last one of the handler that its channel has.
    fn counts(self, slots: &BTreeMap<ChannelId, Slot>) -> bool {
        let slot = slots.get(&self.channel);
        slot.is_some_and(|slot| slot.turn == self.number)
    }
}

impl<R: Registrar> Drop for Handlers<R> {
    fn drop(&mut self) {
        if let Some(context) = self.context.upgrade() {
            let ids: Vec<_> = self.slots.keys().copied().collect();
            context.end_waits(&ids);
        }
    }
}

impl<R: Registrar> fmt::Debug for Handlers<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("channels", &self.slots.len())
            .field("due", &self.due)
            .field("deferred", &self.deferred.len())
            .finish_non_exhaustive()
    }
}
