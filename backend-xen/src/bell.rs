//! An eventfd that makes threads in `poll` come back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd, and how many threads poll it or are about to.
#[derive(Debug)]
pub(crate) struct Bell {
    eventfd: OwnedFd,
    listeners: AtomicUsize,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Bell {
            eventfd: eventfd(0, flags)?,
            listeners: AtomicUsize::new(0),
        })
    }

    pub(crate) fn listen(&self) {
        self.listeners.fetch_add(1, SeqCst);
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.listeners.load(SeqCst) > 0
    }

    pub(crate) fn ring(&self) {
        // It fails only where the counter is full, and then the eventfd is readable anyway.
        let _full = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
    }

    /// Ends `listen`. While others listen a bell that was heard goes on ringing, because it is
    /// for them too.
    pub(crate) fn leave(&self, heard: bool) {
        let is_last = self.listeners.fetch_sub(1, SeqCst) == 1;
        if heard && is_last {
            self.silence();
        }
    }

    #[cold]
    fn silence(&self) {
        let _silent_before = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
        // What was silenced may have been for one who began to listen meanwhile.
        if self.has_listeners() {
            self.ring();
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
