//! What is measured.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Wake, Waker};
use std::time::Duration;

use evtchn::sim::{DomainConfig, Guest, Sim, SimLoop, SimOpen};
use evtchn::{
    AfterHandler, Call, Channel, Context, DomId, EventChannel, Open, Port, WakeBuf, Wakes,
};

use crate::peers::{List, Map, Raw};

/// How many of the waiters have an event in each round.
const FIRING: usize = 16;
/// How many events the rounds that are counted have: a process may begin and end with some hundred
/// instructions more or less, as its path is long.
const EVENTS: usize = 1_024;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) waiters: &'static [usize],
    /// Two runs have the same beginning and end, and differ in their rounds.
    pub(crate) rounds: fn(waiters: usize) -> [usize; 2],
    /// How many events or operations a round has.
    pub(crate) units: fn(waiters: usize) -> usize,
    pub(crate) run: fn(waiters: usize, rounds: usize),
}

impl Case {
    /// A case of events, or of operations that may be repeated.
    const fn repeated(
        name: &'static str,
        waiters: &'static [usize],
        run: fn(usize, usize),
    ) -> Case {
        Case {
            name,
            waiters,
            rounds: |waiters| [4, 4 + EVENTS / firing(waiters)],
            units: firing,
            run,
        }
    }

    /// A case of what is done once for every port.
    const fn once(name: &'static str, run: fn(usize, usize)) -> Case {
        Case {
            name,
            waiters: &[1_000, 10_000],
            rounds: |_| [0, 1],
            units: |ports| ports,
            run,
        }
    }
}

const MANY: &[usize] = &[1, 16, 256, 4_096, 65_536];

pub(crate) const CASES: &[Case] = &[
    Case::repeated("values", MANY, values),
    Case::repeated("each", MANY, each),
    Case::repeated("batches", MANY, batches),
    Case::repeated("handlers", &[1, 256], handlers),
    Case::repeated("stream", &[1, 256], stream),
    Case::repeated("streams", &[1, 256], streams),
    Case::repeated("callbacks", MANY, callbacks),
    Case::repeated("callbacks, each", MANY, callbacks_each),
    Case::repeated("by hand", MANY, by_hand),
    Case::repeated("linear list", MANY, linear_list),
    Case::repeated("hash map", MANY, hash_map),
    Case::repeated("only the notifies", &[4_096], only_the_notifies),
    Case::repeated("register and deregister", &[1], register),
    Case::repeated("wait and cancel", &[2], wait_and_cancel),
    Case::repeated("notify", &[1], notify),
    Case::once("bind", bind),
    Case::once("bind by hand", bind_by_hand),
    Case::once("tear down", tear_down),
    Case::once("tear down by hand", tear_down_by_hand),
];

fn firing(waiters: usize) -> usize {
    waiters.min(FIRING)
}

/// Two simulated domains, and the guest's ends of the channels.
struct Rig {
    guest: Guest,
    peer_ports: Vec<Port>,
    /// How many of them fire in a round.
    firing: usize,
}

impl Rig {
    /// Connects `waiters` channels, each bound by `bind` for the guest.
    fn new(waiters: usize, bind: impl FnOnce(&Sim, DomId) -> Vec<Port>) -> Rig {
        let sim = Sim::new(0);
        let mut roomy = DomainConfig::guest();
        roomy.max_port = u32::MAX;
        let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
        let ports = bind(&sim, guest.domid());
        let peer_ports = ports
            .iter()
            .map(|port| guest.bind_interdomain(DomId::DOM0, *port).unwrap());
        Rig {
            peer_ports: peer_ports.collect(),
            firing: firing(waiters),
            guest,
        }
    }

    /// Fires channels that are far apart, different ones in each round while there are any left.
    fn fire(&self, round: usize) {
        let apart = self.peer_ports.len() / self.firing;
        for index in 0..self.firing {
            let port = self.peer_ports[index * apart + round % apart];
            self.guest.send(port).unwrap();
        }
    }
}

type Device = <SimOpen as Open>::Device;
type Ctx = Context<SimLoop>;

/// A context with a wait on every channel.
fn context(waiters: usize) -> (Rig, Ctx, Vec<Channel<SimLoop>>) {
    let mut made = None;
    let rig = Rig::new(waiters, |sim, domid| {
        let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
        let bind = |_| ctx.bind_unbound_port(domid).unwrap();
        let channels: Vec<_> = (0..waiters).map(bind).collect();
        let ports = channels.iter().map(Channel::port).collect();
        made = Some((ctx, channels));
        ports
    });
    let (ctx, channels) = made.unwrap();
    for channel in &channels {
        channel.wait().unwrap();
    }
    (rig, ctx, channels)
}

fn values(waiters: usize, rounds: usize) {
    let (rig, ctx, _channels) = context(waiters);
    for round in 0..rounds {
        rig.fire(round);
        let mut handled = 0;
        let mut wakes = ctx.dispatch().unwrap();
        for wake in &mut wakes {
            ctx.wait(wake.channel).unwrap();
            handled += 1;
        }
        let _done = wakes.finish().unwrap();
        assert_eq!(handled, rig.firing);
    }
}

/// One after the other; each channel waits for each wake.
fn each(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    wait_each(&channels);
    for round in 0..rounds {
        rig.fire(round);
        let mut handled = 0;
        let mut wakes = ctx.dispatch().unwrap();
        for _wake in &mut wakes {
            handled += 1;
        }
        let _done = wakes.finish().unwrap();
        assert_eq!(handled, rig.firing);
    }
}

/// A handler for each channel, whose port is unmasked when it has returned.
fn handlers(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    let called = Arc::new(AtomicUsize::new(0));
    let mut handlers = ctx.handlers();
    for channel in &channels {
        let _ended = channel.cancel().unwrap();
        let called = Arc::clone(&called);
        let count = move |_: &mut Call| {
            called.fetch_add(1, Ordering::Relaxed);
        };
        handlers.add(channel.id(), AfterHandler, count).unwrap();
    }
    for round in 0..rounds {
        rig.fire(round);
        let _done = handlers.round(Duration::ZERO).unwrap();
    }
    assert_eq!(called.load(Ordering::Relaxed), rig.firing * rounds);
}

/// One stream of the wakes of every channel, in one task.
fn stream(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    let mut wakes = ctx.wakes();
    for channel in &channels {
        let _ended = channel.cancel().unwrap();
        wakes.add(channel.id()).unwrap();
    }
    let mut cx = task::Context::from_waker(Waker::noop());
    for round in 0..rounds {
        rig.fire(round);
        let _read = ctx.drive().unwrap();
        let mut handled = 0;
        while let Poll::Ready(Some(wake)) = wakes.poll_wake(&mut cx) {
            let _wake = wake.unwrap();
            handled += 1;
        }
        assert_eq!(handled, rig.firing);
    }
}

/// The waker of one of the tasks, which queues it.
struct Queued {
    queue: Arc<Mutex<VecDeque<usize>>>,
    task: usize,
}

impl Wake for Queued {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.queue.lock().unwrap().push_back(self.task);
    }
}

/// A stream for each channel, each in a task of its own.
fn streams(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    let queue = Arc::new(Mutex::new(VecDeque::new()));
    let task = |(task, channel): (usize, &Channel<SimLoop>)| {
        let _ended = channel.cancel().unwrap();
        let queue = Arc::clone(&queue);
        let waker = Waker::from(Arc::new(Queued { queue, task }));
        (channel.wakes().unwrap(), waker)
    };
    let mut tasks: Vec<_> = channels.iter().enumerate().map(task).collect();
    let poll = |(wakes, waker): &mut (Wakes<SimLoop>, Waker)| {
        let mut handled = 0;
        while let Poll::Ready(Some(wake)) = wakes.poll_wake(&mut task::Context::from_waker(waker)) {
            let _wake = wake.unwrap();
            handled += 1;
        }
        handled
    };
    tasks.iter_mut().for_each(|task| assert_eq!(poll(task), 0));
    for round in 0..rounds {
        rig.fire(round);
        let _read = ctx.drive().unwrap();
        let mut handled = 0;
        while let Some(task) = { queue.lock().unwrap().pop_front() } {
            handled += poll(&mut tasks[task]);
        }
        assert_eq!(handled, rig.firing);
    }
}

fn wait_each(channels: &[Channel<SimLoop>]) {
    for channel in channels {
        channel.wait_each().unwrap();
    }
}

/// Many at once; each channel waits for each wake.
fn batches(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    wait_each(&channels);
    let mut buf = WakeBuf::default();
    for round in 0..rounds {
        rig.fire(round);
        let mut handled = 0;
        let mut wakes = ctx.dispatch().unwrap();
        while let many @ [_, ..] = wakes.fill(&mut buf) {
            handled += many.len();
        }
        let _done = wakes.finish().unwrap();
        assert_eq!(handled, rig.firing);
    }
}

fn callbacks(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    let ctx = Arc::new(ctx);
    for channel in &channels {
        let inner = Arc::downgrade(&ctx);
        channel
            .set_callback(move |wake| {
                inner.upgrade().unwrap().wait(wake.channel).unwrap();
            })
            .unwrap();
    }
    for round in 0..rounds {
        rig.fire(round);
        let _done = ctx.dispatch_callbacks().unwrap();
    }
    assert_eq!(ctx.stats().wakes, (rig.firing * rounds) as u64);
}

fn callbacks_each(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    wait_each(&channels);
    let called = Arc::new(AtomicUsize::new(0));
    for channel in &channels {
        let called = Arc::clone(&called);
        let count = move |_| {
            called.fetch_add(1, Ordering::Relaxed);
        };
        channel.set_callback(count).unwrap();
    }
    for round in 0..rounds {
        rig.fire(round);
        let _done = ctx.dispatch_callbacks().unwrap();
    }
    assert_eq!(called.load(Ordering::Relaxed), rig.firing * rounds);
}

/// A device with this many ports, handled by one of the other loops.
fn device<T>(
    waiters: usize,
    rounds: usize,
    peer: fn(&[Port]) -> T,
    handle: fn(&mut T, &Device) -> usize,
) {
    let mut made = None;
    let rig = Rig::new(waiters, |sim, domid| {
        let device = sim.open(DomId::DOM0).open().unwrap();
        let bind = |_| device.bind_unbound_port(domid).unwrap();
        let ports: Vec<_> = (0..waiters).map(bind).collect();
        made = Some((peer(&ports), device));
        ports
    });
    let (mut peer, device) = made.unwrap();
    for round in 0..rounds {
        rig.fire(round);
        assert_eq!(handle(&mut peer, &device), rig.firing);
    }
}

fn by_hand(waiters: usize, rounds: usize) {
    device(waiters, rounds, Raw::new, Raw::round);
}

fn linear_list(waiters: usize, rounds: usize) {
    device(waiters, rounds, List::new, List::round);
}

fn hash_map(waiters: usize, rounds: usize) {
    device(waiters, rounds, Map::new, Map::round);
}

/// What is in every count of an event: the simulator's part of a notify that is delivered. No port
/// fires twice, since nothing reads.
fn only_the_notifies(waiters: usize, rounds: usize) {
    let mut made = None;
    let rig = Rig::new(waiters, |sim, domid| {
        let device = sim.open(DomId::DOM0).open().unwrap();
        let bind = |_| device.bind_unbound_port(domid).unwrap();
        let ports = (0..waiters).map(bind).collect();
        made = Some(device);
        ports
    });
    for round in 0..rounds {
        rig.fire(round);
    }
}

/// The first wait registers, and its cancel deregisters.
fn register(waiters: usize, rounds: usize) {
    let (_rig, _ctx, channels) = context(waiters);
    channels[0].cancel().unwrap();
    for _ in 0..rounds {
        channels[0].wait().unwrap();
        channels[0].cancel().unwrap();
    }
}

/// Beside a waiter that keeps the device registered.
fn wait_and_cancel(waiters: usize, rounds: usize) {
    let (_rig, _ctx, channels) = context(waiters);
    channels[0].cancel().unwrap();
    for _ in 0..rounds * firing(waiters) {
        channels[0].wait().unwrap();
        channels[0].cancel().unwrap();
    }
}

fn notify(waiters: usize, rounds: usize) {
    let (_rig, _ctx, channels) = context(waiters);
    for _ in 0..rounds {
        channels[0].notify().unwrap();
    }
}

/// The drops at the end are not counted: the process ends without them.
fn leave<T>(what: T) {
    let _left = ManuallyDrop::new(what);
}

/// Many ports in one context, with a wait on each if `waits`.
fn bound(ports: usize, waits: bool) -> (Ctx, Vec<Channel<SimLoop>>) {
    let ctx = Context::with_registrar(Sim::new(0).open(DomId::DOM0), SimLoop::level());
    let bind = |_| ctx.bind_unbound_port(DomId::SELF).unwrap();
    let channels: Vec<_> = (0..ports).map(bind).collect();
    for channel in channels.iter().filter(|_| waits) {
        channel.wait().unwrap();
    }
    (ctx, channels)
}

fn bind(ports: usize, rounds: usize) {
    leave(bound(ports * rounds, false));
}

/// Unbinds every channel and closes the device.
fn tear_down(ports: usize, rounds: usize) {
    let (ctx, mut channels) = bound(ports, true);
    if rounds > 0 {
        channels.clear();
        ctx.teardown().unwrap();
    }
    leave((ctx, channels));
}

fn bound_by_hand(ports: usize) -> (Device, Vec<Port>) {
    let device = Sim::new(0).open(DomId::DOM0).open().unwrap();
    let bind = |_| device.bind_unbound_port(DomId::SELF).unwrap();
    let ports = (0..ports).map(bind).collect();
    (device, ports)
}

fn bind_by_hand(ports: usize, rounds: usize) {
    leave(bound_by_hand(ports * rounds));
}

fn tear_down_by_hand(ports: usize, rounds: usize) {
    let (device, ports) = bound_by_hand(ports);
    if rounds == 0 {
        return leave((device, ports));
    }
    for port in &ports {
        device.unbind(*port).unwrap();
    }
    drop(device);
    leave(ports);
}
