//! The adapter for `async-io`, the reactor of smol: tasks wait for channels, on any executor.
//!
//! That reactor reports a device once for each request, and always asks for the error bit. So each
//! time the device becomes ready costs an `epoll_ctl`, whatever the number of events.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::task::{Context as Cx, Poll};

use ::async_io::Async;
use evtchn_core::{Device, Driver, LoopError, NewLoop, Registrar, Trigger};

use crate::reactor::{Reactor, Watch, Watched};

/// Registers a device with the reactor of `async-io`, while a task waits.
///
/// ```
/// use evtchn::async_io::AsyncIoRegistrar;
/// use evtchn::sim::Sim;
/// use evtchn::{Cause, Context, DomId, Link};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(7);
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::<AsyncIoRegistrar>::new(sim.open(DomId::DOM0))?;
///
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// let peer = std::thread::spawn(move || guest.send(theirs));
/// assert_eq!(async_io::block_on(channel.woken())?, Cause::Event);
/// # peer.join().map_err(|_| "the peer panicked")??;
///
/// // Nothing waits any more, so nothing is registered.
/// assert_eq!(ctx.link(), Link::Idle);
/// # Ok(())
/// # }
/// ```
///
/// The reactor drives the context: it reads the device and wakes tasks. The reactor runs in
/// `async_io::block_on`, or in the thread that `async-io` has for it, which lives as long as the
/// process. No particular task has to be polled.
///
/// A program that uses rounds or callbacks awaits [`called`](Self::called) and then dispatches.
#[derive(Debug)]
pub struct AsyncIoRegistrar {
    reactor: Arc<Reactor<Registered>>,
}

impl AsyncIoRegistrar {
    /// An adapter for the reactor of this process.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is of no use as it is")]
    pub fn new() -> AsyncIoRegistrar {
        AsyncIoRegistrar {
            reactor: Reactor::new(),
        }
    }

    /// Returns once there is something to dispatch that was not there when it last returned. Only
    /// one task at a time may await it.
    pub async fn called(&self) {
        self.reactor.called().await;
    }
}

impl NewLoop for AsyncIoRegistrar {
    fn new_loop() -> Result<AsyncIoRegistrar, LoopError> {
        Ok(AsyncIoRegistrar::new())
    }
}

impl Registrar for AsyncIoRegistrar {
    fn attach(&self, driver: Driver) {
        self.reactor.attach(driver);
    }

    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        let source = Source(Watched::new(device)?);
        let watch = || Async::new_nonblocking(source).map(Registered);
        Ok(self.reactor.register(watch)?)
    }

    fn deregister(&self, _device: &Device) -> Result<(), LoopError> {
        Ok(self.reactor.deregister()?)
    }

    fn wake(&self) {
        self.reactor.call();
    }
}

/// What async-io polls.
#[derive(Debug)]
struct Source(Watched);

impl AsFd for Source {
    #[expect(
        unsafe_code,
        reason = "the device may fail to return its descriptor, and this trait cannot"
    )]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `Watched` holds the device of this descriptor and keeps it open.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

#[derive(Debug)]
struct Registered(Async<Source>);

impl Watch for Registered {
    fn arm(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut was_ready = false;
        // This can fail only to set the waker; the read that follows shows the state of the device.
        while let Poll::Ready(Ok(())) = self.0.poll_readable(cx) {
            was_ready = true;
        }
        was_ready
    }

    /// This reactor reports again what is still there.
    fn renew(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// This reactor lives as long as the process.
    fn is_lost(&self) -> bool {
        false
    }
}
