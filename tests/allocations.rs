//! The work per event allocates nothing, in the core and in the simulator.
//!
//! One allocator counts for the whole process, so the cases run one after the other, on the
//! thread that counts.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Cx, Poll, Wake, Waker};
use std::time::Duration;

use evtchn_core::{
    AfterHandler, BeforeHandler, Cause, Channel, Context, DomId, NotifySet, OnEoi, Outcome, Port,
    RateLimit, Trigger, UnmaskPolicy,
};
use evtchn_sim::{DomainConfig, Guest, Sim, SimLoop};
use libtest_mimic::{Failed, Trial};
use stats_alloc::Region;

use crate::ALLOCATOR;

/// How often a case runs before it counts, so that every buffer has grown.
const WARM_UP: usize = 3;
const ROUNDS: usize = 10;

type Case = fn(Trigger) -> Result<(), Failed>;

/// The cases of this file.
pub(crate) fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 11] = [
        ("a_burst_of_a_thousand_waiters_allocates_nothing", burst),
        ("ping_pong_on_one_channel_allocates_nothing", ping_pong),
        ("blocking_for_one_channel_allocates_nothing", block),
        ("notify_allocates_nothing", notify),
        ("a_batch_of_2000_notifies_allocates_nothing", notify_many),
        ("a_set_of_2000_notifiers_allocates_nothing", notify_set),
        ("wait_and_cancel_allocate_nothing", wait_and_cancel),
        ("a_future_for_each_wake_allocates_nothing", future),
        ("a_thousand_tasks_that_wake_allocate_nothing", tasks),
        ("a_stream_of_a_thousand_channels_allocates_nothing", stream),
        ("handlers_under_policies_allocate_nothing", handlers),
    ];
    [(Trigger::Level, "level"), (Trigger::Edge, "edge")]
        .into_iter()
        .flat_map(|(trigger, kind)| {
            cases.map(|(name, case)| {
                let name = format!("allocations::{name}");
                Trial::test(name, move || case(trigger)).with_kind(kind)
            })
        })
        .collect()
}

fn burst(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 1_000);
    rig.wait_on_all();
    steady(|| {
        for port in &rig.peer_ports {
            rig.guest.send(*port).unwrap();
        }
        assert_eq!(rig.round(), 1_000);
    })
}

fn ping_pong(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 1);
    rig.wait_on_all();
    steady(|| {
        rig.channels[0].notify().unwrap();
        rig.guest.send(rig.peer_ports[0]).unwrap();
        assert_eq!(rig.round(), 1);
    })
}

fn block(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 2);
    // The wake of the other stays queued all the time.
    rig.channels[1].wait().unwrap();
    rig.guest.send(rig.peer_ports[1]).unwrap();
    steady(|| {
        rig.guest.send(rig.peer_ports[0]).unwrap();
        let blocked = rig.channels[0].block().unwrap();
        assert_eq!(blocked, Cause::Event);
    })
}

fn notify(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 1);
    let notifier = rig.channels[0].notifier();
    steady(|| {
        rig.channels[0].notify().unwrap();
        notifier.notify().unwrap();
    })
}

fn notify_many(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 2_000);
    let ids: Vec<_> = rig.channels.iter().map(Channel::id).collect();
    steady(|| rig.ctx.notify_many(&ids).unwrap())
}

fn notify_set(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 2_000);
    let set: NotifySet = rig.channels.iter().map(Channel::notifier).collect();
    steady(|| set.notify().unwrap())
}

/// The first wait registers the device, and the last cancel deregisters it.
fn wait_and_cancel(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 2);
    steady(|| {
        for channel in &rig.channels {
            channel.wait().unwrap();
        }
        for channel in &rig.channels {
            channel.cancel().unwrap();
        }
    })
}

fn future(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 1);
    let counter = Arc::new(WakeCounter::default());
    let waker = Waker::from(Arc::clone(&counter));
    steady(|| {
        let mut woken = rig.channels[0].woken();
        assert!(poll(&mut woken, &waker).is_pending());
        rig.channels[0].notify().unwrap();
        rig.guest.send(rig.peer_ports[0]).unwrap();
        rig.drive();
        assert_eq!(counter.count(), 1);
        assert!(matches!(
            poll(&mut woken, &waker),
            Poll::Ready(Ok(Cause::Event))
        ));
    })
}

/// Futures that are dropped before they are ready allocate nothing either.
fn tasks(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 1_000);
    let counter = Arc::new(WakeCounter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let tasks: Vec<_> = rig.channels.iter().map(Channel::woken).collect();
    let tasks = RefCell::new(tasks);
    steady(|| {
        let mut tasks = tasks.borrow_mut();
        for (task, channel) in tasks.iter_mut().zip(&rig.channels) {
            assert!(poll(task, &waker).is_pending());
            *task = channel.woken();
            assert!(poll(task, &waker).is_pending());
        }
        for port in &rig.peer_ports {
            rig.guest.send(*port).unwrap();
        }
        rig.drive();
        assert_eq!(counter.count(), 1_000);
        for task in tasks.iter_mut() {
            assert!(matches!(poll(task, &waker), Poll::Ready(Ok(Cause::Event))));
        }
    })
}

fn stream(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 1_000);
    let counter = Arc::new(WakeCounter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut wakes = rig.ctx.wakes();
    for channel in &rig.channels {
        wakes.add(channel.id()).unwrap();
    }
    let wakes = RefCell::new(wakes);
    let take = || {
        let polled = wakes
            .borrow_mut()
            .poll_wake(&mut Cx::from_waker(&waker))
            .map(|wake| wake.unwrap().unwrap().cause);
        polled == Poll::Ready(Cause::Event)
    };
    steady(|| {
        assert!(!take());
        for port in &rig.peer_ports {
            rig.guest.send(*port).unwrap();
        }
        rig.drive();
        assert_eq!(counter.count(), 1);
        assert_eq!(
            iter::repeat_with(take).take_while(|took| *took).count(),
            1_000
        );
    })
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Cx::from_waker(waker))
}

/// Counts the wakes of its waker.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl WakeCounter {
    fn count(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn handlers(trigger: Trigger) -> Result<(), Failed> {
    let rig = Rig::new(trigger, 400);
    let (handlers, now) = (RefCell::new(rig.ctx.handlers()), Cell::new(Duration::ZERO));
    for (index, channel) in rig.channels.iter().enumerate() {
        let policy: Box<dyn UnmaskPolicy> = match index % 4 {
            0 => Box::new(BeforeHandler),
            1 => Box::new(AfterHandler),
            2 => Box::new(OnEoi),
            _ => Box::new(RateLimit::new(1, Duration::from_secs(1)).unwrap()),
        };
        let added = handlers.borrow_mut().add(channel.id(), policy, |_| {});
        added.unwrap();
    }
    steady(|| {
        for port in &rig.peer_ports {
            rig.guest.send(*port).unwrap();
        }
        let mut handlers = handlers.borrow_mut();
        handlers.round(now.get()).unwrap();
        let due = handlers.next_timeout(now.get()).unwrap();
        assert!(!due.is_zero(), "a hundred are held back");
        now.set(now.get() + due);
        handlers.round(now.get()).unwrap();
    })
}

/// Runs `turn` until it is in steady state, then counts.
fn steady(turn: impl Fn()) -> Result<(), Failed> {
    for _ in 0..WARM_UP {
        turn();
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..ROUNDS {
        turn();
    }
    let change = region.change();
    if change.allocations + change.reallocations > 0 {
        return Err(format!("{ROUNDS} turns allocated: {change:?}").into());
    }
    Ok(())
}

struct Rig {
    ctx: Context<SimLoop>,
    event_loop: SimLoop,
    guest: Guest,
    channels: Vec<Channel<SimLoop>>,
    peer_ports: Vec<Port>,
}

impl Rig {
    fn new(trigger: Trigger, channels: usize) -> Rig {
        let sim = Sim::new(0);
        let mut roomy = DomainConfig::guest();
        roomy.max_port = u32::MAX;
        let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
        let event_loop = SimLoop::new(trigger);
        let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
        let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
        let channels: Vec<_> = (0..channels).map(bind).collect();
        let peer = |channel: &Channel<_>| guest.bind_interdomain(DomId::DOM0, channel.port());
        let peer_ports = channels.iter().map(|channel| peer(channel).unwrap());
        Rig {
            peer_ports: peer_ports.collect(),
            ctx,
            event_loop,
            guest,
            channels,
        }
    }

    fn wait_on_all(&self) {
        for channel in &self.channels {
            channel.wait().unwrap();
        }
    }

    /// Reads as a reactor does after a wake-up.
    fn drive(&self) {
        assert!(self.event_loop.ready());
        assert_eq!(self.ctx.drive().unwrap(), Outcome::Done);
    }

    /// One turn of the loop, in which every wake is waited for again.
    fn round(&self) -> usize {
        assert!(self.event_loop.ready());
        let mut wakes = 0;
        let mut round = self.ctx.dispatch().unwrap();
        for wake in &mut round {
            self.ctx.wait(wake.channel).unwrap();
            wakes += 1;
        }
        assert_eq!(round.finish().unwrap(), Outcome::Done);
        wakes
    }
}
