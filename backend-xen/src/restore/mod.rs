//! How a device notices that its domain was saved and restored, or migrated, after it was opened.
//!
//! Afterwards the ports that a file had bound are dead, and the kernel need not survive their unbind. So
//! a device that notices this makes no bind and no unbind any more, and leaves its file open when it
//! is dropped. A new file works.
//!
//! The *check* is the incarnation of the domain, a number in Xen's CPUID leaves that a restore raises and
//! a checkpoint does not. It costs no system call. The *sensor* is a descriptor that becomes readable
//! after a restore, because a thread that sleeps in `poll(2)` is not woken by one. Device and sensor
//! are in one epoll instance, which event loops poll instead of the device.
//!
//! Domain 0 is never restored, and Xen restores no Arm domain. There a device has none of this.

mod incarnation;
mod sensor;
#[cfg(test)]
mod tests;

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use evtchn_core::{DeviceCall, DeviceError, ErrorKind};
use rustix::event::epoll;

use sensor::Sensor;

/// What the calls need to know of the domain since the device was opened.
#[derive(Debug)]
pub(crate) struct Watch {
    /// `None` once the file has another owner.
    file: Option<Arc<OwnedFd>>,
    /// The incarnation under which the file was opened.
    incarnation: u32,
    /// Reads the incarnation.
    now: fn() -> Option<u32>,
    polled: Option<Polled>,
}

/// The device and the sensor in one epoll instance.
#[derive(Debug)]
struct Polled {
    epoll: OwnedFd,
    sensor: Sensor,
}

impl Watch {
    /// Begins to watch for a file that was just opened. `None` if this domain is never restored.
    pub(crate) fn begin(file: &Arc<OwnedFd>) -> Option<Watch> {
        Watch::with(file, incarnation::now, Sensor::open)
    }

    fn with(
        file: &Arc<OwnedFd>,
        now: fn() -> Option<u32>,
        sensor: impl FnOnce() -> Option<Sensor>,
    ) -> Option<Watch> {
        // Before the sensor is there, so that a restore between the two is noticed by the check.
        let incarnation = now()?;
        Some(Watch {
            file: Some(Arc::clone(file)),
            incarnation,
            now,
            polled: sensor().and_then(|sensor| Polled::with(file, sensor)),
        })
    }

    /// Whether the domain was restored since.
    #[inline]
    pub(crate) fn is_resumed(&self) -> bool {
        (self.now)() != Some(self.incarnation)
    }

    /// Fails if the domain was restored since.
    #[inline]
    pub(crate) fn check(&self, call: impl FnOnce() -> DeviceCall) -> Result<(), DeviceError> {
        match self.is_resumed() {
            false => Ok(()),
            true => Err(DeviceError::new(ErrorKind::Resumed, call())
                .with_hint("the ports that were bound before are dead; bind again")),
        }
    }

    /// What event loops poll instead of the device, if there is a sensor.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.polled.as_ref().map(|polled| polled.epoll.as_fd())
    }

    /// The device has nothing to read, so the sensor may be what ended the poll. Takes what it has, so
    /// that it does not end the next poll too.
    #[inline]
    pub(crate) fn drain(&self) {
        if let Some(polled) = &self.polled {
            polled.sensor.drain();
        }
    }

    /// The file goes to another owner, who closes it.
    pub(crate) fn give_up(mut self) {
        self.file = None;
    }
}

impl Drop for Watch {
    /// Closing the file would unbind its ports, so it stays open until the process ends.
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            if self.is_resumed() {
                let _left_open = ManuallyDrop::new(file);
            }
        }
    }
}

impl Polled {
    /// `None` where a descriptor is missing: then nothing ends a poll after a restore.
    fn with(file: &Arc<OwnedFd>, sensor: Sensor) -> Option<Polled> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
        for fd in [file.as_fd(), sensor.as_fd()] {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&epoll, fd, data, epoll::EventFlags::IN).ok()?;
        }
        Some(Polled { epoll, sensor })
    }
}
