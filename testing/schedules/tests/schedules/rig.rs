//! A context on the simulator, with a loop that blocks in what shuttle can schedule.
//!
//! The simulator's own locks are never held while shuttle may switch threads, so each call of the
//! simulator is one step. Other threads can run between these steps.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use evtchn_core::{
    Device, DeviceError, DomId, Error, ErrorKind, EventChannel, LoopError, Open, Outcome, Port,
    PortBuf, Registrar, RemotePort, Sleep, Slept, Trigger, Virq,
};
use evtchn_sim::{Errno, Guest, Sim, SimDevice, SimLoop, SimOpen, SimPrivcmd};
use evtchn_trace::observe;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread;

use crate::explore;

pub(crate) type Context = evtchn_core::Context<Loop>;
pub(crate) type Channel = evtchn_core::Channel<Loop>;

/// Lets threads wait for a change that any thread may announce.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    /// Announces a change.
    pub(crate) fn ring(&self) {
        drop(self.lock());
        self.rung.notify_all();
    }

    /// Blocks until the condition is true.
    pub(crate) fn wait_until(&self, condition: impl Fn() -> bool) {
        let mut guard = self.lock();
        while !condition() {
            guard = self.wait(guard);
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap()
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, ()>) -> MutexGuard<'a, ()> {
        self.rung.wait(guard).unwrap()
    }
}

/// A place for one thread at a time; a second one fails the schedule.
#[derive(Debug, Default)]
pub(crate) struct Place(AtomicBool);

impl Place {
    pub(crate) fn visit<T>(&self, what: &str, visit: impl FnOnce() -> T) -> T {
        assert!(!self.0.swap(true, Ordering::SeqCst), "two {what} at once");
        let visited = visit();
        self.0.store(false, Ordering::SeqCst);
        visited
    }
}

/// Opens [`Guarded`] devices.
#[derive(Debug)]
pub(crate) struct Opener(SimOpen, Arc<Bell>);

impl Open for Opener {
    type Device = Guarded;

    fn open(&self) -> Result<Guarded, DeviceError> {
        Ok(Guarded {
            file: self.0.open()?,
            bell: Arc::clone(&self.1),
            call: Place::default(),
        })
    }

    fn process(&self) -> u64 {
        self.0.process()
    }
}

/// A simulated device that checks that its calls come one at a time, as the core promises.
#[derive(Debug)]
pub(crate) struct Guarded {
    file: SimDevice,
    bell: Arc<Bell>,
    call: Place,
}

impl Guarded {
    fn call<T>(&self, call: impl FnOnce(&SimDevice) -> T) -> T {
        self.call.visit("calls of the device", || call(&self.file))
    }

    /// A call that can make the device ready.
    fn ringing<T>(&self, call: impl FnOnce(&SimDevice) -> T) -> T {
        let called = self.call(call);
        self.bell.ring();
        called
    }
}

impl EventChannel for Guarded {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        self.call(|file| file.bind_unbound_port(remote))
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        self.ringing(|file| file.bind_interdomain(remote))
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        self.ringing(|file| file.bind_virq(virq))
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        self.ringing(|file| file.bind_static(port))
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        self.call(|file| file.unbind(port))
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        thread::yield_now();
        self.file.notify(port)
    }

    /// The core promises that none of the ports is unbound meanwhile.
    fn notify_many(&self, ports: &[Port], failed: &mut dyn FnMut(usize, DeviceError)) {
        for (place, port) in ports.iter().enumerate() {
            thread::yield_now();
            if let Err(error) = self.file.notify(*port) {
                let unbound = error.kind() == ErrorKind::NotBound;
                assert!(!unbound, "port {port} was unbound during a batch");
                failed(place, error);
            }
        }
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        self.call(|file| file.pending(buf))
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        self.ringing(|file| file.unmask(ports))
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.ringing(EventChannel::reset)
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        self.file.restrict(domid)
    }

    fn is_inherited(&self) -> bool {
        self.file.is_inherited()
    }

    fn is_resumed(&self) -> bool {
        self.file.is_resumed()
    }

    fn inner(&self) -> Option<&dyn EventChannel> {
        Some(&self.file)
    }
}

/// A loop that blocks until it is ready, woken or stopped.
#[derive(Debug, Clone)]
pub(crate) struct Loop {
    pub(crate) sim: SimLoop,
    bell: Arc<Bell>,
    hook: Arc<Place>,
    stopped: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

impl Loop {
    /// Ends every [`poll`](Self::poll).
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Blocks as a loop does when there is nothing to do at once.
    pub(crate) fn poll(&self) {
        self.bell
            .wait_until(|| self.sim.ready() || self.is_stopped());
    }

    /// Makes the next hook panic.
    pub(crate) fn panic_next(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    fn hook<T>(&self, hook: impl FnOnce(&SimLoop) -> T) -> T {
        let done = self.hook.visit("hooks", || {
            let panics = self.panics.swap(false, Ordering::SeqCst);
            (!panics).then(|| hook(&self.sim))
        });
        self.bell.ring();
        // A planned panic is not a failure of the schedule, so shuttle need not print it.
        done.unwrap_or_else(|| resume_unwind(Box::new("as planned")))
    }
}

impl Registrar for Loop {
    fn trigger(&self) -> Trigger {
        self.sim.trigger()
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        self.hook(|of| of.register(device))
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        self.hook(|of| of.deregister(device))
    }

    fn wake(&self) {
        Registrar::wake(&self.sim);
        self.bell.ring();
    }
}

impl Sleep for Loop {
    type Deadline = Duration;

    fn deadline(&self, timeout: Duration) -> Duration {
        self.sim.deadline(timeout)
    }

    fn ticket(&self) -> u64 {
        self.sim.ticket()
    }

    fn sleep(&self, ticket: u64, deadline: Option<Duration>) -> Result<Slept, LoopError> {
        let mut guard = self.bell.lock();
        loop {
            match self.sim.sleep(ticket, deadline) {
                // Nothing in the simulator ends this sleep, but a thread may.
                Err(error) if Errno::of(&error) == Some(Errno::EDEADLK) => {
                    guard = self.bell.wait(guard);
                }
                slept => return slept,
            }
        }
    }
}

/// A context, its loop, and the guest at the other end of its channels.
pub(crate) struct Rig {
    pub(crate) context: Arc<Context>,
    pub(crate) event_loop: Loop,
    pub(crate) opener: SimOpen,
    pub(crate) peer: Peer,
    sim: Sim,
}

/// The guest.
#[derive(Clone)]
pub(crate) struct Peer(Guest, Arc<Bell>);

impl Peer {
    /// Sends one event.
    pub(crate) fn send(&self, wire: &Wire) {
        self.0.send(wire.theirs).unwrap();
        self.1.ring();
    }

    /// Closes its end.
    pub(crate) fn close(&self, wire: &Wire) {
        self.0.close(wire.theirs).unwrap();
    }
}

/// A channel and the port of the guest at its other end.
pub(crate) struct Wire {
    pub(crate) channel: Arc<Channel>,
    theirs: Port,
}

impl Wire {
    pub(crate) fn wait(&self) {
        self.channel.wait().unwrap();
    }

    /// Returns whether it ended a wait.
    pub(crate) fn cancel(&self) -> bool {
        self.channel.cancel().unwrap()
    }

    /// Returns the channel, of which this must be the only handle.
    pub(crate) fn into_channel(self) -> Channel {
        Arc::into_inner(self.channel).unwrap()
    }
}

fn context(opener: &SimOpen, event_loop: &Loop) -> Arc<Context> {
    let opener = Opener(opener.clone(), Arc::clone(&event_loop.bell));
    let backend = explore::tape().record_backend_calls(opener);
    Arc::new(Context::with_registrar(backend, event_loop.clone()))
}

impl Rig {
    pub(crate) fn new() -> Rig {
        Rig::with(SimLoop::level())
    }

    pub(crate) fn with(event_loop: SimLoop) -> Rig {
        Rig::on(event_loop, |sim| {
            let guest = sim.guest(sim.create_domain().unwrap());
            (sim.open(DomId::DOM0), guest)
        })
    }

    /// The context is in a guest, which can be restored, and its peer is domain 0.
    pub(crate) fn in_a_guest() -> Rig {
        Rig::on(SimLoop::level(), |sim| {
            let domid = sim.create_domain().unwrap();
            (sim.open(domid), sim.guest(DomId::DOM0))
        })
    }

    fn on(event_loop: SimLoop, places: impl FnOnce(&Sim) -> (SimOpen, Guest)) -> Rig {
        let sim = Sim::new(1);
        observe(&sim, &explore::tape());
        let bell = Arc::new(Bell::default());
        let event_loop = Loop {
            sim: event_loop,
            bell: Arc::clone(&bell),
            hook: Arc::default(),
            stopped: Arc::default(),
            panics: Arc::default(),
        };
        let (opener, guest) = places(&sim);
        Rig {
            context: context(&opener, &event_loop),
            event_loop,
            opener,
            peer: Peer(guest, bell),
            sim,
        }
    }

    /// Takes the context and puts a new one in its place.
    pub(crate) fn take_context(&mut self) -> Arc<Context> {
        let other = context(&self.opener, &self.event_loop);
        std::mem::replace(&mut self.context, other)
    }

    pub(crate) fn bind(&self) -> Channel {
        let guest = self.peer.0.domid();
        self.context.bind_unbound_port(guest).unwrap()
    }

    /// What asks Xen for the status of ports of this domain.
    pub(crate) fn privcmd(&self) -> SimPrivcmd {
        self.sim.privcmd(DomId::DOM0)
    }

    pub(crate) fn wire(&self) -> Wire {
        self.connect(self.bind())
    }

    /// The guest binds to a channel.
    pub(crate) fn connect(&self, channel: Channel) -> Wire {
        let own = self.opener.domid();
        let theirs = self.peer.0.bind_interdomain(own, channel.port());
        Wire {
            channel: Arc::new(channel),
            theirs: theirs.unwrap(),
        }
    }

    /// A channel with a callback and without a wait.
    pub(crate) fn calling(&self, callback: impl FnMut() + Send + 'static) -> Wire {
        let mut callback = callback;
        let wire = self.wire();
        wire.channel.set_callback(move |_| callback()).unwrap();
        wire
    }

    /// Restores the domain of the context, without its event loop being woken.
    pub(crate) fn restore(&self) {
        self.sim.save_restore(self.opener.domid()).unwrap();
    }

    /// The event loop is woken after a restore.
    pub(crate) fn sense(&self) {
        self.sim.advance(Duration::from_secs(1));
        self.event_loop.bell.ring();
    }

    /// How many ports from before a restore were unbound.
    pub(crate) fn old_ports_released(&self) -> u64 {
        self.sim.with(|world| world.old_ports_released())
    }

    /// Latches an event of each of these channels: it is read while they have no wait.
    pub(crate) fn latch(&self, wires: &[&Wire]) {
        let reader = self.wire();
        reader.wait();
        for wire in wires {
            self.peer.send(wire);
        }
        self.peer.send(&reader);
        let _its_own = self.context.dispatch().unwrap().count();
    }

    /// Runs the event loop until it is stopped.
    pub(crate) fn run(&self) {
        while !self.event_loop.is_stopped() {
            if self.context.next_timeout().is_none() {
                self.event_loop.poll();
            }
            self.turn();
        }
    }

    /// Runs one round of callbacks. Returns false if another thread has the round.
    pub(crate) fn turn(&self) -> bool {
        match self.context.dispatch_callbacks() {
            Ok(Outcome::Done | Outcome::More) => true,
            Err(Error::Busy) => {
                thread::yield_now();
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.event_loop.sim.is_registered()
    }

    /// How many devices are open.
    pub(crate) fn open_files(&self) -> usize {
        self.sim.open_files()
    }
}

impl Drop for Rig {
    /// Checks that the loop was used correctly.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _looked = self.event_loop.sim.ready();
            assert_eq!(self.event_loop.sim.violations(), []);
        }
    }
}
