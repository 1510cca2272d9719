//! One guest storms and 99 behave: what that costs under each policy, in a second of virtual time
//! in which every call of a handler takes some time. Each run gives the same figures.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use evtchn::sim::{DomainConfig, Sim, SimLoop, World};
use evtchn::{
    AfterHandler, BeforeHandler, Call, Context, DomId, OnEoi, RateLimit, Sleep, UnmaskPolicy,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const OTHERS: usize = 99;
/// The storm sends so often; each of the others, so often.
const STORM: Duration = Duration::from_micros(10);
const CALM: Duration = Duration::from_millis(50);
const CALM_WAKES: u64 = 20;
/// How long a handler runs.
const WORK: Duration = Duration::from_micros(100);
const BURST: u32 = 10;
const PERIOD: Duration = Duration::from_millis(10);

const GUEST: DomId = DomId::new(1);

/// The figures of a second.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    storm: u64,
    others: Vec<u64>,
    /// The longest time from an event of one of the others to its handler.
    latest: Duration,
    /// How long handlers ran.
    busy: Duration,
}

/// Sends again and again, at times of its own.
fn send_each(world: &mut World, port: u32, period: Duration) {
    world.kernel_send(GUEST, port).unwrap();
    world.after(period, move |world| send_each(world, port, period));
}

/// A second under this policy for the storming port. The other ports are unmasked after their
/// handlers.
fn run(
    policy: impl UnmaskPolicy + 'static,
    mut storm: impl FnMut(&Sim, &mut Call) + Send + 'static,
) -> Figures {
    let sim = Sim::new(1);
    let mut roomy = DomainConfig::guest();
    roomy.max_port = 4_096;
    let guest = sim.guest(sim.create_domain_with(Some(GUEST), &roomy).unwrap());
    let event_loop = SimLoop::level().on(&sim);
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
    let figures = Arc::new(Mutex::new(Figures {
        others: vec![0; OTHERS],
        ..Figures::default()
    }));
    let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
    let channels: Vec<_> = (0..=OTHERS).map(bind).collect();
    let bind_peer = |it: &evtchn::Channel<_>| guest.bind_interdomain(DomId::DOM0, it.port());
    let peer_ports: Vec<u32> = channels
        .iter()
        .map(|channel| bind_peer(channel).unwrap().as_raw())
        .collect();

    let mut handlers = ctx.handlers();
    let (peer_port_of_storm, others) = peer_ports.split_first().unwrap();
    let (seen, machine) = (Arc::clone(&figures), sim.clone());
    let storm = move |call: &mut Call| {
        seen.lock().unwrap().storm += 1;
        seen.lock().unwrap().busy += WORK;
        machine.advance(WORK);
        storm(&machine, call);
    };
    handlers.add(channels[0].id(), policy, storm).unwrap();
    let port = *peer_port_of_storm;
    sim.after(STORM, move |world| send_each(world, port, STORM));
    for (index, &port) in others.iter().enumerate() {
        // All of them in half the time that their handlers take.
        let first = MS + WORK / 2 * u32::try_from(index).unwrap();
        sim.after(first, move |world| send_each(world, port, CALM));
        let (seen, machine) = (Arc::clone(&figures), sim.clone());
        let mut sent = first;
        let handler = move |_: &mut Call| {
            let mut seen = seen.lock().unwrap();
            seen.others[index] += 1;
            seen.latest = seen.latest.max(machine.now() - sent);
            seen.busy += WORK;
            sent += CALM;
            drop(seen);
            machine.advance(WORK);
        };
        handlers
            .add(channels[index + 1].id(), AfterHandler, handler)
            .unwrap();
    }
    while sim.now() < SECOND {
        let timeout = handlers.next_timeout(sim.now()).unwrap_or(SECOND);
        let deadline = SECOND.min(sim.now() + timeout);
        let ticket = event_loop.ticket();
        let _why = event_loop.sleep(ticket, Some(deadline)).unwrap();
        handlers.round(sim.now()).unwrap();
    }
    assert_eq!(event_loop.violations(), []);
    drop(handlers);
    assert!(!event_loop.is_registered());
    Arc::into_inner(figures).unwrap().into_inner().unwrap()
}

/// Every event of the others was handled, and none waited longer than one round may take.
#[track_caller]
fn expect_calm(figures: &Figures) {
    assert_eq!(figures.others, vec![CALM_WAKES; OTHERS]);
    let round = WORK * u32::try_from(OTHERS + 1).unwrap();
    assert!(figures.latest <= round, "{figures:?}");
    let calls = figures.storm + CALM_WAKES * OTHERS as u64;
    assert_eq!(figures.busy, WORK * u32::try_from(calls).unwrap());
}

/// The time of the second that the handlers of the others leave.
fn all_that_is_left() -> u64 {
    let calls = SECOND.as_micros() / WORK.as_micros();
    u64::try_from(calls).unwrap() - CALM_WAKES * OTHERS as u64
}

fn nothing_more(_: &Sim, _: &mut Call) {}

fn limit() -> RateLimit {
    RateLimit::new(BURST, PERIOD).unwrap()
}

#[test]
fn a_storm_unmasked_before_its_handler_gets_only_the_time_left_by_the_others() {
    let figures = run(BeforeHandler, nothing_more);
    expect_calm(&figures);
    assert_eq!(figures.storm, all_that_is_left());
}

#[test]
fn a_storm_unmasked_after_its_handler_gets_only_the_time_left_by_the_others() {
    let figures = run(AfterHandler, nothing_more);
    expect_calm(&figures);
    assert_eq!(figures.storm, all_that_is_left());
}

#[test]
fn a_storm_under_on_eoi_wakes_once_for_each_completed_eoi() {
    let figures = run(OnEoi, |sim, call| {
        let eoi = call.take_eoi().unwrap();
        sim.after(5 * MS, move |_| eoi.complete());
    });
    expect_calm(&figures);
    assert!((170..=200).contains(&figures.storm), "{figures:?}");
}

#[test]
fn a_storm_under_a_rate_limit_gets_its_burst_and_a_wake_each_period() {
    let figures = run(limit(), nothing_more);
    expect_calm(&figures);
    let periods = SECOND.as_micros() / PERIOD.as_micros();
    let most = u64::from(BURST) + u64::try_from(periods).unwrap();
    assert!((most - 5..=most).contains(&figures.storm), "{figures:?}");
    assert!(figures.busy < SECOND / 4, "four fifths of it are left");
}

#[test]
fn a_run_is_the_same_each_time() {
    assert_eq!(run(limit(), nothing_more), run(limit(), nothing_more));
}
