//! What the program under test, its callbacks and its event loop share: the machine, the model,
//! and what must be so.

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

/// Whether the error of a round that was dropped is kept for the next call that can fail with it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    #[default]
    Nothing,
    /// That is not known: something panicked meanwhile, or the device failed.
    Unsure,
    /// The error of a hook.
    Hook,
}

/// A step that went as the model allows, or what was wrong.
pub(super) type Step = Result<(), String>;

/// One for each slot; Xen's header leaves them free, so nobody else binds them.
pub(super) const VIRQS: [Virq; SLOTS] = [Virq::new(17), Virq::new(18), Virq::new(19)];

/// A panic as the script asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    ByCallback,
    ByHook,
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
    /// A call did not return, or a round had nobody to hand its wake to: it may be waited on.
    pub(super) unsure: bool,
    /// A wait on it has not returned yet.
    pub(super) asking: bool,
    /// Meanwhile a round may have had nobody to hand its wake to, so it may not wait any more.
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

/// Who waited on a device that failed, and whether he must be told.
pub(super) struct Tell {
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
    /// A hook failed or panicked and nothing was settled since: the device may be registered
    /// for nobody, or somebody may wait without it.
    pub(super) unsettled: bool,
    /// It is so by what the loop did in a wake, which comes after the settling of a call.
    pub(super) unsettled_late: bool,
    pub(super) owed: Owed,
    pub(super) restricted: Option<DomId>,
    pub(super) overflowed: bool,
    /// The device was told to fail at some time.
    pub(super) breaks: bool,
    pub(super) to_tell: Vec<Tell>,
    pub(super) seen: Seen,
    /// So many wake-ups there were when one was left to the call that makes the one under way.
    pub(super) owed_wake: Option<u64>,
    pub(super) callbacks: u64,
    /// How many quirks were met.
    pub(super) met: usize,
    /// The first thing that went wrong where nobody could be told.
    pub(super) broken: Option<String>,
}

/// How deep the calls are that the thread is in.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Inside {
    /// Hooks that must not call back.
    pub(super) hook: usize,
    /// Rounds of values, held or gone through.
    pub(super) values: usize,
    /// Another round has ended the one of values that is held, which did not go on since.
    pub(super) paused: bool,
    /// Rounds of callbacks.
    pub(super) calls: usize,
    /// Callbacks.
    pub(super) callback: usize,
    pub(super) bind: usize,
    pub(super) dropping: usize,
    pub(super) teardown: usize,
    /// The drop of a round, and a round of callbacks, which is dropped where one of them panics.
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
    /// Errors that hooks gave.
    pub(super) refused: u64,
    /// Errors of hooks that came out of a call.
    pub(super) answered: u64,
    /// Errors of hooks that were kept as a round was dropped.
    pub(super) kept: u64,
    /// Panics, and failures of the device, which hide other failures.
    pub(super) hiding: u64,
    pub(super) wakes: u64,
}

impl Slot {
    pub(super) const fn is_bound(&self) -> bool {
        self.channel.is_some() && !self.dead
    }

    /// Somebody waits on it, for certain.
    pub(super) const fn waits(&self) -> bool {
        self.is_bound() && self.model.waiting && !self.unsure
    }

    pub(super) const fn may_wait(&self) -> bool {
        self.is_bound() && (self.model.waiting || self.unsure || self.asking)
    }

    pub(super) const fn is_called(&self) -> bool {
        self.channel.is_some() && self.callback.is_some()
    }

    /// A wake came, or the wait for it was ended.
    pub(super) const fn no_longer_waits(&mut self) {
        self.model.waiting = false;
        self.unsure = false;
        self.asking = false;
    }
}

impl State {
    /// Where the device failed, every channel is dead, and who waited is told.
    pub(super) fn note_faults(&mut self, faults: u64) {
        if faults == self.seen.faults {
            return;
        }
        self.seen.faults = faults;
        for slot in &mut self.slots {
            if let (true, Some(id)) = (slot.may_wait(), slot.id) {
                let sure = slot.waits();
                self.to_tell.push(Tell { id, sure });
            }
            slot.dead = true;
        }
    }

    /// In a round of callbacks, a wake of a channel that has none goes back to the latch, and
    /// one that says `Gone` is forgotten.
    pub(super) fn note_kept(&mut self) {
        if self.inside.calls == 0 {
            return;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.callback.is_none()) {
            let has_wake = slot.model.must || slot.model.may > 0 || self.overflowed;
            slot.unsure |= slot.may_wait() && has_wake;
            slot.kept |= slot.asking && has_wake;
        }
        for tell in &mut self.to_tell {
            let called = |slot: &Slot| slot.id == Some(tell.id) && slot.is_called();
            tell.sure &= self.slots.iter().any(called);
        }
    }
}

impl Inside {
    /// Whether the context is in a round. A round of callbacks calls nobody else meanwhile.
    pub(super) const fn is_round(self) -> bool {
        (self.values > 0 && !self.paused) || self.callback > 0
    }
}

/// One more call that the thread is in, until this is dropped, also by a panic.
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

    /// What is odd about a call of a hook, if anything is.
    pub(super) fn quirk(&self, point: Point) -> Quirk {
        let mut state = self.state();
        let quirk = state.quirks[point as usize].pop_front();
        let quirk = quirk.filter(|_| !state.resting).unwrap_or(Quirk::Nothing);
        state.met += usize::from(quirk != Quirk::Nothing);
        quirk
    }

    /// What went wrong where no error can be returned.
    pub(super) fn note(&self, done: Step) {
        if let Err(what) = done {
            self.state().broken.get_or_insert(what);
        }
    }

    /// What a hook or a callback does in the context that called it.
    pub(super) fn call_back(&self, act: Act) {
        let done = self.act(act);
        self.note(done.map_err(|what| format!("{act:?} from inside: {what}")));
    }

    /// Panics as the script asked for, without the message. A second panic would end the
    /// process, so there is none while the thread unwinds.
    pub(super) fn panic(&self, told: Told) {
        if !std::thread::panicking() {
            self.state().seen.hiding += 1;
            resume_unwind(Box::new(told));
        }
    }

    /// Makes a call that may panic; `lost` notes what its caller does not know then.
    pub(super) fn guarded<T>(
        &self,
        call: impl FnOnce() -> T,
        lost: impl FnOnce(&mut State, Option<&Told>),
    ) -> T {
        self.state().unsettled_late = false;
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(answer) => answer,
            Err(payload) => {
                let mut state = self.state();
                state.unsettled = true;
                // A round that the panic goes through is dropped.
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

    /// As [`settled`](Self::settled), for a call that cannot tell of a hook that failed: such
    /// failures were counted, and there were `before` of them.
    pub(super) fn settled_unless_counted(&self, ctx: &TestContext, before: u64) {
        if ctx.stats().unreported > before {
            self.state().unsettled = true;
        } else {
            self.settled();
        }
    }

    /// A hook failed, and its caller was told.
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

    /// A round was dropped, before which all this was seen: what its end failed with is kept, and
    /// nothing else is.
    pub(super) fn dropped(&self, ctx: &TestContext, before: Seen) {
        let now = self.seen(ctx);
        let refused = now.refused - before.refused;
        let told = now.answered - before.answered + now.unreported - before.unreported;
        let mut state = self.state();
        if now.hiding > before.hiding {
            state.owed = Owed::Unsure;
            state.unsettled = true;
            return;
        }
        let kept = refused > told;
        state.owed = if kept { Owed::Hook } else { Owed::Nothing };
        state.seen.kept += u64::from(kept);
        if kept || now.unreported > before.unreported {
            state.unsettled = true;
        } else {
            drop(state);
            self.settled();
        }
    }

    /// A call failed with what was kept as a round was dropped. Says whether that may be so.
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
            // Where the round is still being dropped, it is not counted as kept.
            let is_new = of_hook && state.inside.leaving > 0;
            state.seen.answered += u64::from(is_new);
            state.unsettled = true;
        }
        fits
    }

    /// Looks whether the device failed.
    pub(super) fn note_fault(&self, ctx: &TestContext) {
        let faults = ctx.stats().faults;
        self.state().note_faults(faults);
    }

    /// A wake came.
    pub(super) fn woken(&self, wake: Wake) -> Step {
        let mut state = self.state();
        let State {
            slots,
            to_tell,
            overflowed,
            ..
        } = &mut *state;
        ensure(wake.cause != Cause::Overflow || *overflowed, || {
            "a wake told of an overflow that was none".into()
        })?;
        if wake.cause == Cause::Gone {
            let place = to_tell.iter().position(|tell| tell.id == wake.channel);
            to_tell.remove(place.ok_or("told that it is gone without a reason, or twice")?);
            return Ok(());
        }
        let slot = slots.iter_mut().find(|slot| slot.id == Some(wake.channel));
        let slot = slot.filter(|slot| slot.is_bound());
        let slot = slot.ok_or("a wake came for a channel that is gone")?;
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
