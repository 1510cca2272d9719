//! The adapter for the `polling` crate.
//!
//! The device is added in level mode once per registration and never modified, so a round of
//! events costs no system call of its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process;
use std::sync::Arc;

use ::polling::{Event, Events, PollMode, Poller};
use evtchn_core::{Registrar, Trigger};

/// Registers a device with a [`Poller`], under a key of its own.
///
/// ```
/// use std::sync::Arc;
///
/// use evtchn_core::{Context, DomId, Wait};
/// use evtchn_loops::PollingLoop;
/// use evtchn_sim::Sim;
/// use polling::{Events, Poller};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let poller = Arc::new(Poller::new()?);
/// let registrar = PollingLoop::new(Arc::clone(&poller), 7);
///
/// let sim = Sim::new(0); // on a host: evtchn_xen::XenOpen::default() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::new(sim.open(DomId::DOM0), registrar);
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// assert_eq!(channel.wait()?, Wait::Pending); // registers the device
/// guest.send(theirs)?;
/// let mut events = Events::new();
/// poller.wait(&mut events, ctx.next_timeout())?;
/// assert!(ctx.registrar().is_ready(&events));
/// let mut round = ctx.dispatch()?;
/// assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
/// round.finish()?; // nobody waits any more: deregisters it
/// # Ok(())
/// # }
/// ```
///
/// [`Poller::wait`] also returns, without an event, when the context calls for it: dispatch then
/// too. A signal does not end it.
///
/// It keeps the poller: where the program has dropped its own share, nobody is told when the device
/// is ready, so a wait ends only in a round that the program begins by itself; all other calls are
/// as before.
///
/// In a forked child the adapter keeps its share of the poller for ever: a poller that is
/// dropped there takes its wake-up out of the epoll instance that the parent still uses.
#[derive(Debug)]
pub struct PollingLoop {
    poller: Arc<Poller>,
    key: usize,
    process: u32,
}

impl PollingLoop {
    /// An adapter that registers its device with `poller` under `key`.
    ///
    /// Every key but `usize::MAX` will do; `polling` refuses that one when the device is
    /// registered.
    #[must_use]
    pub fn new(poller: Arc<Poller>, key: usize) -> PollingLoop {
        PollingLoop {
            poller,
            key,
            process: process::id(),
        }
    }

    /// The key under which the device is registered.
    #[must_use]
    pub fn key(&self) -> usize {
        self.key
    }

    /// Whether `events` has anything of the device: then dispatch.
    #[must_use]
    pub fn is_ready(&self, events: &Events) -> bool {
        events.iter().any(|event| event.key == self.key)
    }
}

impl<D: AsFd + ?Sized> Registrar<D> for PollingLoop {
    type Error = io::Error;

    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    #[expect(unsafe_code, reason = "`Poller::add` asks for a promise of its caller")]
    fn register(&self, device: &D) -> io::Result<()> {
        let fd = device.as_fd().as_raw_fd();
        let interest = Event::readable(self.key);
        // SAFETY: who registers a device deregisters it before closing it.
        unsafe { self.poller.add_with_mode(fd, interest, PollMode::Level) }
    }

    fn deregister(&self, device: &D) -> io::Result<()> {
        self.poller.delete(device.as_fd())
    }

    fn wake(&self) {
        // It cannot fail on Linux, where it writes to an eventfd.
        let _never = self.poller.notify();
    }
}

impl Drop for PollingLoop {
    fn drop(&mut self) {
        if process::id() != self.process {
            let _kept = Arc::into_raw(Arc::clone(&self.poller));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_keeps_the_poller() {
        let poller = Arc::new(Poller::new().unwrap());
        let mut registrar = PollingLoop::new(Arc::clone(&poller), 0);
        registrar.process += 1;
        drop(registrar);
        assert_eq!(Arc::strong_count(&poller), 2);
    }

    #[test]
    fn the_process_that_made_it_lets_the_poller_go() {
        let poller = Arc::new(Poller::new().unwrap());
        drop(PollingLoop::new(Arc::clone(&poller), 0));
        assert_eq!(Arc::strong_count(&poller), 1);
    }
}
