//! A forked child and the context that it inherited: no call reaches the device or the loop.

use crate::support::Tester;
use evtchn_core::{
    BindError, BlockError, CancelError, Context, DispatchError, DomId, LinkError, NotifyError,
    RestrictError, TeardownError, TryCancelError, UnbindError, WaitError,
};
use evtchn_sim::{Sim, SimLoop};

const GUEST: DomId = DomId::new(7);

#[test]
fn every_call_of_a_child_is_an_error_and_reaches_nothing() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let notifier = channel.notifier().unwrap();
    let _pending = channel.wait().unwrap();
    tester.script().process += 1;
    tester.log();

    let bound = ctx.bind_unbound_port(GUEST);
    assert!(matches!(bound, Err(BindError::Inherited)));
    let waited = channel.wait();
    assert!(matches!(waited, Err(WaitError::Link(LinkError::Inherited))));
    let cancelled = channel.cancel();
    assert!(matches!(
        cancelled,
        Err(CancelError::Link(LinkError::Inherited))
    ));
    let cancelled = channel.try_cancel();
    assert!(matches!(
        cancelled,
        Err(TryCancelError::Cancel(CancelError::Link(
            LinkError::Inherited
        )))
    ));
    let notified = [channel.notify(), notifier.notify()];
    assert!(matches!(
        notified,
        [Err(NotifyError::Inherited), Err(NotifyError::Inherited)]
    ));
    let dispatched = ctx.dispatch();
    assert!(matches!(
        dispatched,
        Err(DispatchError::Link(LinkError::Inherited))
    ));
    let restricted = ctx.restrict(GUEST);
    assert!(matches!(restricted, Err(RestrictError::Inherited)));
    let torn_down = ctx.teardown();
    assert!(matches!(
        torn_down,
        Err(TeardownError::Link(LinkError::Inherited))
    ));
    assert_eq!(ctx.next_timeout(), None);
    let Err(UnbindError::Inherited(_channel)) = channel.unbind() else {
        panic!("a child unbound its parent's port");
    };
    assert_eq!(tester.log(), [""; 0]);
}

#[test]
fn drops_of_a_child_close_its_descriptor_and_nothing_else() {
    let tester = Tester::new();
    let ctx = tester.context();
    let waiting = ctx.bind_unbound_port(GUEST).unwrap();
    let _pending = waiting.wait().unwrap();
    tester.script().process += 1;
    tester.log();
    drop(ctx);
    assert_eq!(tester.log(), [""; 0]);
    drop(waiting);
    assert_eq!(tester.log(), ["close"]);
}

#[test]
fn round_that_a_fork_came_into_hands_out_nothing_in_the_child() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    let _pending = channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    let mut round = ctx.dispatch().unwrap();
    tester.script().process += 1;
    tester.log();
    assert_eq!(round.next(), None);
    let finished = round.finish();
    assert!(matches!(
        finished,
        Err(DispatchError::Link(LinkError::Inherited))
    ));
    assert_eq!(tester.log(), [""; 0]);
}

#[test]
fn child_of_a_context_that_had_opened_nothing_may_not_use_it_either() {
    let tester = Tester::new();
    let ctx = tester.context();
    tester.script().process += 1;
    let bound = ctx.bind_unbound_port(GUEST);
    assert!(matches!(bound, Err(BindError::Inherited)));
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
    let _pending = channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    tester.log();
    let error = ctx.dispatch_callbacks().unwrap_err();
    assert!(matches!(error, DispatchError::Link(LinkError::Inherited)));
    assert_eq!(tester.log(), ["read"]);
}

#[test]
fn condition_of_a_block_that_forks_ends_it_in_the_child() {
    let sim = Sim::new(1);
    let opener = sim.open(DomId::DOM0);
    let ctx = Context::new(opener.clone(), SimLoop::level());
    let channel = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    let forks = || {
        opener.fork();
        true
    };
    let ended = channel.block_while(None, forks);
    assert!(matches!(
        ended,
        Err(BlockError::Wait(WaitError::Link(LinkError::Inherited)))
    ));
}

#[test]
fn sleep_of_a_block_that_forks_ends_it_in_the_child() {
    let sim = Sim::new(1);
    let opener = sim.open(DomId::DOM0);
    let event_loop = SimLoop::level();
    let ctx = Context::new(opener.clone(), event_loop.clone());
    let channel = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    event_loop.while_asleep(move || opener.fork());
    let ended = channel.block(None);
    assert!(matches!(
        ended,
        Err(BlockError::Wait(WaitError::Link(LinkError::Inherited)))
    ));
}
