//! Much ordinary traffic.

use evtchn_core::{DomId, PortBuf};

use super::due::Due;
use super::note;
use super::rig::{Rig, Wire, local};
use super::side::Side;
use super::steady::{Footprint, steadily};

/// The channels of a burst.
const BURST: usize = 512;
/// More ports than two reads bring.
const THOUSANDS: usize = 3_000;

fn note_traffic<S: Side>(what: &str, rig: &Rig<'_, S>, [before, after]: [Footprint; 2]) {
    let stats = rig.context.stats();
    note(format!(
        "{what}: {} wakes, {} reads, {} writes, {} polls, resident {} kB then {} kB",
        stats.wakes,
        stats.reads,
        stats.writes,
        rig.event_loop.counters().polls,
        before.resident,
        after.resident,
    ));
}

pub(crate) fn ping_pong_between_two_contexts_loses_no_wake_and_grows_nothing<S: Side>(side: &S) {
    let [near, far] = [Rig::new(side), Rig::new(side)];
    let ping = near.context.bind_unbound_port(DomId::SELF).unwrap();
    let pong = far.context.bind_interdomain(local(ping.port())).unwrap();
    near.rewait(&ping);
    far.rewait(&pong);
    let mut due = Due::default();
    // The bind brings one wake of its own.
    due.add(pong.port());
    far.collect(&mut due);

    let turns = side.dose().ping_pong / 2;
    let footprints = steadily(turns, |_| {
        ping.notify().unwrap();
        due.add(pong.port());
        far.collect(&mut due);
        pong.notify().unwrap();
        due.add(ping.port());
        near.collect(&mut due);
    });
    near.expect_quiet();
    far.expect_quiet();
    for (rig, wakes) in [(&near, turns), (&far, turns + 1)] {
        rig.expect_nothing_but(wakes);
        rig.expect_registered_once();
        note_traffic("ping-pong, one end", rig, footprints);
    }
    drop((ping, pong));
    near.close(vec![]);
    far.close(vec![]);
}

pub(crate) fn bursts_over_512_channels_lose_no_wake_and_grow_nothing<S: Side>(side: &S) {
    let rig = Rig::new(side);
    let wires = rig.wires(BURST);
    let mut due = Due::default();
    let mut wakes = 0;
    // A turn has about 266 of them.
    let footprints = steadily(side.dose().bursts / 256, |turn| {
        wakes += burst(&rig, &wires, turn, &mut due);
    });
    rig.expect_quiet();
    assert!(wakes >= side.dose().bursts, "{wakes}");
    rig.expect_nothing_but(wakes);
    rig.expect_registered_once();
    note_traffic("bursts", &rig, footprints);
    rig.close(wires);
}

/// Notifies all of them, or every second, third or fourth, and collects the wakes.
pub(crate) fn burst<S: Side>(
    rig: &Rig<'_, S>,
    wires: &[Wire],
    turn: usize,
    due: &mut Due,
) -> usize {
    let stride = 1 + turn % 4;
    for wire in wires.iter().skip(turn % stride).step_by(stride) {
        due.add(wire.port());
        rig.notify(wire);
    }
    let wakes = due.total();
    rig.collect(due);
    wakes
}

pub(crate) fn thousands_of_ports_come_with_few_reads_and_go_back_with_few_writes<S: Side>(
    side: &S,
) {
    let rig = Rig::new(side);
    let wires = rig.wires(THOUSANDS);
    let mut due = Due::default();
    let few = THOUSANDS.div_ceil(PortBuf::MAX);
    for _ in 0..3 {
        let before = rig.context.stats();
        for wire in &wires {
            due.add(wire.port());
            rig.notify(wire);
        }
        let turns = rig.collect(&mut due);
        // If events are delayed, a turn may begin before all have arrived.
        assert!(turns == 1 || !side.is_prompt(), "{turns}");
        let after = rig.context.stats();
        let most = u64::try_from(few + turns - 1).unwrap();
        let (reads, writes) = (after.reads - before.reads, after.writes - before.writes);
        assert!(reads <= most, "{reads} reads in {turns} turns");
        assert!(writes <= most, "{writes} writes in {turns} turns");
        assert_eq!(after.wakes - before.wakes, THOUSANDS as u64);
        note(format!(
            "{THOUSANDS} ports: {reads} reads, {writes} writes, {turns} turns"
        ));
    }
    rig.expect_quiet();
    rig.expect_nothing_but(3 * THOUSANDS);
    rig.expect_registered_once();
    rig.close(wires);
}
