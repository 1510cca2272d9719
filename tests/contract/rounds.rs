//! Rounds: what they hand out, unmask and leave for the next one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use evtchn_core::{Cause, DomId, Error, EventChannel, Outcome, Port, PortBuf};

use super::platform::*;
use super::rig::{Rig, Wire};

/// Waits on all of them and fires them in this order.
fn wait_and_fire<P: Platform>(rig: &Rig<'_, P>, wires: &[Wire<P>]) {
    wires.iter().for_each(Wire::wait);
    wires.iter().for_each(|wire| rig.fire(wire));
}

fn events<P: Platform>(wires: &[Wire<P>]) -> Vec<(Port, Cause)> {
    wires.iter().map(|w| (w.port(), Cause::Event)).collect()
}

pub(crate) fn a_wait_inside_the_round_costs_no_registration<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    for _ in 0..10 {
        rig.fire(&wire);
        let wakes = rig.turn_with(|_| wire.wait());
        assert_eq!(wakes, [(wire.port(), Cause::Event)]);
    }
    rig.expect_hooks(1, 0);
    rig.expect_writes(&[&[wire.port()][..]; 10]);
}

pub(crate) fn waits_inside_the_round_unmask_in_one_write<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: [Wire<P>; 100] = rig.wires();
    wait_and_fire(&rig, &wires);
    let before = rig.context.stats();
    let wakes = rig.turn_and_rewait();
    assert_eq!(wakes, events(&wires));
    let ports = wires.each_ref().map(Wire::port);
    rig.expect_writes(&[&ports]);
    let after = rig.context.stats();
    assert_eq!(
        (after.writes - before.writes, after.wakes - before.wakes),
        (1, 100)
    );
    rig.expect_hooks(1, 0);
    // All of them are unmasked.
    wires.iter().for_each(|wire| rig.fire(wire));
    assert_eq!(rig.turn(), events(&wires));
}

pub(crate) fn only_ports_that_were_read_are_unmasked<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [fired, silent, latched] = rig.wires();
    fired.wait();
    rig.fire(&latched);
    rig.fire(&fired);
    let wakes = rig.turn_with(|wake| {
        if wake.channel == fired.channel.id() {
            fired.wait();
            silent.wait();
        }
        // The first of the two waits queues its wake, for which it waits again in this round.
        latched.wait();
    });
    let both = [fired.port(), latched.port()];
    assert_eq!(wakes, both.map(|port| (port, Cause::Event)));
    rig.expect_writes(&[&[fired.port(), latched.port()]]);
    rig.expect_idle();
}

pub(crate) fn a_port_cancelled_again_inside_the_round_is_not_unmasked<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [kept, cancelled] = rig.wires();
    kept.wait();
    cancelled.wait();
    rig.fire(&cancelled);
    rig.turn_with(|_| {
        cancelled.wait();
        cancelled.channel.cancel().unwrap();
    });
    rig.expect_writes(&[]);
    rig.fire_masked(&cancelled);
    cancelled.wait();
    rig.expect_writes(&[&[cancelled.port()]]);
    rig.expect_wakes(&[&cancelled]);
}

pub(crate) fn cancel_inside_the_round_skips_the_wake<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: [Wire<P>; 3] = rig.wires();
    wait_and_fire(&rig, &wires);
    let wakes = rig.turn_with(|wake| {
        if wake.channel == wires[0].channel.id() {
            wires[1].channel.cancel().unwrap();
        }
    });
    assert_eq!(wakes, [events(&wires[..1]), events(&wires[2..])].concat());
    rig.expect_hooks(1, 1);
    rig.expect_latched(&wires[1], Cause::Event);
}

pub(crate) fn unbind_inside_the_round_skips_the_wake<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let [one, other] = rig.wires();
    one.wait();
    other.wait();
    rig.fire(&one);
    rig.fire(&other);
    let mut other = Some(other);
    let wakes = rig.turn_with(|_| drop(other.take()));
    assert_eq!(wakes, [(one.port(), Cause::Event)]);
    rig.expect_idle();
    rig.expect_hooks(1, 1);
}

pub(crate) fn a_budget_leaves_the_rest_ready<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: [Wire<P>; 5] = rig.wires();
    wait_and_fire(&rig, &wires);
    for (from, outcome) in [(0, Outcome::More), (2, Outcome::More), (4, Outcome::Done)] {
        rig.sleep();
        let mut round = rig.context.dispatch_at_most(2).unwrap();
        let wakes: Vec<_> = round.by_ref().map(|w| (w.port(), w.cause)).collect();
        assert_eq!(wakes, events(&wires[from..5.min(from + 2)]));
        assert_eq!(round.finish().unwrap(), outcome);
        let timeout = (outcome == Outcome::More).then_some(Duration::ZERO);
        assert_eq!(rig.context.next_timeout(), timeout);
        rig.expect_settled();
    }
    // Registered for the ready channels, and the loop is woken for them.
    rig.expect_hooks(1, 1);
    assert_eq!(rig.spy.log().wakes, 2);
}

pub(crate) fn a_round_that_is_dropped_keeps_its_wakes<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: [Wire<P>; 3] = rig.wires();
    wait_and_fire(&rig, &wires);
    drop(rig.context.dispatch().unwrap());
    rig.sleep();
    let mut round = rig.context.dispatch().unwrap();
    assert_eq!(round.next().unwrap().port(), wires[0].port());
    drop(round);
    // Nothing is left on the device: the loop must not sleep.
    assert_eq!(p.poll(&rig.spy.device()), OUT);
    assert_eq!(rig.context.next_timeout(), Some(Duration::ZERO));
    assert_eq!(rig.turn(), events(&wires[1..]));
    rig.expect_idle();
}

pub(crate) fn a_panic_inside_the_round_loses_nothing<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: [Wire<P>; 3] = rig.wires();
    wait_and_fire(&rig, &wires);
    rig.sleep();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut round = rig.context.dispatch().unwrap();
        assert_eq!(round.next().unwrap().port(), wires[0].port());
        wires[0].wait();
        // A panic without the message that a hook prints.
        resume_unwind(Box::new("in the round"));
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"in the round"));
    rig.expect_settled();
    rig.expect_writes(&[&[wires[0].port()]]);
    assert_eq!(rig.turn(), events(&wires[1..]));
    rig.fire(&wires[0]);
    assert_eq!(rig.turn(), events(&wires[..1]));
    rig.expect_idle();
}

pub(crate) fn an_event_inside_the_round_comes_in_it_or_in_the_next<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: [Wire<P>; 2] = rig.wires();
    wires.iter().for_each(Wire::wait);
    rig.fire(&wires[0]);
    let mut wakes = rig.turn_with(|wake| {
        if wake.channel == wires[0].channel.id() {
            rig.fire(&wires[1]);
        }
    });
    if wakes.len() == 1 {
        wakes.extend(rig.turn());
    }
    assert_eq!(wakes, events(&wires));
    rig.expect_idle();
}

pub(crate) fn a_dispatch_without_events_is_harmless<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    rig.expect_idle();
    let wire = rig.wire();
    rig.expect_idle();
    wire.wait();
    rig.expect_idle();
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
    rig.expect_idle();
}

pub(crate) fn a_second_dispatch_is_busy_on_another_thread<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    wire.wait();
    rig.fire(&wire);
    let mut round = rig.context.dispatch().unwrap();
    let elsewhere = thread::scope(|scope| {
        let begins = scope.spawn(|| rig.context.dispatch().map(drop));
        begins.join().unwrap()
    });
    assert!(matches!(elsewhere, Err(Error::Busy)));
    // On this thread it ends the first round, which then goes on unchanged.
    drop(rig.context.dispatch().unwrap());
    assert_eq!(round.next().unwrap().port(), wire.port());
    assert_eq!(round.next(), None);
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    rig.expect_idle();
}

pub(crate) fn binds_and_notifies_work_inside_the_round<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wire = rig.wire();
    expect_events(p, &rig.peer, &[wire.peer]);
    wire.wait();
    rig.fire(&wire);
    let mut bound = None;
    rig.turn_with(|_| {
        let channel = rig.context.bind_unbound_port(DomId::SELF).unwrap();
        channel.wait().unwrap();
        bound = Some(channel);
    });
    rig.expect_hooks(1, 0);
    let channel = bound.unwrap();
    let peer = rig.peer.bind_interdomain(local(channel.port())).unwrap();
    let wire = Wire { channel, peer };
    rig.fire(&wire);
    rig.expect_wakes(&[&wire]);
}

pub(crate) fn more_ports_than_one_read_brings_come_in_one_round<P: Platform>(p: &P) {
    let rig = Rig::new(p);
    let wires: Vec<Wire<P>> = (0..1100).map(|_| rig.wire()).collect();
    wait_and_fire(&rig, &wires);
    let wakes = rig.turn_and_rewait();
    assert_eq!(wakes, events(&wires));
    let written: Vec<_> = std::mem::take(&mut rig.spy.log().writes);
    let lengths: Vec<_> = written.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1100, 1100 - PortBuf::MAX]);
    rig.expect_idle();
}
