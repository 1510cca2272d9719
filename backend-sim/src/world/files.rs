//! The device as a C program calls it: request numbers, words, byte counts.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use evtchn_core::DomId;

use super::{Happened, Happening, Kernel, World};
use crate::driver::Driver;
use crate::driver::abi::{Access, Arg, PollBits};
use crate::errno::Errno;
use crate::platform::Hypercalls;
#[cfg(feature = "remote")]
use crate::pollable::Pollable;

/// An open file of some domain.
///
/// ```
/// use evtchn::DomId;
/// use evtchn::sim::abi::{BIND_UNBOUND_PORT, PollBits};
/// use evtchn::sim::{Config, Errno, World};
///
/// let mut world = World::new(Config::seeded(1));
/// let file = world.open(DomId::DOM0)?;
/// let port = world.ioctl(file, BIND_UNBOUND_PORT, 0)?;
/// assert_eq!(world.write(file, &port.to_ne_bytes()), Ok(4));
/// assert_eq!(world.poll(file), Ok(PollBits::WRITABLE));
/// world.close(file)?;
/// assert_eq!(world.poll(file), Err(Errno::EBADF));
/// # Ok::<_, Errno>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    pub(super) domid: DomId,
    /// The boot of this domain id; ids are recycled.
    pub(super) boot: u64,
    pub(super) index: usize,
}

impl FileId {
    /// The domain in which it is open.
    #[must_use]
    pub const fn domid(self) -> DomId {
        self.domid
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{} file={}", self.domid, self.index)
    }
}

impl World {
    /// Opens `/dev/xen/evtchn` in a domain, for reading and writing and non-blocking.
    ///
    /// # Errors
    /// `ENOENT` where there is no such domain.
    pub fn open(&mut self, domid: DomId) -> Result<FileId, Errno> {
        self.happened(Happening::Open, domid.as_raw().into());
        let kernel = self.kernels.get_mut(usize::from(domid.as_raw()));
        let kernel = kernel.and_then(Option::as_deref_mut);
        let kernel = kernel.ok_or(Errno::ENOENT)?;
        Ok(FileId {
            domid,
            boot: kernel.boot,
            index: kernel.driver.open(),
        })
    }

    /// Opens `/dev/xen/evtchn` in a domain with these modes of open(2).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        &mut self,
        domid: DomId,
        access: Access,
        is_nonblocking: bool,
    ) -> Result<FileId, Errno> {
        let file = self.open(domid)?;
        let driver = driver(&mut self.kernels, file)?;
        driver.set_modes(file.index, access, is_nonblocking)?;
        Ok(file)
    }

    /// One more descriptor of an open file (dup(2), fork(2)): it shares everything.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn dup(&mut self, file: FileId) -> Result<(), Errno> {
        driver(&mut self.kernels, file)?.dup(file.index)?;
        self.happened(Happening::Dup, file.domid.as_raw().into());
        Ok(())
    }

    /// Closes one descriptor of an open file. The last one closes its ports.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn close(&mut self, file: FileId) -> Result<(), Errno> {
        driver(&mut self.kernels, file)?.close(&mut self.xen, file.index)?;
        self.happened(Happening::Close, file.domid.as_raw().into());
        Ok(())
    }

    /// ioctl(2). The request numbers are in [`abi`](crate::abi).
    ///
    /// # Errors
    /// Those of Linux drivers/xen/evtchn.c, `evtchn_ioctl`, and of the hypercalls it makes.
    /// `EBADF` for a closed file.
    #[inline]
    pub fn ioctl(&mut self, file: FileId, request: u32, arg: impl Into<Arg>) -> Result<u32, Errno> {
        let arg = arg.into();
        let driver = driver(&mut self.kernels, file)?;
        let answer = driver.ioctl(&mut self.xen, file.index, request, arg);
        let [first, second] = arg.words().unwrap_or_default();
        self.digest.pair(request, first);
        self.digest.pair(second, word(answer));
        self.within = true;
        self.upcalls();
        self.within = false;
        self.run_readers();
        answer
    }

    /// Sends through a port as one entry of a multicall, which asks Xen alone: whose file has bound the
    /// port is not checked. Xen interrupts the list where an event has to be delivered to the caller
    /// (xen/common/multicall.c, `hypercall_preempt_check`), so events arrive between the entries.
    ///
    /// # Errors
    /// Those of Xen's `EVTCHNOP_send`.
    pub(crate) fn send_in_multicall(&mut self, domid: DomId, port: u32) -> Result<(), Errno> {
        let answer = self.xen.send(domid, port);
        self.digest.pair(SEND, port);
        self.digest.pair(SEND, word(answer.map(|()| 0)));
        self.within = true;
        self.upcalls();
        self.within = false;
        self.run_readers();
        answer
    }

    /// Whether the kernel of a domain makes hypercalls for its programs.
    pub(crate) fn makes_hypercalls(&self, domid: DomId) -> bool {
        let kernel = self.kernels.get(usize::from(domid.as_raw()));
        let kernel = kernel.and_then(Option::as_deref);
        kernel.is_none_or(|kernel| kernel.config.hypercalls == Hypercalls::Made)
    }

    /// Whether a device of a domain sends many events in one hypercall, as in a control domain.
    pub(crate) fn makes_multicalls(&self, domid: DomId) -> bool {
        self.xen.is_privileged(domid) && self.makes_hypercalls(domid)
    }

    /// The major and the minor number of the device node in a domain.
    ///
    /// ```
    /// use evtchn::DomId;
    /// use evtchn::sim::{Platform, World};
    ///
    /// let world = World::new(Platform::LINUX_6_12_ON_XEN_4_20.config(1));
    /// assert_eq!(world.device_number(DomId::DOM0), Ok((10, 262)));
    /// ```
    ///
    /// # Errors
    /// `ENOENT` where there is no such domain.
    pub fn device_number(&self, domid: DomId) -> Result<(u32, u32), Errno> {
        let kernel = self.kernels.get(usize::from(domid.as_raw()));
        let kernel = kernel.and_then(Option::as_deref).ok_or(Errno::ENOENT)?;
        Ok((MISC_MAJOR, kernel.config.device_minor))
    }

    /// How many times a file was given a static port that another file or the kernel of its domain
    /// had bound. Here such a call fails with `EBUSY`. A real kernel does not always refuse it, and it
    /// may break the channel of the other owner. So the number of a correct program is 0.
    #[must_use]
    pub fn static_misuses(&self) -> u64 {
        let kernels = self.kernels.iter().flatten();
        kernels.map(|kernel| kernel.driver.static_misuses()).sum()
    }

    /// read(2) into `buf`: whole ports, in the byte order of the machine.
    ///
    /// # Errors
    /// `EFBIG` after an overflow, `EAGAIN` where nothing is to be read (Linux
    /// drivers/xen/evtchn.c, `evtchn_read`), `EBADF` for a closed file and for one that is not open
    /// for reading. A read that may sleep is [`read_blocking`](Self::read_blocking).
    pub fn read(&mut self, file: FileId, buf: &mut [u8]) -> Result<usize, Errno> {
        self.read_cut(file, buf.len(), buf)
    }

    /// read(2) of `count` bytes into memory that is not mapped.
    ///
    /// # Errors
    /// `EFAULT` where there is something to be read; else as [`read`](Self::read).
    pub fn read_bad(&mut self, file: FileId, count: usize) -> Result<usize, Errno> {
        self.read_cut(file, count, &mut [])
    }

    /// read(2) of `count` bytes into memory that ends after `buf`.
    ///
    /// # Errors
    /// `EFAULT` where what is to be read does not fit into `buf`, and then it stays unread; else
    /// as [`read`](Self::read).
    pub fn read_cut(&mut self, file: FileId, count: usize, buf: &mut [u8]) -> Result<usize, Errno> {
        let there = buf.len();
        let put = |index: usize, port: u32| {
            let rest = buf.get_mut(index * size_of::<u32>()..);
            if let Some(bytes) = rest.and_then(<[u8]>::first_chunk_mut) {
                *bytes = port.to_ne_bytes();
            }
        };
        self.read_with(file, count, there, put)
    }

    /// [`read`](Self::read) into words; returns how many.
    #[inline]
    pub(crate) fn read_words(&mut self, file: FileId, words: &mut [u32]) -> Result<usize, Errno> {
        let count = size_of_val(words);
        let put = |index: usize, port| {
            if let Some(word) = words.get_mut(index) {
                *word = port;
            }
        };
        Ok(self.read_with(file, count, count, put)? / size_of::<u32>())
    }

    /// write(2) of `buf`: whole ports, in the byte order of the machine.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn write(&mut self, file: FileId, buf: &[u8]) -> Result<usize, Errno> {
        self.write_cut(file, buf.len(), buf)
    }

    /// write(2) of `count` bytes from memory that is not mapped.
    ///
    /// # Errors
    /// `EFAULT` where at least one port would be written; `EBADF` for a closed file.
    pub fn write_bad(&mut self, file: FileId, count: usize) -> Result<usize, Errno> {
        self.write_cut(file, count, &[])
    }

    /// write(2) of `count` bytes from memory that ends after `buf`.
    ///
    /// # Errors
    /// `EFAULT` where more would be written than `buf` holds, and then nothing is; `EBADF` for a
    /// closed file.
    pub fn write_cut(&mut self, file: FileId, count: usize, buf: &[u8]) -> Result<usize, Errno> {
        let port = |index: usize| {
            let rest = buf.get(index * size_of::<u32>()..);
            let bytes = rest.and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |&bytes| u32::from_ne_bytes(bytes))
        };
        self.write_with(file, count, buf.len(), port)
    }

    /// What poll(2) reports for an open file.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn poll(&self, file: FileId) -> Result<PollBits, Errno> {
        kernel(&self.kernels, file)?.driver.poll(file.index)
    }

    /// How often the ring of a file went from empty to not empty, which is when Linux wakes
    /// sleepers and edge-triggered loops.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn wakes(&self, file: FileId) -> Result<u64, Errno> {
        kernel(&self.kernels, file)?.driver.wakes(file.index)
    }

    /// Makes the ring of a file overflow at once, as if an event had found it full: Linux did
    /// that by mistake where it handled one event twice.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn overflow(&mut self, file: FileId) -> Result<(), Errno> {
        driver(&mut self.kernels, file)?.overflow(file.index)?;
        self.happened(Happening::Overflow, file.domid.as_raw().into());
        self.report(Happened::Overflow);
        Ok(())
    }

    pub(crate) fn pollable(&mut self, file: FileId) -> io::Result<OwnedFd> {
        match driver(&mut self.kernels, file) {
            Ok(driver) => driver.pollable(file.index),
            Err(errno) => Err(io::Error::from_raw_os_error(errno.raw())),
        }
    }

    /// What shows the state of a file to real event loops, once there is such a descriptor.
    #[cfg(feature = "remote")]
    pub(crate) fn shown(&mut self, file: FileId) -> Option<&mut Pollable> {
        driver(&mut self.kernels, file).ok()?.shown(file.index)
    }

    #[inline]
    fn read_with(
        &mut self,
        file: FileId,
        count: usize,
        there: usize,
        mut put: impl FnMut(usize, u32),
    ) -> Result<usize, Errno> {
        let driver = driver(&mut self.kernels, file)?;
        driver.readable(file.index)?;
        let digest = &mut self.digest;
        let answer = driver.read(file.index, count, there, |index, port| {
            digest.word(u64::from(port));
            put(index, port);
        });
        self.digest.pair(READ, size(answer));
        answer
    }

    #[inline]
    pub(crate) fn write_with(
        &mut self,
        file: FileId,
        count: usize,
        there: usize,
        port: impl Fn(usize) -> u32,
    ) -> Result<usize, Errno> {
        let driver = driver(&mut self.kernels, file)?;
        driver.writable(file.index)?;
        let digest = &mut self.digest;
        let answer = driver.write(&mut self.xen, file.index, count, there, |index| {
            let port = port(index);
            digest.word(u64::from(port));
            port
        });
        self.digest.pair(WRITE, size(answer));
        self.within = true;
        self.upcalls();
        self.within = false;
        self.run_readers();
        answer
    }
}

impl Kernel {
    #[inline]
    fn is_open(&self, file: FileId) -> bool {
        self.boot == file.boot && self.driver.is_open(file.index)
    }
}

/// The major number of miscellaneous devices (Linux include/uapi/linux/major.h).
const MISC_MAJOR: u32 = 10;

/// Distinguishes a read and a write from the requests of ioctl in the digest.
pub(super) const READ: u32 = 1;
const WRITE: u32 = 2;
const SEND: u32 = 3;

#[inline]
pub(super) fn driver(
    kernels: &mut [Option<Box<Kernel>>],
    file: FileId,
) -> Result<&mut Driver, Errno> {
    let kernel = kernels.get_mut(usize::from(file.domid.as_raw()));
    match kernel.and_then(Option::as_deref_mut) {
        Some(kernel) if kernel.is_open(file) => Ok(&mut kernel.driver),
        _ => Err(Errno::EBADF),
    }
}

pub(super) fn kernel(kernels: &[Option<Box<Kernel>>], file: FileId) -> Result<&Kernel, Errno> {
    let kernel = kernels.get(usize::from(file.domid.as_raw()));
    match kernel.and_then(Option::as_deref) {
        Some(kernel) if kernel.is_open(file) => Ok(kernel),
        _ => Err(Errno::EBADF),
    }
}

/// An answer as one word, the errno negative as a system call returns it.
fn word(answer: Result<u32, Errno>) -> u32 {
    answer.unwrap_or_else(|errno| errno.raw().unsigned_abs().wrapping_neg())
}

pub(super) fn size(answer: Result<usize, Errno>) -> u32 {
    // At most a page.
    word(answer.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)))
}
