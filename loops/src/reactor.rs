//! What the adapters for the reactors of async runtimes share.
//!
//! The registration is polled with a waker of its own, which the reactor wakes and which then
//! drives the context: nobody's task has to be polled for it, and none is spawned. Both reactors
//! wake after they let go of their tables, so the device may be read there, and even deregistered.

use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::task::{Context as Cx, Poll, Wake, Waker};

use evtchn_core::{Driver, Outcome};

/// One registration with a reactor.
pub(crate) trait Watch: Send + 'static {
    /// Takes the readiness that there is and sets the waker for what comes. Says whether there
    /// was any.
    fn arm(&mut self, cx: &mut Cx<'_>) -> bool;

    /// Registers anew, so that what is there is reported again.
    fn renew(&mut self) -> io::Result<()>;
}

/// The adapter was not given the [`Driver`] of its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the adapter was not attached to its context")]
pub struct NotAttached;

/// An adapter's registration, and the context that it drives.
#[derive(Debug)]
pub(crate) struct Reactor<W> {
    watch: Mutex<Option<W>>,
    /// The reactor called, and nobody looked since.
    called: AtomicBool,
    driver: OnceLock<Driver>,
    rounds: Mutex<Rounds>,
    process: u32,
}

/// What those who run rounds are told.
#[derive(Debug, Default)]
struct Rounds {
    called: bool,
    waker: Option<Waker>,
}

/// What the reactor wakes. It does not keep the registration that keeps it.
struct Alarm<W>(Weak<Reactor<W>>);

impl<W: Watch> Wake for Alarm<W> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(reactor) = self.0.upgrade() {
            reactor.called.store(true, Ordering::SeqCst);
            reactor.look();
        }
    }
}

impl<W: Watch> Reactor<W> {
    pub(crate) fn new() -> Arc<Reactor<W>> {
        Arc::new(Reactor {
            watch: Mutex::new(None),
            called: AtomicBool::new(false),
            driver: OnceLock::new(),
            rounds: Mutex::default(),
            process: process::id(),
        })
    }

    /// Says whom to drive, once.
    pub(crate) fn attach(&self, driver: Driver) {
        let _the_first_counts = self.driver.set(driver);
    }

    fn lock(&self) -> MutexGuard<'_, Option<W>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::new(Alarm(Arc::downgrade(self))))
    }

    /// Enters the registration that `watch` makes, if there is none.
    pub(crate) fn register(
        self: &Arc<Self>,
        watch: impl FnOnce() -> io::Result<W>,
    ) -> io::Result<()> {
        if self.driver.get().is_none() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, NotAttached));
        }
        let mut place = self.lock();
        if place.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let was_ready = self.arm(place.insert(watch()?));
        drop(place);
        if was_ready {
            self.called.store(true, Ordering::SeqCst);
        }
        // The context puts the drive off to the end of its hook.
        self.look();
        Ok(())
    }

    /// Drops the registration.
    pub(crate) fn deregister(&self) -> io::Result<()> {
        let watch = self.lock().take();
        watch.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn arm(self: &Arc<Self>, watch: &mut W) -> bool {
        watch.arm(&mut Cx::from_waker(&self.waker()))
    }

    /// Sets the waker and then drives, for as long as the reactor calls.
    fn look(self: &Arc<Self>) {
        loop {
            // A reactor may call from inside its poll. Whoever has the lock looks after it.
            fence(Ordering::SeqCst);
            let mut place = match self.watch.try_lock() {
                Ok(place) => place,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if !self.called.swap(false, Ordering::SeqCst) {
                return;
            }
            let Some(watch) = place.as_mut() else {
                return;
            };
            self.arm(watch);
            drop(place);
            // Armed first: what comes after the last read calls again.
            if self.drive() == Outcome::More {
                self.renew();
            }
        }
    }

    fn drive(&self) -> Outcome {
        self.driver.get().map_or(Outcome::Done, Driver::drive)
    }

    /// Has the rest of a storm reported again, after what else the reactor has to do.
    fn renew(self: &Arc<Self>) {
        let mut place = self.lock();
        let Some(watch) = place.as_mut() else {
            return;
        };
        if watch.renew().is_err() || self.arm(watch) {
            self.called.store(true, Ordering::SeqCst);
        }
    }

    /// Tells whoever runs rounds.
    pub(crate) fn call(&self) {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.called = true;
        let waker = rounds.waker.take();
        drop(rounds);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns once somebody called since the last return.
    pub(crate) async fn called(&self) {
        poll_fn(|cx| self.poll_called(cx)).await;
    }

    fn poll_called(&self, cx: &mut Cx<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut rounds.called) {
            return Poll::Ready(());
        }
        let before = rounds.waker.replace(waker);
        drop(rounds);
        drop(before);
        Poll::Pending
    }
}

impl<W> Drop for Reactor<W> {
    fn drop(&mut self) {
        if process::id() != self.process {
            // Dropped in a child, it would take the device out of the parent's epoll instance.
            let place = self.watch.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _kept = ManuallyDrop::new(place.take());
        }
    }
}
