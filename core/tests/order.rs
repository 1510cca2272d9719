//! The order of calls: what the device, the event loop and the program see one after the other.
//! Each test first states the whole sequence; any other call and any other order fails it.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::Arc;
use std::time::Duration;

use crate::expected::{MockContext, MockProgram, Order};
use evtchn_core::mock::{MockOpen, MockRegistrar, Sequence};
use evtchn_core::{Cause, Context, DomId, Error, ErrorKind, Outcome, Slept, Trigger};

const GUEST: DomId = DomId::new(7);

/// A round in which the program waits again on every channel it takes a wake of.
fn take_and_wait_again(ctx: &MockContext, program: &MockProgram) {
    let mut round = ctx.dispatch().unwrap();
    for wake in &mut round {
        program.takes(wake.port());
        ctx.wait(wake.channel).unwrap();
    }
    assert_eq!(round.finish().unwrap(), Outcome::Done);
}

/// A round in which the program does not wait again.
fn take(ctx: &MockContext, program: &MockProgram) {
    let mut round = ctx.dispatch().unwrap();
    for wake in &mut round {
        program.takes(wake.port());
    }
    assert_eq!(round.finish().unwrap(), Outcome::Done);
}

// ---- From the first bind to the first wait.

#[test]
fn the_first_wait_registers_what_the_first_bind_opened() {
    let order = Order::open().bind(1).bind(2).register();
    let (_program, ctx) = order.unbind(1).unbind(2).deregister().close().begin();
    let one = ctx.bind_unbound_port(GUEST).unwrap();
    let mut two = ctx.bind_unbound_port(GUEST).unwrap();
    two.wait().unwrap();
    drop(one);
    two.unbind().unwrap();
}

#[test]
fn a_failed_first_bind_closes_before_the_next_opens() {
    let order = Order::open().bind_fails(ErrorKind::NoSpace).close();
    let (_program, ctx) = order.open_again().bind(1).unbind(1).close().begin();
    let error = ctx.bind_unbound_port(GUEST).unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
    ctx.bind_unbound_port(GUEST).unwrap().unbind().unwrap();
}

#[test]
fn a_bind_after_an_unbind_reads_first() {
    let order = Order::open().bind(1).unbind(1);
    let (_program, ctx) = order.read([1]).bind(1).unbind(1).close().begin();
    ctx.bind_unbound_port(GUEST).unwrap().unbind().unwrap();
    let mut next = ctx.bind_unbound_port(GUEST).unwrap();
    next.unbind().unwrap();
}

#[test]
fn a_bind_that_reads_a_wake_is_done_before_it_wakes_the_loop() {
    let order = Order::open().bind(1).bind(2).register().unbind(2);
    let order = order.read([1]).bind(3).wake().takes(1).deregister();
    let (program, ctx) = order.unbind(3).unbind(1).close().begin();
    let one = ctx.bind_unbound_port(GUEST).unwrap();
    let mut two = ctx.bind_unbound_port(GUEST).unwrap();
    one.wait().unwrap();
    two.unbind().unwrap();
    let three = ctx.bind_unbound_port(GUEST).unwrap();
    let mut round = ctx.dispatch_at_most(1).unwrap();
    program.takes(round.next().unwrap().port());
    round.finish().unwrap();
    drop((three, one));
}

// ---- Waits outside a round.

#[test]
fn a_wait_on_a_masked_port_registers_before_it_unmasks() {
    let order = Order::open().bind(1).register().read([1]).takes(1);
    let order = order.deregister().register().write([1]);
    let (program, ctx) = order.unbind(1).deregister().close().begin();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    take(&ctx, &program);
    channel.wait().unwrap();
    channel.unbind().unwrap();
}

#[test]
fn an_unmask_that_fails_after_the_register_is_followed_by_a_deregister() {
    let order = Order::open().bind(1).register().read([1]).takes(1);
    let order = order.deregister().register();
    let order = order.write_fails([1], ErrorKind::NoMemory).deregister();
    let (program, ctx) = order.unbind(1).close().begin();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    take(&ctx, &program);
    let error = channel.wait().unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
    channel.unbind().unwrap();
}

#[test]
fn a_wait_on_a_latched_event_registers_before_it_wakes_the_loop() {
    let order = Order::open()
        .bind(1)
        .bind(2)
        .register()
        .read([1, 2])
        .takes(2);
    let order = order.deregister().register().wake();
    let (program, ctx) = order.unbind(1).deregister().unbind(2).close().begin();
    let kept = ctx.bind_unbound_port(GUEST).unwrap();
    let waiting = ctx.bind_unbound_port(GUEST).unwrap();
    waiting.wait().unwrap();
    take(&ctx, &program);
    kept.set_callback(|_| ()).unwrap();
    kept.wait().unwrap();
    drop((kept, waiting));
}

// ---- A round.

#[test]
fn a_round_unmasks_once_after_every_wake_was_handed_out() {
    let order = Order::open().bind(1).bind(2).register();
    let order = order.read([2, 1]).takes(2).takes(1).write([2, 1]);
    let (program, ctx) = order.unbind(1).unbind(2).deregister().close().begin();
    let one = ctx.bind_unbound_port(GUEST).unwrap();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    one.wait().unwrap();
    two.wait().unwrap();
    take_and_wait_again(&ctx, &program);
    drop((one, two));
}

#[test]
fn a_round_of_callbacks_unmasks_once_after_every_call() {
    let order = Order::open().bind(1).bind(2).register();
    let order = order.read([1, 2]).takes(1).takes(2).write([1, 2]);
    let (program, ctx) = order.unbind(1).unbind(2).deregister().close().begin();
    let (program, ctx) = (Arc::new(program), Arc::new(ctx));
    let channels = [(); 2].map(|()| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        let (ctx, program) = (Arc::downgrade(&ctx), Arc::clone(&program));
        let on_wake = move |wake: evtchn_core::Wake| {
            program.takes(wake.port());
            ctx.upgrade().unwrap().wait(wake.channel).unwrap();
        };
        channel.set_callback(on_wake).unwrap();
        channel.wait().unwrap();
    }
    assert_eq!(ctx.dispatch_callbacks().unwrap(), Outcome::Done);
}

#[test]
fn an_edge_triggered_round_reads_everything_before_it_unmasks() {
    let order = Order::open_under(Trigger::Edge).bind(1).register();
    let order = order.read([1]).takes(1).read([]).write([1]);
    let (program, ctx) = order.unbind(1).deregister().close().begin();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    take_and_wait_again(&ctx, &program);
    channel.unbind().unwrap();
}

#[test]
fn the_rest_of_a_partial_unmask_is_written_next() {
    let order = Order::open().bind(1).bind(2).bind(3).register();
    let order = order.read([1, 2, 3]).takes(1).takes(2).takes(3);
    let order = order.write_takes(2, [1, 2, 3]).write([3]);
    let order = order.unbind(1).unbind(2).unbind(3);
    let (program, ctx) = order.deregister().close().begin();
    let channels = [(); 3].map(|()| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    take_and_wait_again(&ctx, &program);
    drop(channels);
}

#[test]
fn a_round_with_wakes_left_unmasks_before_it_wakes_the_loop() {
    let order = Order::open().bind(1).bind(2).register();
    let order = order.read([1, 2]).takes(1).write([1]).wake();
    let (program, ctx) = order.unbind(1).unbind(2).deregister().close().begin();
    let channels = [(); 2].map(|()| ctx.bind_unbound_port(GUEST).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    let mut round = ctx.dispatch_at_most(1).unwrap();
    let wake = round.next().unwrap();
    program.takes(wake.port());
    ctx.wait(wake.channel).unwrap();
    assert_eq!(round.finish().unwrap(), Outcome::More);
    drop(channels);
}

// ---- Overflow and failure of the device.

#[test]
fn an_overflow_is_reset_and_only_the_next_wait_unmasks() {
    let order = Order::open().bind(1).bind(2).register();
    let order = order.read_fails(ErrorKind::Overflow).reset();
    let order = order.takes(1).takes(2).deregister().register().write([2]);
    let (program, ctx) = order.unbind(1).unbind(2).deregister().close().begin();
    let one = ctx.bind_unbound_port(GUEST).unwrap();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    one.wait().unwrap();
    two.wait().unwrap();
    take(&ctx, &program);
    two.wait().unwrap();
    drop((one, two));
}

#[test]
fn a_fault_in_a_round_deregisters_at_its_end_and_then_closes() {
    let order = Order::open().bind(1).register();
    let order = order.read_fails(ErrorKind::Gone).takes(1).unbind(1);
    let (program, ctx) = order.deregister().close().begin();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    let mut round = ctx.dispatch().unwrap();
    let wake = round.next().unwrap();
    assert_eq!(wake.cause, Cause::Gone);
    program.takes(wake.port());
    drop(channel);
    let error = round.finish().unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
}

#[test]
fn a_bind_in_the_round_of_a_fault_closes_before_it_opens() {
    let order = Order::open().bind(1).register();
    let order = order.read_fails(ErrorKind::Gone).takes(1).unbind(1);
    let order = order.deregister().close().open_again().bind(2);
    let (program, ctx) = order.unbind(2).close().begin();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    let mut round = ctx.dispatch().unwrap();
    program.takes(round.next().unwrap().port());
    drop(channel);
    let mut next = ctx.bind_unbound_port(GUEST).unwrap();
    let error = round.finish().unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
    next.unbind().unwrap();
}

#[test]
fn a_device_opened_again_is_restricted_before_anything_else() {
    let order = Order::open().restrict(GUEST).bind(1).register();
    let order = order.read_fails(ErrorKind::Gone).deregister();
    let order = order.unbind(1).close();
    let order = order.open_again().restrict(GUEST).bind(2).register();
    let (_program, ctx) = order.unbind(2).deregister().close().begin();
    ctx.restrict(GUEST).unwrap();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.by_ref().count(), 1);
    assert!(matches!(round.finish(), Err(Error::Device(_))));
    drop(channel);
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    channel.unbind().unwrap();
}

// ---- The end.

#[test]
fn a_teardown_deregisters_before_it_closes_and_nothing_follows() {
    let order = Order::open().bind(1).register().unbind(1);
    let order = order.deregister_fails(ErrorKind::Other);
    let (_program, ctx) = order.deregister().close().begin();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    drop(channel);
    ctx.teardown().unwrap();
    ctx.teardown().unwrap();
}

#[test]
fn a_dropped_context_deregisters_before_its_last_channel_closes() {
    let order = Order::open().bind(1).bind(2).register();
    let order = order.deregister().unbind(2).unbind(1);
    let (_program, ctx) = order.close().begin();
    let one = ctx.bind_unbound_port(GUEST).unwrap();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    one.wait().unwrap();
    drop(ctx);
    drop((two, one));
}

#[test]
fn a_device_is_deregistered_before_it_is_handed_over_and_closed_by_its_new_owner() {
    let order = Order::open().bind(1).register().deregister();
    let order = order.takes(1).read([]);
    let (program, ctx) = order.unbind(1).close().begin();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    let parts = ctx.hand_over(&mut [channel]).unwrap();
    // The wait queues the adopted wake and wakes the loop of the successor.
    let mut event_loop = MockRegistrar::with_trigger(Trigger::Level);
    let mut of_loop = Sequence::new();
    let register = event_loop.expect_register().times(1);
    register.in_sequence(&mut of_loop).return_const(Ok(()));
    let wake = event_loop.expect_wake().times(1);
    wake.in_sequence(&mut of_loop).return_const(());
    let deregister = event_loop.expect_deregister().times(1);
    deregister.in_sequence(&mut of_loop).return_const(Ok(()));
    let (ctx, channels) = Context::from_parts(parts, MockOpen::of_this_process(), event_loop);
    let [mut channel] = <[_; 1]>::try_from(channels).unwrap();
    channel.wait().unwrap();
    let mut round = ctx.dispatch().unwrap();
    let wake = round.next().unwrap();
    assert_eq!((wake.channel, wake.cause), (channel.id(), Cause::Adopted));
    program.takes(wake.port());
    assert_eq!(round.next(), None);
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    channel.unbind().unwrap();
    ctx.teardown().unwrap();
}

// ---- A thread that blocks.

#[test]
fn a_block_unmasks_before_it_sleeps_and_reads_only_a_ready_device() {
    let order = Order::open().bind(1);
    let order = order
        .register()
        .sleep(Slept::Ready)
        .read([1])
        .deregister()
        .look();
    let order = order
        .register()
        .write([1])
        .sleep(Slept::Notified)
        .sleep(Slept::Ready);
    let order = order.read([1]).deregister().look();
    let (_program, ctx) = order.unbind(1).close().begin();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    for _ in 0..2 {
        assert_eq!(channel.block().unwrap(), Cause::Event);
    }
}

#[test]
fn a_block_reads_once_more_at_its_deadline() {
    let order = Order::open().bind(1).register();
    let order = order.sleep(Slept::TimedOut).read([]).look().deregister();
    let (_program, ctx) = order.unbind(1).close().begin();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    assert_eq!(channel.block_until(Duration::ZERO).unwrap(), None);
}

#[test]
fn a_block_that_reads_a_wake_of_a_round_wakes_the_loop_once() {
    let order = Order::open().bind(1).bind(2).register();
    let order = order.sleep(Slept::Ready).read([2]).wake();
    let order = order.sleep(Slept::Ready).read([]);
    let order = order.sleep(Slept::Ready).read([1]).look().takes(2);
    let order = order.deregister().unbind(2).unbind(1);
    let (program, ctx) = order.close().begin();
    let one = ctx.bind_unbound_port(GUEST).unwrap();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    two.wait().unwrap();
    assert_eq!(one.block().unwrap(), Cause::Event);
    // The rest of the device is left to the round of the woken loop.
    let mut round = ctx.dispatch_at_most(1).unwrap();
    program.takes(round.next().unwrap().port());
    drop(round);
    drop((two, one));
}
