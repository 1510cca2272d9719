//! What must hold on the clock, as ratios of two measurements of one run, the best of five: `cargo bench -p evtchn
//! --bench ratios` prints them and fails if a bound is missed. Words after `--`, such as `blocked`, select measurements
//! by name.
//!
//! - An event among 65,536 waiters costs at most 3 times one among 16.
//! - Two threads, each in a simulated machine of its own, handle at least 1.6 times the events per second of one. Each
//!   has a processor of its own and works alone and beside the other by turns of milliseconds: if one of the two
//!   processors is slower for a while, as happens on a shared machine, both measurements on it are slower. What two
//!   threads of plain arithmetic reach in the same run is the ceiling.
//! - The simulator keeps pace: an event of a burst of 65,536 that is held back costs at most 1.5 times one of 256, and
//!   the teardown of one of 20,000 contexts at most 1.3 times that of one of 1,000.
//! - With 500 threads blocked in the loop, an event of another channel takes at most 2 polls, and at
//!   most 2 times the processor time that it takes with none. Another thread runs rounds for that
//!   channel, or blocks for it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and may end by panicking"
)]

#[path = "ratios/simulator.rs"]
mod simulator;

use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use evtchn::poll::PollLoop;
use evtchn::sim::{DomainConfig, Guest, Sim, SimLoop};
use evtchn::{Cause, Channel, Context, DomId, Error, Port};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

const REPETITIONS: usize = 5;
/// Events of one measurement of one thread.
const EVENTS: usize = 1 << 20;
/// How long each of two threads works before the other does, and how often in a measurement.
const TURN: Duration = Duration::from_millis(5);
const TURNS: usize = 20;
const FEW: usize = 16;
const MANY: usize = 65_536;
/// How many times dearer an event may be among many waiters.
const FLAT: f64 = 3.0;
/// How many times more two threads must handle.
const TWICE: f64 = 1.6;
/// Threads that block, and events of another channel meanwhile.
const BLOCKED: usize = 500;
const NOTIFIES: usize = 10_000;
/// How many polls an event may take among them, and how many times the processor time.
const POLLS: f64 = 2.0;
const DEARER: f64 = 2.0;

/// A measurement and its name, by which it can be run alone. Returns whether its bound holds.
type Row = (&'static str, fn() -> bool);

const ROWS: [Row; 6] = [
    ("flat", flat),
    ("threads", threads),
    ("held burst", simulator::held_burst),
    ("teardown", simulator::teardown),
    ("rounds beside blocked threads", || {
        beside_blocked(By::Rounds)
    }),
    ("block beside blocked threads", || {
        beside_blocked(By::Blocking)
    }),
];

fn main() -> ExitCode {
    let asked: Vec<String> = env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|it| name.contains(&**it));
    let rows = ROWS.iter().filter(|(name, _)| is_asked(name));
    let missed = rows.filter(|(_, measure)| !measure()).count();
    ExitCode::from(u8::from(missed > 0))
}

/// Two simulated domains; every channel between them has a wait.
struct Scene {
    guest: Guest,
    peer_ports: Vec<Port>,
    ctx: Context<SimLoop>,
    _channels: Vec<Channel<SimLoop>>,
}

impl Scene {
    fn new(waiters: usize) -> Scene {
        let sim = Sim::new(0);
        let mut roomy = DomainConfig::guest();
        roomy.max_port = u32::MAX;
        let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
        let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
        let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
        let channels: Vec<_> = (0..waiters).map(bind).collect();
        let peer = |channel: &Channel<_>| guest.bind_interdomain(DomId::DOM0, channel.port());
        let peer_ports = channels.iter().map(|it| peer(it).unwrap()).collect();
        for channel in &channels {
            channel.wait().unwrap();
        }
        Scene {
            guest,
            peer_ports,
            ctx,
            _channels: channels,
        }
    }

    /// So many rounds in which `firing` channels fire, far apart, and are waited for again.
    fn play(&self, rounds: usize, firing: usize) {
        let apart = self.peer_ports.len() / firing;
        for round in 0..rounds {
            let fire = self.peer_ports.iter().skip(round % apart).step_by(apart);
            for port in fire.take(firing) {
                self.guest.send(*port).unwrap();
            }
            let mut handled = 0;
            while handled < firing {
                let mut wakes = self.ctx.dispatch().unwrap();
                for wake in &mut wakes {
                    self.ctx.wait(wake.channel).unwrap();
                    handled += 1;
                }
                let _done = wakes.finish().unwrap();
            }
        }
    }
}

/// The shortest of several measurements, each after the same once unmeasured.
fn best(mut measured: impl FnMut() -> Duration) -> f64 {
    let _warm = measured();
    let times = (0..REPETITIONS).map(|_| measured().as_secs_f64());
    times.fold(f64::INFINITY, f64::min)
}

fn nanoseconds_per_event(waiters: usize, firing: usize) -> f64 {
    let scene = Scene::new(waiters);
    let seconds = best(|| {
        let begun = Instant::now();
        scene.play(EVENTS / firing, firing);
        begun.elapsed()
    });
    seconds * 1e9 / EVENTS as f64
}

fn flat() -> bool {
    let few = nanoseconds_per_event(FEW, FEW);
    println!("{few:>8.1} ns per event: {FEW} waiters");
    let cases = [
        (FEW, "16 of 65,536 waiters fire, always others"),
        (MANY, "all of 65,536 waiters fire"),
    ];
    let ratios = cases.map(|(firing, what)| {
        let cost = nanoseconds_per_event(MANY, firing);
        println!("{cost:>8.1} ns per event: {what}");
        (cost / few, what)
    });
    let verdicts = ratios.map(|(ratio, what)| verdict(what, ratio, ratio <= FLAT, "at most", FLAT));
    !verdicts.contains(&false)
}

/// How many times the work of one thread two threads do in the same time.
fn gain<W: FnMut()>(processors: [usize; 2], prepare: impl Fn() -> W + Sync) -> f64 {
    let (barrier, ended) = (Barrier::new(2), AtomicUsize::new(0));
    let turns = thread::scope(|scope| {
        let threads = processors.map(|mine| {
            let (clock, prepare) = ((&barrier, &ended), &prepare);
            scope.spawn(move || {
                let mut only = CpuSet::new();
                only.set(mine);
                sched_setaffinity(None, &only).unwrap();
                take_turns(processors.map(|it| it == mine), clock, prepare())
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    let gains = turns[0]
        .chunks(TURNS)
        .zip(turns[1].chunks(TURNS))
        .map(|(one, other)| {
            let most = |turns: &[Turn]| turns.iter().map(|turn| turn.alone).max().unwrap();
            let both = one
                .iter()
                .zip(other)
                .map(|(one, other)| one.beside + other.beside);
            2.0 * f64::from(both.max().unwrap()) / f64::from(most(one) + most(other))
        });
    gains.fold(0.0, f64::max)
}

/// How often a thread did its work in a time, alone and beside another.
struct Turn {
    alone: u32,
    beside: u32,
}

/// Plays all turns of a thread. `own` is true for the turn that it works alone. When both work, both stop as soon as
/// the first has `ended`: a thread that began late has done less.
fn take_turns(
    own: [bool; 2],
    (barrier, ended): (&Barrier, &AtomicUsize),
    mut work: impl FnMut(),
) -> Vec<Turn> {
    let mut count = |turn| {
        let begun = Instant::now();
        let mut done = 0;
        while begun.elapsed() < TURN && ended.load(Relaxed) < turn {
            work();
            done += 1;
        }
        done
    };
    let turn = |turn| {
        // One loop for all three, so that the same instructions are measured.
        let done = [own[0], own[1], true].map(|takes_part| {
            barrier.wait();
            if takes_part { count(turn) } else { 0 }
        });
        ended.fetch_max(turn, Relaxed);
        Turn {
            alone: done[0] + done[1],
            beside: done[2],
        }
    };
    (1..=REPETITIONS * TURNS).map(turn).collect()
}

fn threads() -> bool {
    let allowed = sched_getaffinity(None).unwrap();
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|it| allowed.is_set(*it));
    let (Some(one), Some(other)) = (allowed.next(), allowed.next()) else {
        println!("MISSED two threads in two machines: this machine has one processor");
        return false;
    };
    let processors = [one, other];
    let ceiling = gain(processors, || || arithmetic(10_000));
    println!("{ceiling:>8.2} times one thread: two threads of plain arithmetic, the ceiling here");
    let ratio = gain(processors, || {
        let scene = Scene::new(FEW);
        move || scene.play(10, FEW)
    });
    let holds = verdict(
        "two threads in two machines",
        ratio,
        ratio >= TWICE,
        "at least",
        TWICE,
    );
    if !holds && ceiling < TWICE {
        println!("       the processors are busy with other things");
    }
    holds
}

fn arithmetic(steps: u64) {
    let mut word = 1_u64;
    for _ in 0..steps {
        word = black_box(word ^ (word << 13)).rotate_left(7);
    }
    black_box(word);
}

/// How the measured thread takes its events.
#[derive(Debug, Clone, Copy)]
enum By {
    Rounds,
    Blocking,
}

type Polled = Channel<PollLoop>;

/// Handles an event as a program would, and answers each.
fn handle(by: By, ctx: &Context<PollLoop>, channel: &Polled, handled: &Sender<()>) {
    let (event_loop, mut events) = (ctx.registrar(), 0);
    if matches!(by, By::Rounds) {
        channel.wait().unwrap();
    }
    handled.send(()).unwrap();
    while events < NOTIFIES {
        match by {
            By::Rounds => {
                event_loop.wait(ctx.next_timeout()).unwrap();
                let mut round = ctx.dispatch().unwrap();
                for wake in &mut round {
                    ctx.wait(wake.channel).unwrap();
                    events += 1;
                    handled.send(()).unwrap();
                }
                let _done = round.finish().unwrap();
            }
            By::Blocking => {
                assert_eq!(channel.block().unwrap(), Cause::Event);
                events += 1;
                handled.send(()).unwrap();
            }
        }
    }
    // Only a round leaves a wait behind.
    let ended = channel.cancel().unwrap();
    assert_eq!(ended, matches!(by, By::Rounds));
}

/// Polls and seconds of processor time for each event of one channel, while so many other threads block for other
/// channels. The guest sends the next event after the answer to the last one.
fn beside(blocked: usize, by: By) -> (f64, f64) {
    let sim = Sim::new(0);
    let guest = sim.guest(sim.create_domain().unwrap());
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), PollLoop::new().unwrap());
    let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
    let others: Vec<_> = (0..blocked).map(bind).collect();
    let channel = bind(0);
    let peer_port = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    let counters = || ctx.registrar().counters();
    let used = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
    thread::scope(|scope| {
        for other in &others {
            scope.spawn(|| {
                let cancelled = other.block().unwrap_err();
                assert!(matches!(cancelled, Error::Cancelled), "{cancelled:?}");
            });
        }
        // Each sleeps, and one of them polls.
        while counters().polls + counters().sleeps < blocked as u64 {
            thread::yield_now();
        }
        let (answers, answered) = mpsc::channel();
        let (ctx, channel) = (&ctx, &channel);
        let handler = scope.spawn(move || handle(by, ctx, channel, &answers));
        answered.recv().unwrap();
        let (polls, begun) = (counters().polls, used());
        for _ in 0..NOTIFIES {
            guest.send(peer_port).unwrap();
            answered.recv().unwrap();
        }
        let (polls, used) = (counters().polls - polls, used() - begun);
        handler.join().unwrap();
        for other in &others {
            assert!(other.cancel().unwrap());
        }
        let events = NOTIFIES as f64;
        (polls as f64 / events, used.as_secs_f64() / events)
    })
}

fn beside_blocked(by: By) -> bool {
    let measured = (0..REPETITIONS).map(|_| (beside(0, by), beside(BLOCKED, by)));
    let start = (f64::INFINITY, 0.0, f64::INFINITY);
    let (alone, polls, among) = measured.fold(start, |so_far, (alone, among)| {
        let (least, most_polls, least_among) = so_far;
        (
            f64::min(least, alone.1),
            f64::max(most_polls, among.0),
            f64::min(least_among, among.1),
        )
    });
    println!(
        "{:>8.1} us per event, {by:?}: no thread is blocked",
        alone * 1e6
    );
    println!(
        "{:>8.1} us per event, {by:?}: {BLOCKED} threads are blocked",
        among * 1e6
    );
    let what = format!("polls per event, {BLOCKED} threads blocked, {by:?}");
    let few = verdict(&what, polls, polls <= POLLS, "at most", POLLS);
    let what = format!("processor time per event, {BLOCKED} threads blocked, {by:?}");
    let ratio = among / alone;
    few & verdict(&what, ratio, ratio <= DEARER, "at most", DEARER)
}

fn verdict(what: &str, ratio: f64, holds: bool, side: &str, bound: f64) -> bool {
    let word = if holds { "holds " } else { "MISSED" };
    println!("{word} {what}: {ratio:.2} times, {side} {bound}");
    holds
}
