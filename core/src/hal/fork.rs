//! Noticing a fork without a call.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

/// Words in memory that differ between a process and the processes forked from it. Their sum is the
/// number of the process ([`Open::process`](super::Open::process)), so a context reads them in each
/// call instead of asking the backend.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use evtchn::ForkMark;
///
/// // Of a real process, the page of `evtchn_fork::mark`; a simulated fork adds to a word of its own.
/// let forks = Arc::new(AtomicU64::new(0));
/// let mark = ForkMark::new(evtchn_fork::mark()).with(Arc::clone(&forks));
/// let here = mark.value();
/// forks.fetch_add(1 << 32, Ordering::Relaxed);
/// assert_ne!(mark.value(), here);
/// ```
#[derive(Debug, Clone)]
pub struct ForkMark {
    page: &'static AtomicU64,
    /// A word of 0 if there is only the page, so that reading needs no branch.
    more: Arc<AtomicU64>,
}

impl ForkMark {
    /// A mark of this word, which the kernel or the library clears in a forked child.
    #[must_use]
    pub fn new(page: &'static AtomicU64) -> ForkMark {
        let more = Arc::default();
        ForkMark { page, more }
    }

    /// The same mark with this word added.
    #[must_use]
    pub fn with(self, more: Arc<AtomicU64>) -> ForkMark {
        ForkMark { more, ..self }
    }

    /// The sum of the words now.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        let page = self.page.load(Ordering::Relaxed);
        page.wrapping_add(self.more.load(Ordering::Relaxed))
    }
}

/// The process that something belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    mark: ForkMark,
    number: u64,
}

/// The value of the mark that stands for a backend without one.
const UNMARKED: u64 = 0xffff_ffff_ffff_fffe;
static UNMARKED_PAGE: AtomicU64 = AtomicU64::new(UNMARKED);

impl Process {
    /// The process with this number. Without a mark, each call has to ask the backend.
    pub(crate) fn new(mark: Option<ForkMark>, number: u64) -> Process {
        let mark = mark.unwrap_or_else(|| ForkMark::new(&UNMARKED_PAGE));
        Process { mark, number }
    }

    /// Whether it is the calling process. Without a mark, `ask` answers.
    #[inline]
    pub(crate) fn is_current(&self, ask: impl FnOnce(u64) -> bool) -> bool {
        self.mark.value() == self.number || self.asked(ask)
    }

    #[cold]
    fn asked(&self, ask: impl FnOnce(u64) -> bool) -> bool {
        self.mark.value() == UNMARKED && ask(self.number)
    }
}
