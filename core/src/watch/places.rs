//! What a loop supplies to a [`Watch`](super::Watch): polling its device, and places in which
//! threads sleep.

use crate::hal::Slept;

/// The system calls of a loop, as a [`Watch`](super::Watch) makes them.
///
/// One thread at a time is in [`poll`](Self::poll). The others are parked, each in one of several
/// places; several threads may share a place.
///
/// If the loop promises that its wake may be called in a signal handler, [`ring`](Self::ring) and
/// [`unpark`](Self::unpark) must neither take a lock nor allocate.
///
/// ```
/// use std::convert::Infallible;
///
/// use evtchn_core::watch::{Parked, Places, Polled, Unpark};
///
/// /// A loop whose device is always ready. It runs on one thread, so nothing is parked in it.
/// struct Ready;
///
/// impl Places for Ready {
///     type Deadline = ();
///     type Error = Infallible;
///     const PASSED: () = ();
///
///     fn count(&self) -> usize {
///         2
///     }
///     fn poll(&self, device: Option<usize>, _: ()) -> Result<Polled, Infallible> {
///         Ok(Polled { ready: device.is_some(), ..Polled::default() })
///     }
///     fn ring(&self) {}
///     fn clear_rings(&self) {}
///     fn unparks(&self, _place: usize) -> u32 {
///         0
///     }
///     fn park(&self, _place: usize, _before: u32, _: ()) -> Result<Parked, Infallible> {
///         Ok(Parked::TimedOut)
///     }
///     fn unpark(&self, _place: usize, _threads: Unpark) {}
/// }
///
/// assert!(Ready.poll(Some(3), ())?.ready);
/// # Ok::<(), Infallible>(())
/// ```
pub trait Places {
    /// A point in time up to which a thread sleeps.
    type Deadline: Copy;
    /// The error of a failed call.
    type Error;

    /// A deadline that has always passed.
    const PASSED: Self::Deadline;

    /// How many places there are: always the same, and at least 2.
    fn count(&self) -> usize;

    /// Sleeps until the device is ready, another thread [rings](Self::ring), a signal comes or the
    /// deadline passes. `device` is the number with which the device was registered. It stays open
    /// until this returns.
    ///
    /// # Errors
    /// The loop's.
    fn poll(&self, device: Option<usize>, deadline: Self::Deadline) -> Result<Polled, Self::Error>;

    /// Makes the [`poll`](Self::poll) of another thread return; if none is polling, the next poll.
    fn ring(&self);

    /// Clears every [`ring`](Self::ring) so far.
    fn clear_rings(&self);

    /// How often [`unpark`](Self::unpark) was called for a place. It may wrap around.
    fn unparks(&self, place: usize) -> u32;

    /// Sleeps in a place until it is unparked, a signal comes or the deadline passes. It returns
    /// at once where the place has been unparked since [`unparks`](Self::unparks) was `before`.
    ///
    /// # Errors
    /// The loop's.
    fn park(
        &self,
        place: usize,
        before: u32,
        deadline: Self::Deadline,
    ) -> Result<Parked, Self::Error>;

    /// Wakes one thread that is parked in a place, or all of them, and adds to
    /// [`unparks`](Self::unparks).
    fn unpark(&self, place: usize, threads: Unpark);
}

/// What a poll found.
///
/// ```
/// use evtchn_core::watch::Polled;
///
/// let timed_out = Polled::default();
/// assert!(!(timed_out.ready || timed_out.rung || timed_out.interrupted));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Polled {
    /// The device is ready.
    pub ready: bool,
    /// Another thread rang.
    pub rung: bool,
    /// A signal came first.
    pub interrupted: bool,
}

/// Why a parked thread returned.
///
/// ```
/// use evtchn_core::watch::Parked;
///
/// /// What a wait on a condition variable with a timeout found.
/// fn parked(has_timed_out: bool) -> Parked {
///     if has_timed_out { Parked::TimedOut } else { Parked::Unparked }
/// }
/// assert_eq!(parked(false), Parked::Unparked);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// Its place was unparked.
    Unparked,
    /// A signal came.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

/// How many threads of a place an unpark wakes.
///
/// ```
/// use evtchn_core::watch::Unpark;
///
/// /// How many threads of a futex to wake.
/// fn count(threads: Unpark) -> u32 {
///     match threads {
///         Unpark::One => 1,
///         Unpark::All => u32::MAX,
///     }
/// }
/// assert_eq!(count(Unpark::One), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpark {
    /// One of them.
    One,
    /// All of them.
    All,
}

/// Why a [`wait`](super::Watch::wait) is over. If all are false, the deadline has passed.
///
/// ```
/// use evtchn_core::watch::Waited;
///
/// /// Whether the loop has reason to dispatch.
/// fn dispatches(waited: Waited) -> bool {
///     waited.ready || waited.woken
/// }
/// assert!(!dispatches(Waited::default()));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waited {
    /// The device is ready. Only the thread that watches it learns that.
    pub ready: bool,
    /// The loop was woken, or the registration changed.
    pub woken: bool,
    /// A signal came first.
    pub interrupted: bool,
}

impl From<Waited> for Slept {
    fn from(waited: Waited) -> Slept {
        match waited {
            Waited { ready: true, .. } => Slept::Ready,
            Waited {
                woken: false,
                interrupted: false,
                ..
            } => Slept::TimedOut,
            Waited { .. } => Slept::Notified,
        }
    }
}

/// How often a [`Watch`](super::Watch) did each thing.
///
/// ```
/// use evtchn_core::watch::Counts;
///
/// let none = Counts::default();
/// assert_eq!((none.polls, none.parks), (0, 0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices registered.
    pub registers: u64,
    /// Devices deregistered.
    pub deregisters: u64,
    /// Polls begun.
    pub polls: u64,
    /// Sleeps begun by threads that did not watch.
    pub parks: u64,
}
