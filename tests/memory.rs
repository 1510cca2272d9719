//! The memory of the simulator depends on what is bound and open, not on how often that changes.
//!
//! One allocator counts for the whole process, so the cases run one after the other, on the
//! thread that counts.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Cx, Waker};
use std::time::Duration;

use evtchn::sim::{Call, Delivery, DomainConfig, Errno, Fault, Sim, SimLoop};
use evtchn::{Channel, Context, DomId, EventChannel, Open, RemotePort, Virq};
use libtest_mimic::{Failed, Trial};
use stats_alloc::Region;

use crate::ALLOCATOR;

const TURNS: usize = 100_000;
/// The simulator keeps a place for each domain id that was ever used; ids repeat after this many.
const DOMAIN_IDS: usize = 0x7ff0;

type Case = fn() -> Result<(), Failed>;
type SimChannel = Channel<SimLoop>;

/// The cases of this file.
pub(crate) fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 9] = [
        ("files_that_are_opened_and_closed_leave_nothing", files),
        ("openers_and_their_faults_leave_nothing", openers),
        ("ports_that_are_bound_and_unbound_leave_nothing", ports),
        ("domains_that_come_and_go_leave_nothing", domains),
        ("delayed_events_and_timers_leave_nothing", timers),
        ("contexts_that_come_and_go_leave_nothing", contexts),
        (
            "tasks_that_come_and_go_leave_nothing",
            tasks_that_come_and_go_leave_nothing,
        ),
        (
            "a_storm_on_a_stream_leaves_nothing_queued",
            a_storm_on_a_stream_leaves_nothing_queued,
        ),
        ("a_bound_port_takes_memory", bound),
    ];
    let trials = cases.map(|(name, case)| Trial::test(format!("memory::{name}"), case));
    trials.into()
}

fn files() -> Result<(), Failed> {
    let sim = Sim::new(0);
    let opener = sim.open(DomId::DOM0);
    flat(64, TURNS, || drop(opener.open().unwrap()))
}

fn openers() -> Result<(), Failed> {
    let sim = Sim::new(0);
    flat(64, TURNS, || {
        let opener = sim.open(DomId::DOM0);
        opener.install(Fault::fail(Call::Notify, Errno::EIO));
        opener.fail_nth(Call::Unbind, 9, Errno::EIO);
        drop(opener.open().unwrap());
    })
}

fn ports() -> Result<(), Failed> {
    let sim = Sim::new(0);
    let device = sim.open(DomId::DOM0).open().unwrap();
    flat(64, TURNS, || {
        let port = device.bind_unbound_port(DomId::SELF).unwrap();
        let domid = DomId::SELF;
        let second = device.bind_interdomain(RemotePort { domid, port }).unwrap();
        let virq = device.bind_virq(Virq::DOM_EXC).unwrap();
        // Otherwise entries that binds leave in the ring would overflow it, which is not tested
        // here.
        device.reset().unwrap();
        for port in [port, second, virq] {
            device.unbind(port).unwrap();
        }
    })
}

fn domains() -> Result<(), Failed> {
    let sim = Sim::new(0);
    flat(DOMAIN_IDS, TURNS, || {
        let domid = sim.create_domain().unwrap();
        let guest = sim.guest(domid);
        let device = sim.open(domid).open().unwrap();
        guest.alloc_unbound(DomId::DOM0).unwrap();
        device.bind_unbound_port(DomId::DOM0).unwrap();
        sim.destroy_domain(domid).unwrap();
    })
}

fn timers() -> Result<(), Failed> {
    let sim = Sim::new(0);
    sim.set_delivery(Delivery::Delayed(Duration::from_secs(8)));
    let device = sim.open(DomId::DOM0).open().unwrap();
    let virq = device.bind_virq(Virq::DOM_EXC).unwrap();
    flat(64, TURNS, || {
        sim.after(Duration::from_secs(1), |world| {
            world.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
        });
        sim.advance(Duration::from_secs(10));
        device.reset().unwrap();
        assert_eq!(device.unmask(&[virq]), Ok(1));
    })
}

fn contexts() -> Result<(), Failed> {
    let sim = Sim::new(0);
    let event_loop = SimLoop::level().on(&sim);
    flat(64, TURNS / 10, || {
        let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
        let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
        channel.wait().unwrap();
    })
}

/// A context with so many channels, and the guest with its ports at their other ends.
fn wired(channels: usize) -> (Context<SimLoop>, Vec<SimChannel>, impl Fn()) {
    let sim = Sim::new(0);
    let mut roomy = DomainConfig::guest();
    roomy.max_port = u32::MAX;
    let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
    let bound: Vec<_> = (0..channels).map(bind).collect();
    let peer = |channel: &SimChannel| guest.bind_interdomain(DomId::DOM0, channel.port());
    let peer_ports: Vec<_> = bound.iter().map(|channel| peer(channel).unwrap()).collect();
    let send = move || {
        peer_ports
            .iter()
            .for_each(|port| guest.send(*port).unwrap());
    };
    (ctx, bound, send)
}

fn tasks_that_come_and_go_leave_nothing() -> Result<(), Failed> {
    let (ctx, channels, send) = wired(2);
    let mut cx = Cx::from_waker(Waker::noop());
    flat(64, TURNS / 10, || {
        let mut woken = channels[0].woken();
        assert!(Pin::new(&mut woken).poll(&mut cx).is_pending());
        let mut wakes = channels[1].wakes().unwrap();
        send();
        ctx.drive().unwrap();
        assert!(Pin::new(&mut woken).poll(&mut cx).is_ready());
        assert!(Pin::new(&mut woken).poll(&mut cx).is_pending());
        // Removed and added before the stream yields its wake, and dropped before the stream is
        // pending.
        for _ in 0..4 {
            assert!(wakes.remove(channels[1].id()));
            wakes.add(channels[1].id()).unwrap();
        }
        assert!(wakes.poll_wake(&mut cx).is_ready());
    })
}

fn a_storm_on_a_stream_leaves_nothing_queued() -> Result<(), Failed> {
    let (ctx, channels, send) = wired(1_000);
    // The buffers for reads and unmasks do grow.
    let wait = |channel: &SimChannel| channel.wait().unwrap();
    channels.iter().for_each(wait);
    for _ in 0..2 {
        send();
        let woken = |wake: evtchn::Wake| ctx.wait(wake.channel).unwrap();
        ctx.dispatch().unwrap().for_each(woken);
    }
    for channel in &channels {
        assert!(channel.cancel().unwrap());
    }
    let storm = |channels: &[SimChannel]| {
        let mut wakes = ctx.wakes();
        let added = channels.iter().try_for_each(|it| wakes.add(it.id()));
        added.unwrap();
        send();
        ctx.drive().unwrap();
    };
    storm(&channels[..16]);
    flat(0, 1, || storm(&channels))
}

/// The control: memory of ports that stay bound is counted, so the other cases do count.
fn bound() -> Result<(), Failed> {
    let sim = Sim::new(0);
    let device = sim.open(DomId::DOM0).open().unwrap();
    let grown = growth(0, 10_000, || {
        device.bind_unbound_port(DomId::SELF).unwrap();
    });
    if (1..=100).contains(&(grown / 10_000)) {
        return Ok(());
    }
    Err(format!("10,000 ports cost {grown} bytes").into())
}

/// Lets the buffers grow, and then nothing more.
fn flat(warm_up: usize, turns: usize, turn: impl FnMut()) -> Result<(), Failed> {
    match growth(warm_up, turns, turn) {
        0 => Ok(()),
        grown => Err(format!("{turns} turns left {grown} bytes").into()),
    }
}

/// How many more bytes are allocated after the turns than before them.
fn growth(warm_up: usize, turns: usize, mut turn: impl FnMut()) -> isize {
    (0..warm_up).for_each(|_| turn());
    let region = Region::new(ALLOCATOR);
    (0..turns).for_each(|_| turn());
    let change = region.change();
    // Bytes that a reallocation adds or takes away are among these already.
    change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed()
}
