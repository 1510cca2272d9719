//! What Linux itself does with an open file, before or instead of its driver: access modes,
//! `O_NONBLOCK`, `O_ASYNC`, and the count of references to it.

use super::Driver;
use super::abi::{self, Access, Arg};
use super::file::File;
use crate::errno::Errno;
use crate::hypervisor::Hypervisor;

impl Driver {
    /// Sets the modes that were given to open(2).
    pub(crate) fn set_modes(
        &mut self,
        file: usize,
        access: Access,
        is_nonblocking: bool,
    ) -> Result<(), Errno> {
        let file = self.file(file)?;
        file.access = access;
        file.is_nonblocking = is_nonblocking;
        Ok(())
    }

    /// Whether a descriptor refers to a file. Without one, a file in which a thread still reads
    /// exists, but no call reaches it.
    #[inline]
    pub(crate) fn is_open(&self, file: usize) -> bool {
        self.closing == 0 || self.peek(file).is_ok_and(|file| file.descriptors > 0)
    }

    /// `EBADF` where a file is not open for reading.
    #[inline]
    pub(crate) fn readable(&self, file: usize) -> Result<(), Errno> {
        match self.peek(file)?.access {
            Access::ReadOnly | Access::ReadWrite => Ok(()),
            Access::WriteOnly => Err(Errno::EBADF),
        }
    }

    /// `EBADF` where a file is not open for writing.
    #[inline]
    pub(crate) fn writable(&self, file: usize) -> Result<(), Errno> {
        match self.peek(file)?.access {
            Access::WriteOnly | Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Errno::EBADF),
        }
    }

    /// Whether a read of an empty ring sleeps.
    pub(crate) fn blocks(&self, file: usize) -> Result<bool, Errno> {
        Ok(!self.peek(file)?.is_nonblocking)
    }

    /// `O_NONBLOCK` on or off, which every duplicate shares. Wakes no sleeper.
    pub(crate) fn set_nonblocking(&mut self, file: usize, is_on: bool) -> Result<(), Errno> {
        self.file(file)?.is_nonblocking = is_on;
        Ok(())
    }

    /// Whether there is something to read, or was before an overflow.
    pub(crate) fn has_entries(&self, file: usize) -> bool {
        self.peek(file).is_ok_and(|file| file.ring().len() > 0)
    }

    /// How often `SIGIO` was due.
    pub(crate) fn signals(&self, file: usize) -> Result<u64, Errno> {
        Ok(self.peek(file)?.signals)
    }

    /// A thread goes to sleep in a read.
    pub(crate) fn hold(&mut self, file: usize) -> Result<(), Errno> {
        self.file(file)?.readers += 1;
        Ok(())
    }

    /// A thread leaves a read in which it slept. The last one releases a file that was closed
    /// meanwhile.
    pub(crate) fn let_go(&mut self, xen: &mut Hypervisor, file: usize) -> Result<(), Errno> {
        let open = self.file(file)?;
        open.readers -= 1;
        if open.readers == 0 && open.descriptors == 0 {
            self.closing -= 1;
            self.release(xen, file);
        }
        Ok(())
    }
}

impl File {
    /// The requests that the driver does not know: Linux answers some for every file
    /// (`do_vfs_ioctl`), for a device node on a file system in memory and a program of root.
    pub(super) fn vfs_ioctl(&mut self, request: u32, arg: Arg) -> Result<u32, Errno> {
        let number = || Ok(arg.words().ok_or(Errno::EFAULT)?[0]);
        let is_on = || number().map(|number| number != 0);
        match request {
            abi::FIONBIO => self.is_nonblocking = is_on()?,
            abi::FIOASYNC => self.is_async = is_on()?,
            abi::FIOCLEX | abi::FIONCLEX => {}
            abi::FIOQSIZE => return Err(Errno::ENOTTY),
            abi::FIGETBSZ => {
                number()?;
            }
            abi::FIFREEZE | abi::FIEMAP => return Err(Errno::EOPNOTSUPP),
            // It is not frozen.
            abi::FITHAW => return Err(Errno::EINVAL),
            // The argument is a descriptor, and none of the program is this number.
            abi::FICLONE => return Err(Errno::EBADF),
            abi::FICLONERANGE => {
                number()?;
                return Err(Errno::EBADF);
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }
}
