//! Callbacks, and turns of a loop in which they are called.

use evtchn_core::Cause;

use super::table::Slot;
use super::{Player, Step, ensure, text};

impl Player<'_> {
    pub(super) fn callback(&mut self, slot: usize) -> Step {
        let Some(channel) = &self.table.get(slot).channel else {
            return Ok(());
        };
        let has_callback = self.table.get(slot).has_callback;
        if has_callback {
            let removed = channel.remove_callback().map_err(text)?;
            self.table.edit(slot, |slot| slot.has_callback = false);
            return ensure(removed, || "a callback was lost".into());
        }
        let called = self.called.clone();
        channel
            .set_callback(move |wake| called.get().push(wake))
            .map_err(text)?;
        self.table.edit(slot, |slot| slot.has_callback = true);
        Ok(())
    }

    pub(super) fn call_back(&mut self) -> Step {
        if !self.has_reason()? {
            return Ok(());
        }
        if self.owed.is_some() {
            let ended = self.ctx.dispatch_callbacks();
            self.pay(ended.map(drop))?;
        }
        let ended = self.ctx.dispatch_callbacks();
        let called = std::mem::take(&mut *self.called.get());
        // The device fails after all other wakes of the round.
        let (gone, woken): (Vec<_>, Vec<_>) = called
            .into_iter()
            .partition(|wake| wake.cause == Cause::Gone);
        for wake in woken {
            let place = self.note_wake(wake)?;
            let has_callback = place.is_some_and(|place| self.table.get(place).has_callback);
            ensure(has_callback, || {
                "a callback was called that is not set".into()
            })?;
        }
        self.note_fault()?;
        for wake in gone {
            self.note_wake(wake)?;
        }
        self.ended(ended)?;
        // The drop of a channel also removes its callback.
        let has_one = |slot: &&Slot| slot.has_callback && slot.channel.is_some();
        let with_callback = self.table.iter().filter(has_one);
        let with_callback: Vec<_> = with_callback.filter_map(|slot| slot.id).collect();
        // A round of callbacks does not hand a wake `Gone` to the others.
        let dropped = self
            .gone_due
            .extract_if(.., |id| !with_callback.contains(id));
        self.gone_possible.extend(dropped);
        self.note_kept()
    }

    /// The wakes of channels without a callback were latched.
    fn note_kept(&mut self) -> Step {
        if self.table.counts().bound == 0 {
            return Ok(());
        }
        let leftover = self.still_in_use()?;
        for place in 0..self.table.len() {
            let slot = self.table.get(place);
            let port = slot.id.map(evtchn_core::ChannelId::port);
            let waits = port.is_some_and(|port| leftover.waiting.binary_search(&port).is_ok());
            if !slot.is_waiting() || waits {
                continue;
            }
            ensure(!slot.has_callback, || {
                format!("slot {place} waits no longer, and its callback was not called")
            })?;
            let overflowed = self.overflowed;
            let kept = |slot: &mut Slot| slot.model.kept(overflowed);
            self.table.edit(place, kept).map_err(text)?;
        }
        Ok(())
    }
}
