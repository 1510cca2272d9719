//! Owned channels and the notifiers made of them.

use std::fmt;

use super::Shared;
use super::observed::{done, observed};
use crate::error::Error;
use crate::hal::{DeviceError, ErrorKind, Opened, Registrar};
use crate::ids::Port;
use crate::machine::{ChannelId, NotBound, Owner};
use crate::observe::{Called, Came};
use crate::sync::{Arc, AtomicBool, Ordering};

/// What a channel and its notifiers share.
#[derive(Debug)]
pub(super) struct Bound {
    /// `None` in the notifier of an unbound channel.
    device: Option<Opened>,
    /// The id, without padding.
    generation: u64,
    port: Port,
    alive: AtomicBool,
}

impl Bound {
    const fn id(&self) -> ChannelId {
        ChannelId::of(self.port, self.generation)
    }

    /// For a channel that is not bound.
    const fn unbound(id: ChannelId) -> Bound {
        Bound {
            device: None,
            generation: id.generation(),
            port: id.port(),
            alive: AtomicBool::new(false),
        }
    }

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    fn unbind(&self) -> Result<(), DeviceError> {
        match &self.device {
            Some(device) => device.unbind(self.port),
            None => Ok(()),
        }
    }

    fn is_of(&self, device: &Opened) -> bool {
        self.device.as_ref().is_some_and(|own| own.is(device))
    }

    /// Notifies, if the channel is bound according to `is_bound`.
    #[inline]
    fn notify(&self, is_bound: impl FnOnce() -> bool) -> Result<(), Error> {
        let Some(device) = &self.device else {
            return Err(Error::NotBound(self.id()));
        };
        if !device.is_plain() {
            return self.notify_with_news(device, is_bound());
        }
        self.notify_now(device, is_bound)
    }

    #[inline]
    fn notify_now(&self, device: &Opened, is_bound: impl FnOnce() -> bool) -> Result<(), Error> {
        if device.is_inherited() {
            return Err(Error::Inherited);
        }
        if !is_bound() {
            return Err(Error::NotBound(self.id()));
        }
        device.notify(self.port).map_err(Error::Device)
    }

    /// [`notify`](Self::notify) through a device that failed or is recorded.
    #[cold]
    #[inline(never)]
    fn notify_with_news(&self, device: &Opened, is_bound: bool) -> Result<(), Error> {
        let notify = || self.notify_now(device, || is_bound && !device.has_failed());
        observed(
            device.observer(),
            || Called::Notify(self.id()),
            notify,
            done,
        )
    }
}

/// One bound event channel. Its owner may wait, notify and unbind. Dropping it unbinds.
///
/// A drop cannot return an error: if its unbind fails, it counts in
/// [`Stats::unreported`](crate::Stats::unreported).
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
/// let first = ctx.bind_unbound_port(DomId::SELF)?;
/// let (port, id) = (first.port(), first.id());
/// drop(first); // unbinds
///
/// // Xen hands out the number again, and it is another channel.
/// let second = ctx.bind_unbound_port(DomId::SELF)?;
/// assert_eq!(second.port(), port);
/// assert_ne!(second.id(), id);
/// assert!(ctx.wait(id).is_err());
/// # Ok(())
/// # }
/// ```
pub struct Channel<R: Registrar> {
    pub(super) shared: Arc<Shared<R>>,
    /// `None` once unbound.
    bound: Option<Arc<Bound>>,
    id: ChannelId,
}

impl<R: Registrar> Channel<R> {
    pub(super) fn new(shared: Arc<Shared<R>>, device: Opened, id: ChannelId) -> Channel<R> {
        let bound = Arc::new(Bound {
            device: Some(device),
            generation: id.generation(),
            port: id.port(),
            alive: AtomicBool::new(true),
        });
        Channel {
            shared,
            bound: Some(bound),
            id,
        }
    }

    /// The id of this binding: the port and its generation.
    #[must_use]
    pub const fn id(&self) -> ChannelId {
        self.id
    }

    /// The local port, to print or to hand to the peer.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.id.port()
    }

    /// Asks for the next wake, and returns at once: [`Context::wait`](super::Context::wait) for this
    /// channel.
    ///
    /// # Errors
    /// Those of [`Context::wait`](super::Context::wait): this wait did not begin, and an earlier one
    /// goes on.
    pub fn wait(&self) -> Result<(), Error> {
        self.shared.wait(self.id, Owner::NEXT)
    }

    /// Asks for every wake until the wait is cancelled, and returns at once:
    /// [`Context::wait_each`](super::Context::wait_each) for this channel.
    ///
    /// # Errors
    /// Those of [`Context::wait`](super::Context::wait).
    pub fn wait_each(&self) -> Result<(), Error> {
        self.shared.wait(self.id, Owner::EACH)
    }

    /// Ends the wait for this channel, and returns whether there was one:
    /// [`Context::cancel`](super::Context::cancel).
    ///
    /// # Errors
    /// Those of [`Context::cancel`](super::Context::cancel): the wait goes on.
    pub fn cancel(&self) -> Result<bool, Error> {
        self.shared.cancel(self.id)
    }

    /// Sets the other end pending: one call to the device, no lock, no allocation.
    ///
    /// Several notifies before the peer reads are one event. Without a peer the notify is lost.
    /// What this thread stored in shared memory before the notify is visible to the peer after the
    /// wake.
    ///
    /// # Errors
    /// [`Error::NotBound`] after the channel was unbound or handed over, or its device failed;
    /// [`Error::Device`] if the device refuses; [`Error::Inherited`] in a forked child.
    #[inline]
    pub fn notify(&self) -> Result<(), Error> {
        match &self.bound {
            Some(bound) => bound.notify(|| true),
            None => self.notify_unbound(),
        }
    }

    #[cold]
    #[inline(never)]
    fn notify_unbound(&self) -> Result<(), Error> {
        let call = || Called::Notify(self.id);
        self.shared
            .observed(call, || Err(Error::NotBound(self.id)), done)
    }

    /// A handle that can only notify, for other threads. After the unbind its notifies fail with
    /// [`Error::NotBound`].
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        let unbound = || Arc::new(Bound::unbound(self.id));
        Notifier(self.bound.clone().unwrap_or_else(unbound))
    }

    /// Unbinds the channel. Its wait ends. If a [check](super::Context::check_peers) found that Xen
    /// has closed the port, this makes no call of the device.
    ///
    /// The peer gets no event (Xen, xen/common/event_channel.c, evtchn_close).
    ///
    /// # Errors
    /// The channel is bound as before: [`Error::Device`] if the device refuses;
    /// [`Error::Reentrant`] from inside a hook; [`Error::Inherited`] in a forked child. The channel
    /// is unbound: [`Error::Deregister`] if the event loop cannot deregister the device.
    pub fn unbind(&mut self) -> Result<(), Error> {
        let id = self.id;
        self.shared.begins(|| Called::Unbind(id));
        let unbound = self.unbind_now();
        self.shared.ends(|| done(&unbound));
        unbound
    }

    fn unbind_now(&mut self) -> Result<(), Error> {
        self.shared.check_caller()?;
        self.release(false)?;
        // After the unbind, so that it does not run while or after it is dropped.
        let callback = self.shared.lock().callbacks.remove(self.id);
        let settled = self.shared.settle();
        drop(callback);
        settled
    }

    /// Whether the channel still has a notifier.
    pub(super) fn has_notifier(&self) -> bool {
        self.bound
            .as_ref()
            .is_some_and(|it| Arc::strong_count(it) > 1)
    }

    /// Gives up the port, which stays bound on the device. There must be no notifier.
    pub(super) fn let_go(&mut self) {
        self.bound = None;
    }

    /// Unbinds under the lock. With `by_force` it forgets the port even if the device refuses. A
    /// port that was found closed is only forgotten.
    fn release(&mut self, by_force: bool) -> Result<(), DeviceError> {
        let Some(bound) = self.bound.take() else {
            return Ok(());
        };
        let mut state = self.shared.lock_returned(self.id);
        // No batch of notifiers names the port until it is marked as unbound.
        let batches = bound.device.as_ref().map(Opened::notifies);
        let mut resumed = None;
        let unbound = match state.machine.state(self.id) {
            _ if state.machine.take_closed(self.id) => Ok(()),
            Ok(_) => bound.unbind().or_else(|error| {
                if error.kind() != ErrorKind::Resumed {
                    return Err(error);
                }
                // The port is dead, and must be left alone.
                resumed = Some(error);
                Ok(())
            }),
            Err(NotBound(_)) => {
                // If the number was bound again on the same device, it belongs to that binding. On
                // a device that failed it is ours, and the result of the unbind does not matter.
                let works = state.device.as_ref().filter(|_| !state.machine.is_broken());
                if !works.is_some_and(|device| bound.is_of(device)) {
                    let _closed = bound.unbind();
                }
                Ok(())
            }
        };
        if unbound.is_err() && !by_force {
            drop(batches);
            self.bound = Some(bound);
            return unbound;
        }
        bound.alive.store(false, Ordering::Release);
        drop(batches);
        let _gone_already = state.machine.unbind(self.id);
        // Under the lock, so that a teardown that sees no channel sees no holder either.
        drop(bound);
        if let Some(error) = resumed {
            state.resumed(error);
            // Those that waited for the other channels. In a forked child nothing is bound.
            let _forked = self.shared.unlock(state, true, None);
        }
        unbound
    }
}

impl<R: Registrar> Drop for Channel<R> {
    fn drop(&mut self) {
        let (is_bound, id) = (self.bound.is_some(), self.id);
        if is_bound {
            self.shared.begins(|| Called::DropChannel(id));
        }
        self.end();
        if is_bound {
            self.shared.ends(|| Came::Done);
        }
    }
}

impl<R: Registrar> Channel<R> {
    /// Ends a channel that is dropped. An error is counted.
    fn end(&mut self) {
        // In a forked child the port is the parent's, and the lock may be held for ever.
        if self.shared.is_inherited() {
            return;
        }
        let was_bound = self.bound.is_some();
        if self.release(true).is_err() {
            self.shared.count_unreported();
        }
        // After the unbind, so that it does not run while or after it is dropped.
        let callback = self.shared.lock().callbacks.remove(self.id);
        if was_bound {
            self.shared.settle_or_count();
        }
        drop(callback);
    }
}

impl<R: Registrar> fmt::Debug for Channel<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.id).finish()
    }
}

/// Notifies one channel, from any thread: one call of the device, no lock, no allocation.
///
/// It keeps the device open, but not the channel bound. A notify that races with the unbind may
/// reach the peer of the next binding of the port, as a spurious wake there.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// let notifier = channel.notifier();
/// std::thread::spawn(move || notifier.notify()).join().unwrap()?;
/// assert_eq!(guest.events(theirs)?, 2); // the bind was the first
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Notifier(Arc<Bound>);

impl Notifier {
    /// Sets the other end pending, as [`Channel::notify`].
    ///
    /// # Errors
    /// [`Error::NotBound`] after the channel was unbound or its device failed; [`Error::Device`] if
    /// the device refuses; [`Error::Inherited`] in a forked child.
    #[inline]
    pub fn notify(&self) -> Result<(), Error> {
        self.0.notify(|| self.0.is_alive())
    }
}

impl Notifier {
    pub(super) fn device(&self) -> Option<&Opened> {
        self.0.device.as_ref()
    }

    /// Whether its channel is bound. It stays so for as long as the caller holds
    /// [`Opened::notifies`].
    #[inline]
    pub(super) fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Whether both notify through the same device, or both through none.
    pub(super) fn is_beside(&self, other: &Notifier) -> bool {
        match (self.device(), other.device()) {
            (Some(own), Some(other)) => own.is(other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }

    /// The channel it was made of.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.0.id()
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notifier").field(&self.id()).finish()
    }
}
