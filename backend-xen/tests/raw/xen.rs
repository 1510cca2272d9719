//! The real device, by way of libc.
#![expect(
    unsafe_code,
    reason = "bad pointers and any request, a descriptor that another thread closes, and signals"
)]

use std::cell::RefCell;
use std::env;
use std::ffi::{c_int, c_void};
use std::fs;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use evtchn_sim::Platform;
use evtchn_sim::abi::{Access, Arg};
use evtchn_xen::DEVICE_PATH;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::hypercall::Statics;
use crate::pair::pair;
use crate::side::{Answer, Side, Signal};

/// How long a thread may take to fall asleep or to come back. Only a failure ever waits so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// An address of the program where nothing is mapped.
const NOWHERE: *mut c_void = ptr::without_provenance_mut(0x1000);

/// Closes at its end what a case left open, and then the static channels.
pub(crate) struct Xen {
    files: RefCell<Vec<RawFd>>,
    statics: RefCell<Option<Statics>>,
}

pub(crate) struct Reader {
    /// The thread as the kernel numbers it.
    tid: i64,
    thread: JoinHandle<()>,
    end: Receiver<Answer<u32>>,
    seen: Option<Answer<u32>>,
}

extern "C" fn nothing(_: c_int) {}

const fn number(signal: Signal) -> c_int {
    match signal {
        Signal::Restarts => libc::SIGUSR2,
        Signal::Interrupts => libc::SIGUSR1,
    }
}

fn handle(signal: Signal) {
    // SAFETY: a zeroed sigaction is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
    if signal == Signal::Restarts {
        action.sa_flags = libc::SA_RESTART;
    }
    // SAFETY: the action is whole, and its handler does nothing.
    let set = unsafe { libc::sigaction(number(signal), &raw const action, ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// What a call of libc says.
fn answer(value: isize) -> Answer<usize> {
    usize::try_from(value).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_raw_os_error(error.raw_os_error().unwrap())
    })
}

fn read_port(fd: RawFd) -> Answer<u32> {
    let mut port = 0_u32;
    // SAFETY: the kernel stores at most the four bytes of the word.
    let read = unsafe { libc::read(fd, (&raw mut port).cast(), 4) };
    answer(read).map(|_| port)
}

/// Whether a thread of this process sleeps in a read.
fn is_in_read(tid: i64) -> bool {
    let call = fs::read_to_string(format!("/proc/self/task/{tid}/syscall"));
    let call = call.unwrap_or_default();
    call.split(' ').next() == Some(&libc::SYS_read.to_string())
}

impl Xen {
    pub(crate) fn new() -> Xen {
        handle(Signal::Restarts);
        handle(Signal::Interrupts);
        Xen {
            files: RefCell::default(),
            statics: RefCell::default(),
        }
    }

    fn await_sleep(&self, reader: &mut Reader) {
        let start = Instant::now();
        while !is_in_read(reader.tid) {
            assert!(!self.is_over(reader), "it came back: {:?}", reader.seen);
            assert!(start.elapsed() < PATIENCE, "it does not fall asleep");
            thread::yield_now();
        }
    }
}

impl Drop for Xen {
    fn drop(&mut self) {
        for fd in self.files.take() {
            // SAFETY: opened here, and not closed by the case.
            unsafe { libc::close(fd) };
        }
    }
}

impl Side for Xen {
    type File = RawFd;
    type Reader = Reader;
    type Peer = u32;

    fn open(&self, access: Access, is_nonblocking: bool) -> RawFd {
        let mut flags = OFlags::CLOEXEC
            | match access {
                Access::ReadOnly => OFlags::RDONLY,
                Access::WriteOnly => OFlags::WRONLY,
                Access::ReadWrite => OFlags::RDWR,
            };
        flags.set(OFlags::NONBLOCK, is_nonblocking);
        let fd = rustix::fs::open(DEVICE_PATH, flags, Mode::empty());
        let fd = fd.unwrap().into_raw_fd();
        self.files.borrow_mut().push(fd);
        fd
    }

    fn close(&self, file: RawFd) {
        self.files.borrow_mut().retain(|&fd| fd != file);
        // SAFETY: opened here, and forgotten just now.
        assert_eq!(unsafe { libc::close(file) }, 0);
    }

    fn ioctl(&self, file: RawFd, request: u32, arg: Arg) -> Answer<u32> {
        let mut words = [0_u32; 16];
        let pointer = match arg {
            Arg::Bad => NOWHERE,
            Arg::Words(given) => {
                words[..2].copy_from_slice(&given);
                words.as_mut_ptr().cast()
            }
        };
        // SAFETY: no request of the cases makes the kernel store more than there is room for.
        let value = unsafe { libc::ioctl(file, request.into(), pointer) };
        answer(value as isize).map(|value| u32::try_from(value).unwrap())
    }

    fn read(&self, file: RawFd, bytes: &mut [u8]) -> Answer<usize> {
        // SAFETY: the memory is that of the slice.
        answer(unsafe { libc::read(file, bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn read_bad(&self, file: RawFd, count: usize) -> Answer<usize> {
        // SAFETY: nothing is mapped there, so the kernel stores nothing.
        answer(unsafe { libc::read(file, NOWHERE, count) })
    }

    fn write(&self, file: RawFd, bytes: &[u8]) -> Answer<usize> {
        // SAFETY: the memory is that of the slice.
        answer(unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) })
    }

    fn write_bad(&self, file: RawFd, count: usize) -> Answer<usize> {
        // SAFETY: the kernel only reads, and nothing is mapped there.
        answer(unsafe { libc::write(file, NOWHERE, count) })
    }

    fn readv(&self, file: RawFd, segments: [&mut [u8]; 2]) -> Answer<usize> {
        let segments = segments.map(|segment| libc::iovec {
            iov_base: segment.as_mut_ptr().cast(),
            iov_len: segment.len(),
        });
        // SAFETY: both segments are borrowed for this call alone.
        answer(unsafe { libc::readv(file, segments.as_ptr(), 2) })
    }

    fn writev(&self, file: RawFd, segments: [&[u8]; 2]) -> Answer<usize> {
        let segments = segments.map(|segment| libc::iovec {
            iov_base: segment.as_ptr().cast_mut().cast(),
            iov_len: segment.len(),
        });
        // SAFETY: the kernel only reads both segments.
        answer(unsafe { libc::writev(file, segments.as_ptr(), 2) })
    }

    fn domid(&self) -> u32 {
        let domid = env::var("EVTCHN_DOMID");
        domid.map_or(0, |domid| domid.parse().unwrap())
    }

    fn platform(&self) -> Platform {
        pair()
    }

    fn static_pair(&self) -> [u32; 2] {
        let mut statics = self.statics.borrow_mut();
        let statics = statics.get_or_insert_with(|| Statics::new().unwrap());
        statics.pair().unwrap()
    }

    fn static_port(&self) -> (u32, u32) {
        self.static_pair().into()
    }

    fn lose_peer(&self, peer: u32) {
        let mut statics = self.statics.borrow_mut();
        statics.as_mut().unwrap().close(peer).unwrap();
    }

    fn map(&self, file: RawFd) -> Answer<()> {
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
        // SAFETY: a new map, at a place that the kernel chooses, changes nothing that exists.
        let map = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, file, 0) };
        let failed = if map == libc::MAP_FAILED { -1 } else { 0 };
        answer(failed).map(drop)
    }

    fn poll(&self, file: RawFd) -> PollFlags {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the case has it open.
        let fd = unsafe { BorrowedFd::borrow_raw(file) };
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::all())];
        rustix::event::poll(&mut fds, Some(&now)).unwrap();
        fds[0].revents()
    }

    fn begin_read(&self, file: RawFd) -> Reader {
        let (started, thread_id) = mpsc::channel();
        let (send, end) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: it takes nothing and changes nothing.
            let tid = unsafe { libc::syscall(libc::SYS_gettid) };
            started.send(tid).unwrap();
            // The receiver is gone where the case has failed.
            let _ = send.send(read_port(file));
        });
        let mut reader = Reader {
            tid: thread_id.recv_timeout(PATIENCE).unwrap(),
            thread,
            end,
            seen: None,
        };
        self.await_sleep(&mut reader);
        reader
    }

    fn expect_asleep(&self, reader: &mut Reader) {
        // One that was woken would get the processor meanwhile.
        for _ in 0..50 {
            thread::yield_now();
        }
        self.await_sleep(reader);
    }

    fn signal(&self, reader: &mut Reader, signal: Signal) {
        let thread = reader.thread.as_pthread_t();
        // SAFETY: the handle is held, so the thread's number is valid.
        assert_eq!(unsafe { libc::pthread_kill(thread, number(signal)) }, 0);
    }

    fn is_over(&self, reader: &mut Reader) -> bool {
        if reader.seen.is_none() {
            match reader.end.try_recv() {
                Ok(answer) => reader.seen = Some(answer),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => panic!("the thread is gone"),
            }
        }
        reader.seen.is_some()
    }

    fn end(&self, reader: Reader) -> Answer<u32> {
        let answer = match reader.seen {
            Some(answer) => answer,
            None => match reader.end.recv_timeout(PATIENCE) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => panic!("it sleeps after {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the thread is gone"),
            },
        };
        reader.thread.join().unwrap();
        answer
    }
}
