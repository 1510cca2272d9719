//! An event loop that polls the registered device and an eventfd.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evtchn::{Device, LoopError, NewLoop, Registrar, Sleep, Slept, Trigger};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A handle: its clones are the same loop.
#[derive(Debug, Clone)]
pub(crate) struct EventfdLoop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Readable from a wake until the waiting thread reads it.
    eventfd: OwnedFd,
    calls: AtomicU64,
    /// Held open for as long as it is polled.
    device: Mutex<Option<Device>>,
}

#[derive(Debug, thiserror::Error)]
#[error("it watches one device at a time")]
struct Taken;

impl EventfdLoop {
    /// Whether there is something to dispatch, before the time is over.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        let device = self.0.device.lock().unwrap().clone();
        let timeout = timeout.map(|it| Timespec::try_from(it).unwrap());
        let mut fds = vec![PollFd::new(&self.0.eventfd, PollFlags::IN)];
        if let Some(device) = &device {
            fds.push(PollFd::from_borrowed_fd(
                device.fd().unwrap(),
                PollFlags::IN,
            ));
        }
        let ready = poll(&mut fds, timeout.as_ref()).unwrap();
        if !fds[0].revents().is_empty() {
            rustix::io::read(&self.0.eventfd, &mut [0; 8]).unwrap();
        }
        ready > 0
    }

    fn is_ready(&self) -> bool {
        let device = self.0.device.lock().unwrap().clone();
        device.is_some_and(|device| {
            let fd = device.fd().unwrap();
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
        })
    }
}

impl NewLoop for EventfdLoop {
    fn new_loop() -> Result<EventfdLoop, LoopError> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(EventfdLoop(Arc::new(Inner {
            eventfd: wake.map_err(LoopError::new)?,
            calls: AtomicU64::new(0),
            device: Mutex::default(),
        })))
    }
}

impl Registrar for EventfdLoop {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        device.fd()?;
        let mut registered = self.0.device.lock().unwrap();
        if registered.is_some() {
            return Err(LoopError::new(Taken));
        }
        *registered = Some(device.clone());
        Ok(())
    }

    fn deregister(&self, _: &Device) -> Result<(), LoopError> {
        let device = self.0.device.lock().unwrap().take();
        drop(device);
        Ok(())
    }

    fn wake(&self) {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        rustix::io::write(&self.0.eventfd, &1_u64.to_ne_bytes()).unwrap();
    }
}

/// A sleeping thread polls in a busy loop: this loop is for tests.
impl Sleep for EventfdLoop {
    type Deadline = Instant;

    fn deadline(&self, timeout: Duration) -> Instant {
        Instant::now() + timeout
    }

    fn ticket(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    fn sleep(&self, ticket: u64, deadline: Option<Instant>) -> Result<Slept, LoopError> {
        loop {
            if self.is_ready() {
                return Ok(Slept::Ready);
            }
            if self.ticket() != ticket {
                return Ok(Slept::Notified);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Slept::TimedOut);
            }
            std::thread::yield_now();
        }
    }
}
