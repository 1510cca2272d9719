//! Rounds of values and of callbacks, and what a callback does.

use evtchn_core::{ChannelId, Error, Outcome, Round, Wake};

use evtchn_sim::Call;

use super::looper::Looper;
use super::rig::{Owed, PlannedPanic, Rig, Step, TestContext, ensure};
use super::script::{Budget, Callback, Way};
use crate::failed::device_call;

pub(super) type TestRound<'a> = Round<'a, Looper>;
type Ended = Result<Outcome, Error>;

impl Rig {
    /// A whole round.
    pub(super) fn dispatch(&self, ctx: &TestContext, way: Way) -> Step {
        let (Way::Values(budget) | Way::Again(budget) | Way::Calls(budget)) = way;
        let Some(round) = self.begin(ctx, budget)? else {
            return Ok(());
        };
        match way {
            Way::Calls(_) => self.go_through_calls(ctx, round),
            Way::Values(_) => self.go_through(ctx, round, false),
            Way::Again(_) => self.go_through(ctx, round, true),
        }
    }

    /// Ends the round that is held or was forgotten, with another round that ends at once. `faults` is the
    /// count of faults when the first one began.
    pub(super) fn end_by_another(&self, ctx: &TestContext, budget: Budget, faults: u64) -> Step {
        self.end_round(ctx, faults, |rig, ctx| {
            match rig.guarded(|| ctx.dispatch_at_most(budget.0).map(drop), |_, _| ()) {
                Err(error) if rig.is_paid(&error) => Ok(()),
                Err(error) => Err(format!("begin beside another round: {error:?}")),
                Ok(()) => Ok(()),
            }
        })
    }

    /// Ends a round in another way than with `finish`. The failure of its device is kept, and any other
    /// failure is counted.
    pub(super) fn end_round(
        &self,
        ctx: &TestContext,
        faults: u64,
        end: impl FnOnce(&Rig, &TestContext) -> Step,
    ) -> Step {
        let before = self.seen(ctx);
        let inside = self.enter(|inside| &mut inside.leaving);
        self.state().owed = Owed::Unsure;
        let ended = end(self, ctx);
        drop(inside);
        let hides = ctx.stats().faults > faults;
        self.state().seen.hiding += u64::from(hides);
        self.dropped(ctx, before);
        ended
    }

    /// Begins a round, if there may be one.
    pub(super) fn begin<'a>(
        &self,
        ctx: &'a TestContext,
        budget: Budget,
    ) -> Result<Option<TestRound<'a>>, String> {
        let inside = self.inside();
        let (in_hook, in_callback) = (inside.hook > 0, inside.callback > 0);
        if inside.values > 0 && !inside.paused && !in_hook && !in_callback {
            self.state().inside.paused = true;
            // Any fault so far may have happened in the round that is held.
            self.end_by_another(ctx, budget, 0)?;
        }
        let mut begun = ctx.dispatch_at_most(budget.0);
        if !in_hook && !in_callback {
            if let Err(error) = &begun
                && self.is_paid(error)
            {
                begun = ctx.dispatch_at_most(budget.0);
            }
            self.nothing_owed(&begun)?;
        }
        self.state().inside.paused &= begun.is_err();
        match begun {
            Err(Error::Reentrant) if in_hook => Ok(None),
            Err(Error::Busy) if in_callback && !in_hook => Ok(None),
            Ok(round) if !in_callback && !in_hook => Ok(Some(round)),
            other => Err(format!("begin: {other:?}")),
        }
    }

    /// Checks that a round began only after the error that was kept had been returned.
    fn nothing_owed(&self, begun: &Result<TestRound<'_>, Error>) -> Step {
        let mut state = self.state();
        ensure(begun.is_err() || state.owed != Owed::Hook, || {
            "a round began, and the error of the one before was lost".into()
        })?;
        let inside = state.inside;
        if inside.leaving == 0 && inside.wake == 0 && !std::thread::panicking() {
            state.owed = Owed::Nothing;
        }
        Ok(())
    }

    fn go_through(&self, ctx: &TestContext, mut round: TestRound<'_>, again: bool) -> Step {
        // The count must go down before the round ends, also by a panic.
        let inside = self.enter(|inside| &mut inside.values);
        while let Some(wake) = self.next(ctx, &mut round)? {
            if again {
                self.wait(ctx, wake.channel)?;
            }
        }
        drop(inside);
        self.finish(round)
    }

    /// Takes a wake, if one comes.
    pub(super) fn next(
        &self,
        ctx: &TestContext,
        round: &mut TestRound<'_>,
    ) -> Result<Option<Wake>, String> {
        self.state().inside.paused = false;
        let wake = round.next();
        self.note_fault(ctx);
        if let Some(wake) = wake {
            self.woken(wake)?;
        }
        Ok(wake)
    }

    /// Finishes a round of values. The program is no longer in it.
    pub(super) fn finish(&self, round: TestRound<'_>) -> Step {
        let wakes = self.state().seen.wakes;
        let was_ended = self.inside().paused;
        self.state().inside.paused = true;
        let ended = self.guarded(|| round.finish(), |_, _| ());
        match ended {
            // Another round has ended it. Only an error that was kept can be left.
            Err(error) if was_ended && !self.is_paid(&error) => Err(format!("finish: {error:?}")),
            _ if was_ended => Ok(()),
            ended => self.ended(ended, wakes),
        }
    }

    fn go_through_calls(&self, ctx: &TestContext, round: TestRound<'_>) -> Step {
        let before = self.seen(ctx);
        let wakes = before.wakes;
        let inside = self.enter(|inside| &mut inside.calls);
        // A callback that panics drops the round.
        let leaving = self.enter(|inside| &mut inside.leaving);
        let mut state = self.state();
        state.owed = Owed::Unsure;
        state.inside.paused = true;
        drop(state);
        let ended = self.guarded(
            || round.call(),
            |state, planned| {
                let stats = ctx.stats();
                let device_failed = stats.faults > before.faults;
                state.note_faults(stats.faults);
                state.note_kept();
                let now = state.seen;
                let counted = stats.unreported - before.unreported;
                let refused = now.refused - before.refused;
                let kept = refused > now.answered - before.answered + counted;
                // A round that a callback ends by a panic settles the link like any other, and its error
                // is kept.
                let by_callback = planned == Some(&PlannedPanic::InCallback);
                let settled = by_callback && counted == 0 && !kept;
                state.unsettled = !settled || state.unsettled_late;
                let is_sure = by_callback && !device_failed;
                state.owed = match (is_sure, kept) {
                    (true, true) => Owed::Hook,
                    (true, false) => Owed::Nothing,
                    (false, _) => Owed::Unsure,
                };
            },
        );
        drop(leaving);
        self.state().owed = Owed::Nothing;
        self.note_fault(ctx);
        self.state().note_kept();
        drop(inside);
        self.ended(ended, wakes)
    }

    fn ended(&self, ended: Ended, wakes_before: u64) -> Step {
        match ended {
            Ok(outcome) => {
                self.settled();
                let mut state = self.state();
                let mut was_woken = state.seen.wakes > wakes_before;
                // Inside of a wake-up, the next one is left to the call that makes this one.
                if outcome != Outcome::Done && !was_woken && state.inside.wake > 0 {
                    state.owed_wake = Some(state.seen.wakes);
                    was_woken = true;
                }
                drop(state);
                ensure(outcome == Outcome::Done || was_woken, || {
                    "more is ready and the loop was not woken".into()
                })
            }
            Err(Error::Device(error)) => {
                ensure(device_call(&error) == Some(Call::Pending), || {
                    format!("finish: {error:?}")
                })?;
                let mut state = self.state();
                // This hides whether the deregistration failed.
                state.unsettled = true;
                state.seen.hiding += 1;
                Ok(())
            }
            Err(error) => self
                .link_failed(&error)
                .map_err(|what| format!("finish: {what}")),
        }
    }

    /// Runs a callback.
    pub(super) fn called(&self, number: u64, id: ChannelId, wake: Wake, callback: Callback) {
        let _inside = self.enter(|inside| &mut inside.callback);
        let done = self.go_through_call(number, id, wake, callback);
        self.note(done);
        if callback.panics && !self.state().resting {
            self.panic(PlannedPanic::InCallback);
        }
    }

    fn go_through_call(&self, number: u64, id: ChannelId, wake: Wake, callback: Callback) -> Step {
        let Some(ctx) = self.context() else {
            return Err("a callback ran while the context was dropped".into());
        };
        self.note_fault(&ctx);
        let state = self.state();
        let (inside, resting) = (state.inside, state.resting);
        let current = state
            .slots
            .iter()
            .any(|slot| slot.id == Some(id) && slot.callback == Some(number));
        drop(state);
        ensure(inside.calls > 0 && inside.callback == 1, || {
            format!("a callback ran where none may run: {inside:?}")
        })?;
        ensure(current && wake.channel == id, || {
            format!(
                "a callback that was removed was called for {:?}",
                wake.channel
            )
        })?;
        self.woken(wake)?;
        if resting {
            return Ok(());
        }
        if callback.again {
            self.wait(&ctx, id)?;
        }
        self.act(callback.act)
    }
}
