//! One channel of a dispatcher, and the delivery that a worker receives for it.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::panicking;

use crossbeam_channel::Sender;
use evtchn_core::{Cause, Channel, ChannelId, Error, Sleep, Wake};

use super::error::{AddError, RunError};
use super::{Control, lock};

/// A channel of the dispatcher. It has at most one delivery at a time.
pub(super) struct Place<R: Sleep> {
    channel: Arc<Channel<R>>,
    control: Arc<Control<R>>,
    /// Locked during a wait, so that no wait begins after the end. The callback locks it too, so
    /// nothing that holds it may wait for the callback.
    state: Mutex<State<R>>,
}

struct State<R: Sleep> {
    is_out: bool,
    /// A wake that came while there was a delivery, because other code waited for the channel.
    next: Option<Cause>,
    /// `None` after the end.
    sender: Option<Sender<Delivery<R>>>,
}

impl<R: Sleep> Place<R> {
    /// A place for a channel, or [`AddError::Full`] where there are `capacity` places.
    pub(super) fn new(
        control: &Arc<Control<R>>,
        channel: Arc<Channel<R>>,
        sender: &Sender<Delivery<R>>,
        capacity: usize,
    ) -> Result<Arc<Place<R>>, AddError> {
        let one_more = |taken| (taken < capacity).then_some(taken + 1);
        let place_count = &control.place_count;
        let added = place_count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        if added.is_err() {
            return Err(AddError::Full { capacity });
        }
        Ok(Arc::new(Place {
            channel,
            control: Arc::clone(control),
            state: Mutex::new(State {
                is_out: false,
                next: None,
                sender: Some(sender.clone()),
            }),
        }))
    }

    pub(super) fn channel(&self) -> &Arc<Channel<R>> {
        &self.channel
    }

    /// Sets the callback and begins to wait.
    pub(super) fn begin(self: &Arc<Self>) -> Result<(), AddError>
    where
        R: 'static,
    {
        let place = Arc::downgrade(self);
        self.channel.set_callback(move |wake| {
            if let Some(place) = place.upgrade() {
                place.fire(wake.cause);
            }
        })?;
        if let Err(error) = self.wait_again() {
            let _was_set = self.channel.remove_callback();
            return Err(error.into());
        }
        Ok(())
    }

    /// Ends the wait for good. Later events are kept for the next wait outside of the dispatcher.
    pub(super) fn end(&self) -> Result<(), RunError> {
        // First of all, so that no wake comes after its queue is gone.
        let removed = self.channel.remove_callback();
        lock(&self.state).sender = None;
        let cancelled = match removed {
            Ok(_) => self.channel.cancel().map(drop),
            Err(error) => Err(error),
        };
        match cancelled {
            Ok(()) | Err(Error::NotBound(_)) => Ok(()),
            Err(error) => Err(RunError::Cancel {
                channel: self.channel.id(),
                error,
            }),
        }
    }

    /// Called with each wake of the channel.
    fn fire(self: &Arc<Self>, cause: Cause) {
        let mut state = lock(&self.state);
        if state.is_out {
            state.next = Some(cause);
        } else {
            state.post(self, cause, false);
        }
    }

    /// Waits again, unless the place has ended. A latched event goes to the end of the queue.
    fn wait_again(self: &Arc<Self>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        state.is_out = false;
        if state.sender.is_none() {
            return Ok(());
        }
        if let Some(cause) = state.next.take() {
            state.post(self, cause, false);
            return Ok(());
        }
        let waited = self.channel.wait();
        state.is_out = waited.is_err();
        waited
    }

    /// Puts a delivery into the queue a second time, after the worker that had it panicked.
    fn give_again(self: &Arc<Self>, cause: Cause) {
        lock(&self.state).post(self, cause, true);
    }
}

impl<R: Sleep> State<R> {
    /// Puts a delivery at the end of the queue, which has room for one of each place.
    fn post(&mut self, place: &Arc<Place<R>>, cause: Cause, is_again: bool) {
        let Some(sender) = &self.sender else {
            return;
        };
        self.is_out = true;
        let delivery = Delivery {
            place: Arc::clone(place),
            cause,
            is_again,
            is_over: false,
        };
        if let Err(refused) = sender.try_send(delivery) {
            // Marked as over, because dropping a live delivery would lock what this thread holds.
            refused.into_inner().is_over = true;
            self.is_out = false;
        }
    }
}

impl<R: Sleep> Drop for Place<R> {
    fn drop(&mut self) {
        self.control.place_count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One wake of one channel, for the worker that received it.
///
/// When it is [done](Self::done) or dropped, the dispatcher waits for the channel again, unless the
/// run is over. Where a panic drops it, it goes back to the end of the queue for another worker;
/// where that worker panics too, the dispatcher waits for the channel again instead.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use std::sync::Arc;
/// # use evtchn::crossbeam::Dispatcher;
/// # use evtchn::poll::PollLoop;
/// # use evtchn::sim::Sim;
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Arc::new(Context::<PollLoop>::new(sim.open(DomId::DOM0))?);
/// # let channel = Arc::new(ctx.bind_unbound_port(guest.domid())?);
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// # let dispatcher = Dispatcher::new(Arc::clone(&ctx), NonZeroUsize::MIN);
/// dispatcher.add(Arc::clone(&channel))?;
/// let running = dispatcher.spawn()?;
/// guest.send(theirs)?;
/// let mut delivery = dispatcher.wakes().recv()?;
/// assert_eq!(delivery.channel().id(), channel.id());
/// delivery.channel().notify()?; // answers the peer
/// delivery.done()?; // the dispatcher waits for the channel again
/// running.stop()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropped at once it is done"]
pub struct Delivery<R: Sleep> {
    place: Arc<Place<R>>,
    cause: Cause,
    /// The worker that had it first panicked.
    is_again: bool,
    is_over: bool,
}

impl<R: Sleep> Delivery<R> {
    /// The channel, for example to notify the peer.
    #[must_use]
    pub fn channel(&self) -> &Channel<R> {
        &self.place.channel
    }

    /// Why the channel woke.
    #[must_use]
    pub fn wake(&self) -> Wake {
        Wake {
            channel: self.place.channel.id(),
            cause: self.cause,
        }
    }

    /// Waits for the channel again. Does nothing for a channel that is gone, and in a forked child.
    ///
    /// ```
    /// # use std::num::NonZeroUsize;
    /// # use std::sync::Arc;
    /// # use evtchn::crossbeam::Dispatcher;
    /// # use evtchn::poll::PollLoop;
    /// # use evtchn::sim::Sim;
    /// # use evtchn::{Context, DomId};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Sim::new(1);
    /// # let guest = sim.guest(sim.create_domain()?);
    /// # let ctx = Arc::new(Context::<PollLoop>::new(sim.open(DomId::DOM0))?);
    /// # let channel = Arc::new(ctx.bind_unbound_port(guest.domid())?);
    /// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
    /// # let dispatcher = Dispatcher::new(Arc::clone(&ctx), NonZeroUsize::MIN);
    /// dispatcher.add(channel)?;
    /// let running = dispatcher.spawn()?;
    /// guest.send(theirs)?;
    /// let mut delivery = dispatcher.wakes().recv()?;
    /// while let Err(error) = delivery.done() {
    ///     eprintln!("cannot wait again: {error}");
    /// }
    /// running.stop()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Channel::wait`]; then this can be called again. After it has succeeded, another
    /// call does nothing.
    pub fn done(&mut self) -> Result<(), Error> {
        if self.is_over || self.place.control.check_caller().is_err() {
            return Ok(());
        }
        self.wait_again()?;
        self.is_over = true;
        Ok(())
    }

    fn wait_again(&self) -> Result<(), Error> {
        match self.place.wait_again() {
            Err(Error::NotBound(_)) => Ok(()),
            waited => waited,
        }
    }
}

impl<R: Sleep> Drop for Delivery<R> {
    fn drop(&mut self) {
        // A forked child shares nothing of this, and a thread of the parent may have held a lock.
        if self.is_over || self.place.control.check_caller().is_err() {
            return;
        }
        if panicking() && !self.is_again && !self.cause.is_unbound() {
            self.place.give_again(self.cause);
            return;
        }
        if let Err(error) = self.wait_again() {
            let channel: ChannelId = self.place.channel.id();
            self.place.control.fail(RunError::Wait { channel, error });
        }
    }
}

impl<R: Sleep> fmt::Debug for Delivery<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.wake()).finish()
    }
}
