//! A step that blocks. Nothing else happens meanwhile, so its event has come before or does not come.

use std::time::Duration;

use evtchn_core::Error;
use evtchn_sim::Call;

use super::table::Slot;
use super::{Player, Step, ensure, text};

impl Player<'_> {
    pub(super) fn block(&mut self, slot: usize) -> Step {
        let Some(channel) = &self.table.get(slot).channel else {
            return Ok(());
        };
        let soon = self.looper.now() + Duration::from_nanos(1);
        let blocked = channel.block_until(soon);
        self.note_fault()?;
        let before = self.table.get(slot);
        let (is_bound, waited) = (before.is_bound(), before.model.waiting);
        match blocked {
            Ok(Some(cause)) => {
                self.played.wakes += 1;
                let taken = |slot: &mut Slot| slot.model.taken(cause);
                self.table.edit(slot, taken).map_err(text)
            }
            Ok(None) => ensure(is_bound && !before.model.must, || {
                "a block ended without the wake that was there".into()
            }),
            Err(Error::AlreadyWaited(_)) if waited => Ok(()),
            Err(Error::NotBound(_)) if !is_bound => Ok(()),
            Err(Error::Sleep(error)) => self.loop_failed(Call::Sleep, &error),
            Err(Error::Device(error)) => {
                self.device_failed([Call::Pending, Call::Reset, Call::Unmask], &error)
            }
            Err(error) => self
                .wait_failed(&error)
                .map_err(|what| format!("block: {what}")),
        }
    }
}
