//! Locks, atomics and the identity of threads, for the context.
//!
//! With the feature `only-under-shuttle` they come from the schedule checker shuttle, which runs
//! one thread at a time and chooses at each of these calls which thread runs next. Then a context
//! works inside a shuttle execution only.

#[cfg(feature = "only-under-shuttle")]
use shuttle::sync as threads;
#[cfg(not(feature = "only-under-shuttle"))]
use std::sync as threads;

pub(crate) use locks::{Condvar, Mutex, MutexGuard};
pub(crate) use threads::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(crate) use threads::{Arc, Weak};

#[cfg(any(feature = "only-under-shuttle", not(feature = "parking_lot")))]
mod locks {
    pub(crate) use super::threads::MutexGuard;
    use super::threads::{self, PoisonError};

    /// A mutex that a panicking callback does not poison: every state behind it is whole whenever
    /// user code runs.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(threads::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Mutex<T> {
            Mutex(threads::Mutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            match self.0.lock() {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            }
        }
    }

    /// Where threads wait for a change of what a [`Mutex`] guards.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(threads::Condvar);

    impl Condvar {
        /// Releases the lock until another thread calls [`notify_all`](Self::notify_all).
        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// The same of `parking_lot`, whose mutexes are never poisoned.
#[cfg(all(feature = "parking_lot", not(feature = "only-under-shuttle")))]
mod locks {
    pub(crate) use parking_lot::{Mutex, MutexGuard};

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// The thread that is inside a section of code, if any.
#[derive(Debug, Default)]
pub(crate) struct OwnerThread(AtomicUsize);

impl OwnerThread {
    /// Enters the section, unless a thread is inside.
    #[inline]
    pub(crate) fn acquire(&self) -> bool {
        self.0
            .compare_exchange(0, this_thread(), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Leaves the section.
    #[inline]
    pub(crate) fn release(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether the calling thread is inside.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        let thread = self.0.load(Ordering::Relaxed);
        thread != 0 && is_this_thread(thread)
    }

    /// Whether any thread is inside.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

/// Out of line, because there is seldom a thread to compare with.
#[cold]
#[inline(never)]
fn is_this_thread(thread: usize) -> bool {
    thread == this_thread()
}

/// A number that no other living thread has; never 0.
#[cfg(not(feature = "only-under-shuttle"))]
#[inline]
pub(crate) fn this_thread() -> usize {
    use std::cell::Cell;
    thread_local!(static HERE: Cell<u8> = const { Cell::new(0) });
    HERE.with(|here| std::ptr::from_ref(here) as usize)
}

/// A number that no other thread of the execution has; never 0.
#[cfg(feature = "only-under-shuttle")]
#[inline]
pub(crate) fn this_thread() -> usize {
    usize::from(shuttle::thread::current().id()) + 1
}

/// Finds out whether a thread has ended.
#[cfg(not(feature = "only-under-shuttle"))]
#[derive(Debug)]
pub(crate) struct ThreadLife(Weak<()>);

/// Under shuttle the end of a thread is not noticed.
#[cfg(feature = "only-under-shuttle")]
#[derive(Debug)]
pub(crate) struct ThreadLife;

#[cfg(not(feature = "only-under-shuttle"))]
mod life {
    use std::cell::Cell;
    use std::sync::Weak;

    use super::{Arc, ThreadLife};

    /// Lives as long as its thread. Its address is the id of the thread.
    struct Life(Arc<()>);

    thread_local! {
        static ID: Cell<usize> = const { Cell::new(0) };
        static LIFE: Life = Life(Arc::new(()));
    }

    impl Drop for Life {
        fn drop(&mut self) {
            ID.set(0);
        }
    }

    impl ThreadLife {
        /// The id of the calling thread: never 0, and not that of another living thread nor of a
        /// thread whose `ThreadLife` is kept.
        #[inline]
        pub(crate) fn id() -> usize {
            match ID.get() {
                0 => first_id(),
                id => id,
            }
        }

        /// The [`id`](Self::id) of a thread that has asked for it, otherwise 0.
        #[inline]
        pub(crate) fn known_id() -> usize {
            ID.get()
        }

        /// The life of the calling thread, unless it is about to end.
        pub(crate) fn of_this_thread() -> Option<ThreadLife> {
            let life = LIFE.try_with(|life| Arc::downgrade(&life.0));
            life.ok().map(ThreadLife)
        }

        /// The id of the thread, if that has ended.
        pub(crate) fn ended(&self) -> Option<usize> {
            let has_ended = self.0.strong_count() == 0;
            has_ended.then_some(Weak::as_ptr(&self.0) as usize)
        }
    }

    #[cold]
    fn first_id() -> usize {
        let id = LIFE.try_with(|life| Arc::as_ptr(&life.0) as usize);
        // While a thread ends, its place in memory is its own. No life has an odd address.
        let id = id.unwrap_or_else(|_| super::this_thread() | 1);
        ID.set(id);
        id
    }
}

#[cfg(feature = "only-under-shuttle")]
impl ThreadLife {
    #[inline]
    pub(crate) fn id() -> usize {
        this_thread()
    }

    #[inline]
    pub(crate) fn known_id() -> usize {
        this_thread()
    }

    pub(crate) const fn of_this_thread() -> Option<ThreadLife> {
        None
    }

    pub(crate) fn ended(&self) -> Option<usize> {
        None
    }
}

// Shuttle works inside its executions only.
#[cfg(all(test, not(feature = "only-under-shuttle")))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_place_has_one_occupant_at_a_time() {
        let place = OwnerThread::default();
        assert!(!place.is_taken() && !place.is_current());
        assert!(place.acquire());
        assert!(place.is_taken() && place.is_current());
        assert!(!place.acquire(), "taken, if only by this thread");
        thread::scope(|scope| {
            let elsewhere = scope.spawn(|| (place.is_taken(), place.is_current(), place.acquire()));
            assert_eq!(elsewhere.join().unwrap(), (true, false, false));
        });
        place.release();
        assert!(!place.is_taken() && !place.is_current());
        thread::scope(|scope| {
            let elsewhere = scope.spawn(|| (place.acquire(), place.is_current()));
            assert_eq!(elsewhere.join().unwrap(), (true, true));
        });
        assert!(place.is_taken() && !place.is_current());
    }

    #[test]
    fn a_mutex_that_a_panic_left_locked_is_not_poisoned() {
        let mutex = Mutex::new(5);
        let panicked = thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _guard = mutex.lock();
                panic!("while it is locked");
            });
            holder.join().is_err()
        });
        assert!(panicked);
        assert_eq!(*mutex.lock(), 5);
    }

    #[test]
    fn a_thread_that_waits_for_a_change_is_woken() {
        /// How often this thread lets others run before it gives up.
        const TURNS: usize = 1_000_000;
        let shared = Arc::new((Mutex::new((false, false)), Condvar::default()));
        let waiter = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let (state, changed) = &*shared;
                let mut guard = state.lock();
                guard.0 = true;
                while !guard.1 {
                    guard = changed.wait(guard);
                }
            }
        });
        let (state, changed) = &*shared;
        // The waiter releases the lock by waiting, so a thread that sees `guard.0` set finds it
        // waiting.
        while !state.lock().0 {
            thread::yield_now();
        }
        state.lock().1 = true;
        changed.notify_all();
        let mut turns = (0..TURNS).inspect(|_| thread::yield_now());
        assert!(turns.any(|_| waiter.is_finished()), "it was not woken");
    }
}
