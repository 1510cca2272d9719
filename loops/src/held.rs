//! The device that an event loop watches.

use std::mem::ManuallyDrop;
use std::sync::{Mutex, MutexGuard, PoisonError};

use evtchn_core::Device;
use evtchn_fork::Process;

/// Keeps a device open for as long as an event loop has its descriptor.
///
/// A device that the loop could not deregister is leaked and never closed: otherwise its number
/// could go to another file, and the loop would report that file in its place.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<Option<(Device, Option<Process>)>>);

impl Held {
    /// The loop begins to watch this device.
    pub(crate) fn keep(&self, device: &Device) {
        let held = (device.clone(), Process::current().ok());
        let before = self.lock().replace(held);
        leak(before);
    }

    /// The loop no longer watches the device.
    pub(crate) fn let_go(&self) {
        let held = self.lock().take();
        drop(held);
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Device, Option<Process>)>> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaks the device, except in a forked child, where closing it takes nothing from the loop.
fn leak(held: Option<(Device, Option<Process>)>) {
    let Some((device, process)) = held else {
        return;
    };
    if process.is_none_or(Process::is_current) {
        let _never_dropped = ManuallyDrop::new(device);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let held = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        leak(held.take());
    }
}

#[cfg(test)]
mod tests {
    use evtchn_core::{DomId, Open as _};
    use evtchn_sim::Sim;

    use super::*;

    fn is_open(end: impl FnOnce(Held)) -> bool {
        let opener = Sim::new(0).open(DomId::DOM0);
        let device = Device::new(opener.open().unwrap());
        let held = Held::default();
        held.keep(&device);
        drop(device);
        end(held);
        opener.dup().is_ok()
    }

    #[test]
    fn a_deregistered_device_is_closed_and_any_other_is_leaked() {
        assert!(!is_open(|held| held.let_go()));
        assert!(is_open(drop));
        assert!(is_open(|held| {
            let other = Sim::new(1).open(DomId::DOM0).open().unwrap();
            held.keep(&Device::new(other));
            held.let_go();
        }));
    }
}
