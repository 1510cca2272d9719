//! Threads in a read(2) that may sleep, and the calls that the device always refuses.
//!
//! A thread of a simulated program is no thread of the test: it begins a read, and the test asks
//! later whether the read is over. A sleeper runs again when Linux would wake it, at the end of the
//! call that woke it; of several sleepers the [`Choice`](crate::Choice) decides which is first.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::files::{READ, driver, kernel, size};
use super::{FileId, Happening, World};
use crate::driver::Driver;
use crate::driver::abi::PAGE;
use crate::errno::Errno;
use crate::hypervisor::Hypervisor;

/// A read that was begun by [`World::read_blocking`].
///
/// ```
/// use evtchn::DomId;
/// use evtchn::sim::abi::{BIND_INTERDOMAIN, BIND_UNBOUND_PORT};
/// use evtchn::sim::{Config, Errno, World};
///
/// let mut world = World::new(Config::seeded(1));
/// let file = world.open(DomId::DOM0)?;
/// world.set_nonblocking(file, false)?;
/// let reader = world.read_blocking(file, 4)?;
/// assert_eq!((world.end_of_read(reader), world.sleepers()), (None, 1));
///
/// let ours = world.ioctl(file, BIND_UNBOUND_PORT, 0)?;
/// let theirs = world.ioctl(file, BIND_INTERDOMAIN, [0, ours])?; // which brings an event
/// assert_eq!(world.end_of_read(reader), Some(Ok(theirs.to_ne_bytes().to_vec())));
/// # Ok::<_, Errno>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(u64);

#[derive(Debug, Default)]
pub(super) struct Readers {
    begun: u64,
    asleep: BTreeMap<ReaderId, Sleeper>,
    over: BTreeMap<ReaderId, Result<Vec<u8>, Errno>>,
}

#[derive(Debug)]
struct Sleeper {
    file: FileId,
    count: usize,
    /// How often sleepers on the file had been woken when this one fell asleep.
    wakes: u64,
}

/// Why a sleeper runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    Event,
    /// A signal; the read begins anew if the handler says so (`SA_RESTART`).
    Signal {
        restarts: bool,
    },
}

impl World {
    /// A thread calls read(2) for `count` bytes. It sleeps where there is nothing to read and the
    /// file is blocking. [`end_of_read`](Self::end_of_read) returns the result.
    ///
    /// # Errors
    /// `EBADF` for a closed file and for one that is not open for reading.
    pub fn read_blocking(&mut self, file: FileId, count: usize) -> Result<ReaderId, Errno> {
        driver(&mut self.kernels, file)?.readable(file.index)?;
        self.happened(Happening::BlockingRead, file.domid.as_raw().into());
        self.readers.begun += 1;
        let reader = ReaderId(self.readers.begun);
        self.begin(reader, file, count);
        Ok(reader)
    }

    /// The result of a read that is over, returned once; `None` while it sleeps. `EBADF` where the
    /// result was returned before, and where the domain is gone with its threads.
    pub fn end_of_read(&mut self, reader: ReaderId) -> Option<Result<Vec<u8>, Errno>> {
        match self.readers.asleep.get(&reader) {
            Some(sleeper) if kernel_of(self, sleeper.file).is_some() => return None,
            Some(_) => drop(self.readers.asleep.remove(&reader)),
            None => {}
        }
        let over = self.readers.over.remove(&reader);
        Some(over.unwrap_or(Err(Errno::EBADF)))
    }

    /// How many threads sleep in a read.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.readers.asleep.len()
    }

    /// A signal whose handler restarts nothing interrupts the thread in a read: the read ends with
    /// `EINTR`, unless there is something to read by then.
    ///
    /// # Errors
    /// `ESRCH` where this thread does not sleep.
    pub fn signal(&mut self, reader: ReaderId) -> Result<(), Errno> {
        self.interrupt(reader, false)
    }

    /// A signal whose handler restarts calls (`SA_RESTART`) interrupts the thread in a read. The
    /// read is then made anew, with what has changed since.
    ///
    /// # Errors
    /// `ESRCH` where this thread does not sleep.
    pub fn signal_restarting(&mut self, reader: ReaderId) -> Result<(), Errno> {
        self.interrupt(reader, true)
    }

    /// `O_NONBLOCK` on or off (fcntl(2), `F_SETFL`). All descriptors of the file share it; a thread
    /// that sleeps already sleeps on.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn set_nonblocking(&mut self, file: FileId, is_on: bool) -> Result<(), Errno> {
        driver(&mut self.kernels, file)?.set_nonblocking(file.index, is_on)?;
        self.happened(Happening::SetNonblocking, is_on.into());
        Ok(())
    }

    /// How often the owner of the file would have got `SIGIO`: whenever sleepers are woken while
    /// `O_ASYNC` is on.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn signals(&self, file: FileId) -> Result<u64, Errno> {
        kernel(&self.kernels, file)?.driver.signals(file.index)
    }

    /// readv(2), of a file that does not sleep: one read for each segment, until one is not filled.
    /// So a segment of less than a port ends it, and with nothing read the answer is 0.
    ///
    /// # Errors
    /// Those of [`read`](Self::read) for the first segment that is not empty.
    pub fn readv(&mut self, file: FileId, segments: &mut [&mut [u8]]) -> Result<usize, Errno> {
        let lengths: Vec<usize> = segments.iter().map(|it| it.len()).collect();
        driver(&mut self.kernels, file)?.readable(file.index)?;
        by_segments(&lengths, |index| self.read(file, segments[index]))
    }

    /// writev(2): one write for each segment, until one is not taken whole.
    ///
    /// # Errors
    /// Those of [`write`](Self::write) for the first segment that is not empty.
    pub fn writev(&mut self, file: FileId, segments: &[&[u8]]) -> Result<usize, Errno> {
        let lengths: Vec<usize> = segments.iter().map(|it| it.len()).collect();
        driver(&mut self.kernels, file)?.writable(file.index)?;
        by_segments(&lengths, |index| self.write(file, segments[index]))
    }

    /// lseek(2): an event channel has no position.
    ///
    /// # Errors
    /// `ESPIPE` always; `EBADF` for a closed file.
    pub fn seek(&self, file: FileId) -> Result<Infallible, Errno> {
        self.poll(file)?;
        Err(Errno::ESPIPE)
    }

    /// pread(2) or pwrite(2) at this offset, in whatever mode the file was opened.
    ///
    /// # Errors
    /// `EINVAL` for a negative offset, else `ESPIPE`; `EBADF` for a closed file.
    pub fn at_offset(&self, file: FileId, offset: i64) -> Result<Infallible, Errno> {
        if offset < 0 {
            return Err(Errno::EINVAL);
        }
        self.seek(file)
    }

    /// mmap(2), in the mode in which the file was opened.
    ///
    /// # Errors
    /// `ENODEV` always, `EACCES` before it for a file that is not open for reading; `EBADF` for a
    /// closed file.
    pub fn map(&self, file: FileId) -> Result<Infallible, Errno> {
        self.poll(file)?;
        let readable = kernel(&self.kernels, file)?.driver.readable(file.index);
        Err(match readable {
            Ok(()) => Errno::ENODEV,
            Err(_) => Errno::EACCES,
        })
    }

    /// Runs every sleeper that was woken, in a chosen order.
    #[inline]
    pub(super) fn run_readers(&mut self) {
        if !self.readers.asleep.is_empty() {
            self.run_woken();
        }
    }

    fn run_woken(&mut self) {
        loop {
            let woken: Vec<ReaderId> = self.woken().collect();
            if woken.is_empty() {
                return;
            }
            let first = woken[self.choice.of(woken.len())];
            self.run_reader(first, Wake::Event);
        }
    }

    fn woken(&self) -> impl Iterator<Item = ReaderId> {
        let asleep = self.readers.asleep.iter();
        asleep.filter_map(|(&reader, sleeper)| {
            let wakes = kernel_of(self, sleeper.file)?.wakes(sleeper.file.index);
            wakes
                .is_ok_and(|wakes| wakes != sleeper.wakes)
                .then_some(reader)
        })
    }

    /// Begins a read, or begins it anew.
    fn begin(&mut self, reader: ReaderId, file: FileId, count: usize) {
        let answer = self.attempt(file, count);
        let sleeps = answer == Err(Errno::EAGAIN)
            && kernel_of(self, file).is_some_and(|driver| driver.blocks(file.index) == Ok(true));
        if !sleeps {
            self.readers.over.insert(reader, answer);
            return;
        }
        if let Ok(driver) = driver(&mut self.kernels, file) {
            if driver.hold(file.index).is_ok() {
                self.fall_asleep(reader, file, count);
            }
        }
    }

    fn fall_asleep(&mut self, reader: ReaderId, file: FileId, count: usize) {
        let wakes = kernel_of(self, file).and_then(|driver| driver.wakes(file.index).ok());
        let sleeper = Sleeper {
            file,
            count,
            wakes: wakes.unwrap_or(0),
        };
        self.readers.asleep.insert(reader, sleeper);
    }

    fn interrupt(&mut self, reader: ReaderId, restarts: bool) -> Result<(), Errno> {
        let sleeper = self.readers.asleep.get(&reader).ok_or(Errno::ESRCH)?;
        if kernel_of(self, sleeper.file).is_none() {
            return Err(Errno::ESRCH);
        }
        self.happened(Happening::Signal, restarts.into());
        self.run_reader(reader, Wake::Signal { restarts });
        Ok(())
    }

    /// Runs a sleeper: something to read comes before a signal, and without both it sleeps on
    /// (`wait_event_interruptible`).
    fn run_reader(&mut self, reader: ReaderId, wake: Wake) {
        let Some(Sleeper { file, count, .. }) = self.readers.asleep.remove(&reader) else {
            return;
        };
        let has_entries =
            kernel_of(self, file).is_some_and(|driver| driver.has_entries(file.index));
        let answer = match wake {
            _ if has_entries => self.attempt_held(file, count),
            Wake::Event => return self.fall_asleep(reader, file, count),
            Wake::Signal { restarts: false } => Err(Errno::EINTR),
            Wake::Signal { restarts: true } => {
                self.let_go(file);
                return self.begin(reader, file, count);
            }
        };
        self.let_go(file);
        self.readers.over.insert(reader, answer);
    }

    /// A read that does not sleep.
    fn attempt(&mut self, file: FileId, count: usize) -> Result<Vec<u8>, Errno> {
        driver(&mut self.kernels, file)?;
        self.attempt_held(file, count)
    }

    /// [`attempt`](Self::attempt) on a file that may have been closed.
    fn attempt_held(&mut self, file: FileId, count: usize) -> Result<Vec<u8>, Errno> {
        let (driver, _) = self.kernel_below(file).ok_or(Errno::EBADF)?;
        let mut bytes = Vec::with_capacity(count.min(PAGE));
        let put = |_, port: u32| bytes.extend(port.to_ne_bytes());
        let read = driver.read(file.index, count, count, put);
        let mut rest = bytes.as_slice();
        while let Some((word, after)) = rest.split_first_chunk() {
            self.digest.word(u32::from_ne_bytes(*word).into());
            rest = after;
        }
        self.digest.pair(READ, size(read));
        read.map(|_| bytes)
    }

    fn let_go(&mut self, file: FileId) {
        if let Some((driver, xen)) = self.kernel_below(file) {
            // This cannot fail: the sleeper has held the file until now.
            let _ = driver.let_go(xen, file.index);
        }
    }

    /// The kernel of a file that may have been closed.
    fn kernel_below(&mut self, file: FileId) -> Option<(&mut Driver, &mut Hypervisor)> {
        let kernel = self.kernels.get_mut(usize::from(file.domid.as_raw()))?;
        let kernel = kernel.as_mut().filter(|kernel| kernel.boot == file.boot)?;
        Some((&mut kernel.driver, &mut self.xen))
    }
}

/// What Linux does for a device that knows no vectors (fs/read_write.c, `do_loop_readv_writev`).
fn by_segments(
    lengths: &[usize],
    mut call: impl FnMut(usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut moved = 0;
    let filled = lengths
        .iter()
        .enumerate()
        .filter(|(_, length)| **length > 0);
    for (index, &length) in filled {
        match call(index) {
            Ok(bytes) => {
                moved += bytes;
                if bytes != length {
                    break;
                }
            }
            Err(errno) if moved == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(moved)
}

/// The kernel of a file that may have been closed.
fn kernel_of(world: &World, file: FileId) -> Option<&Driver> {
    let kernel = world.kernels.get(usize::from(file.domid.as_raw()))?;
    let kernel = kernel.as_ref().filter(|kernel| kernel.boot == file.boot)?;
    Some(&kernel.driver)
}
