//! What `xenevtchn_open` returns.
#![expect(unsafe_code, reason = "what is open is entered once")]

use std::ffi::c_int;

use crate::errno::Errno;
use crate::file::{File, Request};
use crate::slot::Slot;
use crate::toolcore::{self, Active};

/// An open event-channel device, as C has it: a pointer to this.
#[derive(Debug)]
#[repr(C)]
pub struct Handle {
    /// The first field, so a pointer to it is one to the handle.
    active: Active,
    /// Empty while it is being opened: libxentoolcore learns of the handle before there is a descriptor.
    file: Slot<File>,
}

// Threads share a handle.
const fn shared<T: Send + Sync>() {}
const _: () = shared::<Slot<File>>();

impl Handle {
    pub(crate) fn open(closes_on_exec: bool) -> Result<Box<Handle>, Errno> {
        Handle::with(|| File::open(closes_on_exec))
    }

    pub(crate) fn adopt(fd: c_int) -> Result<Box<Handle>, Errno> {
        Handle::with(|| File::adopt(fd))
    }

    fn with(open: impl FnOnce() -> Result<File, Errno>) -> Result<Box<Handle>, Errno> {
        let handle = toolcore::registered(Handle {
            active: Active::new(),
            file: Slot::new(),
        })?;
        match open() {
            Ok(file) => {
                // SAFETY: the handle was made above, and nothing else sets it.
                unsafe { handle.file.set(file) };
                Ok(handle)
            }
            Err(errno) => {
                toolcore::deregister(&handle);
                Err(errno)
            }
        }
    }

    pub(crate) fn close(self) -> Result<(), Errno> {
        match self.file.take() {
            Some(file) => file.close(),
            None => Ok(()),
        }
    }

    pub(crate) const fn active(&self) -> &Active {
        &self.active
    }

    pub(crate) fn file(&self) -> Result<&File, Errno> {
        self.file.get().ok_or(Errno::EBADF)
    }

    pub(crate) fn fd(&self) -> c_int {
        self.file.get().map_or(-1, File::fd)
    }

    #[inline(always)]
    pub(crate) fn request(&self, request: Request) -> Result<c_int, Errno> {
        self.file()?.request(request)
    }

    #[inline]
    pub(crate) fn pending(&self) -> Result<u32, Errno> {
        self.file()?.pending()
    }

    #[inline]
    pub(crate) fn unmask(&self, port: u32) -> Result<(), Errno> {
        self.file()?.unmask(port)
    }

    /// Restricts the handle on behalf of `xentoolcore_restrict_all`. One that is not open yet has nothing to restrict.
    pub(crate) fn restrict_all(&self, domid: u16) -> Result<c_int, Errno> {
        match self.file.get() {
            Some(file) => file.request(Request::Restrict(domid)),
            None => Ok(0),
        }
    }
}
