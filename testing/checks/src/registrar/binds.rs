//! Acts that bind, unbind and drop channels.

use evtchn_core::{DomId, Error, RemotePort};
use evtchn_sim::{Call, Errno};

use super::acts::taken_in_a_hook;
use super::rig::{Rig, Signal, Slot, Step, TestChannel, TestContext, VIRQS, ensure, text};
use crate::failed::device_call;
use crate::model;
use crate::op::Source;

impl Rig {
    pub(super) fn bind(&self, ctx: &TestContext, place: usize, source: Source) -> Step {
        let mut state = self.state();
        let slot = &mut state.slots[place];
        if slot.channel.is_some() {
            return Ok(());
        }
        // If it were raised inside of this bind, the event would be for the new channel.
        slot.signal = None;
        drop(state);
        let domid = self.guest.domid();
        let virq = VIRQS[place];
        let theirs = match source {
            Source::Interdomain => Some(self.guest.alloc_unbound(DomId::DOM0).map_err(text)?),
            Source::Unbound | Source::Virq => None,
        };
        let counted = ctx.stats().unreported;
        let inside = self.enter(|inside| &mut inside.bind);
        let call = || match (source, theirs) {
            (Source::Virq, _) => ctx.bind_virq(virq),
            (_, Some(port)) => ctx.bind_interdomain(RemotePort { domid, port }),
            (_, None) => ctx.bind_unbound_port(domid),
        };
        let answer = self.guarded(call, |_, _| ());
        drop(inside);
        self.note_fault(ctx);
        let channel = match answer {
            Ok(channel) => channel,
            Err(error) => {
                self.bind_failed(error, source)?;
                self.settled_unless_counted(ctx, counted);
                return Ok(());
            }
        };
        self.settled_unless_counted(ctx, counted);
        ensure(self.inside().hook == 0, || {
            "a bind succeeded inside of a hook".into()
        })?;
        let signal = match (source, theirs) {
            (Source::Virq, _) => Signal::Raise(virq),
            (_, Some(theirs)) => Signal::Send(theirs),
            (_, None) => {
                let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
                Signal::Send(theirs.map_err(text)?)
            }
        };
        self.place(ctx, place, channel, source, signal)
    }

    /// Puts a new channel into its slot, unless another one was put there meanwhile.
    fn place(
        &self,
        ctx: &TestContext,
        place: usize,
        channel: TestChannel,
        source: Source,
        signal: Signal,
    ) -> Step {
        let mut state = self.state();
        if state.slots[place].channel.is_some() {
            drop(state);
            return self.drop_it(channel, Some(ctx));
        }
        state.slots[place] = Slot {
            model: model::Channel::bound(source == Source::Interdomain),
            id: Some(channel.id()),
            channel: Some(channel),
            signal: Some(signal),
            ..Slot::default()
        };
        Ok(())
    }

    fn bind_failed(&self, error: Error, source: Source) -> Step {
        let mut state = self.state();
        let permitted = match state.restricted {
            None => true,
            Some(domid) => source == Source::Interdomain && domid == self.guest.domid(),
        };
        if matches!(error, Error::Reentrant) && state.inside.hook > 0 {
            return Ok(());
        }
        let Error::Device(error) = error else {
            return Err(format!("bind: {error:?}"));
        };
        let (call, errno) = (device_call(&error), Errno::of(&error));
        match call {
            Some(Call::Open) => {
                state.seen.answered += 1;
                Ok(())
            }
            Some(Call::Pending) if state.breaks => Ok(()),
            Some(Call::BindUnboundPort | Call::BindInterdomain | Call::BindVirq)
                // This bind is made from inside another one, which has the virtual interrupt.
                if (errno == Some(Errno::EEXIST) && state.inside.bind > 0)
                    || (errno == Some(Errno::EACCES) && !permitted) =>
            {
                Ok(())
            }
            _ => Err(format!("bind: {error:?}")),
        }
    }

    pub(super) fn unbind(&self, place: usize) -> Step {
        let Some(mut channel) = self.state().slots[place].channel.take() else {
            return Ok(());
        };
        let in_hook = self.inside().hook > 0;
        let answer = self.guarded(|| channel.unbind(), |_, _| ());
        match answer {
            Err(Error::Reentrant) if in_hook => {
                self.state().slots[place].channel = Some(channel);
                Ok(())
            }
            _ if in_hook => taken_in_a_hook("an unbind"),
            Ok(()) => {
                self.settled();
                Ok(())
            }
            Err(error) => self
                .link_failed(&error)
                .map_err(|what| format!("unbind: {what}")),
        }
    }

    pub(super) fn drop_channel(&self, place: usize, ctx: Option<&TestContext>) -> Step {
        let channel = self.state().slots[place].channel.take();
        channel.map_or(Ok(()), |channel| self.drop_it(channel, ctx))
    }

    fn drop_it(&self, channel: TestChannel, ctx: Option<&TestContext>) -> Step {
        let counted = ctx.map_or(0, |ctx| ctx.stats().unreported);
        let inside = self.enter(|inside| &mut inside.dropping);
        self.guarded(|| drop(channel), |_, _| ());
        drop(inside);
        if let Some(ctx) = ctx {
            self.settled_unless_counted(ctx, counted);
        }
        Ok(())
    }
}
