//! How a round begins and ends. Its end unmasks ports and settles the link; an error that no call
//! can return is kept for the next call.

use super::owner::RoundNumber;
use super::{Outcome, Shared};
use crate::error::Error;
use crate::hal::{DeviceError, Registrar, Trigger};
use crate::sync::Ordering;

impl<R: Registrar> Shared<R> {
    /// `Round::plain` of a round with this number.
    #[inline]
    pub(super) fn plain(&self, number: RoundNumber) -> RoundNumber {
        if self.observer.is_some() {
            RoundNumber::NONE
        } else {
            number
        }
    }

    /// Begins a round on this thread. If an earlier one was forgotten, that is ended first.
    #[inline(always)]
    pub(super) fn begin_round(&self) -> Result<RoundNumber, Error> {
        match self.in_round.acquire() {
            Some(number) => Ok(number),
            None => self.begin_after_forgotten(),
        }
    }

    /// Ends the round that has just begun and fails with the error of a round that was dropped. If
    /// another thread has got that error meanwhile, the round begins again.
    #[cold]
    pub(super) fn begin_paid_round(&self) -> Result<RoundNumber, Error> {
        self.in_round.release();
        self.pay_error()?;
        self.begin_round()
    }

    #[cold]
    fn begin_after_forgotten(&self) -> Result<RoundNumber, Error> {
        if !self.in_round.claim() {
            return Err(Error::Busy);
        }
        if let Err(error) = self.end_round(true) {
            self.owe_error(error);
        }
        self.in_round.acquire().ok_or(Error::Busy)
    }

    /// Ends the round of this thread. `may_read` says that the device may have more.
    #[inline(always)]
    pub(super) fn end_round(&self, may_read: bool) -> Result<Outcome, Error> {
        let mut state = self.lock();
        state.machine.queue_unread();
        let is_edge = self.trigger == Trigger::Edge;
        state.machine.set_may_have_more(is_edge && may_read);
        let unmasked = state.unmask_queued();
        // Released before settling: a thread that cancels from now on settles the link itself.
        self.in_round.release();
        let has_failed = state.failed_in_round.is_some();
        if unmasked.is_ok() && !has_failed && self.is_at_rest(&state) {
            return Ok(Outcome::Done);
        }
        let failed = state.failed_in_round.take();
        drop(state);
        self.settle_round(failed, unmasked)
    }

    /// The end of a round after which something is left to do.
    #[cold]
    fn settle_round(
        &self,
        failed: Option<DeviceError>,
        unmasked: Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let rest = Rest(self);
        let settled = self.settle();
        let outcome = self.outcome();
        drop(rest);

        let failed = failed.map(Error::Device);
        let mut errors = [failed, unmasked.err(), settled.err()]
            .into_iter()
            .flatten();
        let Some(first) = errors.next() else {
            return Ok(outcome);
        };
        errors.for_each(|_| self.count_unreported());
        Err(first)
    }

    pub(super) fn outcome(&self) -> Outcome {
        if self.lock().machine.has_work() {
            Outcome::More
        } else {
            Outcome::Done
        }
    }

    /// Keeps the error of a round that was dropped for the next call that can return it, and wakes
    /// the loop so that the program makes that call.
    #[cold]
    pub(super) fn owe_error(&self, error: Error) {
        let mut state = self.lock();
        if state.owed.is_some() {
            state.machine.stats.unreported += 1;
        } else {
            state.owed = Some(error);
            self.owes_error.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.wake_loop();
    }

    /// Fails once with the error of a round that was dropped, if there is one.
    #[cold]
    pub(super) fn pay_error(&self) -> Result<(), Error> {
        let mut state = self.lock();
        self.owes_error.store(false, Ordering::Relaxed);
        state.owed.take().map_or(Ok(()), Err)
    }
}

/// Its drop wakes the loop if the round left work, also if a hook panics before.
struct Rest<'a, R: Registrar>(&'a Shared<R>);

impl<R: Registrar> Drop for Rest<'_, R> {
    fn drop(&mut self) {
        if self.0.lock().machine.has_work() {
            self.0.wake_loop();
        }
    }
}
