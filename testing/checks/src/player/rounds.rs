//! Rounds, and turns of a loop: each turn is a whole round.

use std::mem::ManuallyDrop;
use std::time::Duration;

use evtchn_core::{Cause, Error, Outcome, StillInUse, Wake};
use evtchn_sim::Call;

use super::table::Slot;
use super::{Player, Step, ensure, text};

type Ended = Result<Outcome, Error>;

impl Player<'_> {
    /// Begins a round. If another one is under way, it is forgotten, and this one ends it.
    pub(super) fn begin(&mut self, budget: usize) -> Step {
        let forgotten = self.round.take().map(ManuallyDrop::new);
        self.calls.get().failed.clear();
        let mut begun = self.ctx.dispatch_at_most(budget);
        if forgotten.is_some() {
            self.note_end_of_round();
        }
        if self.owed.is_some() {
            self.pay(begun.map(drop))?;
            begun = self.ctx.dispatch_at_most(budget);
        }
        self.round = Some(begun.map_err(|error| format!("begin: {error}"))?);
        self.budget = budget;
        self.unread = None;
        Ok(())
    }

    pub(super) fn next_many(&mut self, wakes: u16) -> Step {
        for _ in 0..wakes {
            if self.next()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Takes the next wake of the round. Returns its slot; `Some(None)` for a wake `Gone`.
    fn next(&mut self) -> Result<Option<Option<usize>>, String> {
        self.calls.get().failed.clear();
        let wake = self.round.as_mut().and_then(Iterator::next);
        let failed = self.calls.get().failed.first().copied();
        self.unread = self.unread.or(failed);
        self.note_fault()?;
        let Some(wake) = wake else {
            let is_over = self.round.is_some() && self.budget > 0;
            ensure(!is_over || self.table.counts().owed == 0, || {
                let slot = self.table.iter().position(Slot::is_owed);
                format!("a round did not hand out the wake that was kept for slot {slot:?}")
            })?;
            return Ok(None);
        };
        ensure(self.budget > 0, || {
            "a round handed out more than its budget".into()
        })?;
        self.budget -= 1;
        self.note_wake(wake).map(Some)
    }

    /// A wake was handed out. Returns its slot; `None` for a wake `Gone`.
    pub(super) fn note_wake(&mut self, wake: Wake) -> Result<Option<usize>, String> {
        self.played.wakes += 1;
        ensure(wake.cause != Cause::Overflow || self.overflowed, || {
            "a wake has the cause overflow, but there was none".into()
        })?;
        if wake.cause == Cause::Gone {
            let is_known =
                self.gone_due.remove(&wake.channel) || self.gone_possible.remove(&wake.channel);
            ensure(is_known, || {
                "a wake `Gone` came without a reason, or twice".into()
            })?;
            return Ok(None);
        }
        let place = self.table.find(wake.channel);
        let Some(place) = place.filter(|place| self.table.get(*place).is_bound()) else {
            return Err("a wake came for a channel that is not bound".into());
        };
        let woken = |slot: &mut Slot| slot.model.woken(wake.cause);
        self.table.edit(place, woken).map_err(text)?;
        Ok(Some(place))
    }

    pub(super) fn finish(&mut self) -> Step {
        let Some(round) = self.round.take() else {
            return Ok(());
        };
        let ended = round.finish();
        self.ended(ended)
    }

    /// Drops the round. Its error is kept for the next call that can return it.
    pub(super) fn leave(&mut self) {
        let Some(round) = self.round.take() else {
            return;
        };
        self.calls.get().failed.clear();
        drop(round);
        self.note_end_of_round();
    }

    /// A round was ended by something that cannot return its error.
    fn note_end_of_round(&mut self) {
        let failed = std::mem::take(&mut self.calls.get().failed);
        self.loose |= failed.contains(&Call::Deregister);
        self.owed = self.unread.take().or_else(|| failed.first().copied());
    }

    /// A call must fail with the error that was kept.
    pub(super) fn pay(&mut self, answer: Result<(), Error>) -> Step {
        let Some(owed) = self.owed.take() else {
            return Ok(());
        };
        match answer {
            Err(Error::Device(error)) => self.device_failed([owed], &error),
            Err(Error::Deregister(error)) => self.loop_failed(owed, &error),
            Err(error @ Error::NotUnmasked { .. }) => self.failed(owed, || text(error)),
            other => Err(format!("{owed} failed as a round was dropped: {other:?}")),
        }
    }

    /// The bound channels and those with a wait, from the error of a teardown under bound channels. Such a
    /// teardown changes nothing.
    pub(super) fn still_in_use(&mut self) -> Result<Box<StillInUse>, String> {
        if self.owed.is_some() {
            let torn = self.ctx.teardown();
            self.pay(torn)?;
        }
        match self.ctx.teardown() {
            Err(Error::StillInUse(left)) => Ok(left),
            other => Err(format!("teardown under bound channels: {other:?}")),
        }
    }

    /// Checks how a round ended.
    pub(super) fn ended(&mut self, ended: Ended) -> Step {
        match ended {
            Ok(Outcome::More) => ensure(self.ctx.next_timeout() == Some(Duration::ZERO), || {
                "more is ready and the loop may sleep".into()
            }),
            Ok(Outcome::Done) => Ok(()),
            Err(Error::Device(error)) => {
                self.device_failed([Call::Pending, Call::Reset, Call::Unmask], &error)
            }
            Err(error) => self
                .wait_failed(&error)
                .map_err(|what| format!("finish: {what}")),
        }
    }

    /// Whether there is a reason for a round. If there is none, it is an error if a channel has a wait
    /// and an event.
    pub(super) fn has_reason(&self) -> Result<bool, String> {
        let awake = self.ctx.next_timeout() == Some(Duration::ZERO);
        if self.looper.ready() || awake {
            return Ok(true);
        }
        if self.table.counts().due == 0 {
            return Ok(false);
        }
        let slot = self.table.iter().position(Slot::is_due);
        Err(format!(
            "slot {} sleeps through its event",
            slot.unwrap_or(usize::MAX)
        ))
    }

    /// One turn of an event loop. With `again` each channel that wakes is waited on again. Returns false
    /// if there is no reason for a round.
    pub(super) fn turn(&mut self, again: bool) -> Result<bool, String> {
        if !self.has_reason()? {
            return Ok(false);
        }
        self.begin(usize::MAX)?;
        while let Some(place) = self.next()? {
            if let Some(place) = place.filter(|_| again) {
                self.wait(place)?;
            }
        }
        self.finish()?;
        Ok(true)
    }
}
