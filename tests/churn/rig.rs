//! What each pair is played on, and how it is measured.

use std::fs;
use std::sync::{Arc, OnceLock};

use evtchn::sim::{DomainConfig, Guest, Sim, SimLoop};
use evtchn::{Context, DomId, Outcome, Port};
use stats_alloc::Region;

use crate::ALLOCATOR;

/// A pair: its name, the public calls that it covers, and its turns.
pub(super) type Pair = (&'static str, &'static [&'static str], fn(&Rig));

pub(super) type Channel = evtchn::Channel<SimLoop>;

/// How many more bytes runtimes, threads and caches may hold that belong to no pair.
const SLACK: isize = 8 * 1024;
/// How much more memory the process may have after the turns, in KiB.
const MORE_RESIDENT: usize = 64;

/// A context with four channels, of which one has a wake queued all the time.
pub(super) struct Rig {
    pub(super) sim: Sim,
    pub(super) ctx: Arc<Context<SimLoop>>,
    pub(super) guest: Guest,
    pub(super) channels: Vec<Channel>,
    pub(super) peer_ports: Vec<Port>,
}

impl Rig {
    pub(super) fn new() -> Rig {
        let sim = Sim::new(0);
        let mut roomy = DomainConfig::guest();
        roomy.max_port = u32::MAX;
        let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
        let event_loop = SimLoop::level().on(&sim);
        let ctx = Arc::new(Context::with_registrar(sim.open(DomId::DOM0), event_loop));
        let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
        let channels: Vec<Channel> = (0..4).map(bind).collect();
        let peer = |channel: &Channel| guest.bind_interdomain(DomId::DOM0, channel.port());
        let peer_ports = channels.iter().map(|it| peer(it).unwrap()).collect();
        let rig = Rig {
            sim,
            ctx,
            guest,
            channels,
            peer_ports,
        };
        rig.channels[0].wait().unwrap();
        rig.event(0);
        assert!(rig.ctx.next_timeout().is_some(), "a wake is queued");
        rig
    }

    /// An event comes and is read.
    pub(super) fn event(&self, index: usize) {
        self.guest.send(self.peer_ports[index]).unwrap();
        assert_eq!(self.ctx.drive().unwrap(), Outcome::Done);
    }

    /// Each wait queues the latched wake.
    pub(super) fn latch_with_a_callback(&self, index: usize) {
        self.channels[index].set_callback(|_| ()).unwrap();
        self.event(index);
    }
}

/// The number of turns in `EVTCHN_CHURN`, if it is set.
fn asked() -> Option<usize> {
    static ASKED: OnceLock<Option<usize>> = OnceLock::new();
    *ASKED.get_or_init(|| std::env::var("EVTCHN_CHURN").ok()?.parse().ok())
}

/// How many turns count.
pub(super) fn turns() -> usize {
    asked().unwrap_or(20_000)
}

/// Demands that no turn leaves a byte.
#[track_caller]
pub(super) fn flat(turn: impl FnMut()) {
    expect(0, turns(), turn);
}

/// [`flat`] on real event loops, whose own memory does not depend on the number of turns. Each turn
/// makes system calls, so there are fewer turns unless more are requested.
#[track_caller]
pub(super) fn nearly_flat(turn: impl FnMut()) {
    expect(SLACK, asked().unwrap_or(2_000), turn);
}

/// [`nearly_flat`] for turns that start a thread, which takes as long as many others.
#[track_caller]
pub(super) fn flat_with_threads(turn: impl FnMut()) {
    expect(SLACK, asked().map_or(1_000, |it| it / 10), turn);
}

#[track_caller]
fn expect(slack: isize, turns: usize, turn: impl FnMut()) {
    let grown = growth(turns, turn);
    assert!(grown <= slack, "{turns} turns left {grown} bytes");
}

/// How many more bytes are allocated after so many turns than before them. Turns before those let
/// every buffer grow to the size that the channels need.
#[track_caller]
pub(super) fn growth(turns: usize, mut turn: impl FnMut()) -> isize {
    (0..(turns / 20).max(200)).for_each(|_| turn());
    let before = resident();
    let region = Region::new(ALLOCATOR);
    (0..turns).for_each(|_| turn());
    let change = region.change();
    if let Some((before, after)) = before.zip(resident()) {
        let limit = before + MORE_RESIDENT;
        assert!(after <= limit, "resident: {before} KiB, then {after} KiB");
    }
    // Bytes that a reallocation adds or takes away are among these already.
    change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed()
}

/// KiB of memory of this process that are backed by no file, if many turns were requested.
fn resident() -> Option<usize> {
    asked()?;
    let maps = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = maps.lines().find_map(|it| it.strip_prefix("Anonymous:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
