//! The steps of a script: each makes one call and asks the model about the answer.

use evtchn_core::{
    BindError, CancelError, ChannelId, DomId, NotifyError, RemotePort, TeardownError, UnbindError,
    Wait, WaitError,
};
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
            // A drop that could not unbind leaves the port to its device.
            Err(BindError::Bind(error))
                if error.errno == Errno::EEXIST && self.was_told([Call::Unbind]) =>
            {
                return Ok(());
            }
            Err(BindError::Open(error) | BindError::Drain(error) | BindError::Bind(error)) => {
                return self.told(error);
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
        let Some(channel) = self.table.edit(slot, |slot| slot.channel.take()) else {
            return Ok(());
        };
        match channel.unbind() {
            Ok(()) => Ok(()),
            Err(UnbindError::Unbind { channel, source }) => {
                self.table.edit(slot, |slot| slot.channel = Some(channel));
                self.told(source)
            }
            Err(UnbindError::Link(error)) => self.link_failed(error),
            Err(error) => Err(format!("unbind: {error:?}")),
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
        let (Some(id), is_bound) = self.known(slot) else {
            return Ok(());
        };
        match self.ctx.wait(id) {
            Ok(_) if !is_bound => Err("a wait by the id of a dead channel was taken".into()),
            Ok(wait) => {
                let ready = match wait {
                    Wait::Ready(cause) => Some(cause),
                    Wait::Pending => None,
                };
                ensure(
                    ready.is_none() || !self.table.get(slot).has_callback,
                    || "a wait was ready although there is a callback".into(),
                )?;
                self.played.wakes += u64::from(ready.is_some());
                let waited = |slot: &mut Slot| slot.model.waited(ready);
                self.table.edit(slot, waited).map_err(text)
            }
            Err(WaitError::NotBound(_)) if !is_bound => Ok(()),
            Err(WaitError::Link(error)) => self.link_failed(error),
            Err(WaitError::Unmask { source, .. }) => self.told(source),
            Err(error @ WaitError::NotWritten { .. }) => self.failed(Call::Unmask, || text(error)),
            Err(error) => Err(format!("wait: {error:?}")),
        }
    }

    pub(super) fn cancel(&mut self, slot: usize) -> Step {
        let (Some(id), is_bound) = self.known(slot) else {
            return Ok(());
        };
        match self.ctx.cancel(id) {
            Ok(()) if is_bound => {
                self.table.edit(slot, |slot| slot.model.waiting = false);
                Ok(())
            }
            Ok(()) => Err("a cancel by the id of a dead channel was taken".into()),
            Err(CancelError::NotBound(_)) if !is_bound => Ok(()),
            Err(CancelError::Link(error)) => self.link_failed(error),
            Err(error) => Err(format!("cancel: {error:?}")),
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
            Ok(()) => Ok(()),
            Err(NotifyError::Device(error)) => self.told(error),
            Err(error) => Err(format!("notify: {error:?}")),
        }
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

    /// The `nth` such call from now on fails. What is taken short is the next one.
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
            self.told.push(call);
        }
    }

    pub(super) fn shorten(&mut self, ports: usize) {
        self.opener.shorten_next(Call::Unmask, ports);
        self.told.push(Call::Unmask);
    }

    pub(super) fn teardown(&mut self) -> Step {
        let bound = self.table.counts().bound > 0;
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
