//! The adapter for `tokio`: tasks wait for channels, on any runtime that has its I/O enabled.
//!
//! It asks for `READABLE | ERROR`: after an overflow the driver shows the error bit alone, and then
//! tokio does not report the device as readable.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Cx, Poll};

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use ::tokio::runtime::{Handle, TryCurrentError};
use ::tokio::task::unconstrained;
use evtchn_core::{Device, Driver, LoopError, NewLoop, Registrar, Trigger};

use crate::reactor::{Reactor, Watch, Watched};

/// Registers a device with the reactor of a tokio runtime, while a task waits.
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::tokio::TokioRegistrar;
/// use evtchn::{Cause, Context, DomId, Link};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(7);
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::<TokioRegistrar>::new(sim.open(DomId::DOM0))?;
///
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// let peer = tokio::spawn(async move { guest.send(theirs) });
/// assert_eq!(channel.woken().await?, Cause::Event);
/// # peer.await??;
///
/// // Nothing waits any more, so nothing is registered.
/// assert_eq!(ctx.link(), Link::Idle);
/// # Ok(())
/// # }
/// ```
///
/// The reactor drives the context: it reads the device and wakes tasks. No task is spawned, and no
/// particular task has to be polled. Tasks may run on another runtime than this one.
///
/// When this runtime is shut down, every wait ends with the error that tokio returns for a new
/// registration, as tokio's own I/O does: the waits under way, and each later one. Events that had
/// arrived are delivered first. Channels stay bound and can be notified and unbound; events that
/// arrive for them are kept.
///
/// A program that uses rounds or callbacks awaits [`called`](Self::called) and then dispatches.
#[derive(Debug)]
pub struct TokioRegistrar {
    handle: Handle,
    reactor: Arc<Reactor<Registered>>,
}

impl TokioRegistrar {
    /// An adapter for the runtime in which this is called.
    ///
    /// # Errors
    /// [`TryCurrentError`] outside of a runtime.
    pub fn new() -> Result<TokioRegistrar, TryCurrentError> {
        Handle::try_current().map(TokioRegistrar::with_handle)
    }

    /// An adapter for this runtime.
    #[must_use]
    pub fn with_handle(handle: Handle) -> TokioRegistrar {
        TokioRegistrar {
            handle,
            reactor: Reactor::new(),
        }
    }

    /// Returns once there is something to dispatch that was not there when it last returned. Only
    /// one task at a time may await it.
    pub async fn called(&self) {
        self.reactor.called().await;
    }
}

impl NewLoop for TokioRegistrar {
    fn new_loop() -> Result<TokioRegistrar, LoopError> {
        TokioRegistrar::new().map_err(LoopError::new)
    }
}

impl Registrar for TokioRegistrar {
    fn attach(&self, driver: Driver) {
        self.reactor.attach(driver);
    }

    fn trigger(&self) -> Trigger {
        Trigger::Edge
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        let watched = Watched::new(device)?;
        let watch = || Registered::new(&self.handle, watched);
        Ok(self.reactor.register(watch)?)
    }

    fn deregister(&self, _device: &Device) -> Result<(), LoopError> {
        Ok(self.reactor.deregister()?)
    }

    fn wake(&self) {
        self.reactor.call();
    }
}

type Listen = Pin<Box<dyn Future<Output = End> + Send>>;

/// Whether tokio reports the device.
enum Listening {
    /// tokio reports to this future.
    On(Listen),
    /// tokio reported that nothing comes to read any more, which stays so for ever.
    Closed,
    /// The runtime was shut down, or refused a new registration.
    Lost,
}

/// Why tokio no longer reports a device.
enum End {
    Closed,
    Lost,
}

/// A registration, and the future that listens to it.
struct Registered {
    handle: Handle,
    watched: Watched,
    was_ready: Arc<AtomicBool>,
    listening: Listening,
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registered").field(&self.watched).finish()
    }
}

impl Registered {
    fn new(handle: &Handle, watched: Watched) -> io::Result<Registered> {
        let was_ready = Arc::new(AtomicBool::new(false));
        let listen = listen(handle, watched.clone(), Arc::clone(&was_ready))?;
        Ok(Registered {
            handle: handle.clone(),
            watched,
            was_ready,
            listening: Listening::On(listen),
        })
    }
}

#[expect(
    unsafe_code,
    reason = "the registration asks for a promise of its caller"
)]
fn listen(handle: &Handle, watched: Watched, was_ready: Arc<AtomicBool>) -> io::Result<Listen> {
    const INTEREST: Interest = Interest::READABLE.add(Interest::ERROR);
    let _in_runtime = handle.enter();
    // SAFETY: the registration holds the device, so its descriptor stays open and the same.
    let watched = unsafe { AsyncFd::register_with_interest(watched, INTEREST) }?;
    let listen = async move {
        while let Ok(mut guard) = watched.ready(INTEREST).await {
            was_ready.store(true, Ordering::Relaxed);
            // tokio never clears this. The next read shows what became of the device.
            if guard.ready().is_read_closed() {
                return End::Closed;
            }
            guard.clear_ready();
        }
        // tokio returns an error here only when the runtime was shut down.
        End::Lost
    };
    // The reactor must not use up the budget of the task that happens to register.
    Ok(Box::pin(unconstrained(listen)))
}

impl Watch for Registered {
    fn arm(&mut self, cx: &mut Cx<'_>) -> bool {
        if let Listening::On(listen) = &mut self.listening {
            if let Poll::Ready(end) = listen.as_mut().poll(cx) {
                self.listening = match end {
                    End::Closed => Listening::Closed,
                    End::Lost => Listening::Lost,
                };
            }
        }
        self.was_ready.swap(false, Ordering::Relaxed)
    }

    fn renew(&mut self) -> io::Result<()> {
        // tokio accepts no second registration of one descriptor.
        self.listening = Listening::Lost;
        let listen = listen(
            &self.handle,
            self.watched.clone(),
            Arc::clone(&self.was_ready),
        )?;
        self.listening = Listening::On(listen);
        Ok(())
    }

    fn is_lost(&self) -> bool {
        matches!(self.listening, Listening::Lost)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::task::Waker;
    use std::thread;
    use std::time::Duration;

    use ::tokio::runtime::Builder;

    use super::*;
    use crate::fd_device;

    /// tokio reports such a descriptor as ready for ever.
    #[test]
    fn a_device_that_was_closed_at_the_other_end_is_not_polled_for_ever() {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let watched = Watched::new(&fd_device::device(ours)).unwrap();
        let mut watch = Registered::new(runtime.handle(), watched).unwrap();
        let cx = &mut Cx::from_waker(Waker::noop());
        assert!(!watch.arm(cx));
        drop(theirs);
        let (sender, looked) = mpsc::channel();
        thread::spawn(move || {
            runtime.block_on(::tokio::task::yield_now());
            let was_ready = watch.arm(&mut Cx::from_waker(Waker::noop()));
            sender.send((was_ready, watch.is_lost())).unwrap();
            // The second poll finds nothing new.
            sender.send((
                watch.arm(&mut Cx::from_waker(Waker::noop())),
                watch.is_lost(),
            ))
        });
        let soon = Duration::from_secs(10);
        assert_eq!(looked.recv_timeout(soon), Ok((true, false)));
        assert_eq!(looked.recv_timeout(soon), Ok((false, false)));
    }
}
