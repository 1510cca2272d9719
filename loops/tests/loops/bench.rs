//! A context in a loop, and a peer device at the other end of its channels.

use std::cell::RefCell;
use std::error::Error;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use evtchn_core::{Cause, Context, DomId, EventChannel, Open, Port, RemotePort, Wake};

use super::device::{Backend, HeldOpen, Log, Spied, held};
use super::rig::{ChannelOf, ContextOf, Each, Rig, Taste};

/// How long a thread sleeps that nothing wakes. Only a failure ever waits so long.
pub(crate) const GUARD: Duration = Duration::from_secs(10);

/// More turns than any case needs.
const MANY: usize = 50;

pub(crate) type Fired = Vec<(Port, Cause)>;

pub(crate) struct Bench<B: Backend, A: Rig<B>> {
    pub(crate) rig: A,
    pub(crate) context: Arc<ContextOf<B, A>>,
    pub(crate) log: Arc<Log>,
    /// The device of the peer, outside the context.
    pub(crate) peer: Arc<B::Device>,
    last: Arc<Mutex<Weak<B::Device>>>,
    taste: Taste,
    backend: B,
}

/// A channel of the context that a port of the peer is connected to. It has no event yet.
pub(crate) struct Wire<B: Backend, A: Rig<B>> {
    pub(crate) channel: ChannelOf<B, A>,
    pub(crate) peer: Port,
}

impl<B: Backend, A: Rig<B>> Wire<B, A> {
    pub(crate) fn port(&self) -> Port {
        self.channel.port()
    }

    /// Waits.
    #[track_caller]
    pub(crate) fn wait(&self) {
        self.channel.wait().unwrap();
    }
}

/// A port of this domain, as a peer in the same domain names it.
pub(crate) fn local(port: Port) -> RemotePort {
    RemotePort {
        domid: DomId::SELF,
        port,
    }
}

impl<B: Backend, A: Rig<B>> Bench<B, A> {
    /// Hands out wakes.
    pub(crate) fn new(backend: B) -> Self {
        Bench::at_most(backend, 4096)
    }

    /// Hands out at most this many wakes in a round.
    pub(crate) fn at_most(backend: B, at_most: usize) -> Self {
        let calls = false;
        Bench::with(backend, Taste { at_most, calls })
    }

    /// Runs the callbacks of the channels.
    pub(crate) fn calling(backend: B) -> Self {
        let (at_most, calls) = (4096, true);
        Bench::with(backend, Taste { at_most, calls })
    }

    fn with(backend: B, taste: Taste) -> Self {
        let mut rig = A::new();
        let last = Arc::default();
        let log = Arc::default();
        let context = context(&backend, &mut rig, &last, &log);
        rig.attach(&context, taste);
        Bench {
            rig,
            context,
            log,
            peer: Arc::new(backend.opener().open().unwrap()),
            last,
            taste,
            backend,
        }
    }

    /// One more context in the same loop.
    pub(crate) fn another(&mut self) -> Arc<ContextOf<B, A>> {
        let another = context(
            &self.backend,
            &mut self.rig,
            &Arc::default(),
            &Arc::default(),
        );
        self.rig.attach(&another, self.taste);
        another
    }

    #[track_caller]
    pub(crate) fn wire(&self) -> Wire<B, A> {
        self.wire_of(&self.context)
    }

    #[track_caller]
    pub(crate) fn wire_of(&self, context: &ContextOf<B, A>) -> Wire<B, A> {
        let channel = context.bind_unbound_port(DomId::SELF).unwrap();
        let peer = self.peer.bind_interdomain(local(channel.port())).unwrap();
        Wire { channel, peer }
    }

    pub(crate) fn wires<const N: usize>(&self) -> [Wire<B, A>; N] {
        std::array::from_fn(|_| self.wire())
    }

    /// The device of the context, to act on behind its back. Not to be kept.
    pub(crate) fn device(&self) -> Arc<B::Device> {
        held(&self.last).unwrap()
    }

    pub(crate) fn is_open(&self) -> bool {
        held(&self.last).is_some()
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.device().fd().unwrap().as_raw_fd()
    }

    /// The peer notifies.
    #[track_caller]
    pub(crate) fn fire(&self, wire: &Wire<B, A>) {
        self.peer.notify(wire.peer).unwrap();
    }

    /// Overflows the ring of the context's device, which shows the error bit alone then.
    #[track_caller]
    pub(crate) fn overflow(&self, wire: &Wire<B, A>) {
        let _no_reader = self.rig.quiet();
        let device = self.device();
        // The ring has 64 entries, and each write lets one more in.
        for _ in 0..64 {
            self.fire(wire);
            device.unmask(&[wire.port()]).unwrap();
        }
        self.fire(wire);
    }

    /// Runs the loop until wakes came, or nothing does, doing `each` with every wake.
    ///
    /// # Errors
    /// That of the first round which failed.
    pub(crate) fn try_turn(
        &mut self,
        mut each: impl FnMut(&ContextOf<B, A>, Wake) + 'static,
    ) -> Result<Fired, Box<dyn Error>> {
        let fired = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&fired);
        let mut each: Each<B, A> = Box::new(move |context, wake| {
            noted.borrow_mut().push((wake.port(), wake.cause));
            each(context, wake);
        });
        for _ in 0..MANY {
            let came = self.rig.turn(B::PATIENCE, &mut each)?;
            if !came || !fired.borrow().is_empty() {
                return Ok(fired.take());
            }
        }
        Err("the loop spins".into())
    }

    /// [`try_turn`](Self::try_turn) where no round fails.
    #[track_caller]
    pub(crate) fn turn_with(
        &mut self,
        each: impl FnMut(&ContextOf<B, A>, Wake) + 'static,
    ) -> Fired {
        self.try_turn(each).unwrap()
    }

    /// Runs the loop until wakes came.
    #[track_caller]
    pub(crate) fn turn(&mut self) -> Fired {
        self.turn_with(|_, _| ())
    }

    /// Runs the loop until wakes came, waiting again for every one.
    #[track_caller]
    pub(crate) fn rewait(&mut self) -> Fired {
        self.turn_with(|context, wake| {
            context.wait(wake.channel).unwrap();
        })
    }

    /// Demands an event of each of these, in this order.
    #[track_caller]
    pub(crate) fn expect_wakes(&mut self, wires: &[&Wire<B, A>]) {
        let events: Fired = wires.iter().map(|it| (it.port(), Cause::Event)).collect();
        assert_eq!(self.turn(), events);
    }

    /// Runs the loop until nothing is left to do, which must bring no wake and come soon.
    #[track_caller]
    pub(crate) fn expect_idle(&mut self) {
        let mut each: Each<B, A> = Box::new(|_, wake| panic!("{wake:?}"));
        for _ in 0..4 {
            if !self.rig.turn(Duration::ZERO, &mut each).unwrap() {
                assert_eq!(self.context.next_timeout(), None);
                return;
            }
        }
        panic!("the loop spins");
    }

    /// Runs the loop while callbacks are to come: until `is_done`, or nothing comes.
    #[track_caller]
    pub(crate) fn run_until(&mut self, is_done: impl Fn() -> bool) {
        for _ in 0..MANY {
            let came = self.rig.turn(B::PATIENCE, &mut Self::no_wakes()).unwrap();
            if is_done() {
                return;
            }
            assert!(came, "nothing comes");
        }
        panic!("the loop spins");
    }

    pub(crate) fn no_wakes() -> Each<B, A> {
        Box::new(|_, _| ())
    }

    /// Lets another thread act once this one sleeps in the loop, and runs it until `is_done`.
    #[track_caller]
    pub(crate) fn while_asleep(
        &mut self,
        act: impl FnOnce(&B::Device) + Send,
        mut each: Each<B, A>,
        is_done: impl Fn() -> bool,
    ) {
        let sleeper = fs::read_link("/proc/thread-self").unwrap();
        let stat = Path::new("/proc").join(sleeper).join("stat");
        let gives_up = AtomicBool::new(false);
        let (rig, peer, gives_up) = (&mut self.rig, &self.peer, &gives_up);
        let came = thread::scope(|scope| {
            scope.spawn(move || {
                while !is_asleep(&fs::read_to_string(&stat).unwrap()) {
                    if gives_up.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::yield_now();
                }
                act(peer);
            });
            let came = (0..MANY).any(|_| {
                let began = Instant::now();
                let turned = rig.turn(GUARD, &mut each);
                is_done() || turned.is_err() || began.elapsed() >= GUARD
            });
            gives_up.store(true, Ordering::Relaxed);
            came
        });
        assert!(came, "the loop spins");
        assert!(is_done(), "nothing woke the loop");
    }

    /// Demands this many registrations and deregistrations since the context was made.
    #[track_caller]
    pub(crate) fn expect_hooks(&self, registers: u32, deregisters: u32) {
        assert_eq!(hooks(&self.log), (registers, deregisters));
        if self.is_open() {
            let is_watched = self.rig.watches(self.fd());
            assert_eq!(
                is_watched,
                registers > deregisters,
                "the loop and the counters disagree"
            );
        }
    }

    /// Lets go of the loop, of the context, or of both, in the order of the case.
    pub(crate) fn into_parts(self) -> (A, Arc<ContextOf<B, A>>, Arc<Log>) {
        (self.rig, self.context, self.log)
    }
}

/// How often the context called its hooks.
pub(crate) fn hooks(log: &Log) -> (u32, u32) {
    let count = |it: &AtomicU32| it.load(Ordering::Relaxed);
    (count(&log.registers), count(&log.deregisters))
}

fn context<B: Backend, A: Rig<B>>(
    backend: &B,
    rig: &mut A,
    last: &Arc<Mutex<Weak<B::Device>>>,
    log: &Arc<Log>,
) -> Arc<ContextOf<B, A>> {
    let opener = HeldOpen {
        opener: backend.opener(),
        last: Arc::clone(last),
    };
    let event_loop = Spied {
        adapter: rig.adapter(),
        log: Arc::clone(log),
    };
    Arc::new(Context::with_registrar(opener, event_loop))
}

/// What proc(5) says of a thread that sleeps in a system call.
fn is_asleep(stat: &str) -> bool {
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('S'))
}
