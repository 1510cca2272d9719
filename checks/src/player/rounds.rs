//! Rounds, and turns of a loop, which are whole rounds.

use std::time::Duration;

use evtchn_core::{Cause, DispatchError, DispatchResult, Outcome, Wake};
use evtchn_sim::Call;

use super::table::Slot;
use super::{Loop, Opener, Player, Step, ensure, text};

type Ended = DispatchResult<Opener, Loop, Outcome>;

impl Player<'_> {
    pub(super) fn begin(&mut self, budget: usize) -> Step {
        match (self.ctx.dispatch_at_most(budget), &self.round) {
            (Ok(round), None) => {
                self.round = Some(round);
                self.budget = budget;
                Ok(())
            }
            (Err(DispatchError::Busy), Some(_)) => Ok(()),
            (other, _) => Err(format!("begin: {other:?}")),
        }
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
        let wake = self.round.as_mut().and_then(Iterator::next);
        self.note_fault()?;
        let Some(wake) = wake else {
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

    /// How a round ended.
    pub(super) fn ended(&mut self, ended: Ended) -> Step {
        match ended {
            Ok(Outcome::More) => ensure(self.ctx.next_timeout() == Some(Duration::ZERO), || {
                "more is ready and the loop may sleep".into()
            }),
            Ok(Outcome::Done) => Ok(()),
            Err(DispatchError::Device(error)) => self.told(error),
            Err(DispatchError::Unmask { source, .. }) => self.told(source),
            Err(error @ DispatchError::NotWritten { .. }) => {
                self.failed(Call::Unmask, || text(error))
            }
            Err(DispatchError::Link(error)) => self.link_failed(error),
            Err(error) => Err(format!("finish: {error:?}")),
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
