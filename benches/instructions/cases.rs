//! What is measured.

use std::sync::atomic::{AtomicUsize, Ordering};

use evtchn::sim::{DomainConfig, Guest, Sim, SimLoop, SimOpen};
use evtchn::{Channel, Context, DomId, EventChannel, Open, Port, WakeBuf};

use crate::peers::{List, Map, Raw};

/// Both runs of a case have the same beginning and end, and differ in their rounds.
pub(crate) const ROUNDS: [usize; 2] = [4, 24];
/// How many of the waiters have an event in each round.
const FIRING: usize = 16;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) waiters: &'static [usize],
    pub(crate) run: fn(waiters: usize, rounds: usize),
}

const MANY: &[usize] = &[1, 16, 256, 4_096, 65_536];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "values",
        waiters: MANY,
        run: values,
    },
    Case {
        name: "batches",
        waiters: MANY,
        run: batches,
    },
    Case {
        name: "callbacks",
        waiters: MANY,
        run: callbacks,
    },
    Case {
        name: "callbacks again",
        waiters: MANY,
        run: callbacks_again,
    },
    Case {
        name: "by hand",
        waiters: MANY,
        run: by_hand,
    },
    Case {
        name: "linear list",
        waiters: MANY,
        run: linear_list,
    },
    Case {
        name: "hash map",
        waiters: MANY,
        run: hash_map,
    },
    Case {
        name: "only the notifies",
        waiters: MANY,
        run: only_the_notifies,
    },
    Case {
        name: "register and deregister",
        waiters: &[1],
        run: register,
    },
    Case {
        name: "wait and cancel",
        waiters: &[2],
        run: wait_and_cancel,
    },
    Case {
        name: "notify",
        waiters: &[1],
        run: notify,
    },
];

/// How many events or operations a round has.
pub(crate) fn units(waiters: usize) -> usize {
    waiters.min(FIRING)
}

/// Two simulated domains, and the guest's ends of the channels that fire.
struct Rig {
    guest: Guest,
    firing: Vec<Port>,
}

impl Rig {
    /// Connects `waiters` channels, each bound by `bind` for the guest.
    fn new(waiters: usize, bind: impl FnOnce(&Sim, DomId) -> Vec<Port>) -> Rig {
        let sim = Sim::new(0);
        let mut roomy = DomainConfig::guest();
        roomy.max_port = u32::MAX;
        let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
        let ports = bind(&sim, guest.domid());
        let theirs = ports
            .iter()
            .map(|port| guest.bind_interdomain(DomId::DOM0, *port).unwrap());
        let theirs: Vec<Port> = theirs.collect();
        let apart = waiters / units(waiters);
        let firing = theirs.into_iter().step_by(apart).take(units(waiters));
        Rig {
            firing: firing.collect(),
            guest,
        }
    }

    fn fire(&self) {
        for port in &self.firing {
            self.guest.send(*port).unwrap();
        }
    }
}

type Ctx = Context<SimOpen, SimLoop>;

/// A context whose every channel is waited for.
fn context(waiters: usize) -> (Rig, Ctx, Vec<Channel<SimOpen, SimLoop>>) {
    let mut made = None;
    let rig = Rig::new(waiters, |sim, domid| {
        let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
        let bind = |_| ctx.bind_unbound_port(domid).unwrap();
        let channels: Vec<_> = (0..waiters).map(bind).collect();
        let ports = channels.iter().map(Channel::port).collect();
        made = Some((ctx, channels));
        ports
    });
    let (ctx, channels) = made.unwrap();
    for channel in &channels {
        let _nothing_yet = channel.wait().unwrap();
    }
    (rig, ctx, channels)
}

fn values(waiters: usize, rounds: usize) {
    let (rig, ctx, _channels) = context(waiters);
    for _ in 0..rounds {
        rig.fire();
        let mut handled = 0;
        let mut round = ctx.dispatch().unwrap();
        for wake in &mut round {
            let _nothing_yet = ctx.wait(wake.channel).unwrap();
            handled += 1;
        }
        let _done = round.finish().unwrap();
        assert_eq!(handled, rig.firing.len());
    }
}

/// Many at once, each waited for again.
fn batches(waiters: usize, rounds: usize) {
    let (rig, ctx, _channels) = context(waiters);
    let mut buf = WakeBuf::default();
    for _ in 0..rounds {
        rig.fire();
        let mut handled = 0;
        let mut round = ctx.dispatch().unwrap();
        while let wakes @ [_, ..] = round.fill_again(&mut buf) {
            handled += wakes.len();
        }
        let _done = round.finish().unwrap();
        assert_eq!(handled, rig.firing.len());
    }
}

fn callbacks(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    let ctx = std::sync::Arc::new(ctx);
    for channel in &channels {
        let inner = std::sync::Arc::downgrade(&ctx);
        channel
            .set_callback(move |wake| {
                let _nothing_yet = inner.upgrade().unwrap().wait(wake.channel).unwrap();
            })
            .unwrap();
    }
    for _ in 0..rounds {
        rig.fire();
        let _done = ctx.dispatch_callbacks().unwrap();
    }
    assert_eq!(ctx.stats().wakes, (rig.firing.len() * rounds) as u64);
}

fn callbacks_again(waiters: usize, rounds: usize) {
    let (rig, ctx, channels) = context(waiters);
    let called = std::sync::Arc::new(AtomicUsize::new(0));
    for channel in &channels {
        let called = std::sync::Arc::clone(&called);
        let count = move |_| {
            called.fetch_add(1, Ordering::Relaxed);
        };
        channel.set_callback(count).unwrap();
    }
    for _ in 0..rounds {
        rig.fire();
        let _done = ctx.dispatch_callbacks_again().unwrap();
    }
    assert_eq!(called.load(Ordering::Relaxed), rig.firing.len() * rounds);
}

/// A device with this many ports, handled by one of the peers' loops.
fn device<T>(
    waiters: usize,
    rounds: usize,
    peer: fn(&[Port]) -> T,
    round: fn(&mut T, &<SimOpen as Open>::Device) -> usize,
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
    for _ in 0..rounds {
        rig.fire();
        assert_eq!(round(&mut peer, &device), rig.firing.len());
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

/// What is in every count above: that of the simulator's hypervisor.
fn only_the_notifies(waiters: usize, rounds: usize) {
    let mut made = None;
    let rig = Rig::new(waiters, |sim, domid| {
        let device = sim.open(DomId::DOM0).open().unwrap();
        let bind = |_| device.bind_unbound_port(domid).unwrap();
        let ports = (0..waiters).map(bind).collect();
        made = Some(device);
        ports
    });
    for _ in 0..rounds {
        rig.fire();
    }
}

/// The first wait registers, and its cancel deregisters.
fn register(waiters: usize, rounds: usize) {
    let (_rig, _ctx, channels) = context(waiters);
    channels[0].cancel().unwrap();
    for _ in 0..rounds {
        let _nothing_yet = channels[0].wait().unwrap();
        channels[0].cancel().unwrap();
    }
}

/// Beside a waiter that keeps the device registered.
fn wait_and_cancel(waiters: usize, rounds: usize) {
    let (_rig, _ctx, channels) = context(waiters);
    channels[0].cancel().unwrap();
    for _ in 0..rounds * units(waiters) {
        let _nothing_yet = channels[0].wait().unwrap();
        channels[0].cancel().unwrap();
    }
}

fn notify(waiters: usize, rounds: usize) {
    let (_rig, _ctx, channels) = context(waiters);
    for _ in 0..rounds {
        channels[0].notify().unwrap();
    }
}
