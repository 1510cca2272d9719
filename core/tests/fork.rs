//! A forked child and the context that it inherited: no call reaches the device or the loop.

use crate::support::Tester;
use evtchn_core::{Context, DomId, Error};
use evtchn_sim::{Sim, SimLoop};

const GUEST: DomId = DomId::new(7);

#[test]
fn every_call_of_a_child_is_an_error_and_reaches_nothing() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    let notifier = channel.notifier();
    channel.wait().unwrap();
    tester.script().process += 1;
    tester.log();

    let bound = ctx.bind_unbound_port(GUEST);
    assert!(matches!(bound, Err(Error::Inherited)));
    let waited = channel.wait();
    assert!(matches!(waited, Err(Error::Inherited)));
    let cancelled = channel.cancel();
    assert!(matches!(cancelled, Err(Error::Inherited)));
    let cancelled = channel.try_cancel();
    assert!(matches!(cancelled, Err(Error::Inherited)));
    let notified = [channel.notify(), notifier.notify()];
    assert!(matches!(
        notified,
        [Err(Error::Inherited), Err(Error::Inherited)]
    ));
    let dispatched = ctx.dispatch();
    assert!(matches!(dispatched, Err(Error::Inherited)));
    let restricted = ctx.restrict(GUEST);
    assert!(matches!(restricted, Err(Error::Inherited)));
    let torn_down = ctx.teardown();
    assert!(matches!(torn_down, Err(Error::Inherited)));
    assert_eq!(ctx.next_timeout(), None);
    let unbound = channel.unbind();
    assert!(matches!(unbound, Err(Error::Inherited)));
    assert_eq!(tester.log(), [""; 0]);
}

#[test]
fn drops_of_a_child_close_its_descriptor_and_nothing_else() {
    let tester = Tester::new();
    let ctx = tester.context();
    let waiting = ctx.bind_unbound_port(GUEST).unwrap();
    waiting.wait().unwrap();
    tester.script().process += 1;
    tester.log();
    drop(ctx);
    assert_eq!(tester.log(), [""; 0]);
    drop(waiting);
    assert_eq!(tester.log(), ["close"]);
}

#[test]
fn round_open_during_a_fork_hands_out_nothing_in_the_child() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    let mut round = ctx.dispatch().unwrap();
    tester.script().process += 1;
    tester.log();
    assert_eq!(round.next(), None);
    let finished = round.finish();
    assert!(matches!(finished, Err(Error::Inherited)));
    assert_eq!(tester.log(), [""; 0]);
}

#[test]
fn child_of_a_context_without_a_device_may_not_use_it() {
    let tester = Tester::new();
    let ctx = tester.context();
    tester.script().process += 1;
    let bound = ctx.bind_unbound_port(GUEST);
    assert!(matches!(bound, Err(Error::Inherited)));
    assert_eq!(tester.log(), [""; 0]);
    let own = tester.context();
    own.bind_unbound_port(GUEST).unwrap();
}

#[test]
fn a_callback_that_forks_returns_in_the_child_and_reaches_nothing() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let child = tester.clone();
    let forks = move |_| child.script().process += 1;
    channel.set_callback(forks).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    tester.log();
    let error = ctx.dispatch_callbacks().unwrap_err();
    assert!(matches!(error, Error::Inherited));
    assert_eq!(tester.log(), ["read"]);
}

#[test]
fn condition_of_a_block_that_forks_ends_it_in_the_child() {
    let sim = Sim::new(1);
    let opener = sim.open(DomId::DOM0);
    let ctx = Context::with_registrar(opener.clone(), SimLoop::level());
    let channel = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    let forks = || {
        opener.fork();
        true
    };
    let ended = channel.block_while(None, forks);
    assert!(matches!(ended, Err(Error::Inherited)));
}

#[test]
fn sleep_of_a_block_that_forks_ends_it_in_the_child() {
    let sim = Sim::new(1);
    let opener = sim.open(DomId::DOM0);
    let event_loop = SimLoop::level();
    let ctx = Context::with_registrar(opener.clone(), event_loop.clone());
    let channel = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    event_loop.while_asleep(move || opener.fork());
    let ended = channel.block();
    assert!(matches!(ended, Err(Error::Inherited)));
}
