//! A descriptor that becomes readable after a restore of this domain.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
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

/// `XS_WATCH` and `XS_WATCH_EVENT` (Xen xen/include/public/io/xs_wire.h).
const XS_WATCH: u32 = 4;
const XS_WATCH_EVENT: u32 = 15;

/// The bytes of a header: the kind of the message, two words, and how many bytes follow.
const HEADER: usize = 16;

/// How long the first event of a watch is awaited. It comes in one message of xenstored, after the answer
/// to the watch, which has come.
const SOON: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

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

/// Opens xenbus and sets the watch. The answer is read, and the first event, which each new watch has:
/// otherwise it would end the first poll.
fn store() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(XENBUS_PATH, flags, Mode::empty())?;
    let request = watch_request();
    match rustix::io::retry_on_intr(|| rustix::io::write(&fd, &request))? {
        written if written == request.len() => {}
        _ => return Err(Errno::IO),
    }
    let mut came = Vec::new();
    while !has_event(&came) {
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&SOON)) {
            Ok(1..) => {}
            // Then it ends a poll.
            Ok(0) => break,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        }
        let mut bytes = [0; 4096];
        match rustix::io::read(&fd, &mut bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => came.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(fd)
}

/// Whether there is a whole header of an event among these messages.
fn has_event(mut messages: &[u8]) -> bool {
    while let Some((header, rest)) = messages.split_at_checked(HEADER) {
        let word = |place: usize| {
            let bytes = header.get(place * 4..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        if word(0) == XS_WATCH_EVENT {
            return true;
        }
        messages = rest.get(word(3) as usize..).unwrap_or_default();
    }
    false
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
    fn an_event_is_found_behind_the_answer() {
        let message = |kind: u32, body: &[u8]| {
            let header = [kind, 0, 0, u32::try_from(body.len()).unwrap()].map(u32::to_ne_bytes);
            [header.as_flattened(), body].concat()
        };
        let answer = message(XS_WATCH, b"OK\0");
        assert!(!has_event(&answer));
        let both = [
            answer.clone(),
            message(XS_WATCH_EVENT, b"evtchn/restored\0evtchn\0"),
        ]
        .concat();
        assert!(has_event(&both));
        assert!(
            !has_event(&both[..answer.len() + HEADER - 1]),
            "its header is not whole"
        );
        assert!(
            !has_event(&message(XS_WATCH, &[15; 40])),
            "a body is no header"
        );
    }

    #[test]
    fn a_timer_that_no_clock_change_has_cancelled_has_nothing_to_drain() {
        let sensor = Sensor::Clock(clock().unwrap());
        sensor.drain();
        assert_eq!(rustix::io::read(&sensor, &mut [0; 8]), Err(Errno::AGAIN));
    }
}
