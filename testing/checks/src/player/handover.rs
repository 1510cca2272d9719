//! A step in which the context hands over to another one.

use evtchn_core::{Backend, Context, Error, Link, Stats};

use super::table::Slot;
use super::{Ctx, Loop, Player, SimChannel, Step, ensure};

/// A player without a context.
pub(super) type Detached = Box<dyn for<'b> FnOnce(&'b Ctx) -> Player<'b>>;

/// The result of a hand-over, for the player.
pub(super) struct HandedOver {
    channels: Vec<SimChannel>,
    failed: Option<Error>,
}

impl Player<'_> {
    /// Releases the context and takes all channels out of their slots.
    pub(super) fn detach(mut self) -> (Detached, Vec<SimChannel>) {
        let mut channels = Vec::new();
        for place in 0..self.table.len() {
            if let Some(channel) = self.table.edit(place, |slot| slot.channel.take()) {
                channels.push(channel);
                self.handed.push(place);
            }
        }
        let Player {
            ctx: _,
            round: _,
            sim,
            opener,
            looper,
            calls,
            called,
            handed,
            guest,
            table,
            budget,
            unread: _,
            owed,
            steps,
            set_to_fail,
            overflowed,
            loose,
            gone_due,
            gone_possible,
            stats,
            played,
        } = self;
        let attach: Detached = Box::new(move |ctx| Player {
            ctx,
            sim,
            opener,
            looper,
            calls,
            called,
            handed,
            guest,
            table,
            round: None,
            budget,
            unread: None,
            owed,
            steps,
            set_to_fail,
            overflowed,
            loose,
            gone_due,
            gone_possible,
            stats,
            played,
        });
        (attach, channels)
    }

    /// Takes the context that the channels belong to now.
    pub(super) fn take_over(&mut self, handed: HandedOver) -> Step {
        let is_new = handed.failed.is_none();
        for (place, channel) in std::mem::take(&mut self.handed)
            .into_iter()
            .zip(handed.channels)
        {
            self.table.edit(place, |slot| {
                slot.take_over(channel, is_new);
            });
        }
        match handed.failed {
            None => {
                // The wakes of channels that were dropped went with the context.
                self.gone_due.clear();
                self.gone_possible.clear();
                self.owed = None;
                self.loose = false;
                self.stats = Stats::default();
                Ok(())
            }
            Some(Error::NotOpen) => ensure(!self.ctx.link().is_open(), || {
                "a device is open, but the hand-over failed with `NotOpen`".into()
            }),
            Some(Error::NotBound(_)) => ensure(self.table.counts().dead > 0, || {
                "a hand-over does not know a bound channel".into()
            }),
            Some(error) => self
                .link_failed(&error)
                .map_err(|what| format!("hand-over: {what}")),
        }
    }
}

impl Slot {
    /// Puts its channel back; `is_new` if another context adopted the port.
    fn take_over(&mut self, channel: SimChannel, is_new: bool) {
        if is_new {
            self.id = Some(channel.id());
            self.model.adopt();
            self.has_callback = false;
        }
        self.channel = Some(channel);
    }
}

/// Hands over from this context to a new one on the same machine. If that fails, this context is
/// returned as it was.
pub(super) fn hand_over(
    ctx: Ctx,
    mut channels: Vec<SimChannel>,
    backend: Backend,
    looper: Loop,
) -> Result<(Ctx, HandedOver), String> {
    let parts = match ctx.hand_over(&mut channels) {
        Ok(parts) => parts,
        Err(error) => {
            let failed = Some(error);
            return Ok((ctx, HandedOver { channels, failed }));
        }
    };
    for channel in &channels {
        let answer = channel.wait();
        ensure(matches!(answer, Err(Error::NotBound(_))), || {
            format!("a wait on a channel that was handed over: {answer:?}")
        })?;
    }
    ensure(ctx.link() == Link::Closed, || {
        format!("handed over, but the link is {:?}", ctx.link())
    })?;
    drop((channels, ctx));
    let (ctx, channels) = Context::from_parts(parts, backend, looper);
    let failed = None;
    Ok((ctx, HandedOver { channels, failed }))
}
