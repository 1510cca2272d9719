//! The adapter for the `polling` crate.
//!
//! The device is added in level mode once per registration and never modified, so a round of
//! events costs no system call of its own.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use ::polling::{Event, Events, PollMode, Poller};
use evtchn_core::{Device, LoopError, Registrar, Trigger};
use evtchn_fork::Process;

use crate::failed_wake::FailedWake;
use crate::held::Held;

/// Registers a device with a [`Poller`], under a key of its own.
///
/// ```
/// use std::sync::Arc;
///
/// use evtchn::polling::PollingRegistrar;
/// use evtchn::sim::Sim;
/// use evtchn::{Context, DomId};
/// use polling::{Events, Poller};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let poller = Arc::new(Poller::new()?);
/// let registrar = PollingRegistrar::new(Arc::clone(&poller), 7)?;
///
/// let sim = Sim::new(0); // on a host: evtchn::xen::backend() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), registrar);
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// channel.wait()?; // registers the device
/// guest.send(theirs)?;
/// let mut events = Events::new();
/// poller.wait(&mut events, ctx.next_timeout())?;
/// assert!(ctx.registrar().is_ready(&events));
/// let mut round = ctx.dispatch()?;
/// assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
/// round.finish()?; // nothing waits any more: deregisters it
/// # Ok(())
/// # }
/// ```
///
/// [`Poller::wait`] also returns, without an event, when the context wakes the loop: dispatch then
/// too. A signal does not end it.
///
/// The adapter keeps the poller alive. Where the program has dropped its own handle, nothing
/// reports that the device is ready, so a wait ends only in a round that the program begins by
/// itself; all other calls work as before.
///
/// In a forked child the adapter never drops its handle of the poller: a poller that is dropped
/// there would remove its wake-up from the epoll instance that the parent still uses.
#[derive(Debug)]
pub struct PollingRegistrar {
    poller: Arc<Poller>,
    key: usize,
    process: Process,
    failed_wake: FailedWake,
    held: Held,
}

impl PollingRegistrar {
    /// An adapter that registers its device with `poller` under `key`.
    ///
    /// Any key will do but `usize::MAX`, which `polling` refuses when the device is registered.
    ///
    /// # Errors
    /// [`Unavailable`](evtchn_fork::Unavailable), inside of the [`io::Error`], on a kernel where a
    /// fork of this process cannot be noticed.
    pub fn new(poller: Arc<Poller>, key: usize) -> io::Result<PollingRegistrar> {
        Ok(PollingRegistrar {
            poller,
            key,
            process: Process::current()?,
            failed_wake: FailedWake::default(),
            held: Held::default(),
        })
    }

    /// The key under which the device is registered.
    #[must_use]
    pub fn key(&self) -> usize {
        self.key
    }

    /// Whether `events` has an event of the device: then dispatch.
    #[must_use]
    pub fn is_ready(&self, events: &Events) -> bool {
        events.iter().any(|event| event.key == self.key)
    }

    /// The error of the first [`Poller::notify`] that failed since the last call of this. The
    /// context wakes the loop in places where it can return no error, so a program that polls with
    /// a timeout may call this after each poll. An error that is not taken here is returned by the
    /// next registration or deregistration, and so by a call of the context.
    #[must_use]
    pub fn take_wake_error(&self) -> Option<io::Error> {
        self.failed_wake.take()
    }

    fn keep_wake_error(&self, woke: io::Result<()>) {
        self.failed_wake.keep(woke);
    }
}

impl Registrar for PollingRegistrar {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    #[expect(unsafe_code, reason = "`Poller::add` asks for a promise of its caller")]
    fn register(&self, device: &Device) -> Result<(), LoopError> {
        self.process.check().map_err(io::Error::from)?;
        self.failed_wake.report()?;
        let fd = device.fd()?.as_raw_fd();
        let interest = Event::readable(self.key);
        // SAFETY: the adapter holds the device, and so its descriptor, until the poller has deleted
        // it; where deleting fails, the device is never closed.
        unsafe { self.poller.add_with_mode(fd, interest, PollMode::Level) }?;
        self.held.keep(device);
        Ok(())
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        self.failed_wake.report()?;
        self.poller.delete(device.fd()?)?;
        self.held.let_go();
        Ok(())
    }

    fn wake(&self) {
        self.keep_wake_error(self.poller.notify());
    }
}

impl Drop for PollingRegistrar {
    fn drop(&mut self) {
        if !self.process.is_current() {
            let _kept = Arc::into_raw(Arc::clone(&self.poller));
        }
    }
}

#[cfg(test)]
mod tests {
    use evtchn_core::{DomId, Open as _};
    use evtchn_sim::Sim;

    use super::*;

    fn kind(error: &LoopError) -> Option<io::ErrorKind> {
        error.get_ref().downcast_ref().map(io::Error::kind)
    }

    #[test]
    fn in_the_process_that_made_it_a_dropped_adapter_drops_the_poller() {
        let poller = Arc::new(Poller::new().unwrap());
        drop(PollingRegistrar::new(Arc::clone(&poller), 0).unwrap());
        assert_eq!(Arc::strong_count(&poller), 1);
    }

    #[test]
    fn a_wake_that_failed_fails_the_next_registration_and_the_one_after_it_succeeds() {
        let poller = Arc::new(Poller::new().unwrap());
        let registrar = PollingRegistrar::new(poller, 0).unwrap();
        let device = Device::new(Sim::new(0).open(DomId::DOM0).open().unwrap());
        registrar.keep_wake_error(Err(io::ErrorKind::BrokenPipe.into()));
        let refused = registrar.register(&device).unwrap_err();
        assert_eq!(kind(&refused), Some(io::ErrorKind::BrokenPipe));
        registrar.register(&device).unwrap();
        registrar.keep_wake_error(Err(io::ErrorKind::BrokenPipe.into()));
        let refused = registrar.deregister(&device).unwrap_err();
        assert_eq!(kind(&refused), Some(io::ErrorKind::BrokenPipe));
        registrar.deregister(&device).unwrap();
        assert!(registrar.take_wake_error().is_none());
    }
}
