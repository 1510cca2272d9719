//! The steps of a script: each makes one call and asks the model about the answer.

use std::time::Duration;

use evtchn_core::{
    BindError, CancelError, Cause, DispatchError, DomId, Outcome, Registrar, RemotePort,
    TeardownError, Trigger, UnbindError, Wait, WaitError,
};
use evtchn_sim::abi::PollBits;
use evtchn_sim::{Call, Errno, FileId};

use super::{Player, Signal, Slot, Step, VIRQS, ensure, text};
use crate::model;
use crate::op::{Failing, Source};

impl Player<'_> {
    pub(super) fn bind(&mut self, slot: usize, source: Source) -> Step {
        if self.slots[slot].channel.is_some() {
            return Ok(());
        }
        let domid = self.guest.domid();
        let virq = VIRQS[slot];
        let theirs = match source {
            Source::Interdomain => Some(self.guest.alloc_unbound(DomId::DOM0).map_err(text)?),
            Source::Unbound | Source::Virq => None,
        };
        let bound = match (source, theirs) {
            (Source::Virq, _) => self.ctx.bind_virq(virq),
            (_, Some(port)) => self.ctx.bind_interdomain(RemotePort { domid, port }),
            (_, None) => self.ctx.bind_unbound_port(domid),
        };
        self.note_fault()?;
        let channel = match bound {
            Ok(channel) => channel,
            // A drop that could not unbind leaves the port to its device.
            Err(BindError::Bind(error))
                if error.errno == Errno::EEXIST && self.told.contains(&Call::Unbind) =>
            {
                return Ok(());
            }
            Err(BindError::Open(error) | BindError::Drain(error) | BindError::Bind(error)) => {
                return self.told(error);
            }
            Err(error) => return Err(format!("bind: {error:?}")),
        };
        let signal = match (source, theirs) {
            (Source::Virq, _) => Signal::Raise(virq),
            (_, Some(theirs)) => Signal::Send(theirs),
            (_, None) => {
                let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
                Signal::Send(theirs.map_err(text)?)
            }
        };
        self.slots[slot] = Slot {
            dead: false,
            model: model::Channel::bound(source == Source::Interdomain),
            id: Some(channel.id()),
            channel: Some(channel),
            signal: Some(signal),
        };
        Ok(())
    }

    pub(super) fn unbind(&mut self, slot: usize) -> Step {
        let Some(channel) = self.slots[slot].channel.take() else {
            return Ok(());
        };
        match channel.unbind() {
            Ok(()) => Ok(()),
            Err(UnbindError::Unbind { channel, source }) => {
                self.slots[slot].channel = Some(channel);
                self.told(source)
            }
            Err(UnbindError::Link(error)) => self.link_failed(error),
            Err(error) => Err(format!("unbind: {error:?}")),
        }
    }

    pub(super) fn wait(&mut self, slot: usize) -> Step {
        let slot = &mut self.slots[slot];
        let (Some(id), is_bound) = (slot.id, slot.is_bound()) else {
            return Ok(());
        };
        match self.ctx.wait(id) {
            Ok(_) if !is_bound => Err("a wait by the id of a dead channel was taken".into()),
            Ok(wait) => {
                let ready = match wait {
                    Wait::Ready(cause) => Some(cause),
                    Wait::Pending => None,
                };
                self.played.wakes += u64::from(ready.is_some());
                slot.model.waited(ready).map_err(text)
            }
            Err(WaitError::NotBound(_)) if !is_bound => Ok(()),
            Err(WaitError::Link(error)) => self.link_failed(error),
            Err(WaitError::Unmask { source, .. }) => self.told(source),
            Err(error) => Err(format!("wait: {error:?}")),
        }
    }

    pub(super) fn cancel(&mut self, slot: usize) -> Step {
        let slot = &mut self.slots[slot];
        let (Some(id), is_bound) = (slot.id, slot.is_bound()) else {
            return Ok(());
        };
        match self.ctx.cancel(id) {
            Ok(()) if is_bound => {
                slot.model.waiting = false;
                Ok(())
            }
            Ok(()) => Err("a cancel by the id of a dead channel was taken".into()),
            Err(CancelError::NotBound(_)) if !is_bound => Ok(()),
            Err(CancelError::Link(error)) => self.link_failed(error),
            Err(error) => Err(format!("cancel: {error:?}")),
        }
    }

    pub(super) fn signal(&mut self, slot: usize) -> Step {
        let slot = &mut self.slots[slot];
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

    pub(super) fn notify(&mut self, slot: usize) -> Step {
        let slot = &self.slots[slot];
        let (Some(channel), Some(Signal::Send(theirs))) = (&slot.channel, slot.signal) else {
            return Ok(());
        };
        let before = self.guest.events(theirs).map_err(text)?;
        channel.notify().map_err(text)?;
        let after = self.guest.events(theirs).map_err(text)?;
        ensure(after == before + 1, || {
            format!("a notify took the peer from {before} events to {after}")
        })
    }

    pub(super) fn begin(&mut self, budget: usize) -> Step {
        match (self.ctx.dispatch_at_most(budget), &self.round) {
            (Ok(round), None) => {
                self.round = Some(round);
                Ok(())
            }
            (Err(DispatchError::Busy), Some(_)) => Ok(()),
            (other, _) => Err(format!("begin: {other:?}")),
        }
    }

    /// Takes a wake; false where none comes.
    pub(super) fn next(&mut self) -> Result<bool, String> {
        let Some(wake) = self.round.as_mut().and_then(Iterator::next) else {
            self.note_fault()?;
            return Ok(false);
        };
        self.note_fault()?;
        self.played.wakes += 1;
        ensure(wake.cause != Cause::Overflow || self.overflowed, || {
            "a wake told of an overflow that was none".into()
        })?;
        if wake.cause == Cause::Gone {
            let place = self.to_tell.iter().position(|id| *id == wake.channel);
            let place = place.ok_or("told that it is gone without a reason, or twice")?;
            self.to_tell.remove(place);
            return Ok(true);
        }
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.id == Some(wake.channel));
        match slot.filter(|slot| slot.is_bound()) {
            Some(slot) => slot.model.woken(wake.cause).map_err(text)?,
            None => return Err("a wake came for a channel that is gone".into()),
        }
        Ok(true)
    }

    pub(super) fn finish(&mut self) -> Step {
        let Some(round) = self.round.take() else {
            return Ok(());
        };
        match round.finish() {
            Ok(Outcome::More) => ensure(self.ctx.next_timeout() == Some(Duration::ZERO), || {
                "more is ready and the loop may sleep".into()
            }),
            Ok(Outcome::Done) => Ok(()),
            Err(DispatchError::Device(error)) => self.told(error),
            Err(DispatchError::Unmask { source, .. }) => self.told(source),
            Err(DispatchError::Link(error)) => self.link_failed(error),
            Err(error) => Err(format!("finish: {error:?}")),
        }
    }

    /// One turn of an event loop. False where there is no reason for a round; then nobody may
    /// be waiting for something that happened.
    pub(super) fn turn(&mut self) -> Result<bool, String> {
        if self.round.is_some() {
            return Ok(true);
        }
        let awake = self.ctx.next_timeout() == Some(Duration::ZERO);
        if !self.looper.ready() && !awake {
            let sleeps = |slot: &Slot| slot.is_waiting() && slot.model.must;
            return match self.slots.iter().position(sleeps) {
                Some(slot) => Err(format!("slot {slot} sleeps through its event")),
                None => Ok(false),
            };
        }
        self.begin(usize::MAX)?;
        while self.next()? {}
        self.finish()?;
        Ok(true)
    }

    pub(super) fn overflow(&mut self) {
        let file = self.opener.last();
        // An edge-triggered loop is not told of an overflow. It needs not be: the ring was full,
        // so it was told before, and reads until nothing is left.
        if self.looper.trigger() == Trigger::Edge
            && !file.is_some_and(|file| self.is_readable(file))
        {
            return;
        }
        if file.is_some_and(|file| self.sim.with(|world| world.overflow(file)).is_ok()) {
            self.overflowed = true;
            for slot in self.slots.iter_mut().filter(|slot| slot.is_bound()) {
                slot.model.overflow();
            }
        }
    }

    pub(super) fn is_readable(&self, file: FileId) -> bool {
        let bits = self.sim.with(|world| world.poll(file));
        bits.is_ok_and(PollBits::wakes_reader)
    }

    pub(super) fn fail(&mut self, failing: Failing) {
        // A device that failed is closed even where the loop does not let go: nothing to learn.
        let other = match failing {
            Failing::Reading => Some(Call::Deregister),
            Failing::Deregistering => Some(Call::Pending),
            Failing::Opening
            | Failing::Binding
            | Failing::Unbinding
            | Failing::Unmasking
            | Failing::ShortUnmask
            | Failing::Interrupted
            | Failing::Registering => None,
        };
        if other.is_some_and(|other| self.told.contains(&other)) {
            return;
        }
        for &call in failing.calls() {
            match failing {
                Failing::Registering | Failing::Deregistering => {
                    self.looper.fail_next(call, Errno::ENOMEM);
                }
                Failing::ShortUnmask => self.opener.shorten_next(call, 1),
                Failing::Interrupted => self.opener.fail_next(call, Errno::EINTR),
                Failing::Reading => self.opener.fail_next(call, Errno::EIO),
                Failing::Opening | Failing::Binding | Failing::Unbinding | Failing::Unmasking => {
                    self.opener.fail_next(call, Errno::ENOMEM);
                }
            }
            self.told.push(call);
        }
    }

    pub(super) fn teardown(&mut self) -> Step {
        let bound = self.slots.iter().any(Slot::is_bound);
        match self.ctx.teardown() {
            Ok(()) if bound => Err("torn down under a bound channel".into()),
            Ok(()) => {
                self.to_tell.clear();
                Ok(())
            }
            Err(TeardownError::Leftover(leftover)) => ensure(bound, || leftover.to_string()),
            Err(TeardownError::Link(error)) => self.link_failed(error),
            Err(error) => Err(format!("teardown: {error:?}")),
        }
    }
}
