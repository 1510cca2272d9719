//! Keeps the error of a wake-up that failed, because `Registrar::wake` cannot return it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The error of the first wake-up that failed since the last one was returned.
#[derive(Debug, Default)]
pub(crate) struct FailedWake(Mutex<Option<io::Error>>);

impl FailedWake {
    /// Stores the error of a wake-up that failed.
    pub(crate) fn keep(&self, woke: io::Result<()>) {
        if let Err(error) = woke {
            self.lock().get_or_insert(error);
        }
    }

    /// Returns the error, once.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.lock().take()
    }

    /// Fails with the error, once.
    pub(crate) fn report(&self) -> io::Result<()> {
        self.take().map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Option<io::Error>> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wake_that_failed_is_reported_once() {
        let failed = FailedWake::default();
        failed.keep(Ok(()));
        assert!(failed.report().is_ok());
        failed.keep(Err(io::ErrorKind::BrokenPipe.into()));
        failed.keep(Err(io::ErrorKind::OutOfMemory.into()));
        failed.keep(Ok(()));
        let reported = failed.report().unwrap_err();
        assert_eq!(reported.kind(), io::ErrorKind::BrokenPipe);
        assert!(failed.take().is_none());
    }
}
