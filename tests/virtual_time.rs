//! A thread that sleeps in the loop of a machine: due timers run in order, and only the clock of
//! the machine moves.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use evtchn::sim::{Delivery, Errno, Sim, SimLoop, World};
use evtchn::{Cause, Context, DomId, Error};

const SECOND: Duration = Duration::from_secs(1);
const WOKEN: Option<Cause> = Some(Cause::Event);

struct Rig {
    sim: Sim,
    event_loop: SimLoop,
    channel: Arc<evtchn::Channel<SimLoop>>,
    /// The guest fires.
    fire: fn(&mut World, u32),
    peer_port: u32,
    _ctx: Context<SimLoop>,
}

impl Rig {
    fn new() -> Rig {
        let sim = Sim::new(1);
        let event_loop = SimLoop::level().on(&sim);
        let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
        let guest = sim.guest(sim.create_domain_with_id(DomId::new(1)).unwrap());
        let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
        let peer_port = guest.bind_interdomain(DomId::DOM0, channel.port());
        Rig {
            sim,
            event_loop,
            channel: Arc::new(channel),
            fire: |world, port| world.kernel_send(DomId::new(1), port).unwrap(),
            peer_port: peer_port.unwrap().as_raw(),
            _ctx: ctx,
        }
    }

    fn fires_after(&self, delay: Duration) {
        let (fire, peer_port) = (self.fire, self.peer_port);
        self.sim.after(delay, move |world| fire(world, peer_port));
    }

    #[track_caller]
    fn expect_block(&self, deadline: Option<Duration>, cause: Option<Cause>, now: Duration) {
        let blocked = match deadline {
            Some(deadline) => self.channel.block_until(deadline).unwrap(),
            None => Some(self.channel.block().unwrap()),
        };
        assert_eq!(blocked, cause);
        assert_eq!((self.sim.now(), self.event_loop.now()), (now, now));
    }
}

#[test]
fn a_timer_due_before_the_deadline_ends_the_sleep_when_it_is_due() {
    let rig = Rig::new();
    rig.fires_after(3 * SECOND);
    rig.expect_block(Some(10 * SECOND), WOKEN, 3 * SECOND);
}

#[test]
fn a_timer_due_at_the_deadline_comes_in_time() {
    let rig = Rig::new();
    rig.fires_after(3 * SECOND);
    rig.expect_block(Some(3 * SECOND), WOKEN, 3 * SECOND);
}

#[test]
fn a_timer_due_after_the_deadline_does_not_run() {
    let rig = Rig::new();
    rig.fires_after(3 * SECOND);
    rig.expect_block(Some(2 * SECOND), None, 2 * SECOND);
    assert_eq!(rig.sim.next_deadline(), Some(3 * SECOND));
    rig.expect_block(None, WOKEN, 3 * SECOND);
}

#[test]
fn timers_that_wake_no_sleeper_run_in_order_and_the_sleep_goes_on() {
    let rig = Rig::new();
    let (send, seen) = mpsc::channel();
    for seconds in [4, 1, 3, 9] {
        let send = send.clone();
        let note = move |world: &mut World| send.send(world.now().as_secs()).unwrap();
        rig.sim.after(seconds * SECOND, note);
    }
    let sleeps = AtomicU32::new(0);
    let goes_on = || sleeps.fetch_add(1, Ordering::Relaxed) < 100;
    let blocked = rig.channel.block_while(Some(5 * SECOND), goes_on).unwrap();
    assert_eq!((blocked, rig.sim.now()), (None, 5 * SECOND));
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(sleeps.into_inner(), 1, "one sleep");
}

#[test]
fn a_sleep_that_nothing_can_end_fails_at_once() {
    let rig = Rig::new();
    let error = rig.channel.block().unwrap_err();
    assert!(matches!(error, Error::Sleep(_)), "{error:?}");
    assert_eq!(Errno::of(&error), Some(Errno::EDEADLK));
    assert!(error.to_string().contains("EDEADLK"), "{error}");
    assert_eq!(rig.sim.now(), Duration::ZERO);
}

#[test]
fn a_timer_may_call_the_loop_and_then_the_condition_is_checked() {
    let rig = Rig::new();
    let caller = rig.event_loop.clone();
    let wake = move |_: &mut World| evtchn::Registrar::wake(&caller);
    rig.sim.after(2 * SECOND, wake);
    let asked = AtomicU32::new(0);
    let goes_on = || asked.fetch_add(1, Ordering::Relaxed) == 0;
    let blocked = rig.channel.block_while(None, goes_on).unwrap();
    assert_eq!((blocked, rig.sim.now()), (None, 2 * SECOND));
}

#[test]
fn scripted_actions_run_before_time_passes() {
    let rig = Rig::new();
    rig.fires_after(SECOND);
    let (sim, clock) = (rig.sim.clone(), rig.event_loop.clone());
    rig.event_loop.while_asleep(move || {
        assert_eq!(sim.now(), Duration::ZERO);
        clock.pass(3 * SECOND);
    });
    // The loop advances the time of the machine, so the timer became due meanwhile.
    rig.expect_block(None, WOKEN, 3 * SECOND);
}

#[test]
fn delayed_events_arrive_while_the_only_thread_sleeps() {
    for delivery in [Delivery::Chosen, Delivery::Delayed(8 * SECOND)] {
        let rig = Rig::new();
        rig.sim.set_delivery(delivery);
        let most = match delivery {
            Delivery::Delayed(most) => most,
            Delivery::Immediate | Delivery::Held | Delivery::Chosen => Duration::ZERO,
        };
        for _ in 0..20 {
            rig.sim.with(|world| (rig.fire)(world, rig.peer_port));
            let before = rig.sim.now();
            assert_eq!(rig.channel.block().unwrap(), Cause::Event);
            let took = rig.sim.now() - before;
            assert!(took <= most, "{took:?}");
        }
        assert_eq!(rig.sim.now() > Duration::ZERO, delivery != Delivery::Chosen);
    }
}

#[test]
fn a_loop_without_a_machine_has_its_own_time() {
    let rig = Rig::new();
    let alone = SimLoop::edge();
    alone.pass(SECOND);
    rig.sim.advance(5 * SECOND);
    assert_eq!((alone.now(), rig.event_loop.now()), (SECOND, 5 * SECOND));
}
