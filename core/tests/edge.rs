//! Under an edge-triggered loop every read goes on until nothing is left.

use std::time::Duration;

use crate::support::Tester;
use evtchn_core::{DomId, Trigger};

const GUEST: DomId = DomId::new(7);

/// An entry that is pushed while a read takes the last one gives no edge of its own.
#[test]
fn a_bind_on_an_edge_triggered_loop_reads_until_nothing_is_left() {
    let tester = Tester::new();
    tester.script().trigger = Trigger::Edge;
    let ctx = tester.context();
    let [one, other, mut gone] = [0; 3].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    one.wait().unwrap();
    other.wait().unwrap();
    gone.unbind().unwrap();
    tester.batch(&[one.port()]);
    tester.batch(&[other.port()]);
    tester.log();
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(tester.log(), ["read", "read", "read", "bind", "wake"]);
    assert_eq!(ctx.next_timeout(), Some(Duration::ZERO));
    assert_eq!(ctx.dispatch().unwrap().count(), 2);
}

#[test]
fn a_bind_on_a_level_triggered_loop_stops_at_a_short_read() {
    let tester = Tester::new();
    let ctx = tester.context();
    let [one, mut gone] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
    one.wait().unwrap();
    gone.unbind().unwrap();
    tester.batch(&[one.port()]);
    tester.log();
    let _next = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(tester.log(), ["read", "bind", "wake"]);
}
