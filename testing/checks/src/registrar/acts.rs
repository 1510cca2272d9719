//! The acts of the program. Each act makes one call, from inside or outside of a round, a callback or a
//! hook, and compares the answer with the model. Hooks, and in them other acts, run before the call
//! returns, so the slot is looked up again afterwards.

use std::mem::replace;

use evtchn_core::{ChannelId, DomId, Error};
use evtchn_sim::Errno;

use super::rig::{Owed, Rig, Signal, Slot, State, Step, TestContext, ensure, text};
use super::script::{Act, Callback, SLOTS, Target};

/// The model's view of the channel with this id, while it is bound and its device works.
fn bound(state: &mut State, id: ChannelId) -> Option<&mut Slot> {
    let mut slots = state.slots.iter_mut();
    slots.find(|slot| slot.id == Some(id) && slot.is_bound())
}

pub(super) fn taken_in_a_hook(what: &str) -> Step {
    Err(format!("{what} succeeded inside of a hook"))
}

impl Rig {
    pub(super) fn act(&self, act: Act) -> Step {
        let Some(ctx) = self.context() else {
            return self.act_without_context(act);
        };
        self.note_fault(&ctx);
        self.state().note_kept();
        match act {
            Act::Look => {
                // None of these may block, also inside of a hook.
                let _seen = (ctx.link(), ctx.stats(), ctx.next_timeout());
                drop(format!("{ctx:?}"));
            }
            Act::Bind(slot, source) => self.bind(&ctx, place(slot), source)?,
            Act::Wait(slot) => self.wait_on(&ctx, place(slot))?,
            Act::Cancel(slot) => self.cancel_on(&ctx, place(slot))?,
            Act::Unbind(slot) => self.unbind(place(slot))?,
            Act::Drop(slot) => self.drop_channel(place(slot), Some(&ctx))?,
            Act::Signal(slot) => self.signal(place(slot))?,
            Act::Notify(slot) => self.notify(place(slot))?,
            Act::Set(slot) => self.set_callback(place(slot), Callback::PLAIN)?,
            Act::Remove(slot) => self.remove_callback(place(slot))?,
            Act::Dispatch(way) => self.dispatch(&ctx, way)?,
            Act::Teardown => self.teardown(&ctx)?,
            Act::Restrict(target) => self.restrict(&ctx, target)?,
        }
        self.note_fault(&ctx);
        Ok(())
    }

    /// Does an act while the context is being dropped: the program has only its channels then.
    fn act_without_context(&self, act: Act) -> Step {
        if let Act::Drop(slot) = act {
            self.drop_channel(place(slot), None)
        } else if let Act::Notify(slot) = act {
            self.notify(place(slot))
        } else {
            Ok(())
        }
    }

    fn wait_on(&self, ctx: &TestContext, place: usize) -> Step {
        let id = self.state().slots[place].id;
        id.map_or(Ok(()), |id| self.wait(ctx, id))
    }

    /// Waits, also with the id of a channel that was dropped.
    pub(super) fn wait(&self, ctx: &TestContext, id: ChannelId) -> Step {
        let before = bound(&mut self.state(), id).map(|slot| {
            let kept = replace(&mut slot.kept, false);
            (replace(&mut slot.asking, true), kept)
        });
        let (was_bound, (asked, kept)) = (before.is_some(), before.unwrap_or_default());
        let call = || ctx.wait(id);
        let answer = self.guarded(call, |state, _| {
            if let Some(slot) = bound(state, id) {
                slot.unsure |= slot.asking && !slot.model.waiting;
                slot.asking = asked;
            }
        });
        let mut state = self.state();
        let in_hook = state.inside.hook > 0;
        let mut slot = bound(&mut state, id);
        // If a wake came before the wait returned, the channel has no wait any more.
        let still = slot
            .as_mut()
            .is_some_and(|slot| replace(&mut slot.asking, asked));
        match answer {
            Err(Error::Reentrant) if in_hook => Ok(()),
            _ if in_hook => taken_in_a_hook("a wait"),
            Ok(()) if !was_bound => Err("a wait with the id of a dead channel succeeded".into()),
            Ok(()) => {
                if let Some(slot) = slot.filter(|_| still) {
                    slot.model.waited();
                    (slot.unsure, slot.asking) = (slot.kept, false);
                }
                drop(state);
                self.settled();
                Ok(())
            }
            Err(Error::NotBound(_)) if slot.is_none() => Ok(()),
            Err(error) => {
                // This wait did not begin; one that is being made further out is not affected.
                if let Some(slot) = slot {
                    slot.kept |= kept;
                }
                drop(state);
                self.link_failed(&error)
                    .map_err(|what| format!("wait: {what}"))
            }
        }
    }

    /// Cancels, also with the id of a channel that was dropped.
    fn cancel_on(&self, ctx: &TestContext, place: usize) -> Step {
        let id = self.state().slots[place].id;
        id.map_or(Ok(()), |id| self.cancel(ctx, id))
    }

    fn cancel(&self, ctx: &TestContext, id: ChannelId) -> Step {
        let before = bound(&mut self.state(), id).map(|slot| {
            let is_sure = !slot.unsure && !slot.asking;
            is_sure.then_some(slot.model.waiting)
        });
        let call = || ctx.cancel(id);
        let answer = self.guarded(call, |state, _| {
            if let Some(slot) = bound(state, id) {
                slot.unsure = slot.may_wait();
            }
        });
        let mut state = self.state();
        let in_hook = state.inside.hook > 0;
        match (answer, bound(&mut state, id)) {
            (Err(Error::Reentrant), _) if in_hook => Ok(()),
            _ if in_hook => taken_in_a_hook("a cancel"),
            (Ok(ended), slot) => {
                let before = before.ok_or("a cancel with the id of a dead channel succeeded")?;
                ensure(before.is_none_or(|waited| waited == ended), || {
                    format!("the channel had a wait: {before:?}, but the cancel said: {ended}")
                })?;
                if let Some(slot) = slot {
                    slot.no_longer_waits();
                }
                drop(state);
                self.settled();
                Ok(())
            }
            (Err(Error::NotBound(_)), None) => Ok(()),
            (Err(error), _) => {
                drop(state);
                self.link_failed(&error)
                    .map_err(|what| format!("cancel: {what}"))
            }
        }
    }

    pub(super) fn signal(&self, place: usize) -> Step {
        let mut state = self.state();
        let slot = &mut state.slots[place];
        match slot.signal {
            None => return Ok(()),
            Some(Signal::Send(theirs)) => self.guest.send(theirs).map_err(text)?,
            Some(Signal::Raise(virq)) => self.sim.raise_virq(DomId::DOM0, virq).map_err(text)?,
        }
        if slot.is_bound() {
            slot.model.signal();
        }
        Ok(())
    }

    fn notify(&self, place: usize) -> Step {
        let state = self.state();
        let slot = &state.slots[place];
        let (Some(channel), Some(Signal::Send(theirs))) = (&slot.channel, slot.signal) else {
            return Ok(());
        };
        let before = self.guest.events(theirs).map_err(text)?;
        let notified = channel.notify();
        let after = self.guest.events(theirs).map_err(text)?;
        let as_it_should = match &notified {
            Ok(()) => !slot.dead,
            Err(error) => slot.dead && matches!(error, Error::NotBound(_)),
        };
        let expected = before + u32::from(notified.is_ok());
        ensure(as_it_should && after == expected, || {
            format!("{notified:?} of a notify took the peer from {before} events to {after}")
        })
    }

    pub(super) fn set_callback(&self, place: usize, callback: Callback) -> Step {
        let mut state = self.state();
        state.note_kept();
        let in_hook = state.inside.hook > 0;
        state.callbacks += 1;
        let number = state.callbacks;
        let slot = &mut state.slots[place];
        let Some(channel) = &slot.channel else {
            return Ok(());
        };
        let (rig, token, id) = (self.me.clone(), self.token.clone(), channel.id());
        let set = channel.set_callback(move |wake| {
            let _alive = &token;
            if let Some(rig) = rig.upgrade() {
                rig.called(number, id, wake, callback);
            }
        });
        match set {
            Err(Error::Reentrant) if in_hook => Ok(()),
            _ if in_hook => taken_in_a_hook("a callback"),
            Ok(()) => {
                slot.callback = Some(number);
                Ok(())
            }
            Err(error) => Err(format!("set_callback: {error:?}")),
        }
    }

    fn remove_callback(&self, place: usize) -> Step {
        let mut state = self.state();
        let in_hook = state.inside.hook > 0;
        let slot = &mut state.slots[place];
        let Some(channel) = &slot.channel else {
            return Ok(());
        };
        match channel.remove_callback() {
            Err(Error::Reentrant) if in_hook => Ok(()),
            _ if in_hook => taken_in_a_hook("a removal"),
            Ok(had_one) => ensure(had_one == slot.callback.take().is_some(), || {
                format!("there was a callback: {had_one}")
            }),
            Err(error) => Err(format!("remove_callback: {error:?}")),
        }
    }

    /// Tears down, or fails with the error that was kept.
    fn teardown(&self, ctx: &TestContext) -> Step {
        let in_hook = self.inside().hook > 0;
        let refused = self.state().seen.refused;
        let inside = self.enter(|inside| &mut inside.teardown);
        let answer = self.guarded(|| ctx.teardown(), |_, _| ());
        drop(inside);
        if let Err(error) = &answer
            && self.state().seen.refused == refused
            && self.is_paid(error)
        {
            return Ok(());
        }
        ensure(in_hook || self.state().owed != Owed::Hook, || {
            format!("an error was kept, and a teardown returned {answer:?}")
        })?;
        let mut state = self.state();
        let bound = state.slots.iter().any(Slot::is_bound);
        let binds = state.inside.bind > 0;
        match answer {
            Err(Error::Reentrant) if in_hook => Ok(()),
            _ if in_hook => taken_in_a_hook("a teardown"),
            Ok(()) if bound => Err("torn down under a bound channel".into()),
            Ok(()) => {
                state.gone_due.clear();
                drop(state);
                self.settled();
                Ok(())
            }
            Err(Error::StillInUse(left)) => ensure(bound || binds, || left.to_string()),
            Err(error) => {
                drop(state);
                self.link_failed(&error)
                    .map_err(|what| format!("teardown: {what}"))
            }
        }
    }

    fn restrict(&self, ctx: &TestContext, target: Target) -> Step {
        let domid = target.domid(self.guest.domid());
        let before = self.state().restricted;
        match (ctx.restrict(domid), before) {
            (Err(Error::Restricted(domid)), Some(before)) if domid == before => Ok(()),
            (Err(Error::NoTarget(_)), None) if target == Target::Dom0 => Ok(()),
            (Err(Error::Device(error)), None)
                if target == Target::Dom0 && Errno::of(&error) == Some(Errno::EINVAL) =>
            {
                Ok(())
            }
            (Ok(()), None) if target != Target::Dom0 => {
                self.state().restricted = Some(domid);
                Ok(())
            }
            (answer, _) => Err(format!("restrict: {answer:?}")),
        }
    }
}

pub(super) fn place(slot: u8) -> usize {
    usize::from(slot) % SLOTS
}
