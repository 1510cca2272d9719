//! Rounds with handlers, each channel under a policy that says when its port is enabled again.
//!
//! It keeps no wake of its own: what a wait finds latched goes to the end of the ready queue, and
//! all else that is due is a wait that is still to be made.

mod call;
mod time;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::mem;
use std::time::Duration;

use super::wait::Begun;
use super::{Context, Outcome, Round, Shared};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::link::Link;
use crate::machine::port::Cause;
use crate::machine::{ChannelId, NotBound, Waited, Wake};
use crate::policy::{Unmask, UnmaskPolicy};
use crate::sync::{Arc, Mutex};
pub use call::{Call, Eoi};
use call::{Rouse, Told, Turn};
use time::Time;

type Handler = Box<dyn FnMut(&mut Call) + Send>;

/// How many deferred turns may be void beside those that count.
const SPARE: usize = 16;

/// The handlers of channels, each under an [`UnmaskPolicy`]. Made by [`Context::handlers`].
///
/// There is no clock in here: the time is what the caller says, as the time since any start. Where
/// it goes back, it counts as having stood still.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn_core::{Context, DomId, RateLimit, Registrar, Sleep};
/// use evtchn_sim::{Sim, SimLoop};
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
    shared: Arc<Shared<R>>,
    slots: BTreeMap<ChannelId, Slot>,
    /// The number of the last turn.
    turns: u64,
    /// Turns whose channels are to be waited for now, or as soon as it works.
    owed: VecDeque<Turn>,
    /// Turns whose channels are to be waited for later, the first on top.
    deferred: BinaryHeap<Reverse<(Duration, Turn)>>,
    told: Arc<Told>,
    /// Taken from `told`; empty between rounds.
    heard: Vec<Turn>,
    time: Time,
}

struct Slot {
    /// The number of the turn that counts.
    turn: u64,
    policy: Box<dyn UnmaskPolicy>,
    handler: Handler,
}

impl<R: Registrar> Context<R> {
    /// Handlers for channels of this context, which are added to it.
    #[must_use]
    pub fn handlers(&self) -> Handlers<R> {
        let shared: Arc<dyn Rouse> = Arc::<Shared<R>>::clone(&self.shared);
        Handlers {
            shared: Arc::clone(&self.shared),
            slots: BTreeMap::new(),
            turns: 0,
            owed: VecDeque::new(),
            deferred: BinaryHeap::new(),
            told: Arc::new(Told {
                turns: Mutex::default(),
                shared: Arc::downgrade(&shared),
            }),
            heard: Vec::new(),
            time: Time::default(),
        }
    }
}

impl<R: Registrar> Handlers<R> {
    /// Sets the handler of a channel and its policy, and waits for the channel.
    ///
    /// The handler runs inside of a round, with no lock held, and may do all that one may do
    /// there. After [`Cause::Gone`] it is not called again.
    ///
    /// # Errors
    /// Nothing changed. [`Error::AlreadyWaited`] where the channel has a handler here, or a task or a
    /// thread that blocks waits for it; otherwise those of [`Context::wait`].
    pub fn add(
        &mut self,
        id: ChannelId,
        policy: impl UnmaskPolicy + 'static,
        handler: impl FnMut(&mut Call) + Send + 'static,
    ) -> Result<(), Error> {
        if self.slots.contains_key(&id) {
            return Err(Error::AlreadyWaited(id));
        }
        self.shared.wait_in_rounds(id, true)?;
        self.turns += 1;
        let slot = Slot {
            turn: self.turns,
            policy: Box::new(policy),
            handler: Box::new(handler),
        };
        self.slots.insert(id, slot);
        Ok(())
    }

    /// Ends the wait for a channel and drops its handler. Says whether there was one. A wake that
    /// was not handed out is kept for the next wait.
    pub fn remove(&mut self, id: ChannelId) -> bool {
        let Some(slot) = self.slots.remove(&id) else {
            return false;
        };
        self.deferred
            .retain(|Reverse((_, turn))| turn.channel != id);
        self.owed.retain(|turn| turn.channel != id);
        self.shared.cancel_or_count([id]);
        drop(slot);
        true
    }

    /// How long the event loop may sleep: zero where there is something to do, until the first
    /// port that is held back is due, or for ever.
    #[must_use]
    pub fn next_timeout(&self, now: Duration) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let Reverse((due, _)) = self.deferred.peek()?;
        Some(due.saturating_sub(self.time.at(now)))
    }

    /// A round: waits for the channels that are due, and calls the handler of each that fired.
    /// To be called when the event loop comes back, whatever the reason.
    ///
    /// The wake of a channel that has no handler here is kept for the next wait on it.
    ///
    /// # Errors
    /// The first that came up; what else did is counted. [`Error::Busy`] while another round is under
    /// way; those of [`Round::finish`]; those of [`Context::wait`] for a channel whose port is due,
    /// which the next round tries again.
    ///
    /// # Panics
    /// Where a handler does, once the rest of the round is queued. Its port is enabled again as
    /// if it had returned.
    pub fn round(&mut self, now: Duration) -> Result<Outcome, Error> {
        self.round_at_most(now, Round::<R>::BUDGET)
    }

    /// [`round`](Self::round) with a budget of wakes.
    ///
    /// # Errors
    /// Those of [`round`](Self::round).
    ///
    /// # Panics
    /// Where [`round`](Self::round) does.
    pub fn round_at_most(&mut self, now: Duration, wakes: usize) -> Result<Outcome, Error> {
        let shared = Arc::clone(&self.shared);
        let mut round = Round::begin(&shared, wakes)?;
        let now = self.time.pass(now);
        self.recall(now);
        let failed = self.wait_for_owed();
        while let Some(wake) = {
            let slots = &self.slots;
            round.next_with(|state| state.machine.next_wake(|id| slots.contains_key(&id)))
        } {
            self.handle(wake, now);
        }
        self.hear();
        let failed_later = self.wait_for_owed();
        let finished = round.finish();
        let has_work = self.has_work();

        let unfinished = finished.is_err();
        let mut errors = [failed, failed_later].into_iter().flatten();
        let Some(first) = errors.next() else {
            return finished.map(|outcome| if has_work { Outcome::More } else { outcome });
        };
        let others = errors.count() + usize::from(unfinished);
        (0..others).for_each(|_| shared.count_unreported());
        Err(first)
    }

    fn has_work(&self) -> bool {
        let shared = &self.shared;
        !shared.is_inherited()
            && (!self.owed.is_empty()
                || !self.told.turns.lock().is_empty()
                || shared.lock().machine.has_work())
    }

    /// What is due by now, and what was told, is owed.
    fn recall(&mut self, now: Duration) {
        while let Some(Reverse((due, turn))) = self.deferred.peek() {
            if *due > now {
                break;
            }
            self.owed.push_back(*turn);
            self.deferred.pop();
        }
        self.hear();
    }

    fn hear(&mut self) {
        mem::swap(&mut *self.told.turns.lock(), &mut self.heard);
        self.owed.extend(self.heard.drain(..));
    }

    /// Waits for every channel that is owed. Those that fail stay so; the first error comes back.
    fn wait_for_owed(&mut self) -> Option<Error> {
        let mut failed = None;
        for _ in 0..self.owed.len() {
            let turn = self.owed.pop_front()?;
            if !turn.counts(&self.slots) {
                continue;
            }
            let id = turn.channel;
            match self.shared.wait_in_rounds(id, false) {
                Ok(()) => {}
                Err(Error::NotBound(_)) => drop(self.slots.remove(&id)),
                Err(error) => {
                    self.owed.push_back(turn);
                    failed.get_or_insert(error);
                }
            }
        }
        failed
    }

    fn handle(&mut self, wake: Wake, now: Duration) {
        let id = wake.channel;
        let mut call = Call { wake, eoi: None };
        if wake.cause == Cause::Gone {
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
        // Owed before code of the program runs, which may panic.
        self.owed.push_back(turn);
        match slot.policy.woke(now) {
            Unmask::AtOnce => {
                if self.shared.wait_in_rounds(id, true).is_ok() {
                    self.owed.pop_back();
                }
            }
            Unmask::WhenDone => {}
            Unmask::WhenTold => {
                self.owed.pop_back();
                call.eoi = Some(Eoi {
                    told: Arc::clone(&self.told),
                    turn,
                });
            }
            Unmask::NotBefore(due) => {
                if due > now {
                    self.owed.pop_back();
                    self.deferred.push(Reverse((due, turn)));
                }
            }
        }
        (slot.handler)(&mut call);
        // One counts for each channel. The others are of turns that a later one made void.
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

impl<R: Registrar> Shared<R> {
    /// Waits for a wake in rounds, where also goes what was latched. In a round the port is enabled
    /// with the others at its end, unless `at_once`.
    fn wait_in_rounds(&self, id: ChannelId, at_once: bool) -> Result<(), Error> {
        self.admit()?;
        let mut state = self.lock();
        if !state.takes_waits() {
            return Err(NotBound(id).into());
        }
        let waited = state.machine.wait_in_rounds(id)?;
        if waited == Waited::Blocked {
            return Err(Error::AlreadyWaited(id));
        }
        let in_round = self.in_round.is_me();
        if in_round && !at_once && state.machine.link() == Link::Watching {
            if waited == Waited::Rearm {
                state.machine.gather(id.port());
            }
            return Ok(());
        }
        drop(state);
        let begun = Begun::new(self, id, waited);
        begun.end(self.arm(id, waited))?;
        if waited == Waited::Queued && !in_round {
            self.tell_loop();
        }
        Ok(())
    }

    /// Ends waits; also in a forked child, where there are none, and inside a hook, after which
    /// the settle that called it looks again.
    fn cancel_or_count(&self, ids: impl IntoIterator<Item = ChannelId>) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        for id in ids {
            state.machine.cancel_in_rounds(id);
        }
        drop(state);
        if !self.is_in_hook() && self.settle().is_err() {
            self.count_unreported();
        }
    }
}

impl<R: Registrar> Drop for Handlers<R> {
    fn drop(&mut self) {
        self.shared.cancel_or_count(self.slots.keys().copied());
    }
}

impl<R: Registrar> fmt::Debug for Handlers<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("channels", &self.slots.len())
            .field("owed", &self.owed)
            .field("deferred", &self.deferred.len())
            .finish_non_exhaustive()
    }
}
