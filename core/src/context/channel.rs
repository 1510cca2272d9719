//! Owned channels and the notifiers made of them.

use std::fmt;

use super::error::{CancelError, NotifyError, UnbindError, WaitError};
use super::{DeviceError, LoopError, Shared, UnbindResult, Wait};
use crate::hal::{EventChannel, Open, Registrar};
use crate::ids::Port;
use crate::machine::{ChannelId, NotBound};
use crate::sync::{Arc, AtomicBool, Ordering};

/// What a channel and its notifiers share.
#[derive(Debug)]
pub(super) struct Bound<D> {
    pub(super) device: Arc<D>,
    /// Its id, in as little room as it takes.
    generation: u64,
    port: Port,
    alive: AtomicBool,
}

impl<D> Bound<D> {
    const fn id(&self) -> ChannelId {
        ChannelId::of(self.port, self.generation)
    }
}

impl<D: EventChannel> Bound<D> {
    /// Of a channel that is known to be bound.
    #[inline]
    fn notify(&self) -> Result<(), NotifyError<D::Error>> {
        if self.device.is_inherited() {
            return Err(NotifyError::Inherited);
        }
        self.device.notify(self.port).map_err(NotifyError::Device)
    }
}

/// One bound event channel. Its owner may wait, notify and unbind; dropping it unbinds.
///
/// Errors of the unbind in a drop go to [`Stats::unreported`](crate::Stats::unreported).
///
/// ```
/// use evtchn_core::{Context, DomId};
/// use evtchn_sim::{Sim, SimLoop};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::new(Sim::new(1).open(DomId::DOM0), SimLoop::level());
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
pub struct Channel<O: Open, R: Registrar<O::Device>> {
    pub(super) shared: Arc<Shared<O, R>>,
    /// `None` once unbound.
    bound: Option<Arc<Bound<O::Device>>>,
    id: ChannelId,
}

impl<O: Open, R: Registrar<O::Device>> Channel<O, R> {
    pub(super) fn new(
        shared: Arc<Shared<O, R>>,
        device: Arc<O::Device>,
        id: ChannelId,
    ) -> Channel<O, R> {
        let bound = Arc::new(Bound {
            device,
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

    /// The binding: the port and its generation.
    #[must_use]
    pub const fn id(&self) -> ChannelId {
        self.id
    }

    /// The local port, to print or to hand to the peer.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.id.port()
    }

    /// Waits for the next wake: [`Context::wait`](super::Context::wait) for this channel.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self) -> Result<Wait, WaitError<DeviceError<O>, LoopError<O, R>>> {
        self.shared.wait(self.id)
    }

    /// Ends a wait: [`Context::cancel`](super::Context::cancel) for this channel.
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self) -> Result<(), CancelError<LoopError<O, R>>> {
        self.shared.cancel(self.id)
    }

    /// Sets the other end pending: one call to the device, no lock, no allocation.
    ///
    /// Notifies coalesce until the other end is read, and one that nobody listens to is lost.
    /// Stores before it are visible to the peer after the wake that reports it.
    ///
    /// # Errors
    /// [`NotifyError::Device`] where the device refuses, [`NotifyError::Inherited`] in a forked
    /// child.
    #[inline]
    pub fn notify(&self) -> Result<(), NotifyError<DeviceError<O>>> {
        match &self.bound {
            Some(bound) => bound.notify(),
            None => Err(NotBound(self.id).into()),
        }
    }

    /// A handle that can notify and nothing else, for other threads. After the unbind it reports
    /// [`NotifyError::NotBound`].
    #[must_use]
    pub fn notifier(&self) -> Option<Notifier<O::Device>> {
        self.bound.clone().map(Notifier)
    }

    /// Unbinds, and reports what goes wrong. A wait on the channel ends with it. Where a
    /// [check](super::Context::check_peers) found that Xen has closed the port, the channel is
    /// dropped and no call is made.
    ///
    /// The peer gets no event from this (Xen, xen/common/event_channel.c, evtchn_close).
    ///
    /// # Errors
    /// [`UnbindError`]; where the device refused, the channel comes back.
    pub fn unbind(mut self) -> UnbindResult<O, R> {
        if self.shared.is_inherited() {
            return Err(UnbindError::Inherited(self));
        }
        if self.shared.is_in_hook() {
            return Err(UnbindError::Reentrant(self));
        }
        if let Err(source) = self.release(false) {
            return Err(UnbindError::Unbind {
                channel: self,
                source,
            });
        }
        self.shared.settle()?;
        Ok(())
    }

    /// What it shares with its notifiers, unless it is not bound.
    pub(super) fn bound(&self) -> Option<&Arc<Bound<O::Device>>> {
        self.bound.as_ref()
    }

    /// Lets go of the port, which stays bound. Nobody else may hold a notifier.
    pub(super) fn let_go(mut self) {
        self.bound = None;
    }

    /// Unbinds under the lock. `by_force` forgets the port even if the device refuses. One that was
    /// found closed is forgotten and nothing else.
    fn release(&mut self, by_force: bool) -> Result<(), DeviceError<O>> {
        let Some(bound) = self.bound.take() else {
            return Ok(());
        };
        let mut state = self.shared.lock_returned(self.id);
        let unbound = match state.machine.state(self.id) {
            _ if state.machine.take_closed(self.id) => Ok(()),
            Ok(_) => bound.device.unbind(self.id.port()),
            Err(NotBound(_)) => {
                // Taken over on the same device, the number is no longer ours to close. On one
                // that failed it is, and whether that still works matters to nobody.
                let works = state.device.as_ref().filter(|_| !state.machine.is_broken());
                if !works.is_some_and(|device| Arc::ptr_eq(device, &bound.device)) {
                    let _closed = bound.device.unbind(self.id.port());
                }
                Ok(())
            }
        };
        if unbound.is_err() && !by_force {
            self.bound = Some(bound);
            return unbound;
        }
        bound.alive.store(false, Ordering::Release);
        let _gone_already = state.machine.unbind(self.id);
        // Under the lock, so that a teardown that sees no channel sees no holder either.
        drop(bound);
        unbound
    }
}

impl<O: Open, R: Registrar<O::Device>> Drop for Channel<O, R> {
    fn drop(&mut self) {
        // In a forked child the port is the parent's, and the lock may be held for ever.
        if self.shared.is_inherited() {
            return;
        }
        let was_bound = self.bound.is_some();
        if self.release(true).is_err() {
            self.shared.count_unreported();
        }
        // Unbound first, so that it does not run while or after it is dropped.
        let callback = self.shared.lock().callbacks.remove(self.id);
        // Inside a hook the settle that called it looks again.
        if was_bound && !self.shared.is_in_hook() && self.shared.settle().is_err() {
            self.shared.count_unreported();
        }
        drop(callback);
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for Channel<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.id).finish()
    }
}

/// Notifies one channel, from any thread: one call to the device, no lock, no allocation.
///
/// It keeps the device open, but not the channel bound. A notify that races with the unbind may
/// reach the next owner of the number, as a spurious wake there.
///
/// ```
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// let notifier = channel.notifier().expect("it is bound");
/// std::thread::spawn(move || notifier.notify()).join().unwrap()?;
/// assert_eq!(guest.events(theirs)?, 2); // the bind was the first
/// # Ok(())
/// # }
/// ```
pub struct Notifier<D>(Arc<Bound<D>>);

impl<D: EventChannel> Notifier<D> {
    /// Sets the other end pending.
    ///
    /// # Errors
    /// [`NotifyError::NotBound`] after the channel was unbound; [`NotifyError::Device`] where the
    /// device refuses; [`NotifyError::Inherited`] in a forked child.
    #[inline]
    pub fn notify(&self) -> Result<(), NotifyError<D::Error>> {
        let bound = &self.0;
        if bound.alive.load(Ordering::Acquire) || bound.device.is_inherited() {
            return bound.notify();
        }
        Err(NotBound(bound.id()).into())
    }
}

impl<D> Notifier<D> {
    /// The channel it was made of.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.0.id()
    }
}

impl<D> Clone for Notifier<D> {
    fn clone(&self) -> Notifier<D> {
        Notifier(Arc::clone(&self.0))
    }
}

impl<D> fmt::Debug for Notifier<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notifier").field(&self.id()).finish()
    }
}
