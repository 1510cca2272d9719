//! A descriptor that becomes readable after a restore of this domain.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Which descriptor it is. What it says is a hint; the incarnation decides.
#[derive(Debug)]
pub(super) enum Sensor {
    /// A watch of xenstore on a node that does not exist. After a restore the kernel sets each watch
    /// again, and a watch that was set fires once (Linux drivers/xen/xenbus/xenbus_xs.c, `xs_resume`).
    /// Only root can open it.
    Store(OwnedFd),
    /// A timer that is cancelled where the clock is set, as it is after most restores. A restore onto
    /// a host whose clock is behind is not noticed.
    Clock(OwnedFd),
}

/// Where Linux lets programs speak to xenstored.
const XENBUS_PATH: &str = "/dev/xen/xenbus";

/// In the domain's own folder of xenstore. Nothing writes it.
const NODE: &str = "evtchn/restored";

/// `XS_WATCH` (Xen xen/include/public/io/xs_wire.h).
const XS_WATCH: u32 = 4;

/// When the timer ends, if the clock is not set: in the year 2500.
const LATE: i64 = 16_725_225_600;

impl Sensor {
    /// The watch if this process may have one, else the timer.
    pub(super) fn open() -> Option<Sensor> {
        store()
            .map(Sensor::Store)
            .or_else(|_| clock().map(Sensor::Clock))
            .ok()
    }

    /// Reads until nothing is left.
    pub(super) fn drain(&self) {
        let mut message = [0; 4096];
        loop {
            match rustix::io::read(self, &mut message) {
                Ok(1..) | Err(Errno::INTR) => {}
                // The clock was set.
                Err(Errno::CANCELED) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

impl AsFd for Sensor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Sensor::Store(fd) | Sensor::Clock(fd) => fd.as_fd(),
        }
    }
}

/// Opens xenbus and sets the watch. The answer and the first event, which each new watch has, are
/// read with the first [`drain`](Sensor::drain).
fn store() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(XENBUS_PATH, flags, Mode::empty())?;
    let request = watch_request();
    match rustix::io::retry_on_intr(|| rustix::io::write(&fd, &request))? {
        written if written == request.len() => Ok(fd),
        _ => Err(Errno::IO),
    }
}

/// A header of four words, then the node and a token, each with a NUL behind it.
fn watch_request() -> Vec<u8> {
    let body = format!("{NODE}\0evtchn\0");
    // A few bytes.
    let length = u32::try_from(body.len()).unwrap_or(0);
    let [request_id, transaction] = [0, 0];
    let header = [XS_WATCH, request_id, transaction, length].map(u32::to_ne_bytes);
    [header.as_flattened(), body.as_bytes()].concat()
}

fn clock() -> Result<OwnedFd, Errno> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let fd = timerfd_create(TimerfdClockId::Realtime, flags)?;
    let [late, never] = [LATE, 0].map(|tv_sec| Timespec { tv_sec, tv_nsec: 0 });
    let timer = Itimerspec {
        it_interval: never,
        it_value: late,
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(&fd, flags, &timer)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_length_of_what_follows_its_header() {
        let request = watch_request();
        let (header, body) = request.split_at(16);
        assert_eq!(header[..4], XS_WATCH.to_ne_bytes());
        assert_eq!(header[12..], 23_u32.to_ne_bytes());
        assert_eq!(body, b"evtchn/restored\0evtchn\0");
    }

    #[test]
    fn a_timer_that_no_clock_change_has_cancelled_has_nothing_to_drain() {
        let sensor = Sensor::Clock(clock().unwrap());
        sensor.drain();
        assert_eq!(rustix::io::read(&sensor, &mut [0; 8]), Err(Errno::AGAIN));
    }
}
