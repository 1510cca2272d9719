//! Notices that a process was forked, without a system call and without a lock.
//!
//! A process id does not distinguish a child from its parent: each PID namespace has a process 1,
//! and process 1 of one namespace can be the parent of process 1 of another. So this crate keeps a
//! number in a page of memory that the kernel fills with zeros in a forked child (madvise(2),
//! `MADV_WIPEONFORK`, Linux 4.14). A process that finds a zero there takes a new number.
//!
//! [`Process::current`] makes the page and returns an error where that is impossible, so every
//! [`Process`] notices forks. The first answer is final: a page that could not be made is not tried
//! again, not even in a child.
//!
//! `vfork` and `clone` with `CLONE_VM` share the memory of the parent, so they do not count as
//! forks here. Their child may only exec or exit, or is a thread.
//!
//! ```
//! use evtchn_fork::Process;
//!
//! /// Has a descriptor that a forked child shares with its parent.
//! struct Wakeup {
//!     made_by: Process,
//! }
//!
//! impl Drop for Wakeup {
//!     fn drop(&mut self) {
//!         if self.made_by.is_current() {
//!             // Only the process that made it removes it from its epoll instance.
//!         }
//!     }
//! }
//!
//! let wakeup = Wakeup { made_by: Process::current()? };
//! assert!(wakeup.made_by.is_current());
//! # Ok::<_, evtchn_fork::Unavailable>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

mod page;

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

pub use rustix::io::Errno;

/// Identifies one process, as opposed to every process that is forked from it.
///
/// ```
/// use evtchn_fork::Process;
///
/// let here = Process::current()?;
/// assert!(here.is_current());
/// assert_eq!(here.number(), Process::current()?.number());
/// # Ok::<_, evtchn_fork::Unavailable>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Where the calling process keeps its number, which is 0 right after a fork.
    mark: &'static AtomicU64,
    number: u64,
}

impl Process {
    /// The calling process.
    ///
    /// # Errors
    /// [`Unavailable`] where a fork cannot be noticed. Every later call returns the same error.
    pub fn current() -> Result<Process, Unavailable> {
        let mark = (*PAGE.get_or_init(first_page))?;
        let number = numbered(mark, &LAST);
        Ok(Process { mark, number })
    }

    /// Whether this is the calling process: false in every process that was forked from it.
    ///
    /// It makes no system call and takes no lock.
    #[inline]
    #[must_use]
    pub fn is_current(self) -> bool {
        self.mark.load(Ordering::Relaxed) == self.number
    }

    /// Returns an error in a process that was forked from this one.
    ///
    /// ```
    /// let here = evtchn_fork::Process::current()?;
    /// here.check()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Inherited`] in a forked child.
    #[inline]
    pub fn check(self) -> Result<(), Inherited> {
        match self.is_current() {
            true => Ok(()),
            false => Err(Inherited),
        }
    }

    /// The number of the process. It is not 0, and no process that this one was forked from has it.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }
}

/// The number of the calling process, or 0 where [`Process::current`] fails.
///
/// ```
/// let here = evtchn_fork::Process::current()?;
/// assert_eq!(evtchn_fork::number(), here.number());
/// # Ok::<_, evtchn_fork::Unavailable>(())
/// ```
#[must_use]
pub fn number() -> u64 {
    Process::current().map_or(0, Process::number)
}

/// Whether `number` is the number of the calling process. `number` is an answer of [`number`],
/// here or in a process that this one was forked from.
///
/// It makes no system call and takes no lock. Where a fork cannot be noticed, every process has
/// the number 0.
///
/// ```
/// assert!(evtchn_fork::is_current(evtchn_fork::number()));
/// ```
#[inline]
#[must_use]
pub fn is_current(number: u64) -> bool {
    seen() == number
}

/// The word that distinguishes this process from every process that is forked from it: it keeps its
/// value for as long as the process lives, and has another value in a forked child. Where a fork
/// cannot be noticed, it is 0 in every process.
///
/// ```
/// use std::sync::atomic::Ordering;
///
/// let here = evtchn_fork::number();
/// assert_eq!(evtchn_fork::mark().load(Ordering::Relaxed), here);
/// ```
#[must_use]
pub fn mark() -> &'static AtomicU64 {
    match Process::current() {
        Ok(process) => process.mark,
        Err(_) => &UNMARKED,
    }
}

/// The number of the calling process, if it has taken one: 0 right after a fork, and before the
/// first call of [`number`] or [`Process::current`]. It is for callers that add something to the
/// numbers; all others call [`is_current`].
///
/// ```
/// let here = evtchn_fork::number();
/// assert_eq!(evtchn_fork::seen(), here);
/// ```
#[inline]
#[must_use]
#[expect(unsafe_code, reason = "the page is found by its address, in one load")]
pub fn seen() -> u64 {
    // SAFETY: it points to `UNMARKED` or to the page, and neither is ever unmapped.
    let mark = unsafe { &*MARK.load(Ordering::Acquire) };
    mark.load(Ordering::Relaxed)
}

/// A fork cannot be noticed here, so nothing is made that a forked child would share.
///
/// ```
/// use evtchn_fork::{Errno, Step, Unavailable};
///
/// let old_kernel = Unavailable { step: Step::Wipe, errno: Errno::INVAL };
/// assert_eq!(
///     old_kernel.to_string(),
///     "cannot notice a fork: madvise(MADV_WIPEONFORK) failed, which needs Linux 4.14: \
///      Invalid argument (os error 22)"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot notice a fork: {step}: {errno}")]
pub struct Unavailable {
    /// The step that failed.
    pub step: Step,
    /// What the kernel answered.
    pub errno: Errno,
}

/// A step of making the page.
///
/// ```
/// assert_eq!(evtchn_fork::Step::Map.to_string(), "no page could be mapped");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Step {
    /// Mapping the page.
    #[error("no page could be mapped")]
    Map,
    /// Asking the kernel to empty the page at each fork.
    #[error("madvise(MADV_WIPEONFORK) failed, which needs Linux 4.14")]
    Wipe,
}

/// Has the kind of the errno, and the error itself inside.
impl From<Unavailable> for io::Error {
    fn from(error: Unavailable) -> io::Error {
        io::Error::new(io::Error::from(error.errno).kind(), error)
    }
}

/// The call was made in a forked child, on something that its parent made. Nothing was done.
///
/// ```
/// let refused = std::io::Error::from(evtchn_fork::Inherited);
/// assert!(refused.get_ref().is_some_and(|it| it.is::<evtchn_fork::Inherited>()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it belongs to the process that this one was forked from")]
pub struct Inherited;

impl From<Inherited> for io::Error {
    fn from(error: Inherited) -> io::Error {
        io::Error::other(error)
    }
}

/// The page, made once.
static PAGE: OnceLock<Result<&'static AtomicU64, Unavailable>> = OnceLock::new();

fn first_page() -> Result<&'static AtomicU64, Unavailable> {
    let page = page::map()?;
    MARK.store(ptr::from_ref(page).cast_mut(), Ordering::Release);
    Ok(page)
}

/// Where the number of this process is, for calls without a [`Process`].
static MARK: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::from_ref(&UNMARKED).cast_mut());

/// Stands in for the page until there is one, and for good where the kernel cannot make it.
static UNMARKED: AtomicU64 = AtomicU64::new(0);

/// The last number that was given out. A child goes on counting from the number of its parent, so
/// no number that it may have copied is given out again.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The number in `mark`. Where that is 0, the process takes the next number and stores it there.
fn numbered(mark: &AtomicU64, last: &AtomicU64) -> u64 {
    match mark.load(Ordering::Relaxed) {
        0 => {
            let number = last.fetch_add(1, Ordering::Relaxed) + 1;
            match mark.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => number,
                Err(faster) => faster,
            }
        }
        number => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_page_gets_a_number_that_was_never_used() {
        let (mark, last) = (AtomicU64::new(0), AtomicU64::new(7));
        assert_eq!(numbered(&mark, &last), 8);
        assert_eq!(numbered(&mark, &last), 8);
        mark.store(0, Ordering::Relaxed);
        assert_eq!(numbered(&mark, &last), 9);
    }

    #[test]
    fn a_process_is_not_current_once_its_page_was_wiped() {
        let mark = Box::leak(Box::new(AtomicU64::new(3)));
        let before = Process { mark, number: 3 };
        assert_eq!(before.check(), Ok(()));
        mark.store(0, Ordering::Relaxed);
        assert_eq!(before.check(), Err(Inherited));
        mark.store(4, Ordering::Relaxed);
        assert_eq!(before.check(), Err(Inherited));
    }

    #[test]
    fn a_process_keeps_its_number() {
        let here = Process::current().unwrap();
        assert!(here.is_current() && is_current(number()));
        assert_eq!((number(), seen()), (here.number(), here.number()));
        assert_ne!(here.number(), 0);
    }
}
