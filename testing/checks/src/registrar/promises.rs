//! What the context promises of the event loop, looked at from outside.

use std::sync::Arc;
use std::time::Duration;

use evtchn_core::{Error, Link, Trigger};
use evtchn_sim::abi::{Arg, RESTRICT_DOMID};
use evtchn_sim::{Errno, FileId};

use super::rig::{Owed, Rig, Seen, Slot, State, Step, TestContext, ensure};
use super::script::{Act, EVERY_SLOT, End, Point, Quirk};

impl Rig {
    /// What was counted before a step.
    pub(super) fn seen(&self, ctx: &TestContext) -> Seen {
        let mut state = self.state();
        state.seen.unreported = ctx.stats().unreported;
        state.seen
    }

    /// Checks what must hold after every step; `before` was counted before the step.
    pub(super) fn check(&self, ctx: &TestContext, before: Seen) -> Step {
        self.note_fault(ctx);
        let now = self.seen(ctx);
        let open = self.opener.last().filter(|_| ctx.link().is_open());
        let mut state = self.state();
        if let Some(what) = state.broken.take() {
            return Err(what);
        }
        state.watches.give_up(open);
        let owed = state.owed_wake.take();
        ensure(
            owed.is_none_or(|before_it| now.wakes > before_it || now.hiding > before.hiding),
            || "more was ready inside of a wake-up and the loop was not woken after it".into(),
        )?;
        ensure(state.breaks || now.faults == 0, || {
            "the device failed although it was not set to".into()
        })?;
        check_failures(before, now)?;
        let left = Arc::strong_count(&self.token) - 1;
        let kept = state.slots.iter().filter(|slot| slot.is_called()).count();
        ensure(left == kept, || {
            format!("{left} callbacks are left of {kept}")
        })?;
        self.check_device(ctx, &state, open)?;
        check_link(ctx, &state)
    }

    /// The device is open as the link says, and restricted as was asked for.
    fn check_device(&self, ctx: &TestContext, state: &State, open: Option<FileId>) -> Step {
        let (files, link) = (self.sim.open_files(), ctx.link());
        let dead = |slot: &Slot| slot.channel.is_some() && slot.dead;
        ensure(
            files == usize::from(open.is_some()) || state.slots.iter().any(dead),
            || format!("{files} files are open in {link:?}"),
        )?;
        let (Some(file), Some(domid)) = (open, state.restricted) else {
            return Ok(());
        };
        // The driver refuses a second restriction before it looks at the argument.
        let answer = self
            .sim
            .with(|world| world.ioctl(file, RESTRICT_DOMID, Arg::Bad));
        ensure(answer == Err(Errno::EACCES), || {
            format!("the device is not restricted to {domid}")
        })
    }

    /// Waits on each channel of which it is not known whether it has a wait.
    pub(super) fn ask_again(&self) -> Step {
        for slot in EVERY_SLOT {
            if self.state().slots[usize::from(slot)].unsure {
                self.act(Act::Wait(slot))?;
            }
        }
        Ok(())
    }

    /// Lets the ring overflow. An edge-triggered loop must have been ready before, as it is when the ring
    /// is full.
    pub(super) fn overflow(&self) {
        let Some(file) = self.opener.last() else {
            return;
        };
        if self.setup.trigger == Trigger::Edge && !self.is_readable(file) {
            return;
        }
        if self.sim.with(|world| world.overflow(file)).is_ok() {
            let mut state = self.state();
            state.overflowed = true;
            for slot in state.slots.iter_mut().filter(|slot| slot.is_bound()) {
                slot.model.overflow();
            }
        }
    }

    /// Ends the context, and checks that nothing is open or registered afterwards.
    pub(super) fn end(&self, ctx: Arc<TestContext>) -> Step {
        let left = self.state().gone_due.iter().any(|gone| gone.sure);
        ensure(!left, || {
            "a channel got no wake `Gone` although its device failed".into()
        })?;
        if self.setup.end == End::TornDown {
            for slot in EVERY_SLOT {
                self.act(Act::Drop(slot))?;
            }
            self.act(Act::Teardown)?;
            ensure(ctx.link() == Link::Closed, || "not torn down".into())?;
            self.check(&ctx, self.seen(&ctx))?;
        } else {
            self.drop_context(ctx)?;
        }
        ensure(self.sim.open_files() == 0, || "a file is left open".into())
    }

    /// Drops the context while its channels have waits, and then the channels. The loop drops one of them
    /// from inside a hook.
    fn drop_context(&self, ctx: Arc<TestContext>) -> Step {
        for slot in EVERY_SLOT {
            self.act(Act::Wait(slot))?;
        }
        let quirk = match self.setup.end {
            End::Refused => Quirk::Refuse(Act::Drop(0)),
            End::Dropped | End::TornDown => Quirk::After(Act::Drop(0)),
        };
        let mut state = self.state();
        state.resting = false;
        state.quirks = Default::default();
        state.quirks[Point::Deregister as usize].push_back(quirk);
        drop(state);
        let ctx = Arc::into_inner(ctx).ok_or("the context is still held")?;
        drop(ctx);
        let mut state = self.state();
        if let Some(what) = state.broken.take() {
            return Err(what);
        }
        state.watches.give_up(None);
        ensure(state.watches.is_empty(), || "still registered".into())?;
        ensure(Arc::strong_count(&self.token) == 1, || {
            "a callback outlives its context".into()
        })?;
        let channels = state.slots.iter().filter_map(|slot| slot.channel.as_ref());
        for channel in channels {
            let answer = channel.wait();
            ensure(matches!(answer, Err(Error::NotBound(_))), || {
                format!("a wait without a context: {answer:?}")
            })?;
        }
        drop(state);
        for slot in EVERY_SLOT {
            self.act(Act::Notify(slot))?;
            self.act(Act::Drop(slot))?;
        }
        Ok(())
    }
}

/// Checks that each failure of a hook is reported, once.
fn check_failures(before: Seen, now: Seen) -> Step {
    if before.hiding != now.hiding {
        return Ok(());
    }
    let refused = now.refused - before.refused;
    let reported = now.answered - before.answered + now.unreported - before.unreported + now.kept
        - before.kept;
    ensure(refused == reported, || {
        format!("{refused} hooks failed, {reported} failures were reported")
    })
}

/// Checks that the link and the loop agree, and that the device is registered if and only if there is a
/// wait.
fn check_link(ctx: &TestContext, state: &State) -> Step {
    let (link, stats) = (ctx.link(), ctx.stats());
    let registered = !state.watches.is_empty();
    ensure(registered == (link == Link::Watching), || {
        format!("registered: {registered}, but the link is {link:?}")
    })?;
    ensure(stats.registers == state.watches.registers, || {
        format!("{} registrations were counted", stats.registers)
    })?;
    let forced = stats.faults > 0;
    ensure(
        stats.deregisters == state.watches.deregisters || forced,
        || format!("{} deregistrations were counted", stats.deregisters),
    )?;
    let waits = state.slots.iter().any(Slot::waits);
    let may_wait = state.slots.iter().any(Slot::may_wait);
    ensure(registered || !waits || state.unsettled, || {
        "a channel has a wait and the device is not registered".into()
    })?;
    if state.inside.is_round() {
        return Ok(());
    }
    ensure(!registered || may_wait || state.unsettled, || {
        "the device is registered and no channel has a wait".into()
    })?;
    let awake = ctx.next_timeout() == Some(Duration::ZERO);
    ensure(awake || state.owed != Owed::Hook, || {
        "an error was kept, and the loop may sleep".into()
    })?;
    ensure(!awake || state.watches.woken, || {
        "there is work, and the loop was not woken".into()
    })
}
