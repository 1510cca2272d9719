//! The steps of a script: each makes one call and compares the answer with the model.

use std::time::Duration;

use evtchn_core::{ChannelId, DomId, Error, RemotePort};
use evtchn_sim::{Call, Errno};

use super::table::{Signal, Slot};
use super::{Player, Step, VIRQS, ensure, text};
use crate::op::{Failing, Source};

impl Player<'_> {
    pub(super) fn bind(&mut self, slot: usize, source: Source) -> Step {
        if self.table.get(slot).channel.is_some() {
            return Ok(());
        }
        let domid = self.guest.domid();
        let virq = VIRQS.get(slot).filter(|_| source == Source::Virq).copied();
        let theirs = match source {
            Source::Interdomain => Some(self.guest.alloc_unbound(DomId::DOM0).map_err(text)?),
            Source::Unbound | Source::Virq => None,
        };
        let bound = match (virq, theirs) {
            (Some(virq), _) => self.ctx.bind_virq(virq),
            (None, Some(port)) => self.ctx.bind_interdomain(RemotePort { domid, port }),
            (None, None) => self.ctx.bind_unbound_port(domid),
        };
        self.note_fault()?;
        let channel = match bound {
            Ok(channel) => channel,
            // A drop that could not unbind left the port bound to its device.
            Err(Error::Device(error))
                if Errno::of(&error) == Some(Errno::EEXIST) && self.may_fail([Call::Unbind]) =>
            {
                return Ok(());
            }
            Err(Error::Device(error)) => {
                let calls = [
                    Call::Open,
                    Call::BindUnboundPort,
                    Call::BindInterdomain,
                    Call::BindVirq,
                    Call::Pending,
                    Call::Reset,
                ];
                return self.device_failed(calls, &error);
            }
            Err(error) => return Err(format!("bind: {error:?}")),
        };
        let signal = match (virq, theirs) {
            (Some(virq), _) => Signal::Raise(virq),
            (None, Some(theirs)) => Signal::Send(theirs),
            (None, None) => {
                let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
                Signal::Send(theirs.map_err(text)?)
            }
        };
        let signalled = source == Source::Interdomain;
        self.table.bound(slot, channel, signal, signalled);
        Ok(())
    }

    pub(super) fn unbind(&mut self, slot: usize) -> Step {
        let Some(mut channel) = self.table.edit(slot, |slot| slot.channel.take()) else {
            return Ok(());
        };
        let unbound = channel.unbind();
        if let Err(Error::Device(error)) = &unbound {
            // The channel is bound as before, with its wait.
            self.table.edit(slot, |slot| slot.channel = Some(channel));
            return self.device_failed([Call::Unbind], error);
        }
        let notified = channel.notify();
        ensure(matches!(notified, Err(Error::NotBound(_))), || {
            format!("a notify of a channel that was unbound: {notified:?}")
        })?;
        match unbound {
            Ok(()) => Ok(()),
            Err(error) => self
                .link_failed(&error)
                .map_err(|what| format!("unbind: {what}")),
        }
    }

    pub(super) fn drop_channel(&mut self, slot: usize) -> Step {
        match self.table.edit(slot, |slot| slot.channel.take()) {
            Some(channel) => {
                drop(channel);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn wait(&mut self, slot: usize) -> Step {
        let (Some(id), _) = self.known(slot) else {
            return Ok(());
        };
        let waited = self.ctx.wait(id);
        self.waited(slot, waited)
    }

    pub(super) fn wait_each(&mut self, slot: usize) -> Step {
        let (Some(id), _) = self.known(slot) else {
            return Ok(());
        };
        let waited = self.ctx.wait_each(id);
        if waited.is_ok() {
            self.table.edit(slot, |slot| slot.model.stands = true);
        }
        self.waited(slot, waited)
    }

    fn waited(&mut self, slot: usize, waited: Result<(), Error>) -> Step {
        let (_, is_bound) = self.known(slot);
        match waited {
            Ok(()) if !is_bound => Err("a wait with the id of a dead channel succeeded".into()),
            Ok(()) => {
                self.table.edit(slot, |slot| slot.model.waited());
                // A kept wake comes with the next round, so the loop must not sleep.
                let comes = self.round.is_some()
                    || !self.table.get(slot).is_owed()
                    || self.ctx.next_timeout() == Some(Duration::ZERO);
                ensure(comes, || {
                    "a channel with a kept wake is waited on, and the loop may sleep".into()
                })
            }
            Err(Error::NotBound(_)) if !is_bound => Ok(()),
            Err(error) => self
                .wait_failed(&error)
                .map_err(|what| format!("wait: {what}")),
        }
    }

    pub(super) fn cancel(&mut self, slot: usize) -> Step {
        let (Some(id), is_bound) = self.known(slot) else {
            return Ok(());
        };
        match self.ctx.cancel(id) {
            Ok(ended) if is_bound => {
                let cancelled = |slot: &mut Slot| slot.model.cancelled(ended);
                self.table.edit(slot, cancelled).map_err(text)
            }
            Ok(_) => Err("a cancel with the id of a dead channel succeeded".into()),
            Err(Error::NotBound(_)) if !is_bound => Ok(()),
            Err(error) => self
                .link_failed(&error)
                .map_err(|what| format!("cancel: {what}")),
        }
    }

    /// The id of the last channel of a slot, and whether it is bound.
    fn known(&self, slot: usize) -> (Option<ChannelId>, bool) {
        let slot = self.table.get(slot);
        (slot.id, slot.is_bound())
    }

    pub(super) fn signal(&mut self, slot: usize) -> Step {
        match self.table.get(slot).signal {
            None => return Ok(()),
            Some(Signal::Send(theirs)) => self.guest.send(theirs).map_err(text)?,
            Some(Signal::Raise(virq)) => self.sim.raise_virq(DomId::DOM0, virq).map_err(text)?,
        }
        if self.table.get(slot).is_bound() {
            self.table.edit(slot, |slot| slot.model.signal());
        }
        Ok(())
    }

    pub(super) fn notify(&mut self, slot: usize) -> Step {
        let slot = self.table.get(slot);
        let (Some(channel), Some(Signal::Send(theirs))) = (&slot.channel, slot.signal) else {
            return Ok(());
        };
        let before = self.guest.events(theirs).map_err(text)?;
        let notified = channel.notify();
        let after = self.guest.events(theirs).map_err(text)?;
        let expected = before + u32::from(notified.is_ok());
        ensure(after == expected, || {
            format!("{notified:?} of a notify took the peer from {before} events to {after}")
        })?;
        match notified {
            Ok(()) if slot.dead => Err("a notify of a dead channel succeeded".into()),
            Ok(()) => Ok(()),
            Err(Error::NotBound(_)) if slot.dead => Ok(()),
            Err(Error::Device(error)) => self.device_failed([Call::Notify], &error),
            Err(error) => Err(format!("notify: {error:?}")),
        }
    }

    /// Notifies the channels of these slots in one batch.
    pub(super) fn notify_many(&mut self, slots: impl Iterator<Item = usize>) -> Step {
        let mut batch = Vec::new();
        for slot in slots {
            let slot = self.table.get(slot);
            if let (Some(channel), Some(Signal::Send(theirs))) = (&slot.channel, slot.signal) {
                let before = self.guest.events(theirs).map_err(text)?;
                batch.push((channel.id(), theirs, before, slot.dead));
            }
        }
        let ids: Vec<_> = batch.iter().map(|(id, ..)| *id).collect();
        let failed = match self.ctx.notify_many(&ids) {
            Ok(()) => Vec::new(),
            Err(Error::NotNotified(refused)) => refused.failed,
            Err(error) => return Err(format!("notify_many: {error:?}")),
        };
        let mut errors = failed.iter().peekable();
        for (id, theirs, before, dead) in batch {
            let error = errors.next_if(|(failed, _)| *failed == id);
            let after = self.guest.events(theirs).map_err(text)?;
            let expected = before + u32::from(error.is_none());
            ensure(after == expected, || {
                format!("{error:?} of a batch took the peer from {before} events to {after}")
            })?;
            match error {
                None => ensure(!dead, || "a batch notified a dead channel".into())?,
                Some((_, Error::NotBound(_))) if dead => {}
                Some((_, Error::Device(error))) => self.device_failed([Call::Notify], error)?,
                Some((_, error)) => return Err(format!("notify_many: {error:?}")),
            }
        }
        ensure(errors.next().is_none(), || "a batch names others".into())
    }

    pub(super) fn overflow(&mut self) {
        let file = self.opener.last();
        if file.is_none_or(|file| self.sim.with(|world| world.overflow(file)).is_err()) {
            return;
        }
        self.overflowed = true;
        self.table.edit_all(|slot| {
            if slot.is_bound() {
                slot.model.overflow();
            }
        });
    }

    /// The `nth` such call from now on fails. A short `unmask` is always the next one.
    pub(super) fn fail(&mut self, failing: Failing, nth: u64) {
        for &call in failing.calls() {
            match failing {
                Failing::Registering | Failing::Deregistering | Failing::Sleeping => {
                    self.looper.fail_nth(call, nth, Errno::ENOMEM);
                }
                Failing::ShortUnmask => self.opener.shorten_next(call, 1),
                Failing::Interrupted => self.opener.fail_nth(call, nth, Errno::EINTR),
                Failing::Reading | Failing::Resetting => {
                    self.opener.fail_nth(call, nth, Errno::EIO);
                }
                Failing::Opening
                | Failing::Binding
                | Failing::Unbinding
                | Failing::Unmasking
                | Failing::Notifying => self.opener.fail_nth(call, nth, Errno::ENOMEM),
            }
            self.set_to_fail.push(call);
        }
    }

    pub(super) fn shorten(&mut self, ports: usize) {
        self.opener.shorten_next(Call::Unmask, ports);
        self.set_to_fail.push(Call::Unmask);
    }

    pub(super) fn teardown(&mut self) -> Step {
        let bound = self.table.counts().bound > 0;
        if self.owed.is_some() {
            let torn = self.ctx.teardown();
            self.pay(torn)?;
        }
        match self.ctx.teardown() {
            Ok(()) if bound => Err("torn down under a bound channel".into()),
            Ok(()) => {
                self.gone_due.clear();
                Ok(())
            }
            Err(Error::StillInUse(leftover)) => ensure(bound, || leftover.to_string()),
            Err(error) => self
                .link_failed(&error)
                .map_err(|what| format!("teardown: {what}")),
        }
    }
}
