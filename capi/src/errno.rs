//! The errno of the calling thread.
#![expect(unsafe_code, reason = "C keeps it in a place of each thread")]

use std::cell::Cell;
use std::ffi::c_int;

/// Why a call failed. A type of our own, because it takes any number, also one that no kernel returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(c_int);

impl Errno {
    pub(crate) const EIO: Errno = Errno(libc::EIO);
    pub(crate) const EBADF: Errno = Errno(libc::EBADF);
    pub(crate) const EAGAIN: Errno = Errno(libc::EAGAIN);
    pub(crate) const ENOMEM: Errno = Errno(libc::ENOMEM);
    pub(crate) const EINVAL: Errno = Errno(libc::EINVAL);
    pub(crate) const EFBIG: Errno = Errno(libc::EFBIG);

    #[cfg(feature = "sim")]
    pub(crate) const fn new(number: c_int) -> Errno {
        Errno(number)
    }

    /// That of the last call of the C library that failed.
    pub(crate) fn last() -> Errno {
        Errno(place().get())
    }

    /// Leaves it to the caller of a function.
    pub(crate) fn set(self) {
        place().set(self.0);
    }
}

/// What a call of the C library returned, which is -1 if it failed.
pub(crate) fn result(value: c_int) -> Result<c_int, Errno> {
    match value {
        -1 => Err(Errno::last()),
        value => Ok(value),
    }
}

fn place() -> &'static Cell<c_int> {
    // SAFETY: there are no arguments to get wrong.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: it points to an integer of this thread, which lives as long as the thread, and a cell is not shared with
    // another thread.
    unsafe { &*place.cast::<Cell<c_int>>() }
}
