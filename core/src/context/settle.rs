//! Registers the device while something waits and deregisters it otherwise; opens and closes it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::panicking;

use super::{Shared, State};
use crate::error::Error;
use crate::hal::{Device, Opened, Registrar, Trigger};
use crate::machine::cells;
use crate::machine::link::{Link, LinkEffect, LinkInput};
use crate::observe::Hook as Hooked;
use crate::sync::{MutexGuard, Ordering, OwnerThread};
use crate::trace::{self, Span};

/// Proof that the caller holds the lock under which hooks run.
pub(super) type Settling<'a> = MutexGuard<'a, ()>;

/// While it lives, the calling thread is inside a hook. A hook that panics drops it, too.
struct Hook<'a>(&'a OwnerThread);

impl<'a> Hook<'a> {
    fn begin(place: &'a OwnerThread) -> Hook<'a> {
        place.acquire();
        Hook(place)
    }
}

impl Drop for Hook<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Its drop, once the hooks are over, does what they asked for, also if one of them panics.
struct AfterHooks<'a, R: Registrar>(&'a Shared<R>);

impl<R: Registrar> Drop for AfterHooks<'_, R> {
    fn drop(&mut self) {
        let shared = self.0;
        if shared.is_inherited() {
            return;
        }
        let state = shared.lock();
        let is_drive_due = state.drive_after_hook;
        // A hook may have dropped channels that had waiters.
        if shared.unlock(state, false, None).is_ok() && is_drive_due {
            shared.drive_after_hook();
        }
    }
}

impl<R: Registrar> Shared<R> {
    #[inline]
    pub(super) fn is_in_hook(&self) -> bool {
        self.in_hook.is_current()
    }

    /// Whether the calling process was forked from the one that made the context.
    ///
    /// Takes no lock: a thread that exists only in the parent may hold it in the child for ever.
    #[inline]
    pub(super) fn is_inherited(&self) -> bool {
        let ask = |process| self.backend.is_current(process);
        !self.process.is_current(ask)
    }

    /// Whether a round may read: the event loop watches the device.
    #[inline]
    pub(super) fn is_watching(&self) -> bool {
        match self.trigger {
            // A level-triggered loop reports again, so it is enough to see the change later.
            Trigger::Level => self.watching.load(Ordering::Acquire),
            Trigger::Edge => self.lock().machine.link() == Link::Watching,
        }
    }

    /// Sets the link to `link`, after `effects` were carried out.
    pub(super) fn set_link(&self, state: &mut State, link: Link, effects: &[LinkEffect]) {
        state.machine.set_link(link, effects);
        state.is_lost &= !effects.contains(&LinkEffect::Deregister);
        let is_watching = link == Link::Watching;
        self.watching.store(is_watching, Ordering::Release);
    }

    /// Fails inside a hook and in a forked child.
    #[inline]
    pub(super) fn check_caller(&self) -> Result<(), Error> {
        if self.is_inherited() {
            return Err(Error::Inherited);
        }
        if self.is_in_hook() {
            return Err(Error::Reentrant);
        }
        Ok(())
    }

    /// Registers the device if something waits or is ready, and deregisters it if not. Every public
    /// call that changes a wait ends with this.
    ///
    /// While a round is under way, deregistering is left to its end, because the round may wait
    /// again. Tasks and blocked threads are woken if there is something for them.
    pub(super) fn settle(&self) -> Result<(), Error> {
        let state = self.lock();
        let is_settled = self.unsettled(&state).is_none();
        // A running hook may be about to change the link, so this waits for its end.
        let hook_runs = self.in_hook.is_taken();
        // A drive that was asked for in a hook that no settle ran.
        let is_drive_due = state.drive_after_hook;
        self.unlock(state, false, None)?;
        if is_settled && !hook_runs && !is_drive_due {
            return Ok(());
        }
        let after = AfterHooks(self);
        let settled = self.settle_under(&self.settling.lock());
        // Before the result is returned, which would leak if this panics.
        drop(after);
        settled
    }

    /// [Settles](Self::settle) for a caller that cannot return an error: it is counted.
    pub(super) fn settle_or_count(&self) {
        // Inside a hook, the settle that called the hook looks again.
        if !self.is_in_hook() && self.settle().is_err() {
            self.count_unreported();
        }
    }

    /// Whether a settle would do nothing.
    #[inline]
    pub(super) fn is_settled(&self, state: &State) -> bool {
        !state.has_due()
            && !state.drive_after_hook
            && !self.in_hook.is_taken()
            && self.unsettled(state).is_none()
    }

    /// Whether a settle would do nothing, and the loop may sleep.
    #[inline]
    pub(super) fn is_at_rest(&self, state: &State) -> bool {
        !state.machine.has_work() && self.is_settled(state)
    }

    /// The input that the link needs now, if any.
    #[inline]
    pub(super) fn unsettled(&self, state: &State) -> Option<LinkInput> {
        let link = state.machine.link();
        let mut input = if state.ended {
            LinkInput::Close
        } else {
            state.machine.wanted()
        };
        // A device that the loop lost is deregistered first, and then registered again.
        let is_lost = state.is_lost && link == Link::Watching && input == LinkInput::Wanted;
        if is_lost {
            input = LinkInput::Unwanted;
        }
        cells::link(link, input);
        let is_settled = link.plan(input).1.is_empty();
        let is_urgent = is_lost || matches!(input, LinkInput::Wanted | LinkInput::Close);
        let left_to_round = !is_urgent && self.in_round.is_taken();
        (!is_settled && !left_to_round).then_some(input)
    }

    /// Runs hooks until the link is as the waiters need it, which may change meanwhile.
    pub(super) fn settle_under(&self, settling: &Settling<'_>) -> Result<(), Error> {
        loop {
            let state = self.lock();
            let before = state.machine.link();
            let Some(input) = self.unsettled(&state) else {
                return Ok(());
            };
            let by_force = matches!(input, LinkInput::Fault | LinkInput::Close);
            self.carry_out(state, input, by_force, settling)?;
            debug_assert_ne!(self.lock().machine.link(), before, "this would never end");
        }
    }

    /// Carries out the effects that the table has for this state and input. The hook is marked as
    /// running under the same lock, so a thread that changes the state afterwards sees that. After
    /// an error the link is as before; with `by_force` it goes on to the next state even if the
    /// event loop cannot deregister the device.
    ///
    /// # Panics
    /// If a hook panics, after the state was put in order; the hook counts as having done nothing.
    /// While another panic unwinds, it is an error instead.
    pub(super) fn carry_out(
        &self,
        state: MutexGuard<'_, State>,
        input: LinkInput,
        by_force: bool,
        _settling: &Settling<'_>,
    ) -> Result<(), Error> {
        cells::link(state.machine.link(), input);
        let (next, effects) = state.machine.link().plan(input);
        let device = state.device.as_ref().map(Opened::handle);
        let hook = Hook::begin(&self.in_hook);
        drop(state);
        let called = catch_unwind(AssertUnwindSafe(|| {
            device.as_ref().map_or(Ok(()), |device| {
                let mut effects = effects.iter();
                effects.try_for_each(|effect| self.run_hook(*effect, device))
            })
        }));
        let (done, panic) = match called {
            Ok(done) => (done, None),
            Err(panic) => (Err(Error::HookPanicked), Some(panic)),
        };
        let mut closed = None;
        let mut state = self.lock();
        if done.is_ok() {
            self.set_link(&mut state, next, effects);
        } else if by_force {
            self.set_link(&mut state, next, &[LinkEffect::Close]);
        }
        if !state.machine.link().is_open() {
            closed = state.device.take();
        }
        drop(state);
        drop((device, closed));
        match &done {
            Ok(()) => trace::link_changed(effects),
            Err(error) => {
                trace::failed("hook", error);
                if by_force {
                    trace::link_changed(&[LinkEffect::Close]);
                }
            }
        }
        drop(hook);
        match panic {
            Some(panic) if !panicking() => resume_unwind(panic),
            Some(_) | None => done,
        }
    }

    fn run_hook(&self, effect: LinkEffect, device: &Device) -> Result<(), Error> {
        match effect {
            LinkEffect::Register => {
                let _span = Span::hook(effect);
                let registered = self.registrar.register(device);
                self.observe_hook(|| Hooked::Register(&registered));
                registered.map_err(Error::Register)
            }
            LinkEffect::Deregister => {
                let _span = Span::hook(effect);
                let deregistered = self.registrar.deregister(device);
                self.observe_hook(|| Hooked::Deregister(&deregistered));
                deregistered.map_err(Error::Deregister)
            }
            LinkEffect::Open | LinkEffect::Close => Ok(()),
        }
    }

    /// Opens the device for a bind, if it is not open, and restricts it. Returns it with the link
    /// as it was before.
    pub(super) fn open(&self, settling: &Settling<'_>) -> Result<(Link, Opened), Error> {
        self.close_failed(settling);
        let state = self.lock();
        let before = state.machine.link();
        cells::link(before, LinkInput::Bind);
        if let Some(device) = &state.device {
            return Ok((before, device.clone()));
        }
        let hook = Hook::begin(&self.in_hook);
        drop(state);
        let opened = {
            let _span = Span::open();
            self.backend.open()
        };
        let device = opened.inspect_err(|error| trace::failed("open", error))?;
        let device = device.opened();
        if let Some(observer) = self.backend.observer() {
            device.observe(|| observer.context());
        }
        let mut state = self.lock();
        // Under the lock, so that a later `restrict` finds the device.
        if let Some(domid) = state.restriction {
            device.restrict(domid)?;
        }
        let (next, effects) = before.plan(LinkInput::Bind);
        self.set_link(&mut state, next, effects);
        state.device = Some(device.clone());
        state.failure = None;
        drop(state);
        trace::link_changed(effects);
        drop(hook);
        Ok((before, device))
    }

    /// Closes the device if it failed, as the settle at the end of the round would.
    pub(super) fn close_failed(&self, settling: &Settling<'_>) {
        let state = self.lock();
        if !state.machine.is_broken() {
            return;
        }
        let closed = self.carry_out(state, LinkInput::Fault, true, settling);
        if closed.is_err() {
            self.count_unreported();
        }
    }

    /// Closes a device that was opened for a bind that failed.
    pub(super) fn close_again(&self, before: Link, _settling: &Settling<'_>) {
        let mut state = self.lock();
        self.set_link(&mut state, before, &[LinkEffect::Close]);
        let closed = state.device.take();
        drop(state);
        drop(closed);
        trace::link_changed(&[LinkEffect::Close]);
    }
}
