//! Plays a script on a fresh machine, and checks what must hold after each step, at rest, and at the end.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use evtchn_core::Context;
use evtchn_sim::{Call, Errno};

use super::acts::place;
use super::looper::{Looper, Opener};
use super::rig::{PlannedPanic, Rig, Seen, Slot, Step, TestContext};
use super::rounds::TestRound;
use super::script::{Act, Budget, EVERY_SLOT, Op, Setup, Way};
use crate::player::Broken;

/// How many turns a loop may take to come to rest.
const TURNS: usize = 64;
/// How many quirks can be queued for one hook.
const QUIRKS: usize = 16;

/// Plays a script to its end, to rest, and to the end of the context. Returns how many quirks of hooks
/// took effect.
pub(super) fn play(setup: Setup, script: &[Op]) -> Result<usize, Broken> {
    let at = |step| move |what| Broken { step, what };
    let rig = Rig::new(setup).map_err(at(0))?;
    let looper = Looper(Arc::downgrade(&rig), setup.trigger);
    let ctx = Arc::new(Context::with_registrar(
        Opener(Arc::downgrade(&rig)),
        looper,
    ));
    // It is set only here.
    drop(rig.context.set(Arc::downgrade(&ctx)));
    let mut player = Player {
        rig: &rig,
        ctx: &ctx,
        round: None,
        faults: 0,
    };
    let mut played = Ok(());
    for (step, op) in script.iter().enumerate() {
        played = player.step(*op).map_err(at(step));
        if played.is_err() {
            break;
        }
    }
    rig.state().resting = true;
    if played.is_ok() {
        played = catch(|| player.rest()).map_err(at(script.len()));
    }
    drop(player);
    played?;
    let met = rig.state().met;
    let ended = catch(|| rig.end(ctx)).map_err(at(script.len()));
    ended.map(|()| met)
}

/// Makes calls that may panic only as the script asked for.
fn catch(calls: impl FnOnce() -> Step) -> Step {
    match catch_unwind(AssertUnwindSafe(calls)) {
        Ok(done) => done,
        Err(payload) if payload.is::<PlannedPanic>() => Ok(()),
        Err(payload) => Err(format!("panicked: {}", message(&*payload))),
    }
}

fn message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

struct Player<'a> {
    rig: &'a Rig,
    ctx: &'a TestContext,
    round: Option<TestRound<'a>>,
    /// How often the device had failed when the round began.
    faults: u64,
}

impl<'a> Player<'a> {
    /// Plays one step, and checks what must hold after it.
    fn step(&mut self, op: Op) -> Step {
        let before = self.rig.seen(self.ctx);
        catch(|| self.go(op))?;
        self.rig.check(self.ctx, before)
    }

    fn go(&mut self, op: Op) -> Step {
        match op {
            Op::Do(act) => self.rig.act(act),
            Op::Call(slot, callback) => self.rig.set_callback(place(slot), callback),
            Op::Hook(point, quirk) => {
                let queue = &mut self.rig.state().quirks[point as usize];
                if queue.len() < QUIRKS {
                    queue.push_back(quirk);
                }
                Ok(())
            }
            Op::Begin(budget) => self.begin(budget),
            Op::Next => match &mut self.round {
                Some(round) => self.rig.next(self.ctx, round).map(|_| ()),
                None => Ok(()),
            },
            Op::Finish => self.leave_round().map_or(Ok(()), |it| self.rig.finish(it)),
            Op::Leave => self.leave(),
            Op::Poll => self.rig.poll(),
            Op::Turn(way) => self.turn(way).map(|_| ()),
            Op::Nudge => {
                self.rig.state().watches.woken = true;
                Ok(())
            }
            Op::Overflow => {
                self.rig.overflow();
                Ok(())
            }
            Op::Break => {
                self.rig.state().breaks = true;
                self.rig.opener.fail_next(Call::Pending, Errno::EIO);
                Ok(())
            }
        }
    }

    fn is_awake(&self) -> bool {
        self.ctx.next_timeout() == Some(Duration::ZERO)
    }

    fn begin(&mut self, budget: Budget) -> Step {
        if let Some(round) = self.leave_round() {
            self.end_forgotten(round, budget)?;
        } else {
            self.rig.is_reported(self.is_awake())?;
        }
        if let Some(round) = self.rig.begin(self.ctx, budget)? {
            self.rig.state().inside.values += 1;
            self.faults = self.ctx.stats().faults;
            self.round = Some(round);
        }
        Ok(())
    }

    /// Forgets the round, and begins another one, which ends it.
    fn end_forgotten(&mut self, round: TestRound<'a>, budget: Budget) -> Step {
        let _forgotten = ManuallyDrop::new(round);
        if self.rig.inside().paused {
            // Another round has ended it.
            return Ok(());
        }
        self.rig.end_by_another(self.ctx, budget, self.faults)
    }

    /// Takes the round that is held, if any. The program is no longer in it.
    fn leave_round(&mut self) -> Option<TestRound<'a>> {
        let round = self.round.take()?;
        self.rig.state().inside.values -= 1;
        Some(round)
    }

    fn leave(&mut self) -> Step {
        let Some(round) = self.leave_round() else {
            return Ok(());
        };
        if self.rig.inside().paused {
            // Another round has ended it.
            drop(round);
            return Ok(());
        }
        self.rig.end_round(self.ctx, self.faults, |rig, _| {
            rig.guarded(|| drop(round), |_, _| ());
            Ok(())
        })
    }

    /// One turn of the loop. Returns false if there is no reason for a round; then it is an error if a
    /// channel has a wait and an event.
    fn turn(&self, way: Way) -> Result<bool, String> {
        if self.round.is_some() {
            return Ok(true);
        }
        if self.rig.is_reported(self.is_awake())? {
            self.rig.dispatch(self.ctx, way)?;
            return Ok(true);
        }
        let sleeps = |slot: &Slot| slot.waits() && slot.model.must;
        match self.rig.state().slots.iter().position(sleeps) {
            Some(slot) => Err(format!("slot {slot} sleeps through its event")),
            None => Ok(false),
        }
    }

    /// Runs the loop until nothing more happens, then checks that every channel still works.
    fn rest(&mut self) -> Step {
        let before = self.rig.seen(self.ctx);
        self.leave()?;
        self.fall_silent(before)?;
        for slot in EVERY_SLOT {
            self.rig.act(Act::Wait(slot))?;
            self.rig.act(Act::Signal(slot))?;
        }
        self.fall_silent(before)
    }

    fn fall_silent(&self, before: Seen) -> Step {
        for turn in 0..TURNS {
            self.rig.ask_again()?;
            let way = if turn % 2 == 0 {
                Way::Calls(Budget(2))
            } else {
                Way::Values(Budget::ALL)
            };
            if !self.turn(way)? {
                // After a round without a reason no earlier failure is an excuse.
                self.rig.dispatch(self.ctx, Way::Values(Budget::ALL))?;
                return self.rig.check(self.ctx, before);
            }
            self.rig.check(self.ctx, before)?;
        }
        Err("the loop does not come to rest".into())
    }
}
