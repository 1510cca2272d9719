//! After a load and a teardown nothing is left.

use evtchn_core::EventChannel;

use super::churn::Churn;
use super::due::Due;
use super::overflow::overflows;
use super::rig::{Rig, Wire, local};
use super::side::Side;
use super::steady::descriptors;
use super::traffic::burst;

const LIVES: u64 = 3;
const CHANNELS: usize = 100;

pub(crate) fn teardown_after_load_leaves_nothing_and_the_next_life_works<S: Side>(side: &S) {
    let before = descriptors();
    let rig = Rig::new(side);
    let at_rest = descriptors();
    let mut wires = rig.wires(CHANNELS);
    for life in 1..=LIVES {
        let mut due = Due::default();
        for turn in 0..16 {
            burst(&rig, &wires, turn, &mut due);
        }
        let mut churn = Churn::new(&rig);
        churn.rebind(300);
        churn.end();
        // Last, because an event from before an overflow may come after it.
        overflows(&rig, &wires, 8);
        wires.iter().for_each(|wire| rig.notify(wire));
        let peers: Vec<_> = wires.iter().map(|wire| wire.peer).collect();
        rig.close(wires);
        assert_eq!(descriptors(), at_rest);

        // The ports are unbound: a notify goes nowhere, and the peer's end can be bound to.
        for peer in &peers {
            rig.peer.notify(*peer).unwrap();
        }
        wires = peers
            .into_iter()
            .map(|peer| {
                let channel = rig.context.bind_interdomain(local(peer)).unwrap();
                rig.rewait(&channel);
                // One for the bind, and none for earlier notifies.
                due.add(channel.port());
                Wire { channel, peer }
            })
            .collect();
        rig.collect(&mut due);
        rig.expect_quiet();
        assert_eq!(rig.context.stats().opens, life + 1);
    }
    rig.close(wires);
    assert_eq!(descriptors(), at_rest);
    drop(rig);
    assert_eq!(descriptors(), before);
}
