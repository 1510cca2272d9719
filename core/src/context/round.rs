//! A round: what was read is handed out wake by wake, then re-arms are written, then the link
//! follows.

use std::fmt;
use std::marker::PhantomData;
use std::mem::take;

use super::io::Read;
use super::{Shared, State};
use crate::error::Error;
use crate::hal::{DeviceError, Registrar, Trigger};
use crate::machine::Wake;
use crate::sync::{MutexGuard, Ordering};
use crate::trace::{self, Span};

/// How a round ended.
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
/// use evtchn_core::Outcome;
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
    /// All that was ready was handed out.
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

/// How many reads one round may make, so that a device that never runs dry ends it.
const READS: usize = 128;

/// One round of a [`Context`](super::Context): an iterator over the wakes.
///
/// No lock is held while the caller looks at a wake: it may wait, cancel, bind, unbind, notify.
/// The ports of waits made in the round are unmasked together when it ends: by
/// [`finish`](Self::finish), which reports errors, or by dropping it. Then the error is kept: the
/// event loop is woken, [`next_timeout`](super::Context::next_timeout) is zero, and the next
/// [`dispatch`](super::Context::dispatch), `finish` or [`teardown`](super::Context::teardown)
/// returns it, once. Wakes that were read and not taken stay ready.
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
/// use evtchn_core::Outcome;
///
/// channel.wait()?;
/// guest.send(theirs)?;
/// let mut round = ctx.dispatch()?;
/// for wake in &mut round {
///     assert_eq!(wake.port(), channel.port());
///     channel.notify()?;
///     ctx.wait(wake.channel)?; // written back when the round ends
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
    reads_left: usize,
    /// The device was not yet seen to be empty, as far as this loop's trigger needs it.
    pub(super) may_read: bool,
    /// Nothing was left when wakes were taken last; what was queued since is for the next round.
    pub(super) is_drained: bool,
    failed: Option<DeviceError>,
    ended: bool,
    /// The round belongs to the thread that began it.
    _not_send: PhantomData<*mut ()>,
    _span: Span,
}

impl<'a, R: Registrar> Round<'a, R> {
    /// The most wakes of a round unless the caller says otherwise.
    pub const BUDGET: usize = 4096;

    #[inline]
    pub(super) fn begin(shared: &'a Shared<R>, wakes: usize) -> Result<Round<'a, R>, Error> {
        shared.admit()?;
        if !shared.in_round.enter() {
            return Err(Error::Busy);
        }
        if shared.owes_error.load(Ordering::Relaxed) {
            shared.in_round.leave();
            shared.pay_error()?;
            if !shared.in_round.enter() {
                return Err(Error::Busy);
            }
        }
        Ok(Round {
            shared,
            wakes_left: wakes,
            reads_left: READS,
            may_read: shared.is_watching(),
            is_drained: false,
            failed: None,
            ended: false,
            _span: Span::round(),
            _not_send: PhantomData,
        })
    }

    /// Ends the round: writes back, settles, and says whether more is ready.
    ///
    /// # Errors
    /// The first that came up; what else did is counted. [`Error::Device`] where the device failed,
    /// or refused to unmask ports; [`Error::NotWritten`] where it took too few of them;
    /// [`Error::Register`] and [`Error::Deregister`] of the event loop; [`Error::Inherited`] in a
    /// child that was forked meanwhile. Where none did, once, the error of a round that was dropped.
    #[inline(always)]
    pub fn finish(mut self) -> Result<Outcome, Error> {
        let outcome = self.end()?;
        if self.shared.owes_error.load(Ordering::Relaxed) {
            self.shared.pay_error()?;
        }
        Ok(outcome)
    }

    fn end(&mut self) -> Result<Outcome, Error> {
        self.ended = true;
        if self.shared.is_inherited() {
            return Err(Error::Inherited);
        }
        let mut state = self.shared.lock();
        state.machine.absorb();
        let is_edge = self.shared.trigger == Trigger::Edge;
        state.machine.set_may_have_more(is_edge && self.may_read);
        let flushed = state.flush();
        // Left before settling: who cancels from now on sees to the link itself.
        self.shared.in_round.leave();
        if flushed.is_ok() && self.failed.is_none() && self.shared.is_at_rest(&state) {
            return Ok(Outcome::Done);
        }
        drop(state);
        self.settle_rest(flushed)
    }

    /// The end of a round after which there is something to do.
    #[cold]
    fn settle_rest(&mut self, flushed: Result<(), Error>) -> Result<Outcome, Error> {
        let rest = Rest(self.shared);
        let settled = self.shared.settle();
        let more = self.shared.lock().machine.has_work();
        drop(rest);

        let failed = self.failed.take().map(Error::Device);
        let unwritten = flushed.err();
        let unsettled = settled.err();
        let mut errors = [failed, unwritten, unsettled].into_iter().flatten();
        let Some(first) = errors.next() else {
            return Ok(if more { Outcome::More } else { Outcome::Done });
        };
        errors.for_each(|_| self.shared.count_unreported());
        Err(first)
    }

    /// One wake, as `pick` takes it: [`pick_some`](Self::pick_some).
    #[inline(always)]
    pub(super) fn next_with<T>(&mut self, pick: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let picked = self.pick_some(pick);
        self.wakes_left -= usize::from(picked.is_some());
        picked
    }

    /// What `pick` takes of what is ready, reading where it finds nothing. The caller counts the
    /// wakes.
    #[inline(always)]
    pub(super) fn pick_some<T>(
        &mut self,
        mut pick: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        if !self.may_pick() {
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

    /// Whether the round may go on.
    #[inline]
    pub(super) fn may_pick(&self) -> bool {
        self.wakes_left > 0 && !self.shared.is_inherited()
    }

    /// Whether nothing is ready, and nothing more is to be read.
    #[inline]
    pub(super) fn is_dry(&self, state: &State) -> bool {
        !self.may_read && state.machine.most_wakes() == 0
    }

    /// Lets go of the lock under which wakes were picked.
    #[inline]
    pub(super) fn unlock(&self, state: MutexGuard<'_, State>) {
        if state.has_somebody_to_tell() {
            self.tell(state);
        }
    }

    /// Tells those for whom there was something.
    #[cold]
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let rouse = state.machine.take_rouse(None);
        let is_task_due = state.machine.has_due();
        let news = take(&mut state.news);
        drop(state);
        news.tell();
        self.shared.wake_in_loop(false, rouse, None);
        if is_task_due {
            self.shared.wake_tasks();
        }
    }

    /// Reads once, if the round may. Says whether it did.
    #[inline]
    pub(super) fn read(&mut self, state: &mut State) -> bool {
        if !self.may_read || self.reads_left == 0 {
            return false;
        }
        self.reads_left -= 1;
        let read = state.read();
        self.may_read = read.may_leave_more(self.shared.trigger);
        if let Read::Failed(error) = read {
            self.failed = Some(error);
        }
        true
    }
}

impl<R: Registrar> Shared<R> {
    /// Keeps the error of a round that was dropped for the next call that can fail with it, and
    /// wakes the loop for that.
    #[cold]
    fn owe_error(&self, error: Error) {
        let mut state = self.lock();
        if state.owed.is_some() {
            state.machine.stats.unreported += 1;
        } else {
            state.owed = Some(error);
            self.owes_error.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.tell_loop();
    }

    /// Fails with the error of a round that was dropped, if there is one, once.
    #[cold]
    pub(super) fn pay_error(&self) -> Result<(), Error> {
        let mut state = self.lock();
        self.owes_error.store(false, Ordering::Relaxed);
        state.owed.take().map_or(Ok(()), Err)
    }
}

/// Tells the loop of what a round left, also where a hook panics first.
struct Rest<'a, R: Registrar>(&'a Shared<R>);

impl<R: Registrar> Drop for Rest<'_, R> {
    fn drop(&mut self) {
        if self.0.lock().machine.has_work() {
            self.0.tell_loop();
        }
    }
}

impl<R: Registrar> Iterator for Round<'_, R> {
    type Item = Wake;

    #[inline]
    fn next(&mut self) -> Option<Wake> {
        let wake = self.next_with(|state| state.machine.next_wake(|_| true))?;
        trace::wake(wake.channel, wake.cause);
        Some(wake)
    }
}

impl<R: Registrar> Drop for Round<'_, R> {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.end()
            && !self.shared.is_inherited()
        {
            self.shared.owe_error(error);
        }
    }
}

impl<R: Registrar> fmt::Debug for Round<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round")
            .field("wakes_left", &self.wakes_left)
            .field("may_read", &self.may_read)
            .finish_non_exhaustive()
    }
}
