//! Threads that wait in one loop: which of them watches the device, and which of them is woken.
//!
//! One thread has the watch: it polls the device. The others are parked. Only a wake-up for it, its
//! deadline or a signal ends the sleep of a parked thread. A thread that leaves the watch wakes one
//! of them, and that thread takes the watch. So an event costs one poll, however many threads wait.
//!
//! Nothing here takes a lock except registering, deregistering, and the thread for which a
//! deregistration waits. Wherever one thread writes A and then reads B while another writes B and
//! then reads A, all four accesses are `SeqCst`: at least one of the two sees what the other wrote.

mod calls;
mod places;
mod poll;
mod post;

pub use places::{Counts, Parked, Places, Polled, Unpark, Waited};

use crate::hal::{Sleeper, Slept};
use crate::sync::{
    AtomicU64, AtomicUsize, Condvar, Mutex,
    Ordering::{Relaxed, SeqCst},
};
use poll::{Holding, Leaving, ParkOutcome};
use post::{LoopThread, Post};

/// The threads that wait in one loop, and the device that one of them watches for all.
///
/// A loop that blocks supplies [`Places`] and implements [`Registrar`](crate::Registrar) and
/// [`Sleep`](crate::Sleep) with this, as `PollLoop` of evtchn-xen does.
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
///
/// use evtchn_core::watch::{Parked, Places, Polled, Unpark, Watch};
///
/// /// The places of a loop that runs on one thread and never sleeps.
/// #[derive(Default)]
/// struct Busy {
///     rung: AtomicBool,
/// }
///
/// impl Places for Busy {
///     type Deadline = ();
///     type Error = Infallible;
///     const PASSED: () = ();
///
///     fn count(&self) -> usize {
///         2
///     }
///     fn poll(&self, device: Option<usize>, _: ()) -> Result<Polled, Infallible> {
///         Ok(Polled {
///             ready: device.is_some(), // it is always ready
///             rung: self.rung.load(SeqCst),
///             interrupted: false,
///         })
///     }
///     fn ring(&self) {
///         self.rung.store(true, SeqCst);
///     }
///     fn clear_rings(&self) {
///         self.rung.store(false, SeqCst);
///     }
///     fn unparks(&self, _place: usize) -> u32 {
///         0
///     }
///     fn park(&self, _place: usize, _before: u32, _: ()) -> Result<Parked, Infallible> {
///         Ok(Parked::TimedOut)
///     }
///     fn unpark(&self, _place: usize, _threads: Unpark) {}
/// }
///
/// let watch = Watch::new(Busy::default());
/// assert!(!watch.wait(())?.ready);
/// assert!(watch.register(3));
/// assert!(watch.wait(())?.ready);
/// watch.wake();
/// assert!(watch.wait(())?.woken);
/// assert!(!watch.wait(())?.woken, "a wake ends one wait");
/// # Ok::<(), Infallible>(())
/// ```
#[derive(Debug)]
pub struct Watch<P> {
    places: P,
    post: Post,
    /// The number of the registered device, or `NONE`. It changes under the lock.
    device: AtomicUsize,
    /// Counts all wake-ups; a ticket is this count.
    calls: AtomicU64,
    /// Counts the wake-ups for the threads that run the loop, and how many of these ended a wait.
    rings: AtomicU64,
    answered: AtomicU64,
    /// Counts the changes of the registration.
    changes: AtomicU64,
    /// How many threads are parked or about to be: in all, and by place.
    all_parked: AtomicUsize,
    parked: Box<[AtomicUsize]>,
    /// How many threads poll the device or are about to.
    pollers: AtomicUsize,
    /// How many deregistrations wait for the last of these.
    awaited: AtomicUsize,
    polls: AtomicU64,
    parks: AtomicU64,
    registrations: Mutex<Registrations>,
    unpolled: Condvar,
}

/// How often the registration changed.
#[derive(Debug, Default)]
struct Registrations {
    registers: u64,
    deregisters: u64,
}

/// No device.
const NONE: usize = usize::MAX;

impl<P: Places> Watch<P> {
    /// A watch over no device.
    pub fn new(places: P) -> Watch<P> {
        let parked = (0..places.count()).map(|_| AtomicUsize::new(0)).collect();
        Watch {
            places,
            post: Post::default(),
            device: AtomicUsize::new(NONE),
            calls: AtomicU64::new(0),
            rings: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            all_parked: AtomicUsize::new(0),
            parked,
            pollers: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
            polls: AtomicU64::new(0),
            parks: AtomicU64::new(0),
            registrations: Mutex::default(),
            unpolled: Condvar::default(),
        }
    }

    /// What the loop supplied.
    pub const fn places(&self) -> &P {
        &self.places
    }

    /// How often each thing was done.
    pub fn counts(&self) -> Counts {
        let registrations = self.registrations.lock();
        Counts {
            registers: registrations.registers,
            deregisters: registrations.deregisters,
            polls: self.polls.load(Relaxed),
            parks: self.parks.load(Relaxed),
        }
    }

    // ---- Threads that run the loop.

    /// Sleeps until the device is ready, until another thread [wakes](Self::wake) the loop or
    /// changes the registration, until a signal comes, or until the deadline.
    ///
    /// A wake that came while no thread was in here ends the next wait, once.
    ///
    /// # Errors
    /// Those of [`Places::poll`] and [`Places::park`].
    #[inline]
    pub fn wait(&self, deadline: P::Deadline) -> Result<Waited, P::Error> {
        let rings = self.rings.load(SeqCst);
        let changes = self.changes.load(SeqCst);
        let is_called = self.answered.load(SeqCst) != rings;
        let has_news = || {
            is_called || self.rings.load(SeqCst) != rings || self.changes.load(SeqCst) != changes
        };
        let waited = self.sleep_until(has_news, deadline)?;
        if waited.woken {
            // Each thread that is in here sees the rings itself. A later wait ignores those before.
            self.answered.fetch_max(self.rings.load(SeqCst), SeqCst);
        }
        Ok(waited)
    }

    /// [`Sleep::sleep`](crate::Sleep::sleep): as [`wait`](Self::wait), but for wake-ups since a
    /// ticket.
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait).
    pub fn sleep(&self, ticket: u64, deadline: P::Deadline) -> Result<Slept, P::Error> {
        let rings = self.rings.load(SeqCst);
        // A wake-up adds to `calls` before `rings`, so one of the two comparisons sees it.
        if self.calls.load(SeqCst) != ticket {
            return Ok(Slept::Notified);
        }
        let waited = self.sleep_until(|| self.rings.load(SeqCst) != rings, deadline)?;
        Ok(waited.into())
    }

    /// Takes the watch, or is parked while another thread has it, until there is something for a
    /// thread that runs the loop.
    #[inline]
    fn sleep_until(
        &self,
        has_news: impl Fn() -> bool,
        deadline: P::Deadline,
    ) -> Result<Waited, P::Error> {
        if !self.post.take(LoopThread::RUNNER) {
            if let Some(waited) = self.stand_by(&has_news, deadline)? {
                return Ok(waited);
            }
        }
        // Leaves the watch, also if the poll panics.
        let _leaving = Leaving(self);
        loop {
            let polled = self.poll(LoopThread::RUNNER, || {
                Some(if has_news() { P::PASSED } else { deadline })
            })?;
            // After the ring was cleared, because it may have been for this thread.
            let woken = has_news();
            let Polled {
                ready, interrupted, ..
            } = polled;
            let rung_for_others = polled.rung && !(ready || woken || interrupted);
            if !rung_for_others {
                return Ok(Waited {
                    ready,
                    woken,
                    interrupted,
                });
            }
        }
    }

    /// Parks the thread until there is something for it, or until it has the watch (`None`).
    #[cold]
    fn stand_by(
        &self,
        has_news: &impl Fn() -> bool,
        deadline: P::Deadline,
    ) -> Result<Option<Waited>, P::Error> {
        let nothing = Waited::default();
        loop {
            return Ok(
                match self.park_once(LoopThread::RUNNER, has_news, deadline)? {
                    ParkOutcome::Took | ParkOutcome::Unparked { took: true } => None,
                    ParkOutcome::Unparked { took: false } => continue,
                    ParkOutcome::News => Some(Waited {
                        woken: true,
                        ..nothing
                    }),
                    ParkOutcome::Interrupted => Some(Waited {
                        interrupted: true,
                        ..nothing
                    }),
                    ParkOutcome::TimedOut => Some(nothing),
                },
            );
        }
    }

    // ---- Threads that sleep for wake-ups of their own.

    /// [`Sleep::ticket`](crate::Sleep::ticket).
    pub fn ticket(&self) -> u64 {
        self.calls.load(SeqCst)
    }

    /// [`Sleep::sleep_as`](crate::Sleep::sleep_as). A thread that returns with the watch keeps it
    /// until it sleeps again or [leaves](Self::leave).
    ///
    /// # Errors
    /// Those of [`Places::poll`] and [`Places::park`].
    pub fn sleep_as(
        &self,
        sleeper: Sleeper,
        ticket: u64,
        deadline: P::Deadline,
    ) -> Result<Slept, P::Error> {
        let thread = LoopThread::sleeper(sleeper);
        let has_news = || self.calls.load(SeqCst) != ticket;
        if !self.post.resume(thread) && !self.post.take(thread) {
            match self.park_once(thread, &has_news, deadline)? {
                ParkOutcome::Took => {}
                ParkOutcome::Unparked { took } => {
                    if took {
                        self.post.hold(thread);
                    }
                    return Ok(Slept::Notified);
                }
                ParkOutcome::News | ParkOutcome::Interrupted => return Ok(Slept::Notified),
                ParkOutcome::TimedOut => return Ok(Slept::TimedOut),
            }
        }
        // Keeps the watch, also if the poll panics or fails.
        let _holding = Holding(self, thread);
        let polled = self.poll(thread, || (!has_news()).then_some(deadline))?;
        Ok(match polled {
            Polled { ready: true, .. } => Slept::Ready,
            Polled {
                rung: false,
                interrupted: false,
                ..
            } if !has_news() => Slept::TimedOut,
            _ => Slept::Notified,
        })
    }

    /// [`Sleep::leave`](crate::Sleep::leave): a thread that kept the watch leaves it to another.
    pub fn leave(&self, sleeper: Sleeper) {
        if self.post.resume(LoopThread::sleeper(sleeper)) {
            self.vacate();
        }
    }
}
