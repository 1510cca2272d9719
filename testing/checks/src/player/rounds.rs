//! Rounds, and turns of a loop, which are whole rounds.

use std::mem::ManuallyDrop;
use std::time::Duration;

use evtchn_core::{Cause, Error, Outcome, StillInUse, Wake};
use evtchn_sim::Call;

use super::table::Slot;
use super::{Player, Step, ensure, text};

type Ended = Result<Outcome, Error>;

impl Player<'_> {
    /// Begins a round. One that is under way is forgotten, and ended by this one.
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

    /// Takes a wake of the round, if one comes: the slot that it is for, unless that is gone.
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
        self.told_of(wake).map(Some)
    }

    /// A wake was handed out: the slot that it is for, unless that is gone.
    pub(super) fn told_of(&mut self, wake: Wake) -> Result<Option<usize>, String> {
        self.played.wakes += 1;
        ensure(wake.cause != Cause::Overflow || self.overflowed, || {
            "a wake told of an overflow that was none".into()
        })?;
        if wake.cause == Cause::Gone {
            let is_known =
                self.to_tell.remove(&wake.channel) || self.may_tell.remove(&wake.channel);
            ensure(is_known, || {
                "told that it is gone without a reason, or twice".into()
            })?;
            return Ok(None);
        }
        let place = self.table.find(wake.channel);
        let Some(place) = place.filter(|place| self.table.get(*place).is_bound()) else {
            return Err("a wake came for a channel that is gone".into());
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

    /// Drops the round. What it fails with is kept for the next call that can fail with it.
    pub(super) fn leave(&mut self) {
        let Some(round) = self.round.take() else {
            return;
        };
        self.calls.get().failed.clear();
        drop(round);
        self.note_end_of_round();
    }

    /// A round was ended by something that cannot fail with what that came to.
    fn note_end_of_round(&mut self) {
        let failed = std::mem::take(&mut self.calls.get().failed);
        self.loose |= failed.contains(&Call::Deregister);
        self.owed = self.unread.take().or_else(|| failed.first().copied());
    }

    /// A call failed with what is owed, and with nothing else.
    pub(super) fn pay(&mut self, answer: Result<(), Error>) -> Step {
        let Some(owed) = self.owed.take() else {
            return Ok(());
        };
        match answer {
            Err(Error::Device(error)) => self.told([owed], &error),
            Err(Error::Deregister(error)) => self.loop_told(owed, &error),
            Err(error @ Error::NotUnmasked { .. }) => self.failed(owed, || text(error)),
            other => Err(format!("{owed} failed as a round was dropped: {other:?}")),
        }
    }

    /// Who is bound and who waits, as a teardown under bound channels says, which changes nothing.
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

    /// How a round ended.
    pub(super) fn ended(&mut self, ended: Ended) -> Step {
        match ended {
            Ok(Outcome::More) => ensure(self.ctx.next_timeout() == Some(Duration::ZERO), || {
                "more is ready and the loop may sleep".into()
            }),
            Ok(Outcome::Done) => Ok(()),
            Err(Error::Device(error)) => {
                self.told([Call::Pending, Call::Reset, Call::Unmask], &error)
            }
            Err(error) => self
                .arm_failed(&error)
                .map_err(|what| format!("finish: {what}")),
        }
    }

    /// Whether there is a reason for a round. Where there is none, nobody may be waiting for
    /// something that happened.
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

    /// One turn of an event loop, in which each wake waits `again` or not. False where there is
    /// no reason for a round.
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
