//! Two contexts with a dispatcher each, four workers that take from both, and guests, all on
//! threads of their own. The scheduler decides what comes when; in every run every notify must be
//! seen.
#![cfg(feature = "crossbeam")]
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, RecvError, never, select};
use evtchn_core::{Channel, Context, DomId, Link, Port};
use evtchn_loops::{Delivery, Dispatcher, Running};
use evtchn_sim::{Crowd, Guest, Sim};
use evtchn_xen::PollLoop;

const CONTEXTS: usize = 2;
const WORKERS: usize = 4;
/// Of each context. A guest notifies the first half only when all before was seen.
const CHANNELS: usize = 8;
/// On each channel of the first half, and on each of the others.
const NOTIFIES: u64 = 500;
/// After this many deliveries a worker panics before it looked.
const PANICS: u64 = 97;
/// How often a thread lets others run before it gives up.
const TURNS: u32 = 20_000_000;

/// What a guest and the workers know of one channel.
#[derive(Default)]
struct Talk {
    said: AtomicU64,
    seen: AtomicU64,
    /// A worker handles it.
    busy: AtomicBool,
    /// The last worker that had it has panicked.
    panicked: AtomicBool,
}

impl Talk {
    fn is_seen(&self) -> bool {
        self.seen.load(Ordering::SeqCst) == self.said.load(Ordering::SeqCst)
    }

    fn expect_seen(&self) {
        let seen = (0..TURNS).any(|_| {
            thread::yield_now();
            self.is_seen()
        });
        assert!(seen, "a notify was lost");
    }
}

type Wakes = Receiver<Delivery<PollLoop>>;

struct Side {
    poll_loop: PollLoop,
    ctx: Arc<Context<PollLoop>>,
    channels: Vec<Arc<Channel<PollLoop>>>,
    dispatcher: Dispatcher<PollLoop>,
    talks: Arc<Vec<Talk>>,
    guest: Guest,
    theirs: Vec<Port>,
}

impl Side {
    fn new(sim: &Sim) -> Side {
        let poll_loop = PollLoop::new().unwrap();
        let ctx = Arc::new(Context::with_registrar(
            sim.open(DomId::DOM0),
            poll_loop.clone(),
        ));
        let guest = sim.guest(sim.create_domain().unwrap());
        let bind = |_| Arc::new(ctx.bind_unbound_port(guest.domid()).unwrap());
        let channels: Vec<_> = (0..CHANNELS).map(bind).collect();
        let peer = |it: &Arc<Channel<_>>| guest.bind_interdomain(DomId::DOM0, it.port());
        let capacity = NonZeroUsize::new(CHANNELS).unwrap();
        Side {
            theirs: channels.iter().map(|it| peer(it).unwrap()).collect(),
            dispatcher: Dispatcher::new(Arc::clone(&ctx), capacity),
            talks: Arc::new((0..CHANNELS).map(|_| Talk::default()).collect()),
            poll_loop,
            ctx,
            channels,
            guest,
        }
    }

    /// Half of the channels are added under the running dispatcher.
    fn start(&self) -> Running<PollLoop> {
        let (first, second) = self.channels.split_at(CHANNELS / 2);
        let add = |it: &Arc<Channel<_>>| self.dispatcher.add(Arc::clone(it)).unwrap();
        first.iter().for_each(add);
        let running = self.dispatcher.spawn().unwrap();
        second.iter().for_each(add);
        running
    }

    /// One thread that counts each notify, and one that talks on and on.
    fn talk(&self, crowd: &mut Crowd) {
        let half = CHANNELS / 2;
        for (name, first) in [("counting", 0), ("loud", half)] {
            let (talks, theirs) = (Arc::clone(&self.talks), self.theirs.clone());
            let guest = self.guest.clone();
            crowd.join_in(name, NOTIFIES * half as u64, move |turn| {
                let index = first + usize::try_from(turn).unwrap() % half;
                if first == 0 {
                    talks[index].expect_seen();
                }
                talks[index].said.fetch_add(1, Ordering::SeqCst);
                guest.send(theirs[index]).unwrap();
                ControlFlow::Continue(())
            });
        }
    }

    /// Handles one delivery, the one with number `count`.
    fn handle(&self, mut delivery: Delivery<PollLoop>, count: u64) {
        let port = delivery.wake().port();
        let mut ports = self.channels.iter().map(|it| it.port());
        let talk = &self.talks[ports.position(|it| it == port).unwrap()];
        assert!(self.dispatcher.wakes().len() <= CHANNELS);
        // A second panic in a row would end it unseen.
        if count.is_multiple_of(PANICS) && !talk.panicked.swap(true, Ordering::SeqCst) {
            let died = catch_unwind(AssertUnwindSafe(move || {
                let _held = delivery;
                resume_unwind(Box::new(()));
            }));
            assert!(died.is_err());
            return;
        }
        assert!(!talk.busy.swap(true, Ordering::SeqCst), "two have it");
        talk.seen
            .store(talk.said.load(Ordering::SeqCst), Ordering::SeqCst);
        delivery.channel().notify().unwrap();
        talk.busy.store(false, Ordering::SeqCst);
        talk.panicked.store(false, Ordering::SeqCst);
        delivery.done().unwrap();
    }

    fn expect_clean_end(self) {
        assert_eq!(self.ctx.link(), Link::Idle);
        let counters = self.poll_loop.counters();
        assert_eq!(counters.registers, counters.deregisters);
        let stats = self.ctx.stats();
        assert_eq!((stats.foreign, stats.faults, stats.unreported), (0, 0, 0));
        let said = |talk: &Talk| talk.said.load(Ordering::SeqCst);
        assert!(self.talks.iter().all(|it| said(it) == NOTIFIES));
        // Each notify of the first half is a wake of its own.
        assert!(stats.wakes >= NOTIFIES * (CHANNELS / 2) as u64);
        drop(self.dispatcher);
        for channel in self.channels {
            Arc::into_inner(channel).unwrap().unbind().unwrap();
        }
        Arc::into_inner(self.ctx).unwrap().teardown().unwrap();
    }
}

/// Takes from both queues until both have ended.
fn work(sides: &[Side], queues: [Wakes; CONTEXTS], count: &AtomicU64) {
    let [mut one, mut other] = queues;
    let mut open = CONTEXTS;
    while open > 0 {
        let (side, got): (usize, Result<_, RecvError>) = select! {
            recv(one) -> got => (0, got),
            recv(other) -> got => (1, got),
        };
        match (got, side) {
            (Ok(delivery), _) => {
                let count = count.fetch_add(1, Ordering::SeqCst) + 1;
                sides[side].handle(delivery, count);
                continue;
            }
            (Err(RecvError), 0) => one = never(),
            (Err(RecvError), _) => other = never(),
        }
        open -= 1;
    }
}

#[test]
fn four_workers_of_two_contexts_see_every_notify_and_leave_nothing() {
    let sim = Sim::new(1);
    let sides: Vec<Side> = (0..CONTEXTS).map(|_| Side::new(&sim)).collect();
    let count = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            let queues = [sides[0].dispatcher.wakes(), sides[1].dispatcher.wakes()];
            scope.spawn(|| work(&sides, queues, &count));
        }
        let running: Vec<_> = sides.iter().map(Side::start).collect();
        let mut crowd = Crowd::new();
        sides.iter().for_each(|side| side.talk(&mut crowd));
        let tallies = crowd.wait();
        let turns: u64 = tallies.iter().map(|tally| tally.turns).sum();
        assert_eq!(turns, NOTIFIES * (CONTEXTS * CHANNELS) as u64);
        let talks = sides.iter().flat_map(|side| side.talks.iter());
        talks.for_each(Talk::expect_seen);
        // Where one of the above panics, this is in the drop: the workers end in any case.
        for running in running {
            running.stop().unwrap();
        }
    });
    assert!(count.into_inner() > PANICS, "some have panicked");
    sides.into_iter().for_each(Side::expect_clean_end);
    assert_eq!(sim.open_files(), 0);
}
