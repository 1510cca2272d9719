//! The adapter for the `mio` crate.
//!
//! mio is edge-triggered, so the context reads until nothing is left. The device is registered
//! once per registration and never modified: a round of events costs no system call of its own.
//!
//! There is no `event::Source` for the program to register: the context registers the device while
//! something waits.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use ::mio::unix::SourceFd;
use ::mio::{Events, Interest, Registry, Token, Waker};
use evtchn_core::{Device, LoopError, Registrar, Trigger};

use crate::failed_wake::FailedWake;
use crate::held::Held;

/// Registers a device with the [`Registry`] of a [`Poll`](::mio::Poll), under a token of its own.
///
/// ```
/// use std::sync::Arc;
///
/// use evtchn::mio::MioRegistrar;
/// use evtchn::sim::Sim;
/// use evtchn::{Context, DomId};
/// use mio::{Events, Poll, Token, Waker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut poll = Poll::new()?;
/// let waker = Arc::new(Waker::new(poll.registry(), Token(0))?);
/// let registrar = MioRegistrar::new(poll.registry(), Token(1), waker)?;
///
/// let sim = Sim::new(0); // on a host: evtchn::xen::backend() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), registrar);
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// channel.wait()?; // registers the device
/// guest.send(theirs)?;
/// let mut events = Events::with_capacity(8);
/// poll.poll(&mut events, ctx.next_timeout())?;
/// assert!(ctx.registrar().is_ready(&events));
/// let mut round = ctx.dispatch()?;
/// assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
/// round.finish()?; // nothing waits any more: deregisters it
/// # Ok(())
/// # }
/// ```
///
/// The program supplies the waker, because mio allows only one for each `Poll`. An event of its
/// token means that the context may have woken the loop: dispatch then too.
///
/// The adapter keeps the epoll instance of the `Poll` open. Once the `Poll` is dropped, nothing
/// reports that the device is ready, so a wait ends only in a round that the program begins by
/// itself; all other calls work as before.
///
/// Dropping it, also in a forked child, closes descriptors and changes no registration.
#[derive(Debug)]
pub struct MioRegistrar {
    registry: Registry,
    token: Token,
    waker: Arc<Waker>,
    failed_wake: FailedWake,
    held: Held,
}

impl MioRegistrar {
    /// An adapter that registers its device with `registry` under `token`, and wakes the loop with
    /// `waker`, which must be of the same `Poll`.
    ///
    /// # Errors
    /// Those of duplicating the registry: no descriptor is left.
    pub fn new(registry: &Registry, token: Token, waker: Arc<Waker>) -> io::Result<MioRegistrar> {
        Ok(MioRegistrar {
            registry: registry.try_clone()?,
            token,
            waker,
            failed_wake: FailedWake::default(),
            held: Held::default(),
        })
    }

    /// The token under which the device is registered.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// Whether `events` has an event of the device, even if only an error: then dispatch.
    #[must_use]
    pub fn is_ready(&self, events: &Events) -> bool {
        events.iter().any(|event| event.token() == self.token)
    }

    /// The error of the first [`Waker::wake`] that failed since the last call of this. The context
    /// wakes the loop in places where it can return no error, so a program that polls with a
    /// timeout may call this after each poll. An error that is not taken here is returned by the
    /// next registration or deregistration, and so by a call of the context.
    #[must_use]
    pub fn take_wake_error(&self) -> Option<io::Error> {
        self.failed_wake.take()
    }

    fn keep_wake_error(&self, woke: io::Result<()>) {
        self.failed_wake.keep(woke);
    }
}

impl Registrar for MioRegistrar {
    fn trigger(&self) -> Trigger {
        Trigger::Edge
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        self.failed_wake.report()?;
        let fd = device.fd()?.as_raw_fd();
        let source = &mut SourceFd(&fd);
        self.registry
            .register(source, self.token, Interest::READABLE)?;
        self.held.keep(device);
        Ok(())
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        self.failed_wake.report()?;
        let fd = device.fd()?.as_raw_fd();
        self.registry.deregister(&mut SourceFd(&fd))?;
        self.held.let_go();
        Ok(())
    }

    fn wake(&self) {
        self.keep_wake_error(self.waker.wake());
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
    fn a_wake_that_failed_fails_the_next_registration_and_the_one_after_it_succeeds() {
        let poll = ::mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let registrar = MioRegistrar::new(poll.registry(), Token(1), waker).unwrap();
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
