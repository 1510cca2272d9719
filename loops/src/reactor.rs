//! What the adapters for the reactors of async runtimes share.
//!
//! The registration is polled with a waker of its own. The reactor wakes that waker, which then
//! drives the context: no task has to be polled for it, and none is spawned. Both reactors release
//! the locks of their tables before they wake, so the device may be read there, and even
//! deregistered.

use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::task::{Context as Cx, Poll, Wake, Waker};

use evtchn_core::{Device, DeviceError, Driver, Outcome};
use evtchn_fork::Process;

/// One registration with a reactor.
pub(crate) trait Watch: Send + 'static {
    /// Clears the readiness that there is and sets the waker for the next one. Returns whether the
    /// device was ready.
    fn arm(&mut self, cx: &mut Cx<'_>) -> bool;

    /// Registers anew, so that what is still there is reported again.
    fn renew(&mut self) -> io::Result<()>;

    /// Whether the reactor will never report this registration again.
    fn is_lost(&self) -> bool;
}

/// The descriptor of a device, and the device, which keeps it open.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    _device: Device,
    fd: RawFd,
}

impl Watched {
    pub(crate) fn new(device: &Device) -> Result<Watched, DeviceError> {
        Ok(Watched {
            fd: device.fd()?.as_raw_fd(),
            _device: device.clone(),
        })
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

/// An adapter's registration, and the context that it drives.
#[derive(Debug)]
pub(crate) struct Reactor<W> {
    watch: Mutex<Option<Registration<W>>>,
    /// Always the same one. `async-io` wakes a waker that another one replaces, so with a new one
    /// each time every poll would cause the next, for ever.
    waker: Waker,
    /// The reactor has woken this, and the device was not looked at since.
    called: AtomicBool,
    driver: OnceLock<Driver>,
    rounds: Mutex<Rounds>,
}

/// A registration, and the process that made it. A forked child shares the epoll instance of the
/// reactor.
#[derive(Debug)]
struct Registration<W> {
    watch: W,
    process: Process,
}

/// Wakes the task that runs rounds.
#[derive(Debug, Default)]
struct Rounds {
    called: bool,
    waker: Option<Waker>,
}

/// What the reactor wakes. It holds the registration weakly, because the registration holds it.
struct Alarm<W>(Weak<Reactor<W>>);

impl<W: Watch> Wake for Alarm<W> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(reactor) = self.0.upgrade() {
            reactor.called.store(true, Ordering::SeqCst);
            reactor.look();
        }
    }
}

impl<W: Watch> Reactor<W> {
    pub(crate) fn new() -> Arc<Reactor<W>> {
        Arc::new_cyclic(|reactor| Reactor {
            watch: Mutex::new(None),
            waker: Waker::from(Arc::new(Alarm(Weak::clone(reactor)))),
            called: AtomicBool::new(false),
            driver: OnceLock::new(),
            rounds: Mutex::default(),
        })
    }

    /// Sets the context to drive, once.
    pub(crate) fn attach(&self, driver: Driver) {
        let _the_first_counts = self.driver.set(driver);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Registration<W>>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the registration that `watch` makes, if there is none. Makes none on a kernel where a
    /// fork of this process cannot be noticed.
    pub(crate) fn register(&self, watch: impl FnOnce() -> io::Result<W>) -> io::Result<()> {
        let mut place = self.lock();
        if place.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let process = Process::current()?;
        let watch = watch()?;
        let watch = &mut place.insert(Registration { watch, process }).watch;
        let was_ready = self.arm(watch);
        let calls = was_ready || watch.is_lost();
        drop(place);
        if calls {
            self.called.store(true, Ordering::SeqCst);
        }
        // The context does the drive at the end of its hook.
        self.look();
        Ok(())
    }

    /// Drops the registration.
    pub(crate) fn deregister(&self) -> io::Result<()> {
        let registration = self.lock().take();
        registration.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn arm(&self, watch: &mut W) -> bool {
        watch.arm(&mut Cx::from_waker(&self.waker))
    }

    /// Sets the waker and then drives the context, again for as long as the reactor wakes this.
    fn look(&self) {
        loop {
            // A reactor may call from inside its poll. The thread that holds the lock looks after
            // this.
            fence(Ordering::SeqCst);
            let mut place = match self.watch.try_lock() {
                Ok(place) => place,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if !self.called.swap(false, Ordering::SeqCst) {
                return;
            }
            let Some(Registration { watch, process }) = place.as_mut() else {
                return;
            };
            if !process.is_current() {
                return;
            }
            self.arm(watch);
            let is_lost = watch.is_lost();
            drop(place);
            // The waker is set first, so an event after the last read wakes this again.
            let mut outcome = self.drive();
            if is_lost {
                // Events that had arrived are delivered first. Then the context deregisters this.
                while outcome == Outcome::More {
                    outcome = self.drive();
                }
                if let Some(driver) = self.driver.get() {
                    driver.lost();
                }
            } else if outcome == Outcome::More {
                self.renew();
            }
        }
    }

    fn drive(&self) -> Outcome {
        self.driver.get().map_or(Outcome::Done, Driver::drive)
    }

    /// Makes the reactor report the rest of a storm again, after its other work.
    fn renew(&self) {
        let mut place = self.lock();
        let Some(Registration { watch, .. }) = place.as_mut() else {
            return;
        };
        if watch.renew().is_err() || self.arm(watch) {
            self.called.store(true, Ordering::SeqCst);
        }
    }

    /// Wakes the task that runs rounds.
    pub(crate) fn call(&self) {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.called = true;
        let waker = rounds.waker.take();
        drop(rounds);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns once [`call`](Self::call) was called since the last return.
    pub(crate) async fn called(&self) {
        poll_fn(|cx| self.poll_called(cx)).await;
    }

    fn poll_called(&self, cx: &mut Cx<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut rounds.called) {
            return Poll::Ready(());
        }
        let before = rounds.waker.replace(waker);
        drop(rounds);
        drop(before);
        Poll::Pending
    }
}

impl<W> Drop for Reactor<W> {
    fn drop(&mut self) {
        let place = self.watch.get_mut().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(|it| !it.process.is_current()) {
            // Dropped in a child, it would remove the device from the parent's epoll instance.
            let _kept = ManuallyDrop::new(place.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use evtchn_core::{Channel, Context, DomId};
    use evtchn_sim::{Call, Fault, Sim, SimLoop};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    /// A registration with a reactor that wakes the waker which another one replaces, as that of
    /// `async-io` does.
    struct Fake {
        log: Log,
        waker: Option<Waker>,
        /// Registering it anew fails.
        is_full: bool,
        is_lost: bool,
    }

    impl Watch for Fake {
        fn arm(&mut self, cx: &mut Cx<'_>) -> bool {
            let mut log = self.log.lock().unwrap();
            log.push("arm");
            assert!(log.len() < 1_000, "for ever");
            drop(log);
            let before = self.waker.replace(cx.waker().clone());
            if let Some(before) = before.filter(|before| !before.will_wake(cx.waker())) {
                before.wake();
            }
            false
        }

        fn renew(&mut self) -> io::Result<()> {
            self.log.lock().unwrap().push("renew");
            self.is_lost = self.is_full;
            if self.is_full {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            Ok(())
        }

        fn is_lost(&self) -> bool {
            self.is_lost
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            self.log.lock().unwrap().push("drop");
        }
    }

    type Bound = Vec<Channel<SimLoop>>;

    /// A context with this many unread events, each of which takes a read.
    fn context(events: u32, log: &Log) -> (Context<SimLoop>, Bound) {
        let sim = Sim::new(0);
        let guest = sim.guest(sim.create_domain().unwrap());
        let opener = sim.open(DomId::DOM0);
        let context = Context::with_registrar(opener.clone(), SimLoop::edge());
        let bind = |_| context.bind_unbound_port(guest.domid()).unwrap();
        let bound: Bound = (0..events).map(bind).collect();
        for channel in &bound {
            let theirs = guest.bind_interdomain(DomId::DOM0, channel.port());
            guest.send(theirs.unwrap()).unwrap();
        }
        let log = Arc::clone(log);
        opener.install(Fault::short(Call::Pending, 1));
        opener.install(Fault::meanwhile(Call::Pending, move |_| {
            log.lock().unwrap().push("read");
        }));
        (context, bound)
    }

    fn registered(context: &Context<SimLoop>, log: &Log) -> Arc<Reactor<Fake>> {
        let reactor = Reactor::new();
        reactor.attach(context.driver());
        let fake = Fake {
            log: Arc::clone(log),
            waker: None,
            is_full: false,
            is_lost: false,
        };
        reactor.register(|| Ok(fake)).unwrap();
        assert_eq!(taken(log), ["arm"]);
        reactor
    }

    fn taken(log: &Log) -> Vec<&'static str> {
        std::mem::take(&mut log.lock().unwrap())
    }

    #[test]
    fn a_wake_of_the_reactor_without_an_event_is_one_look() {
        let log = Log::default();
        let (context, _) = context(0, &log);
        let reactor = registered(&context, &log);
        // Its waker is still set.
        reactor.waker.wake_by_ref();
        assert_eq!(taken(&log), ["arm"]);
    }

    #[test]
    fn the_waker_is_set_before_the_device_is_read() {
        let log = Log::default();
        let (context, _bound) = context(1, &log);
        let reactor = registered(&context, &log);
        reactor.waker.wake_by_ref();
        assert_eq!(taken(&log), ["arm", "read", "read"]);
    }

    #[test]
    fn a_storm_is_reported_again_instead_of_read_for_ever() {
        let log = Log::default();
        let (context, _bound) = context(300, &log);
        let reactor = registered(&context, &log);
        reactor.waker.wake_by_ref();
        let calls = taken(&log);
        let reads = calls.iter().filter(|call| **call == "read").count();
        assert_eq!(reads, 256);
        assert_eq!(calls[0], "arm");
        assert_eq!(calls[1 + reads..], ["renew", "arm"]);
    }

    /// A registration that finds the rest of a storm as soon as it is renewed.
    struct Renewed(bool);

    impl Watch for Renewed {
        fn arm(&mut self, _: &mut Cx<'_>) -> bool {
            std::mem::take(&mut self.0)
        }

        fn renew(&mut self) -> io::Result<()> {
            self.0 = true;
            Ok(())
        }

        fn is_lost(&self) -> bool {
            false
        }
    }

    #[test]
    fn events_that_a_renewal_finds_are_read_without_another_wake() {
        let log = Log::default();
        let (context, _bound) = context(300, &log);
        let reactor = Reactor::new();
        reactor.attach(context.driver());
        reactor.register(|| Ok(Renewed(false))).unwrap();
        reactor.waker.wake_by_ref();
        // One look for each of them, and one that finds nothing.
        assert_eq!(taken(&log).len(), 301);
    }

    #[test]
    fn a_second_registration_and_a_second_deregistration_are_refused() {
        let log = Log::default();
        let (context, _) = context(0, &log);
        let reactor = registered(&context, &log);
        let twice = reactor.register(|| unreachable!("there is one"));
        assert_eq!(twice.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        reactor.deregister().unwrap();
        let gone = reactor.deregister();
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(taken(&log), ["drop"]);
    }

    /// The context is notified, so that no wait hangs.
    #[test]
    fn a_registration_that_cannot_be_renewed_is_lost() {
        let log = Log::default();
        let (context, bound) = context(300, &log);
        let reactor = registered(&context, &log);
        bound[299].wait().unwrap();
        assert!(context.next_timeout().is_none(), "nothing is ready");
        assert_eq!(context.stats().registers, 1);
        reactor.lock().as_mut().unwrap().watch.is_full = true;
        reactor.waker.wake_by_ref();
        let calls = taken(&log);
        let reads = calls.iter().filter(|call| **call == "read").count();
        assert_eq!(reads, 301, "what is left of the storm is read");
        assert_eq!(context.stats().registers, 2);
        assert_eq!(context.stats().wakes, 0);
        assert_eq!(context.dispatch().unwrap().count(), 1);
    }

    #[test]
    fn a_context_whose_device_the_reactor_lost_registers_it_anew() {
        let log = Log::default();
        let (context, bound) = context(1, &log);
        let other = context.bind_unbound_port(DomId::SELF).unwrap();
        other.wait().unwrap();
        assert!(context.next_timeout().is_none(), "nothing is ready");
        let reactor = registered(&context, &log);
        reactor.lock().as_mut().unwrap().watch.is_lost = true;
        reactor.waker.wake_by_ref();
        assert_eq!(taken(&log), ["arm", "read", "read"]);
        assert_eq!(context.stats().registers, 2);
        drop(bound);
    }

    #[test]
    fn a_wake_of_the_reactor_changes_nothing_in_a_forked_child() {
        let log = Log::default();
        let (context, _) = context(0, &log);
        let reactor = registered(&context, &log);
        #[expect(unsafe_code, reason = "a test of a real fork")]
        // SAFETY: the child takes no lock that another thread holds, and ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            reactor.waker.wake_by_ref();
            let calls = taken(&log).len();
            #[expect(unsafe_code, reason = "the child must drop nothing of its parent")]
            // SAFETY: it does not return.
            unsafe {
                libc::_exit(i32::from(calls != 0))
            }
        }
        let child = rustix::process::Pid::from_raw(child);
        let ended = rustix::process::waitpid(child, rustix::process::WaitOptions::empty());
        assert_eq!(ended.unwrap().unwrap().1.exit_status(), Some(0));
        reactor.waker.wake_by_ref();
        assert_eq!(taken(&log), ["arm"]);
    }

    #[test]
    fn the_process_that_registered_drops_the_registration() {
        let log = Log::default();
        let (context, _) = context(0, &log);
        drop(registered(&context, &log));
        assert_eq!(taken(&log), ["drop"]);
    }
}
