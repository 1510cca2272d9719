//! The real side: `/dev/xen/evtchn`, called with any request and any pointer.
#![expect(
    unsafe_code,
    reason = "bad pointers and unknown requests are the point"
)]

use std::ffi::c_void;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr;

use evtchn_sim::abi;
use evtchn_xen::DEVICE_PATH;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::hypercall::Statics;
use crate::op::{FILES, Fd, Memory, argument_size};
use crate::raw::{Answer, Raw};
use crate::sim::Numbers;

/// How long an event that must come may take. Only a failure ever waits so long.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The device of this machine.
#[derive(Debug)]
pub(crate) struct Device {
    /// The descriptors of each file, the oldest first.
    files: [Vec<OwnedFd>; FILES],
    epoll: OwnedFd,
    arena: Arena,
    statics: Statics,
    ends: Vec<u32>,
}

impl Device {
    pub(crate) fn new() -> io::Result<Device> {
        Ok(Device {
            files: [const { Vec::new() }; FILES],
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            arena: Arena::new()?,
            statics: Statics::new()?,
            ends: Vec::new(),
        })
    }

    /// Makes so many static channels.
    pub(crate) fn make_static(&mut self, channels: usize) -> io::Result<()> {
        for _ in 0..channels {
            self.ends.extend(self.statics.pair()?);
        }
        Ok(())
    }

    /// Which numbers the kernel leaves to programs, and how many it has room for.
    pub(crate) fn numbers(&mut self) -> Result<Numbers, i32> {
        const ASKED: usize = 64;
        const PAGE: u32 = 1024;
        self.open(0)?;
        let mut ask = |code, word| self.ioctl(Fd(0, 0), code, [word, 0], Memory::There);
        let bind = |_| ask(abi::BIND_UNBOUND_PORT, 0x7ff0);
        let free: Vec<u32> = (0..ASKED).map(bind).collect::<Result<_, _>>()?;
        let no_room = |page: &u32| ask(abi::UNBIND, page * PAGE) == Err(libc::EINVAL);
        let pages = (1..128).find(no_room).unwrap_or(128);
        self.close(Fd(0, 0))?;
        Ok(Numbers {
            free,
            room: pages * PAGE,
        })
    }

    fn raw(&self, Fd(file, descriptor): Fd) -> RawFd {
        let fd = self.files[file].get(descriptor);
        fd.map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// Pages of memory and behind them one that is not there.
#[derive(Debug)]
struct Arena(*mut u8);

impl Arena {
    /// More than a script ever reads or writes at once.
    const ROOM: usize = 16 * 4096;
    const GUARD: usize = 4096;

    fn new() -> io::Result<Arena> {
        let (pages, flags) = (Self::ROOM + Self::GUARD, MapFlags::PRIVATE);
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let start = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), pages, prot, flags) }?;
        let arena = Arena(start.cast());
        let guard = arena.end().cast();
        // SAFETY: the last page of the mapping, which nothing else uses.
        unsafe { rustix::mm::mprotect(guard, Self::GUARD, MprotectFlags::empty()) }?;
        Ok(arena)
    }

    fn end(&self) -> *mut u8 {
        self.0.wrapping_add(Self::ROOM)
    }

    /// A pointer to memory that begins with `bytes` as far as they exist, and ends there.
    fn hold(&mut self, bytes: &[u8], memory: Memory) -> *mut u8 {
        let there = match memory {
            Memory::Null => return ptr::null_mut(),
            Memory::There => bytes.len(),
            Memory::Cut(there) => there.min(bytes.len()),
        };
        let start = self.end().wrapping_sub(there.min(Self::ROOM));
        let there = &bytes[..there.min(Self::ROOM)];
        // SAFETY: from `start` to the guard there are as many bytes, and nothing refers to them.
        unsafe { ptr::copy_nonoverlapping(there.as_ptr(), start, there.len()) };
        start
    }

    /// Copies out what a call left at a pointer that `hold` gave.
    fn copy_out(&self, from: *const u8, bytes: &mut [u8]) {
        debug_assert!(from.wrapping_add(bytes.len()) <= self.end().cast_const());
        // SAFETY: the kernel says that it has written as many bytes there, so they exist.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; no pointer into it is left.
        let unmapped = unsafe { rustix::mm::munmap(self.0.cast(), Self::ROOM + Self::GUARD) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

fn answer(returned: isize) -> Answer {
    u32::try_from(returned).map_err(|_| {
        let errno = io::Error::last_os_error().raw_os_error();
        errno.unwrap_or(i32::MAX)
    })
}

impl Raw for Device {
    fn open(&mut self, file: usize) -> Answer {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK);
        let opened = options.open(DEVICE_PATH);
        let opened = opened.map_err(|error| error.raw_os_error().unwrap_or(i32::MAX))?;
        let (data, flags) = (
            EventData::new_u64(file as u64),
            EventFlags::IN | EventFlags::ET,
        );
        epoll::add(&self.epoll, &opened, data, flags).map_err(Errno::raw_os_error)?;
        self.files[file] = vec![opened.into()];
        Ok(0)
    }

    fn dup(&mut self, file: usize) -> Answer {
        let first = self.files[file].first().ok_or(libc::EBADF)?;
        let another = rustix::io::fcntl_dupfd_cloexec(first, 0).map_err(Errno::raw_os_error)?;
        self.files[file].push(another);
        Ok(0)
    }

    fn close(&mut self, Fd(file, descriptor): Fd) -> Answer {
        if descriptor >= self.files[file].len() {
            return Err(libc::EBADF);
        }
        drop(self.files[file].remove(descriptor));
        Ok(0)
    }

    fn ioctl(&mut self, fd: Fd, code: u32, words: [u32; 2], memory: Memory) -> Answer {
        let is_safe = code != abi::BIND_STATIC
            || self.ends.is_empty()
            || self.ends.contains(&words[0])
            || !memory.has(argument_size(code));
        assert!(is_safe, "a static bind of {}", words[0]);
        let fd = self.raw(fd);
        let [first, second] = words.map(u32::to_ne_bytes);
        let argument = self.arena.hold(&[first, second].concat(), memory);
        // SAFETY: the driver only reads its argument, and refuses what it cannot read; `Op` has
        // no request that anybody else answers.
        let returned = unsafe { libc::ioctl(fd, code.into(), argument.cast::<c_void>()) };
        answer(returned as isize)
    }

    fn read(&mut self, fd: Fd, count: usize, memory: Memory, ports: &mut Vec<u32>) -> Answer {
        let fd = self.raw(fd);
        let room = self.arena.hold(&vec![0xa5; count.min(Arena::ROOM)], memory);
        // SAFETY: what the kernel may write between `room` and the guard is the arena's; beyond
        // it, it cannot.
        let read = answer(unsafe { libc::read(fd, room.cast(), count) })?;
        let mut bytes = vec![0; read as usize];
        self.arena.copy_out(room, &mut bytes);
        let words = bytes.as_chunks().0;
        ports.extend(words.iter().copied().map(u32::from_ne_bytes));
        Ok(read)
    }

    fn write(&mut self, fd: Fd, bytes: &[u8], memory: Memory) -> Answer {
        let fd = self.raw(fd);
        let start = self.arena.hold(bytes, memory);
        // SAFETY: the kernel only reads, and refuses what it cannot read.
        answer(unsafe { libc::write(fd, start.cast(), bytes.len()) })
    }

    fn poll(&mut self) -> [u16; FILES] {
        let open = self.files.iter().filter_map(|fds| fds.first());
        let mut fds: Vec<PollFd<'_>> = open.map(|fd| PollFd::new(fd, PollFlags::all())).collect();
        if !fds.is_empty() && rustix::event::poll(&mut fds, Some(&NOW)).is_err() {
            return [u16::MAX; FILES];
        }
        let mut polled = fds.iter().map(|fd| fd.revents().bits());
        std::array::from_fn(|file| match self.files[file].is_empty() {
            true => 0,
            false => polled.next().unwrap_or(u16::MAX),
        })
    }

    fn edges(&mut self) -> [bool; FILES] {
        let mut events = Vec::with_capacity(FILES);
        let spare = rustix::buffer::spare_capacity(&mut events);
        let reported = epoll::wait(&self.epoll, spare, Some(&NOW));
        let mut edges = [false; FILES];
        for event in events.iter().take(reported.unwrap_or(0)) {
            let event: &epoll::Event = event;
            if let Some(edge) = usize::try_from(event.data.u64())
                .ok()
                .and_then(|file| edges.get_mut(file))
            {
                *edge = true;
            }
        }
        edges
    }

    fn ends(&self) -> &[u32] {
        &self.ends
    }

    fn wait(&mut self, file: usize) -> bool {
        let Some(fd) = self.files[file].first() else {
            return false;
        };
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&PATIENCE)).is_ok_and(|ready| ready > 0)
    }
}
