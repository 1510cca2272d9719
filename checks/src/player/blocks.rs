//! A step that blocks. Nobody else acts meanwhile, so either its event has come or none does.

use std::time::Duration;

use evtchn_core::{BlockError, Blocked, WaitError};
use evtchn_sim::Call;

use super::table::Slot;
use super::{Player, Step, ensure, text};

impl Player<'_> {
    pub(super) fn block(&mut self, slot: usize) -> Step {
        let Some(channel) = &self.table.get(slot).channel else {
            return Ok(());
        };
        let soon = self.looper.now() + Duration::from_nanos(1);
        let blocked = channel.block(Some(soon));
        self.note_fault()?;
        let before = self.table.get(slot);
        let (is_bound, waited) = (before.is_bound(), before.model.waiting);
        match blocked {
            Ok(Blocked::Woken(cause)) => {
                self.played.wakes += 1;
                let woken = |slot: &mut Slot| slot.model.waited(Some(cause));
                self.table.edit(slot, woken).map_err(text)
            }
            Ok(Blocked::TimedOut) => ensure(is_bound && !before.model.must, || {
                "a block ended without the wake that was there".into()
            }),
            Ok(other) => Err(format!("a block that nobody ended: {other:?}")),
            Err(BlockError::Device(error) | BlockError::Sleep(error)) => self.told(error),
            Err(BlockError::Wait(error)) => match error {
                WaitError::AlreadyWaited(_) if waited => Ok(()),
                WaitError::NotBound(_) if !is_bound => Ok(()),
                WaitError::Link(error) => self.link_failed(error),
                WaitError::Unmask { source, .. } => self.told(source),
                error @ WaitError::NotWritten { .. } => self.failed(Call::Unmask, || text(error)),
                error @ (WaitError::NotBound(_) | WaitError::AlreadyWaited(_) | _) => {
                    Err(format!("block: {error:?}"))
                }
            },
            Err(error) => Err(format!("block: {error:?}")),
        }
    }
}
