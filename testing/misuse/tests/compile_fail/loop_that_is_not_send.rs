//! Contexts are shared among threads, so the loop must be `Send` and `Sync`.
use std::cell::Cell;

use evtchn::{Device, LoopError, Registrar, Trigger};

struct Flag {
    is_watched: Cell<bool>,
}

impl Registrar for Flag {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, _: &Device) -> Result<(), LoopError> {
        self.is_watched.set(true);
        Ok(())
    }

    fn deregister(&self, _: &Device) -> Result<(), LoopError> {
        self.is_watched.set(false);
        Ok(())
    }

    fn wake(&self) {}
}

fn main() {}
