//! What the program under test, its callbacks and its event loop share: the machine, the model and the
//! state of the check.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use evtchn_core::{Cause, Channel, ChannelId, Context, DomId, Error, Port, Virq, Wake};
use evtchn_sim::{Guest, Sim, SimOpen};

use super::looper::{Looper, Watches};
use super::script::{Act, Point, Quirk, SLOTS, Setup};
use crate::model;

pub(super) type TestContext = Context<Looper>;
pub(super) type TestChannel = Channel<Looper>;

/// Whether the error of a round that was dropped is kept for the next call that can return it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    #[default]
    Nothing,
    /// Not known: something panicked meanwhile, or the device failed.
    Unsure,
    /// The error of a hook.
    Hook,
}

/// `Ok` if the model allows what happened; otherwise what was wrong.
pub(super) type Step = Result<(), String>;

/// One for each slot. Xen's header reserves them for nothing, so they are free.
pub(super) const VIRQS: [Virq; SLOTS] = [Virq::new(17), Virq::new(18), Virq::new(19)];

/// The payload of a panic that the script asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlannedPanic {
    InCallback,
    InHook,
}

/// Shared by all, so nothing is locked while the context is called.
pub(super) struct Rig {
    pub(super) setup: Setup,
    pub(super) sim: Sim,
    pub(super) opener: SimOpen,
    pub(super) guest: Guest,
    pub(super) context: OnceLock<Weak<TestContext>>,
    pub(super) me: Weak<Rig>,
    /// Held once by each callback that is not dropped yet.
    pub(super) token: Arc<()>,
    state: Mutex<State>,
}

/// One place for a channel.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) channel: Option<TestChannel>,
    /// Its device failed.
    pub(super) dead: bool,
    pub(super) model: model::Channel,
    /// A call panicked, or a round had no waiter for the wake: it is not known whether it has a wait.
    pub(super) unsure: bool,
    /// A wait on it has not returned yet.
    pub(super) asking: bool,
    /// Meanwhile a round may have latched the wake, so it may have no wait any more.
    pub(super) kept: bool,
    /// The number of its callback.
    pub(super) callback: Option<u64>,
    /// The id of the last channel here.
    pub(super) id: Option<ChannelId>,
    pub(super) signal: Option<Signal>,
}

/// How the other end is made to notify.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    Send(Port),
    Raise(Virq),
}

/// A channel that had a wait when its device failed. If `sure`, it must get a wake `Gone`; otherwise it
/// may.
pub(super) struct GoneWake {
    pub(super) id: ChannelId,
    pub(super) sure: bool,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) slots: [Slot; SLOTS],
    pub(super) watches: Watches,
    /// One queue for each [`Point`].
    pub(super) quirks: [VecDeque<Quirk>; 4],
    pub(super) inside: Inside,
    /// No faults and no odd hooks from now on, and callbacks do nothing.
    pub(super) resting: bool,
    /// A hook failed or panicked, and the registration was not settled since: the device may be registered
    /// without a wait, or a channel may have a wait without registration.
    pub(super) unsettled: bool,
    /// The same, caused by what the loop did in a wake-up, which comes after a call has settled.
    pub(super) unsettled_late: bool,
    pub(super) owed: Owed,
    pub(super) restricted: Option<DomId>,
    pub(super) overflowed: bool,
    /// The device was set to fail at some time.
    pub(super) breaks: bool,
    pub(super) gone_due: Vec<GoneWake>,
    pub(super) seen: Seen,
    /// The number of wake-ups when one was left to the call that makes the one under way.
    pub(super) owed_wake: Option<u64>,
    pub(super) callbacks: u64,
    /// How many quirks took effect.
    pub(super) met: usize,
    /// The first thing that went wrong where no error could be returned.
    pub(super) broken: Option<String>,
}

/// How deep the calls are that the thread is in.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Inside {
    /// Hooks that must not call back.
    pub(super) hook: usize,
    /// Rounds of values, held or being gone through.
    pub(super) values: usize,
    /// Another round has ended the round of values that is held, and that one was not used since.
    pub(super) paused: bool,
    /// Rounds of callbacks.
    pub(super) calls: usize,
    /// Callbacks.
    pub(super) callback: usize,
    pub(super) bind: usize,
    pub(super) dropping: usize,
    pub(super) teardown: usize,
    /// Drops of a round, and rounds of callbacks, which are dropped if a callback panics.
    pub(super) leaving: usize,
    /// The opening of the device.
    pub(super) open: usize,
    /// Wake-ups of the loop.
    pub(super) wake: usize,
}

/// What was counted so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) faults: u64,
    pub(super) unreported: u64,
    /// Errors that hooks returned.
    pub(super) refused: u64,
    /// Errors of hooks that a call returned.
    pub(super) answered: u64,
    /// Errors of hooks that were kept when a round was dropped.
    pub(super) kept: u64,
    /// Panics, and failures of the device, which hide other failures.
    pub(super) hiding: u64,
    pub(super) wakes: u64,
}

impl Slot {
    pub(super) const fn is_bound(&self) -> bool {
        self.channel.is_some() && !self.dead
    }

    /// It certainly has a wait.
    pub(super) const fn waits(&self) -> bool {
        self.is_bound() && self.model.waiting && !self.unsure
    }

    pub(super) const fn may_wait(&self) -> bool {
        self.is_bound() && (self.model.waiting || self.unsure || self.asking)
    }

    pub(super) const fn is_called(&self) -> bool {
        self.channel.is_some() && self.callback.is_some()
    }

    /// A wake came, or the wait was cancelled.
    pub(super) const fn no_longer_waits(&mut self) {
        self.model.waiting = false;
        self.unsure = false;
        self.asking = false;
    }
}

impl State {
    /// If the device failed, every channel is dead, and those with a wait must get a wake `Gone`.
    pub(super) fn note_faults(&mut self, faults: u64) {
        if faults == self.seen.faults {
            return;
        }
        self.seen.faults = faults;
        for slot in &mut self.slots {
            if let (true, Some(id)) = (slot.may_wait(), slot.id) {
                let sure = slot.waits();
                self.gone_due.push(GoneWake { id, sure });
            }
            slot.dead = true;
        }
    }

    /// In a round of callbacks, the wake of a channel without a callback is latched, and a wake `Gone` of
    /// such a channel is lost.
    pub(super) fn note_kept(&mut self) {
        if self.inside.calls == 0 {
            return;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.callback.is_none()) {
            let has_wake = slot.model.must || slot.model.may > 0 || self.overflowed;
            slot.unsure |= slot.may_wait() && has_wake;
            slot.kept |= slot.asking && has_wake;
        }
        for gone in &mut self.gone_due {
            let called = |slot: &Slot| slot.id == Some(gone.id) && slot.is_called();
            gone.sure &= self.slots.iter().any(called);
        }
    }
}

impl Inside {
    /// Whether the context is in a round. During a callback it is.
    pub(super) const fn is_round(self) -> bool {
        (self.values > 0 && !self.paused) || self.callback > 0
    }
}

/// Counts one more call that the thread is in, until this is dropped, also by a panic.
pub(super) struct Entered<'a>(&'a Rig, fn(&mut Inside) -> &mut usize);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        *(self.1)(&mut self.0.state().inside) -= 1;
    }
}

impl Rig {
    pub(super) fn new(setup: Setup) -> Result<Arc<Rig>, String> {
        let sim = Sim::new(0);
        let domid = sim.create_domain().map_err(text)?;
        Ok(Arc::new_cyclic(|me| Rig {
            setup,
            opener: sim.open(DomId::DOM0),
            guest: sim.guest(domid),
            sim,
            context: OnceLock::new(),
            me: me.clone(),
            token: Arc::default(),
            state: Mutex::default(),
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The context, unless it is being dropped.
    pub(super) fn context(&self) -> Option<Arc<TestContext>> {
        self.context.get()?.upgrade()
    }

    pub(super) fn enter(&self, place: fn(&mut Inside) -> &mut usize) -> Entered<'_> {
        *place(&mut self.state().inside) += 1;
        Entered(self, place)
    }

    pub(super) fn inside(&self) -> Inside {
        self.state().inside
    }

    /// The next quirk of this hook.
    pub(super) fn quirk(&self, point: Point) -> Quirk {
        let mut state = self.state();
        let quirk = state.quirks[point as usize].pop_front();
        let quirk = quirk.filter(|_| !state.resting).unwrap_or(Quirk::Nothing);
        state.met += usize::from(quirk != Quirk::Nothing);
        quirk
    }

    /// Keeps what went wrong where no error can be returned.
    pub(super) fn note(&self, done: Step) {
        if let Err(what) = done {
            self.state().broken.get_or_insert(what);
        }
    }

    /// Does an act from inside of a hook or a callback.
    pub(super) fn call_back(&self, act: Act) {
        let done = self.act(act);
        self.note(done.map_err(|what| format!("{act:?} from inside: {what}")));
    }

    /// Panics as the script asked for, without a message. While the thread unwinds it does not, because
    /// a second panic would abort the process.
    pub(super) fn panic(&self, planned: PlannedPanic) {
        if !std::thread::panicking() {
            self.state().seen.hiding += 1;
            resume_unwind(Box::new(planned));
        }
    }

    /// Makes a call that may panic. If it does, `lost` records what is not known then.
    pub(super) fn guarded<T>(
        &self,
        call: impl FnOnce() -> T,
        lost: impl FnOnce(&mut State, Option<&PlannedPanic>),
    ) -> T {
        self.state().unsettled_late = false;
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(answer) => answer,
            Err(payload) => {
                let mut state = self.state();
                state.unsettled = true;
                // The panic drops any round on its way.
                state.owed = Owed::Unsure;
                lost(&mut state, payload.downcast_ref());
                drop(state);
                resume_unwind(payload)
            }
        }
    }

    // ---- What the model learns.

    /// A call that ends by settling returned without an error.
    pub(super) fn settled(&self) {
        let mut state = self.state();
        if !state.inside.is_round() && state.inside.hook == 0 {
            state.unsettled = state.unsettled_late;
        }
    }

    /// [`settled`](Self::settled) for a call that cannot return the error of a hook. Such failures are
    /// counted; `before` is the count before the call.
    pub(super) fn settled_unless_counted(&self, ctx: &TestContext, before: u64) {
        if ctx.stats().unreported > before {
            self.state().unsettled = true;
        } else {
            self.settled();
        }
    }

    /// A hook failed, and the call returned its error.
    pub(super) fn link_failed(&self, error: &Error) -> Step {
        let mut state = self.state();
        if matches!(error, Error::Deregister(_)) {
            state.unsettled = true;
        } else if !matches!(error, Error::Register(_)) {
            return Err(format!("{error:?}"));
        }
        state.seen.answered += 1;
        Ok(())
    }

    /// A round was dropped; `before` was counted before that. The error of its end is kept, and no other
    /// one.
    pub(super) fn dropped(&self, ctx: &TestContext, before: Seen) {
        let now = self.seen(ctx);
        let refused = now.refused - before.refused;
        let reported = now.answered - before.answered + now.unreported - before.unreported;
        let mut state = self.state();
        if now.hiding > before.hiding {
            state.owed = Owed::Unsure;
            state.unsettled = true;
            return;
        }
        let kept = refused > reported;
        state.owed = if kept { Owed::Hook } else { Owed::Nothing };
        state.seen.kept += u64::from(kept);
        if kept || now.unreported > before.unreported {
            state.unsettled = true;
        } else {
            drop(state);
            self.settled();
        }
    }

    /// A call failed. Returns whether its error may be the one that was kept when a round was dropped.
    pub(super) fn is_paid(&self, error: &Error) -> bool {
        let mut state = self.state();
        let owed = state.owed;
        let of_hook = matches!(error, Error::Register(_) | Error::Deregister(_));
        let fits = match owed {
            Owed::Nothing => false,
            Owed::Hook => of_hook,
            Owed::Unsure => of_hook || error.device().is_some(),
        };
        if fits {
            state.owed = Owed::Nothing;
            // While the round is still being dropped, the error is not counted as kept.
            let is_new = of_hook && state.inside.leaving > 0;
            state.seen.answered += u64::from(is_new);
            state.unsettled = true;
        }
        fits
    }

    /// Checks whether the device failed.
    pub(super) fn note_fault(&self, ctx: &TestContext) {
        let faults = ctx.stats().faults;
        self.state().note_faults(faults);
    }

    /// A wake came.
    pub(super) fn woken(&self, wake: Wake) -> Step {
        let mut state = self.state();
        let State {
            slots,
            gone_due,
            overflowed,
            ..
        } = &mut *state;
        ensure(wake.cause != Cause::Overflow || *overflowed, || {
            "a wake has the cause overflow, but there was none".into()
        })?;
        if wake.cause == Cause::Gone {
            let place = gone_due.iter().position(|gone| gone.id == wake.channel);
            gone_due.remove(place.ok_or("a wake `Gone` came without a reason, or twice")?);
            return Ok(());
        }
        let slot = slots.iter_mut().find(|slot| slot.id == Some(wake.channel));
        let slot = slot.filter(|slot| slot.is_bound());
        let slot = slot.ok_or("a wake came for a channel that is not bound")?;
        slot.model.waiting |= slot.unsure || slot.asking;
        slot.model.woken(wake.cause).map_err(text)?;
        slot.no_longer_waits();
        Ok(())
    }
}

pub(super) fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

pub(super) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Step {
    if holds { Ok(()) } else { Err(what()) }
}
