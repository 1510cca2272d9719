//! Threads that wait in one loop: which of them watches the device, and which of them is woken.
//!
//! One thread has the watch: it polls the device. The others are parked, each where only a call
//! for it, its deadline or a signal reaches it. A thread that leaves the watch wakes one of those,
//! and that thread takes it over. So an event costs one poll however many threads wait.
//!
//! Nothing here locks, but for registering, deregistering, and the thread that a deregistration
//! waits for. Wherever one thread writes A and then reads B while another writes B and then reads
//! A, all four accesses are `SeqCst`: at least one of the two sees what the other wrote.

mod places;
mod post;

pub use places::{Counts, Parked, Places, Polled, Unpark, Waited};

use crate::hal::{Sleeper, Slept, Whom};
use crate::sync::{
    AtomicU64, AtomicUsize, Condvar, Mutex,
    Ordering::{Relaxed, SeqCst},
};
use post::{Post, Who};

/// The threads that wait in one loop, and the device that one of them watches for all.
///
/// A loop that blocks supplies [`Places`] and takes from here what [`Registrar`](crate::Registrar)
/// and [`Sleep`](crate::Sleep) ask of it, as `PollLoop` of evtchn-xen does.
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
///             ready: device.is_some(), // it always has something to say
///             rung: self.rung.load(SeqCst),
///             interrupted: false,
///         })
///     }
///     fn ring(&self) {
///         self.rung.store(true, SeqCst);
///     }
///     fn silence(&self) {
///         self.rung.store(false, SeqCst);
///     }
///     fn unparks(&self, _place: usize) -> u32 {
///         0
///     }
///     fn park(&self, _place: usize, _before: u32, _: ()) -> Result<Parked, Infallible> {
///         Ok(Parked::TimedOut)
///     }
///     fn unpark(&self, _place: usize, _whom: Unpark) {}
/// }
///
/// let watch = Watch::new(Busy::default());
/// assert!(!watch.wait(())?.ready);
/// assert!(watch.register(3));
/// assert!(watch.wait(())?.ready);
/// watch.wake();
/// assert!(watch.wait(())?.woken);
/// assert!(!watch.wait(())?.woken, "a wake is heard once");
/// # Ok::<(), Infallible>(())
/// ```
#[derive(Debug)]
pub struct Watch<P> {
    places: P,
    post: Post,
    /// The number of the registered device, or `NONE`. It changes under the lock.
    device: AtomicUsize,
    /// Calls of any kind, which tell tickets from one another.
    calls: AtomicU64,
    /// Calls that everybody hears who runs the loop, and how many of them a wait has answered.
    rings: AtomicU64,
    heard: AtomicU64,
    /// Changes of the registration.
    changes: AtomicU64,
    /// Threads that do not have the watch and are parked, or about to be; in all and by place.
    followers: AtomicUsize,
    parked: Box<[AtomicUsize]>,
    /// Threads that poll the device, or are about to.
    pollers: AtomicUsize,
    /// Deregistrations that wait for the last of these.
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

/// What became of a thread that found the watch taken.
enum Followed {
    /// There is news for it.
    News,
    /// It has the watch now, and was not parked.
    Took,
    /// Its place was unparked. It has the watch, if that was vacant.
    Unparked { took: bool },
    Interrupted,
    TimedOut,
}

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
            heard: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            followers: AtomicUsize::new(0),
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

    /// How often what was done.
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

    /// Sleeps until the device is ready, until somebody [wakes](Self::wake) the loop or changes
    /// what is registered, until a signal comes, or until the deadline.
    ///
    /// A wake that came while no thread was in here ends the next wait, once.
    ///
    /// # Errors
    /// Those of [`Places::poll`] and [`Places::park`].
    #[inline]
    pub fn wait(&self, deadline: P::Deadline) -> Result<Waited, P::Error> {
        let rings = self.rings.load(SeqCst);
        let changes = self.changes.load(SeqCst);
        let is_called = self.heard.load(SeqCst) != rings;
        let has_news = || {
            is_called
                || self.rings.load(SeqCst) != rings
                || self.changes.load(SeqCst) != changes
        };
        let waited = self.attend(has_news, deadline)?;
        if waited.woken {
            // Every thread that was in here answers for itself; a later one begins with this.
            self.heard.fetch_max(self.rings.load(SeqCst), SeqCst);
        }
        Ok(waited)
    }

    /// [`Sleep::sleep`](crate::Sleep::sleep): as [`wait`](Self::wait), but for calls since a ticket.
    ///
    /// # Errors
    /// As there.
    pub fn sleep(&self, ticket: u64, deadline: P::Deadline) -> Result<Slept, P::Error> {
        let rings = self.rings.load(SeqCst);
        // A ring counts as a call first, so it is seen by one of the two.
        if self.calls.load(SeqCst) != ticket {
            return Ok(Slept::Roused);
        }
        let waited = self.attend(|| self.rings.load(SeqCst) != rings, deadline)?;
        Ok(match waited {
            Waited { ready: true, .. } => Slept::Ready,
            Waited {
                woken: false,
                interrupted: false,
                ..
            } => Slept::TimedOut,
            _ => Slept::Roused,
        })
    }

    /// Takes the watch, or follows the one who has it, until there is something for a thread
    /// that hears every call.
    #[inline]
    fn attend(
        &self,
        has_news: impl Fn() -> bool,
        deadline: P::Deadline,
    ) -> Result<Waited, P::Error> {
        if !self.post.take(Who::RUNNER)
            && let Some(waited) = self.stand_by(&has_news, deadline)?
        {
            return Ok(waited);
        }
        // Leaves the watch, also where the poll panics.
        let _leaving = Leaving(self);
        loop {
            let polled = self.poll(Who::RUNNER, || {
                Some(if has_news() { P::PASSED } else { deadline })
            })?;
            // Looked at once the ring is silenced: it may have been for this thread.
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

    /// Is parked until there is something for the thread, or until it has the watch.
    #[cold]
    fn stand_by(
        &self,
        has_news: &impl Fn() -> bool,
        deadline: P::Deadline,
    ) -> Result<Option<Waited>, P::Error> {
        let nothing = Waited::default();
        loop {
            return Ok(match self.follow(Who::RUNNER, has_news, deadline)? {
                Followed::Took | Followed::Unparked { took: true } => None,
                Followed::Unparked { took: false } => continue,
                Followed::News => Some(Waited {
                    woken: true,
                    ..nothing
                }),
                Followed::Interrupted => Some(Waited {
                    interrupted: true,
                    ..nothing
                }),
                Followed::TimedOut => Some(nothing),
            });
        }
    }

    // ---- Threads that sleep for calls of their own.

    /// [`Sleep::ticket`](crate::Sleep::ticket).
    pub fn ticket(&self) -> u64 {
        self.calls.load(SeqCst)
    }

    /// [`Sleep::sleep_as`](crate::Sleep::sleep_as). A thread that comes back with the watch keeps
    /// it until it sleeps again or [leaves](Self::leave).
    ///
    /// # Errors
    /// Those of [`Places::poll`] and [`Places::park`].
    pub fn sleep_as(
        &self,
        sleeper: Sleeper,
        ticket: u64,
        deadline: P::Deadline,
    ) -> Result<Slept, P::Error> {
        let who = Who::sleeper(sleeper);
        let has_news = || self.calls.load(SeqCst) != ticket;
        if !self.post.resume(who) && !self.post.take(who) {
            match self.follow(who, &has_news, deadline)? {
                Followed::Took => {}
                Followed::Unparked { took } => {
                    if took {
                        self.post.hold(who);
                    }
                    return Ok(Slept::Roused);
                }
                Followed::News | Followed::Interrupted => return Ok(Slept::Roused),
                Followed::TimedOut => return Ok(Slept::TimedOut),
            }
        }
        // Also where the poll panics or fails.
        let _holding = Holding(self, who);
        let polled = self.poll(who, || (!has_news()).then_some(deadline))?;
        Ok(match polled {
            Polled { ready: true, .. } => Slept::Ready,
            Polled {
                rung: false,
                interrupted: false,
                ..
            } if !has_news() => Slept::TimedOut,
            _ => Slept::Roused,
        })
    }

    /// [`Sleep::leave`](crate::Sleep::leave): a thread that kept the watch hands it over.
    pub fn leave(&self, sleeper: Sleeper) {
        if self.post.resume(Who::sleeper(sleeper)) {
            self.vacate();
        }
    }

    // ---- The watch.

    /// Polls the device, if there is one, until the deadline that is asked for once this thread
    /// is known to watch. Without one it does not poll.
    #[inline]
    fn poll(
        &self,
        who: Who,
        deadline: impl FnOnce() -> Option<P::Deadline>,
    ) -> Result<Polled, P::Error> {
        self.post.watch(who);
        let Some(deadline) = deadline() else {
            return Ok(Polled::default());
        };
        self.polls.fetch_add(1, Relaxed);
        let device = self.begin_to_poll();
        let polling = Polling(self, device.is_some());
        let polled = self.places.poll(device, deadline);
        drop(polling);
        if let Ok(Polled { rung: true, .. }) = polled {
            // Before the watch is left: later it could be a ring for the next thread.
            self.places.silence();
        }
        polled
    }

    /// The device to poll; whoever polls it is counted.
    #[inline]
    fn begin_to_poll(&self) -> Option<usize> {
        if self.device.load(SeqCst) == NONE {
            return None;
        }
        self.pollers.fetch_add(1, SeqCst);
        // Who deregisters it takes it away before looking at the pollers.
        match self.device.load(SeqCst) {
            NONE => {
                self.end_poll();
                None
            }
            device => Some(device),
        }
    }

    #[inline]
    fn end_poll(&self) {
        let is_last = self.pollers.fetch_sub(1, SeqCst) == 1;
        // Who waits for it says so before looking at the pollers.
        if is_last && self.awaited.load(SeqCst) > 0 {
            self.tell_unpolled();
        }
    }

    #[cold]
    fn tell_unpolled(&self) {
        // Locked, so that who waits is not about to fall asleep.
        let _registrations = self.registrations.lock();
        self.unpolled.notify_all();
    }

    /// Leaves the watch to one of those who follow.
    #[inline]
    fn vacate(&self) {
        self.post.vacate();
        // Who follows counts itself before it tries to take the watch.
        if self.followers.load(SeqCst) > 0 {
            self.hand_over();
        }
    }

    /// Wakes one of those who follow, so that it takes the watch. Threads that sleep for calls of
    /// their own come first: they keep the watch from one event to the next.
    #[cold]
    fn hand_over(&self) {
        let is_taken = |parked: &AtomicUsize| parked.load(SeqCst) > 0;
        // Who leaves its place meanwhile looks whether the watch is vacant.
        if let Some(place) = self.parked.iter().rposition(is_taken) {
            self.places.unpark(place, Unpark::One);
        }
    }

    /// Is parked once, unless there is news or the watch is vacant.
    fn follow(
        &self,
        who: Who,
        has_news: &impl Fn() -> bool,
        deadline: P::Deadline,
    ) -> Result<Followed, P::Error> {
        let place = who.place(self.parked.len());
        let _following = Following::begin(self, place);
        let before = self.places.unparks(place);
        if has_news() {
            return Ok(Followed::News);
        }
        if self.post.take(who) {
            return Ok(Followed::Took);
        }
        self.parks.fetch_add(1, Relaxed);
        Ok(match self.places.park(place, before, deadline)? {
            // For a sleeper each call is news, also one that is not for it; then it has to look.
            Parked::Unparked if who == Who::RUNNER && has_news() => Followed::News,
            // Taken before it counts as gone, so that one thread alone is woken for the watch.
            Parked::Unparked => Followed::Unparked {
                took: self.post.take(who),
            },
            Parked::Interrupted => Followed::Interrupted,
            Parked::TimedOut => Followed::TimedOut,
        })
    }

    // ---- Calls.

    /// [`Registrar::wake`](crate::Registrar::wake): every thread that waits or sleeps comes back.
    pub fn wake(&self) {
        self.calls.fetch_add(1, SeqCst);
        self.rings.fetch_add(1, SeqCst);
        // Who watches looks at these after it said so.
        if self.post.is_watched() {
            self.places.ring();
        }
        if self.followers.load(SeqCst) > 0 {
            for place in 0..self.parked.len() {
                self.unpark(place);
            }
        }
    }

    /// [`Registrar::wake_only`](crate::Registrar::wake_only): those threads come back, and
    /// hardly any other.
    pub fn wake_only(&self, whom: Whom<'_>) {
        self.calls.fetch_add(1, SeqCst);
        if whom.runners {
            self.rings.fetch_add(1, SeqCst);
            self.reach(Who::RUNNER);
        }
        for sleeper in whom.sleepers {
            self.reach(Who::sleeper(*sleeper));
        }
    }

    fn reach(&self, who: Who) {
        if self.post.is_watched_by(who) {
            self.places.ring();
        }
        self.unpark(who.place(self.parked.len()));
    }

    fn unpark(&self, place: usize) {
        // Who is parked counts itself before it looks for calls.
        if self.parked.get(place).is_some_and(|it| it.load(SeqCst) > 0) {
            self.places.unpark(place, Unpark::All);
        }
    }

    // ---- Registration.

    /// Watches a device, whose number is not `usize::MAX`. Threads in [`wait`](Self::wait) are
    /// sent back. Says whether it was done: it is not where a device is watched already.
    pub fn register(&self, device: usize) -> bool {
        let mut registrations = self.registrations.lock();
        if self.device.load(SeqCst) != NONE || device == NONE {
            return false;
        }
        self.device.store(device, SeqCst);
        registrations.registers += 1;
        self.send_back();
        true
    }

    /// Watches the device no more, and returns once no thread polls it. Threads in
    /// [`wait`](Self::wait) are sent back. Says whether it was done: it is not where another
    /// device is watched, or none.
    pub fn deregister(&self, device: usize) -> bool {
        let mut registrations = self.registrations.lock();
        if self.device.load(SeqCst) != device || device == NONE {
            return false;
        }
        self.device.store(NONE, SeqCst);
        registrations.deregisters += 1;
        self.send_back();
        self.awaited.fetch_add(1, SeqCst);
        while self.pollers.load(SeqCst) > 0 {
            registrations = self.unpolled.wait(registrations);
        }
        self.awaited.fetch_sub(1, SeqCst);
        true
    }

    /// Makes the thread that polls look at what is registered now, and those who run the loop
    /// come back. Sleepers that are parked poll nothing.
    fn send_back(&self) {
        self.changes.fetch_add(1, SeqCst);
        if self.post.is_watched() {
            self.places.ring();
        }
        self.unpark(0);
    }
}

/// While it lives, its thread has the watch, and leaves it with this.
struct Leaving<'a, P: Places>(&'a Watch<P>);

impl<P: Places> Drop for Leaving<'_, P> {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

/// While it lives, its thread watches, and keeps the watch afterwards.
struct Holding<'a, P: Places>(&'a Watch<P>, Who);

impl<P: Places> Drop for Holding<'_, P> {
    fn drop(&mut self) {
        self.0.post.hold(self.1);
    }
}

/// While it lives, its thread polls; the device, where it says so.
struct Polling<'a, P: Places>(&'a Watch<P>, bool);

impl<P: Places> Drop for Polling<'_, P> {
    fn drop(&mut self) {
        if self.1 {
            self.0.end_poll();
        }
    }
}

/// While it lives, its thread counts as one that follows.
struct Following<'a, P: Places> {
    watch: &'a Watch<P>,
    place: usize,
}

impl<'a, P: Places> Following<'a, P> {
    fn begin(watch: &'a Watch<P>, place: usize) -> Following<'a, P> {
        if let Some(parked) = watch.parked.get(place) {
            parked.fetch_add(1, SeqCst);
        }
        watch.followers.fetch_add(1, SeqCst);
        Following { watch, place }
    }
}

impl<P: Places> Drop for Following<'_, P> {
    fn drop(&mut self) {
        let watch = self.watch;
        if let Some(parked) = watch.parked.get(self.place) {
            parked.fetch_sub(1, SeqCst);
        }
        let others = watch.followers.fetch_sub(1, SeqCst) > 1;
        // It may have been woken for the watch, and not have taken it.
        if others && watch.post.is_vacant() {
            watch.hand_over();
        }
    }
}
