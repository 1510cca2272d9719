//! A program on the loop of real programs, over a simulated backend: it sleeps in the time of the
//! machine, which takes no real time.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::time::Duration;

use evtchn::poll::{Channel, Context};
use evtchn::sim::{Errno, Sim};
use evtchn::{Cause, DeviceError, DomId, Error, Link};

const SECOND: Duration = Duration::from_secs(1);

/// A context on a machine, and a channel that a guest is bound to.
fn wired() -> (Sim, Context, Channel, impl Fn(Duration)) {
    let sim = Sim::new(1);
    let ctx = Context::new(sim.backend(DomId::DOM0)).unwrap();
    let guest = sim.guest(sim.create_domain().unwrap());
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let peer_port = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    let (machine, domid) = (sim.clone(), guest.domid());
    let fires_after = move |delay| {
        machine.after(delay, move |world| {
            world.kernel_send(domid, peer_port.as_raw()).unwrap();
        });
    };
    (sim, ctx, channel, fires_after)
}

/// This process did not sleep.
#[track_caller]
fn expect_no_sleep(ctx: &Context) {
    let evtchn_xen::Counters { polls, sleeps, .. } = ctx.registrar().counters();
    assert_eq!((polls, sleeps), (0, 0));
}

#[test]
fn a_block_for_five_seconds_advances_the_machine_by_five_seconds_at_once() {
    let (sim, ctx, channel, _) = wired();
    assert_eq!(channel.block_for(5 * SECOND).unwrap(), None);
    assert_eq!(sim.now(), 5 * SECOND);
    assert_eq!(channel.block_for(5 * SECOND).unwrap(), None);
    assert_eq!(sim.now(), 10 * SECOND);
    assert_eq!(ctx.link(), Link::Idle);
    expect_no_sleep(&ctx);
}

#[test]
fn an_event_due_before_the_deadline_ends_the_block_when_it_is_due() {
    let (sim, ctx, channel, fires_after) = wired();
    fires_after(3 * SECOND);
    let blocked = channel.block_for(10 * SECOND).unwrap();
    assert_eq!((blocked, sim.now()), (Some(Cause::Event), 3 * SECOND));
    fires_after(SECOND);
    assert_eq!(channel.block().unwrap(), Cause::Event);
    assert_eq!(sim.now(), 4 * SECOND);
    expect_no_sleep(&ctx);
}

#[test]
fn a_block_with_no_event_scheduled_fails() {
    let (sim, ctx, channel, fires_after) = wired();
    let expect_deadlock = || {
        let Err(Error::Sleep(error)) = channel.block() else {
            panic!("it slept for ever");
        };
        let own: &DeviceError = error.get_ref().downcast_ref().unwrap();
        assert_eq!(own.code(), Some(Errno::EDEADLK.raw()));
        assert!(error.to_string().contains("EDEADLK"), "{error}");
        assert_eq!(ctx.link(), Link::Idle, "the wait has ended");
    };
    expect_deadlock();
    assert_eq!(sim.now(), Duration::ZERO, "no time passed");
    fires_after(SECOND);
    assert_eq!(channel.block().unwrap(), Cause::Event);
    expect_deadlock();
    assert_eq!(sim.now(), SECOND);
}

#[test]
fn a_dispatching_program_sleeps_in_the_time_of_the_machine_too() {
    let (sim, ctx, channel, fires_after) = wired();
    fires_after(2 * SECOND);
    channel.wait().unwrap();
    let event_loop = ctx.registrar();
    // As the wait left it: the device is registered.
    event_loop.wait(Some(Duration::ZERO)).unwrap();
    assert!(event_loop.wait(Some(SECOND)).unwrap().timed_out());
    assert_eq!(sim.now(), SECOND);
    assert!(event_loop.wait(Some(5 * SECOND)).unwrap().ready);
    assert_eq!(sim.now(), 2 * SECOND);
    let wakes: Vec<_> = ctx.dispatch().unwrap().map(|it| it.cause).collect();
    assert_eq!(wakes, [Cause::Event]);
}

#[test]
fn a_simulated_device_in_real_time_does_not_advance_the_machine() {
    let sim = Sim::new(1);
    let ctx = Context::new(sim.open(DomId::DOM0)).unwrap();
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    assert_eq!(channel.block_for(Duration::ZERO).unwrap(), None);
    assert_eq!(sim.now(), Duration::ZERO);
}
