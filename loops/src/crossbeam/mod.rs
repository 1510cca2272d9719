//! Delivery to threads: a dispatcher runs the rounds, and workers take the wakes from a queue.

mod error;
mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use evtchn_core::{Channel, ChannelId, Context, Error, Outcome, Registrar, Sleep, Slept};

pub use error::{AddError, RunError};
pub use place::Delivery;
use place::Place;

/// Hands the wakes of channels to threads, through a queue of `crossbeam-channel`.
///
/// One thread [runs](Self::run) the rounds of the context, or [`spawn`](Self::spawn) starts one for
/// it. Each wake of a channel that was [added](Self::add) becomes a [`Delivery`] in the queue
/// [`wakes`](Self::wakes), where one worker receives it. When that delivery is over, the dispatcher
/// waits for the channel again.
///
/// - *Order.* The queue is fair: every wake goes to its end, even one that was latched in between.
/// - *One at a time.* A channel has at most one delivery, in the queue or with a worker, so two
///   threads never handle its wakes at once.
/// - *Bound.* So the queue never holds more wakes than there are channels, however fast the peers
///   notify. Its memory is allocated once, for `capacity` wakes. There can be at most `capacity`
///   channels.
/// - *End.* When the run is over, nothing waits and nothing is registered. What is in the queue can
///   still be received; then the queue is disconnected, which ends the loops of the workers. All
///   other events are kept for the next wait.
///
/// It sets a callback on each channel, so wakes of the other channels of the context are kept for
/// the next wait on them. A context can have one dispatcher. Several contexts with a dispatcher
/// each run on several cores, and a worker may select between their queues.
///
/// It is a handle: clones are the same dispatcher.
///
/// In a forked child every call returns [`Error::Inherited`]. Dropping the dispatcher there neither
/// wakes the event loop nor waits for the thread, which the child does not have.
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::sync::Arc;
/// use std::thread;
///
/// use evtchn::crossbeam::Dispatcher;
/// use evtchn::poll::PollLoop;
/// use evtchn::sim::Sim;
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1); // on a host: evtchn::xen::backend() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Arc::new(Context::<PollLoop>::new(sim.open(DomId::DOM0))?);
/// let channel = Arc::new(ctx.bind_unbound_port(guest.domid())?);
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// let dispatcher = Dispatcher::new(Arc::clone(&ctx), NonZeroUsize::MIN);
/// dispatcher.add(Arc::clone(&channel))?;
/// let running = dispatcher.spawn()?;
/// let wakes = dispatcher.wakes();
/// let worker = thread::spawn(move || {
///     for wake in wakes {
///         wake.channel().notify().unwrap(); // an answer
///     }
/// });
///
/// guest.send(theirs)?;
/// while guest.events(theirs)? < 2 {
///     thread::yield_now(); // the bind was the first
/// }
/// running.stop()?;
/// worker.join().unwrap();
/// # Ok(())
/// # }
/// ```
pub struct Dispatcher<R: Sleep> {
    shared: Arc<Shared<R>>,
}

struct Shared<R: Sleep> {
    control: Arc<Control<R>>,
    places: Mutex<Places<R>>,
    receiver: Receiver<Delivery<R>>,
    capacity: usize,
    is_running: AtomicBool,
}

struct Places<R: Sleep> {
    /// `None` while a removal is under way, so that the channel cannot be added meanwhile.
    by_id: BTreeMap<ChannelId, Option<Arc<Place<R>>>>,
    /// For channels that are added; `None` after the end.
    sender: Option<Sender<Delivery<R>>>,
}

/// What the dispatcher and its places share.
struct Control<R: Sleep> {
    ctx: Arc<Context<R>>,
    stop: AtomicBool,
    /// The first wait that failed where no call could return the error.
    failed: Mutex<Option<RunError>>,
    /// How many places exist, including removed ones that still have a delivery.
    place_count: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No state behind these locks is half changed whenever foreign code can run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Sleep> Control<R> {
    /// Returns an error in a forked child: context, event loop and threads belong to the parent,
    /// and a thread of the parent may have held one of these locks.
    fn check_caller(&self) -> Result<(), Error> {
        match self.ctx.is_inherited() {
            true => Err(Error::Inherited),
            false => Ok(()),
        }
    }

    fn stop(&self) {
        if self.check_caller().is_err() {
            return;
        }
        self.stop.store(true, Ordering::SeqCst);
        Registrar::wake(self.ctx.registrar());
    }

    fn fail(&self, error: RunError) {
        lock(&self.failed).get_or_insert(error);
        self.stop();
    }

    /// Runs rounds, and sleeps between them, until it is stopped.
    fn turn(&self) -> Result<(), RunError> {
        let event_loop = self.ctx.registrar();
        loop {
            let ticket = event_loop.ticket();
            if self.stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            if self.ctx.next_timeout().is_none() {
                let slept = event_loop.sleep(ticket, None);
                if slept.map_err(Error::Sleep)? == Slept::Notified {
                    continue;
                }
            }
            self.ctx.dispatch_callbacks()?;
        }
    }
}

impl<R: Sleep + 'static> Dispatcher<R> {
    /// A dispatcher for at most `capacity` channels of this context.
    #[must_use]
    pub fn new(ctx: Arc<Context<R>>, capacity: NonZeroUsize) -> Dispatcher<R> {
        let (sender, receiver) = bounded(capacity.get());
        Dispatcher {
            shared: Arc::new(Shared {
                control: Arc::new(Control {
                    ctx,
                    stop: AtomicBool::new(false),
                    failed: Mutex::new(None),
                    place_count: AtomicUsize::new(0),
                }),
                places: Mutex::new(Places {
                    by_id: BTreeMap::new(),
                    sender: Some(sender),
                }),
                receiver,
                capacity: capacity.get(),
                is_running: AtomicBool::new(false),
            }),
        }
    }

    /// Waits for a channel from now on. Until it is removed or the run is over, the dispatcher owns
    /// its callback and its waits: no other code should wait for it.
    ///
    /// # Errors
    /// [`AddError`]; then no new wait was started.
    pub fn add(&self, channel: Arc<Channel<R>>) -> Result<(), AddError> {
        self.shared.control.check_caller()?;
        let id = channel.id();
        let mut places = lock(&self.shared.places);
        let Places { by_id, sender } = &mut *places;
        let sender = sender.as_ref().ok_or(AddError::Ended)?;
        if by_id.contains_key(&id) {
            return Err(AddError::Twice(id));
        }
        let capacity = self.shared.capacity;
        let place = Place::new(&self.shared.control, channel, sender, capacity)?;
        place.begin()?;
        by_id.insert(id, Some(place));
        Ok(())
    }

    /// Stops waiting for a channel and returns it. A delivery that it has stays valid. Until this
    /// returns, adding the channel again fails with [`AddError::Twice`].
    ///
    /// # Errors
    /// [`RunError::Cancel`] where the event loop could not deregister the device. The channel is
    /// removed all the same.
    pub fn remove(&self, id: ChannelId) -> Result<Option<Arc<Channel<R>>>, RunError> {
        self.shared.check_caller()?;
        let removed = lock(&self.shared.places)
            .by_id
            .get_mut(&id)
            .and_then(Option::take);
        let Some(place) = removed else {
            return Ok(None);
        };
        let _removing = Removing {
            shared: &self.shared,
            id,
        };
        place.end()?;
        Ok(Some(Arc::clone(place.channel())))
    }

    /// The queue of the wakes. Each wake is received once, by whichever clone is first.
    #[must_use]
    pub fn wakes(&self) -> Receiver<Delivery<R>> {
        self.shared.receiver.clone()
    }

    /// Runs the rounds of the context on this thread until it is [stopped](Self::stop), and then
    /// ends the waits. A dispatcher runs once.
    ///
    /// # Errors
    /// The first [`RunError`]. The waits are ended then too; where the device failed, each channel
    /// gets a wake with the cause [`Gone`](evtchn_core::Cause::Gone).
    ///
    /// # Panics
    /// Where a callback of another channel panics; the waits are ended first.
    pub fn run(&self) -> Result<(), RunError> {
        let shared = &*self.shared;
        shared.check_caller()?;
        if shared.is_running.swap(true, Ordering::SeqCst) {
            return Err(RunError::Running);
        }
        let ending = Ending(shared);
        let mut ran = shared.control.turn();
        if let Err(RunError::Context(Error::Device(_))) = &ran {
            // More channels may have to be woken than the round that failed has woken.
            while let Ok(Outcome::More) = shared.control.ctx.dispatch_callbacks() {}
        }
        drop(ending);
        if let Some(failed) = lock(&shared.control.failed).take() {
            ran = ran.and(Err(failed));
        }
        ran
    }

    /// Starts a thread that [runs](Self::run).
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn spawn(&self) -> io::Result<Running<R>> {
        let dispatcher = self.clone();
        let thread = thread::Builder::new().name("evtchn".to_owned());
        Ok(Running {
            thread: Some(thread.spawn(move || dispatcher.run())?),
            dispatcher: self.clone(),
        })
    }

    /// Ends the run, from any thread, without waiting for its end. In a forked child it does
    /// nothing.
    pub fn stop(&self) {
        self.shared.control.stop();
    }
}

impl<R: Sleep> Shared<R> {
    fn check_caller(&self) -> Result<(), RunError> {
        Ok(self.control.check_caller()?)
    }

    /// Ends every wait and drops the queue.
    fn end(&self) {
        let mut places = lock(&self.places);
        places.sender = None;
        let ended = std::mem::take(&mut places.by_id);
        drop(places);
        for place in ended.into_values().flatten() {
            if let Err(error) = place.end() {
                lock(&self.control.failed).get_or_insert(error);
            }
        }
    }
}

/// Removes a channel when it is dropped, so also where a hook of the event loop panics.
struct Removing<'a, R: Sleep> {
    shared: &'a Shared<R>,
    id: ChannelId,
}

impl<R: Sleep> Drop for Removing<'_, R> {
    fn drop(&mut self) {
        let removed = lock(&self.shared.places).by_id.remove(&self.id);
        debug_assert!(removed.is_none_or(|place| place.is_none()), "it was added");
    }
}

/// Ends the waits when it is dropped, so also where the run ends by a panic.
struct Ending<'a, R: Sleep>(&'a Shared<R>);

impl<R: Sleep> Drop for Ending<'_, R> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<R: Sleep> Drop for Shared<R> {
    fn drop(&mut self) {
        if self.control.check_caller().is_ok() {
            self.end();
        }
    }
}

impl<R: Sleep> Clone for Dispatcher<R> {
    fn clone(&self) -> Dispatcher<R> {
        Dispatcher {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A dispatcher on a thread of its own. Dropping it stops the run and joins the thread.
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
/// running.stop()?; // when it returns, nothing waits any more
/// assert!(dispatcher.wakes().recv().is_err());
/// # Ok(())
/// # }
/// ```
#[must_use = "dropped at once it stops"]
pub struct Running<R: Sleep> {
    dispatcher: Dispatcher<R>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl<R: Sleep> Running<R> {
    /// Stops the run and joins its thread. When it returns, nothing waits any more.
    ///
    /// # Errors
    /// The error of the [run](Dispatcher::run); [`Error::Inherited`] in a forked child.
    ///
    /// # Panics
    /// Where the run panicked, with the same panic.
    pub fn stop(mut self) -> Result<(), RunError> {
        self.dispatcher.shared.check_caller()?;
        match self.join() {
            Some(Ok(ran)) => ran,
            Some(Err(panic)) => resume_unwind(panic),
            None => Ok(()),
        }
    }

    fn join(&mut self) -> Option<thread::Result<Result<(), RunError>>> {
        let thread = self.thread.take()?;
        if self.dispatcher.shared.check_caller().is_err() {
            // Neither joined nor detached: in a process without that thread both are undefined.
            let _kept = ManuallyDrop::new(thread);
            return None;
        }
        self.dispatcher.shared.control.stop();
        Some(thread.join())
    }
}

impl<R: Sleep> Drop for Running<R> {
    fn drop(&mut self) {
        drop(self.join());
    }
}

impl<R: Sleep> fmt::Debug for Dispatcher<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("channels", &lock(&self.shared.places).by_id.len())
            .field("queued", &self.shared.receiver.len())
            .field("capacity", &self.shared.capacity)
            .finish_non_exhaustive()
    }
}

impl<R: Sleep> fmt::Debug for Running<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.dispatcher).finish()
    }
}
