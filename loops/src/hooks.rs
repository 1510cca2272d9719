//! The adapter for a foreign loop that can only watch a file descriptor through hooks, as the
//! callers of libxl supply one (`libxl_osevent_hooks`).

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evtchn_core::{Device, LoopError, Registrar, Trigger};

use crate::held::Held;

/// Identifies one registration. Each registration has a new one, so a report of an older one can be
/// recognized even where both have the same descriptor number.
///
/// ```
/// use evtchn::hooks::Cookie;
///
/// let carried = 7; // the loop got this with a descriptor, and reports it with that
/// assert_eq!(Cookie::from_raw(carried).map(Cookie::as_raw), Some(7));
/// assert_eq!(Cookie::from_raw(0), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(NonZeroU64);

impl Cookie {
    fn fresh() -> Cookie {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let last = LAST.fetch_add(1, Ordering::Relaxed);
        Cookie(NonZeroU64::MIN.saturating_add(last))
    }

    /// The cookie as a number, for loops that carry only a number.
    #[must_use]
    pub const fn as_raw(self) -> u64 {
        self.0.get()
    }

    /// The cookie with this number, as a loop has carried it. `None` for zero.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Cookie> {
        match NonZeroU64::new(raw) {
            Some(raw) => Some(Cookie(raw)),
            None => None,
        }
    }
}

/// What a descriptor is watched for.
///
/// ```
/// use evtchn::hooks::Interest;
///
/// assert_eq!(Interest::Read.events(), 0x1); // POLLIN
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest {
    /// Something to read. The loop must report the error bit as well, also where it is alone.
    Read,
}

impl Interest {
    /// As the `events` of poll(2), which are the same in epoll(7).
    #[must_use]
    pub const fn events(self) -> i16 {
        match self {
            // POLLIN of asm-generic/poll.h.
            Interest::Read => 0x1,
        }
    }
}

/// What a foreign event loop supplies.
///
/// `register`, `modify` and `deregister` are called one at a time for one context. No hook may run
/// rounds of the context or make a call of it, which the context refuses. Reports may come from any
/// thread as soon as `register` or `modify` has begun.
///
/// A loop that gets its requests through a queue:
///
/// ```
/// use std::io;
/// use std::os::fd::RawFd;
/// use std::sync::mpsc::Sender;
///
/// use evtchn::hooks::{Cookie, Hooks, Interest};
///
/// enum Request {
///     Watch(RawFd, i16, Cookie),
///     Forget(RawFd),
///     ComeBack,
/// }
///
/// struct Queue(Sender<Request>);
///
/// impl Queue {
///     fn send(&self, request: Request) -> io::Result<()> {
///         self.0.send(request).map_err(|_| io::ErrorKind::BrokenPipe.into())
///     }
/// }
///
/// impl Hooks for Queue {
///     fn register(&self, fd: RawFd, interest: Interest, cookie: Cookie) -> io::Result<()> {
///         self.send(Request::Watch(fd, interest.events(), cookie))
///     }
///
///     fn modify(&self, fd: RawFd, interest: Interest, cookie: Cookie) -> io::Result<()> {
///         self.register(fd, interest, cookie)
///     }
///
///     fn deregister(&self, fd: RawFd, _: Cookie) -> io::Result<()> {
///         self.send(Request::Forget(fd))
///     }
///
///     fn wake(&self) {
///         let _gone = self.send(Request::ComeBack);
///     }
/// }
/// ```
pub trait Hooks: Send + Sync {
    /// How the loop reports readiness: again and again, unless it says otherwise.
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    /// Starts to watch `fd`, and to report it with `cookie`.
    ///
    /// # Errors
    /// The loop's; then `fd` is not watched.
    fn register(&self, fd: RawFd, interest: Interest, cookie: Cookie) -> io::Result<()>;

    /// Watches `fd`, which the loop watches already, for `interest` and with this cookie from now
    /// on. A context never calls this: it deregisters a device before it registers it again.
    ///
    /// # Errors
    /// The loop's; then `fd` is not watched.
    fn modify(&self, fd: RawFd, interest: Interest, cookie: Cookie) -> io::Result<()>;

    /// Stops watching `fd`. Reports that are under way may still come.
    ///
    /// # Errors
    /// The loop's; then `fd` is still watched.
    fn deregister(&self, fd: RawFd, cookie: Cookie) -> io::Result<()>;

    /// Makes the loop return from its poll and dispatch the context. Called from any thread.
    fn wake(&self);
}

/// Registers a device with a foreign loop.
///
/// ```
/// use std::io;
/// use std::os::fd::RawFd;
/// use std::sync::{Arc, Mutex};
///
/// use evtchn::hooks::{Cookie, HookRegistrar, Hooks, Interest};
/// use evtchn::sim::Sim;
/// use evtchn::{Context, DomId};
///
/// /// A loop that watches one descriptor.
/// #[derive(Default)]
/// struct Foreign(Mutex<Option<(RawFd, Cookie)>>);
///
/// impl Hooks for Foreign {
///     fn register(&self, fd: RawFd, _: Interest, cookie: Cookie) -> io::Result<()> {
///         *self.0.lock().unwrap() = Some((fd, cookie));
///         Ok(())
///     }
///     fn modify(&self, fd: RawFd, interest: Interest, cookie: Cookie) -> io::Result<()> {
///         self.register(fd, interest, cookie)
///     }
///     fn deregister(&self, _: RawFd, _: Cookie) -> io::Result<()> {
///         *self.0.lock().unwrap() = None;
///         Ok(())
///     }
///     fn wake(&self) {} // this loop never sleeps
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let foreign = Arc::new(Foreign::default());
/// let hooks = Arc::clone(&foreign);
/// let sim = Sim::new(0); // on a host: evtchn::xen::backend() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), HookRegistrar::new(hooks));
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
///
/// channel.wait()?;
/// let (_fd, cookie) = foreign.0.lock().unwrap().unwrap();
/// guest.send(theirs)?;
/// assert!(ctx.registrar().occurred(cookie)); // the loop reports the descriptor
/// let mut round = ctx.dispatch()?;
/// assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
/// round.finish()?;
///
/// assert!(!ctx.registrar().occurred(cookie)); // too late: nothing waits any more
/// # Ok(())
/// # }
/// ```
///
/// [`occurred`](Self::occurred) takes no lock, so a loop may call it while it holds locks of its
/// own.
pub struct HookRegistrar {
    hooks: Arc<dyn Hooks>,
    /// The cookie of the present registration; zero where there is none.
    present: AtomicU64,
    /// What the loop watches, as far as its hooks have reported.
    watched: Mutex<Option<(RawFd, Cookie)>>,
    held: Held,
}

impl HookRegistrar {
    /// An adapter that calls these hooks.
    #[must_use]
    pub fn new(hooks: Arc<dyn Hooks>) -> HookRegistrar {
        HookRegistrar {
            hooks,
            present: AtomicU64::new(0),
            watched: Mutex::default(),
            held: Held::default(),
        }
    }

    /// Called by the loop when it reports a descriptor. Returns whether that is the device, and so
    /// whether to dispatch. A report of an earlier registration returns false, even where another
    /// file has its number now.
    #[must_use]
    pub fn occurred(&self, cookie: Cookie) -> bool {
        self.present.load(Ordering::SeqCst) == cookie.as_raw()
    }

    fn watched(&self) -> MutexGuard<'_, Option<(RawFd, Cookie)>> {
        // A hook that panicked counts as having done nothing.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, before: Option<(RawFd, Cookie)>, fd: RawFd, cookie: Cookie) -> io::Result<()> {
        match before {
            Some((same, _)) if same == fd => {
                // The caller holds the device too, and so its descriptor stays open.
                self.held.let_go();
                self.hooks.modify(fd, Interest::Read, cookie)
            }
            Some((other, old)) => {
                if self.hooks.deregister(other, old).is_ok() {
                    self.held.let_go();
                }
                self.hooks.register(fd, Interest::Read, cookie)
            }
            None => self.hooks.register(fd, Interest::Read, cookie),
        }
    }
}

impl Registrar for HookRegistrar {
    fn trigger(&self) -> Trigger {
        self.hooks.trigger()
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        let fd = device.fd()?.as_raw_fd();
        let mut watched = self.watched();
        let cookie = Cookie::fresh();
        // The report may come before the hook returns.
        self.present.store(cookie.as_raw(), Ordering::SeqCst);
        let done = self.watch(watched.take(), fd, cookie);
        match &done {
            Ok(()) => {
                *watched = Some((fd, cookie));
                self.held.keep(device);
            }
            Err(_) => self.present.store(0, Ordering::SeqCst),
        }
        Ok(done?)
    }

    fn deregister(&self, _device: &Device) -> Result<(), LoopError> {
        let mut watched = self.watched();
        let Some((fd, cookie)) = *watched else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        self.hooks.deregister(fd, cookie)?;
        *watched = None;
        self.present.store(0, Ordering::SeqCst);
        self.held.let_go();
        Ok(())
    }

    fn wake(&self) {
        self.hooks.wake();
    }
}

impl fmt::Debug for HookRegistrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = Cookie::from_raw(self.present.load(Ordering::SeqCst));
        f.debug_struct("HookRegistrar")
            .field("present", &present)
            .finish_non_exhaustive()
    }
}
