//! A round hands out the wakes one by one. When it ends, ports are unmasked, and the device is
//! registered or deregistered as the waits require.

use std::fmt;
use std::marker::PhantomData;

use super::ahead::Channels;
use super::io::Read;
use super::owner::RoundNumber;
use super::{Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::{ChannelId, Wake};
use crate::observe::{Called, Came};
use crate::sync::{MutexGuard, Ordering};
use crate::trace::{self, Span};

/// How a round ended.
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
/// use evtchn::Outcome;
///
/// let other = ctx.bind_unbound_port(guest.domid())?;
/// let others = guest.bind_interdomain(DomId::DOM0, other.port())?;
/// for (channel, theirs) in [(&channel, theirs), (&other, others)] {
///     channel.wait()?;
///     guest.send(theirs)?;
/// }
/// let mut round = ctx.dispatch_at_most(1)?;
/// assert_eq!(round.by_ref().count(), 1);
/// assert_eq!(round.finish()?, Outcome::More); // so dispatch again before the loop sleeps
/// let mut round = ctx.dispatch()?;
/// assert_eq!(round.by_ref().count(), 1);
/// assert_eq!(round.finish()?, Outcome::Done);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was ready was handed out.
    Done,
    /// More is ready: dispatch again before the loop sleeps.
    More,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Done => "done",
            Outcome::More => "more is ready",
        })
    }
}

/// How many reads one round may make, so that it ends even if the device never is empty.
const READS: u8 = 128;

/// One round of a [`Context`](super::Context): an iterator over the wakes.
///
/// No lock is held while the program handles a wake: it may wait, cancel, bind, unbind, notify.
/// When the round ends, the ports of the waits made in it are unmasked together. Wakes that were
/// read and not taken stay ready for the next round.
///
/// [`finish`](Self::finish) ends the round and returns its error. Dropping the round ends it too,
/// and keeps an error: the event loop is woken, [`next_timeout`](super::Context::next_timeout) is
/// zero, and the next [`dispatch`](super::Context::dispatch), `finish` or
/// [`teardown`](super::Context::teardown) returns the error, once.
///
/// If the same thread dispatches while it has a round, that round is ended as if dropped, even if
/// it was forgotten (`std::mem::forget`). If the program uses the old `Round` after that, it begins a
/// new round.
/// Other threads get [`Error::Busy`] until the round or its thread has ended.
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
/// use evtchn::Outcome;
///
/// channel.wait()?;
/// guest.send(theirs)?;
/// let mut round = ctx.dispatch()?;
/// for wake in &mut round {
///     assert_eq!(wake.port(), channel.port());
///     channel.notify()?;
///     ctx.wait(wake.channel)?; // unmasked when the round ends
/// }
/// assert_eq!(round.finish()?, Outcome::Done);
/// # Ok(())
/// # }
/// ```
#[must_use = "a round that is dropped hands out nothing"]
pub struct Round<'a, R: Registrar> {
    pub(super) shared: &'a Shared<R>,
    /// Nothing is picked once it is 0.
    pub(super) wakes_left: usize,
    reads_left: u8,
    /// Whether to read the device again: it may have more, and the loop would not report that.
    pub(super) may_read: bool,
    /// Nothing was left at the last fill; what was queued since is for the next round.
    pub(super) is_drained: bool,
    pub(super) ahead: Channels<'a>,
    number: RoundNumber,
    /// `number`, or `NONE` if the context is observed: so `next` makes one comparison for both.
    pub(super) plain: RoundNumber,
    ended: bool,
    /// The program has it, so its drop is a call of the program.
    pub(super) is_handed_out: bool,
    /// The round belongs to the thread that began it.
    _not_send: PhantomData<*mut ()>,
    _span: Span,
}

impl<'a, R: Registrar> Round<'a, R> {
    /// The most wakes of a round unless the caller says otherwise.
    pub const BUDGET: usize = 4096;

    /// Begins a round without reporting it to the observer.
    #[inline(always)]
    pub(super) fn begin(shared: &'a Shared<R>, wakes: usize) -> Result<Round<'a, R>, Error> {
        shared.check_caller()?;
        let mut number = shared.begin_round()?;
        if shared.owes_error.load(Ordering::Relaxed) {
            number = shared.begin_paid_round()?;
        }
        Ok(Round {
            shared,
            wakes_left: wakes,
            reads_left: READS,
            may_read: shared.is_watching(),
            is_drained: false,
            ahead: Channels::default(),
            number,
            plain: number,
            ended: false,
            is_handed_out: true,
            _span: Span::round(),
            _not_send: PhantomData,
        })
    }

    /// Ends the round: unmasks the ports of its waits, and registers or deregisters the device as
    /// the waits require. Returns whether more is ready.
    ///
    /// # Errors
    /// The first error of the round; the others are counted in
    /// [`Stats::unreported`](crate::Stats::unreported). [`Error::Device`] if the device failed, or
    /// refuses to unmask ports; [`Error::NotUnmasked`] if it unmasked too few of them;
    /// [`Error::Register`] or [`Error::Deregister`] if the event loop fails; [`Error::Inherited`]
    /// in a child that was forked meanwhile. If this round has no error, but an earlier round was
    /// dropped with one, `finish` returns that, once.
    #[inline(always)]
    pub fn finish(mut self) -> Result<Outcome, Error> {
        if !self.is_plain() {
            return self.finish_after_a_look();
        }
        self.finish_now(true)
    }

    #[cold]
    #[inline(never)]
    fn finish_after_a_look(&mut self) -> Result<Outcome, Error> {
        let shared = self.shared;
        let is_last = shared.in_round.is_last(self.number);
        shared.observed(|| Called::Finish, || self.finish_now(is_last), over)
    }

    /// [`finish`](Self::finish), after which only the drop may come. `is_last` says that no other
    /// round of this thread ended this one.
    #[inline(always)]
    pub(super) fn finish_now(&mut self, is_last: bool) -> Result<Outcome, Error> {
        let outcome = self.end(is_last)?;
        if self.shared.owes_error.load(Ordering::Relaxed) {
            self.shared.pay_error()?;
        }
        Ok(outcome)
    }

    /// Ends a round that is dropped.
    #[cold]
    #[inline(never)]
    fn leave(&mut self) {
        let is_last = self.shared.in_round.is_last(self.number);
        if let Err(error) = self.end(is_last) {
            if !self.shared.is_inherited() {
                self.shared.owe_error(error);
            }
        }
    }

    #[inline(always)]
    fn end(&mut self, is_last: bool) -> Result<Outcome, Error> {
        self.ended = true;
        if self.shared.is_inherited() {
            return Err(Error::Inherited);
        }
        if !is_last {
            return Ok(self.shared.outcome());
        }
        self.shared.end_round(self.may_read)
    }

    /// The next wake of a round that is observed or was ended by another one.
    #[cold]
    #[inline(never)]
    pub(super) fn next_after_a_look(
        &mut self,
        call: Called<'_>,
        has_taker: impl Fn(ChannelId) -> bool,
    ) -> Option<Wake> {
        let shared = self.shared;
        // Each call is reported, so each takes its own wake.
        self.forget_ahead();
        let next = || {
            let wake = self.is_current().then(|| self.next_now(has_taker));
            let wake = wake.flatten()?;
            trace::wake(wake.channel, wake.cause);
            Some(wake)
        };
        shared.observed(|| call, next, |wake| Came::Wake(*wake))
    }

    /// The next wake, and those behind it ahead. A wake without a taker is kept for the next wait
    /// on its channel.
    #[inline(always)]
    pub(super) fn next_now(&mut self, has_taker: impl Fn(ChannelId) -> bool) -> Option<Wake> {
        if !self.may_go_on() {
            return None;
        }
        let mut state = self.shared.lock();
        let wake = loop {
            let wake = state.machine.next_wake(&has_taker);
            if wake.is_some() || !self.read(&mut state) {
                break wake;
            }
        };
        if wake.is_some() {
            self.take_ahead(&mut state);
            self.wakes_left -= 1;
        }
        self.unlock(state);
        wake
    }

    /// What `pick` takes of the ready wakes. While it takes nothing, the device is read. The round
    /// must be [current](Self::is_current). The caller counts the wakes.
    #[inline(always)]
    pub(super) fn pick_some<T>(
        &mut self,
        mut pick: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        if !self.may_go_on() {
            return None;
        }
        let mut state = self.shared.lock();
        let picked = loop {
            let picked = pick(&mut state);
            if picked.is_some() || !self.read(&mut state) {
                break picked;
            }
        };
        self.unlock(state);
        picked
    }

    /// Whether a current round may hand out more.
    #[inline]
    pub(super) fn may_go_on(&self) -> bool {
        self.wakes_left > 0 && !self.shared.is_inherited()
    }

    /// Whether this is the current round of its thread, and is not observed.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.shared.in_round.is_last(self.plain)
    }

    /// Whether this is the current round of its thread. If it was ended and no other round is under
    /// way, it begins again.
    #[inline]
    pub(super) fn is_current(&mut self) -> bool {
        self.shared.in_round.is_last(self.number) || self.begin_anew()
    }

    /// Begins again, after another round of the thread ended this one.
    #[cold]
    fn begin_anew(&mut self) -> bool {
        if self.shared.is_inherited() {
            return false;
        }
        let Ok(number) = self.shared.begin_round() else {
            return false;
        };
        self.number = number;
        self.plain = self.shared.plain(number);
        self.may_read = self.shared.is_watching();
        self.is_drained = false;
        self.forget_ahead();
        true
    }

    /// Whether nothing is ready and nothing is to be read.
    #[inline]
    pub(super) fn is_dry(&self, state: &State) -> bool {
        !self.may_read && state.machine.most_wakes() == 0
    }

    /// Releases the lock under which wakes were picked.
    #[inline]
    pub(super) fn unlock(&self, state: MutexGuard<'_, State>) {
        if state.has_due() {
            self.unlock_for_others(state);
        }
    }

    #[cold]
    fn unlock_for_others(&self, state: MutexGuard<'_, State>) {
        // In a forked child the round hands out nothing more.
        let _forked = self.shared.unlock(state, false, None);
    }

    /// Reads once, if the round may. Returns whether it did.
    #[inline]
    pub(super) fn read(&mut self, state: &mut State) -> bool {
        if !self.may_read || self.reads_left == 0 {
            return false;
        }
        self.reads_left -= 1;
        let read = state.read();
        self.may_read = read.may_leave_more(self.shared.trigger);
        if let Read::Failed(error) = read {
            state.failed_in_round = Some(error);
        }
        true
    }
}

impl<R: Registrar> Iterator for Round<'_, R> {
    type Item = Wake;

    #[inline(always)]
    fn next(&mut self) -> Option<Wake> {
        if !self.is_plain() {
            return self.next_after_a_look(Called::Next, |_| true);
        }
        let wake = match self.next_ahead() {
            Some(wake) => wake,
            None => self.next_now(|_| true)?,
        };
        trace::wake(wake.channel, wake.cause);
        Some(wake)
    }
}

impl<R: Registrar> Drop for Round<'_, R> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.is_handed_out {
            self.shared.begins(|| Called::Leave);
        }
        self.leave();
        if self.is_handed_out {
            self.shared.ends(|| Came::Over(Ok(Outcome::Done)));
        }
    }
}

pub(super) fn over(ended: &Result<Outcome, Error>) -> Came<'_> {
    Came::Over(ended.as_ref().copied())
}

impl<R: Registrar> fmt::Debug for Round<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round")
            .field("wakes_left", &self.wakes_left)
            .field("may_read", &self.may_read)
            .finish_non_exhaustive()
    }
}
