//! What grows with a simulated machine, and must not cost more for each event or context.

use std::time::Duration;

use evtchn::sim::{Delivery, DomainConfig, Guest, Sim, SimDevice, SimLoop, World};
use evtchn::{Channel, Context, DomId, EventChannel, Open, Port, PortBuf};

use rustix::time::{ClockId, clock_gettime};

use super::verdict;

/// How often each of two is measured, by turns.
const REPETITIONS: usize = 15;

/// Events of one measurement, in bursts of either length.
const EVENTS: usize = 65_536;
const SHORT: usize = 256;
/// How many times dearer an event of one burst of all of them may be.
const BURST: f64 = 1.5;

/// Contexts of a machine, and how many of them end in one measurement.
const SOME: usize = 1_000;
const CROWD: usize = 20_000;
const ENDS: usize = 100;
/// How many times dearer a teardown may be in the crowd.
const TEARDOWN: f64 = 1.3;

/// The time that this thread was on a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The least of several measurements of each of two, in seconds, after one of each that does not count.
fn least(mut measure: impl FnMut(usize) -> Duration) -> [f64; 2] {
    let mut least = [f64::INFINITY; 2];
    for repetition in 0..=REPETITIONS {
        for (index, least) in least.iter_mut().enumerate() {
            let seconds = measure(index).as_secs_f64();
            *least = if repetition == 0 {
                *least
            } else {
                least.min(seconds)
            };
        }
    }
    least
}

/// A machine with a guest that may have any number of ports.
fn machine() -> (Sim, Guest) {
    let sim = Sim::new(0);
    let mut roomy = DomainConfig::guest();
    roomy.max_port = u32::MAX;
    let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
    (sim, guest)
}

/// Ports of one device, each connected to a port of the guest, and events that are held back.
struct Burst {
    sim: Sim,
    guest: Guest,
    device: SimDevice,
    ours: Vec<Port>,
    theirs: Vec<Port>,
    read: PortBuf,
}

impl Burst {
    fn new(length: usize) -> Burst {
        let (sim, guest) = machine();
        let device = sim.open(DomId::DOM0).open().unwrap();
        let bind = |_| device.bind_unbound_port(guest.domid()).unwrap();
        let ours: Vec<_> = (0..length).map(bind).collect();
        let peer = |port: &Port| guest.bind_interdomain(DomId::DOM0, *port).unwrap();
        let theirs = ours.iter().map(peer).collect();
        sim.set_delivery(Delivery::Held);
        Burst {
            sim,
            guest,
            device,
            ours,
            theirs,
            read: PortBuf::with_capacity(PortBuf::MAX),
        }
    }

    /// How long it takes to send through each port and to let all events arrive, in a chosen order.
    fn play(&mut self) -> Duration {
        let begun = processor_time();
        for port in &self.theirs {
            self.guest.send(*port).unwrap();
        }
        self.sim.with(World::run);
        let took = processor_time() - begun;
        for ports in self.ours.chunks(PortBuf::MAX) {
            self.device.pending(&mut self.read).unwrap();
            assert_eq!(self.read.words().len(), ports.len());
            assert_eq!(self.device.unmask(ports).unwrap(), ports.len());
        }
        took
    }
}

pub(super) fn held_burst() -> bool {
    let lengths = [SHORT, EVENTS];
    let mut bursts = lengths.map(Burst::new);
    let costs = least(|index| {
        let burst = &mut bursts[index];
        (0..EVENTS / lengths[index]).map(|_| burst.play()).sum()
    });
    let [short, long] = costs.map(|seconds| seconds * 1e9 / EVENTS as f64);
    for (length, cost) in lengths.iter().zip([short, long]) {
        println!("{cost:>8.1} ns per event: bursts of {length}, held back");
    }
    let ratio = long / short;
    verdict(
        "a burst of 65,536, held back",
        ratio,
        ratio <= BURST,
        "at most",
        BURST,
    )
}

/// A context with one channel to the guest.
type Member = (Context<SimLoop>, Channel<SimLoop>);

fn member(sim: &Sim, guest: &Guest) -> Member {
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    (ctx, channel)
}

pub(super) fn teardown() -> bool {
    let counts = [SOME, CROWD];
    let machines = counts.map(|count| {
        let (sim, guest) = machine();
        let standing: Vec<_> = (0..count).map(|_| member(&sim, &guest)).collect();
        (sim, guest, standing)
    });
    let costs = least(|index| {
        let (sim, guest, _) = &machines[index];
        let ending: Vec<_> = (0..ENDS).map(|_| member(sim, guest)).collect();
        let begun = processor_time();
        for (ctx, channel) in ending {
            drop(channel);
            ctx.teardown().unwrap();
        }
        processor_time() - begun
    });
    let [some, crowd] = costs.map(|seconds| seconds * 1e6 / ENDS as f64);
    for (count, cost) in counts.iter().zip([some, crowd]) {
        println!("{cost:>8.2} µs per teardown: one of {count} contexts");
    }
    let ratio = crowd / some;
    verdict(
        "a teardown among 20,000 contexts",
        ratio,
        ratio <= TEARDOWN,
        "at most",
        TEARDOWN,
    )
}
