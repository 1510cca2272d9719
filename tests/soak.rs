//! Contexts, guests and a source of faults on threads of their own, until each has done its share.
//! The scheduler decides the order; in every run no event may be lost.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use evtchn::poll::PollLoop;
use evtchn::sim::{Crowd, Guest, Sim, SimOpen};
use evtchn::{Context, DomId, Port, RemotePort};

const CONTEXTS: usize = 3;
const CHANNELS: usize = 12;
/// Of each of two threads for each context.
const SENDS: u64 = 4_000;
const FAULTS: u64 = 400;

type Channel = evtchn::Channel<PollLoop>;

/// A context with its loop, how much its peers have sent, and how much of that it has seen.
struct Side {
    opener: SimOpen,
    poll_loop: PollLoop,
    ctx: Context<PollLoop>,
    channels: Vec<Channel>,
    sent: Arc<Vec<AtomicU64>>,
    seen: Arc<Vec<AtomicU64>>,
}

/// The other end of a channel.
#[derive(Clone)]
struct Peer {
    guest: Guest,
    port: Port,
}

impl Side {
    /// A context, and its peers in a domain of their own.
    fn new(sim: &Sim) -> (Side, Vec<Peer>) {
        let opener = sim.open(DomId::DOM0);
        let poll_loop = PollLoop::new().unwrap();
        let ctx = Context::with_registrar(opener.clone(), poll_loop.clone());
        let guest = sim.guest(sim.create_domain().unwrap());
        let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
        let channels: Vec<Channel> = (0..CHANNELS).map(bind).collect();
        let peer = |channel: &Channel| Peer {
            port: guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap(),
            guest: guest.clone(),
        };
        let peers = channels.iter().map(peer).collect();
        let zeros = || (0..CHANNELS).map(|_| AtomicU64::new(0)).collect();
        let side = Side {
            opener,
            poll_loop,
            ctx,
            channels,
            sent: Arc::new(zeros()),
            seen: Arc::new(zeros()),
        };
        (side, peers)
    }

    /// Serves all channels until the peers have ended, and then as long as there is something to
    /// see.
    fn serve(&self, is_over: &AtomicBool) {
        let mut resting = Vec::new();
        for index in 0..CHANNELS {
            self.look_and_wait(index);
        }
        while !is_over.load(Ordering::SeqCst) {
            let may_sleep = resting.is_empty();
            let timeout = self.ctx.next_timeout();
            let timeout = timeout.or_else(|| (!may_sleep).then_some(Duration::ZERO));
            self.poll_loop.wait(timeout).unwrap();
            self.round(&mut resting);
        }
        while self.poll_loop.wait(Some(Duration::ZERO)).unwrap().ready
            || self.ctx.next_timeout().is_some()
            || !resting.is_empty()
        {
            self.round(&mut resting);
        }
    }

    /// A round, in which every other channel waits again at once; the rest wait again after the
    /// next round. Their events meanwhile are kept.
    fn round(&self, resting: &mut Vec<usize>) {
        let rested = std::mem::take(resting);
        let mut round = self.ctx.dispatch().unwrap();
        for wake in &mut round {
            let mut ports = self.channels.iter().map(Channel::port);
            let index = ports.position(|port| port == wake.port()).unwrap();
            let taken = self.look(index);
            if taken.is_multiple_of(2) {
                resting.push(index);
            } else {
                self.look_and_wait(index);
            }
        }
        round.finish().unwrap();
        for &index in &*resting {
            // Waits and cancels, which unmasks its port and keeps its wakes, also the earlier ones.
            self.channels[index].wait().unwrap();
            assert!(self.channels[index].cancel().unwrap());
        }
        for index in rested {
            self.channels[index].wait().unwrap();
        }
    }

    /// Sees all that was sent so far, and answers.
    fn look(&self, index: usize) -> u64 {
        let sent = self.sent[index].load(Ordering::SeqCst);
        self.seen[index].store(sent, Ordering::SeqCst);
        self.channels[index].notify().unwrap();
        sent
    }

    fn look_and_wait(&self, index: usize) {
        self.look(index);
        self.channels[index].wait().unwrap();
    }

    /// Two threads that go over the channels in turn. On every other channel they send all the
    /// time; on the rest they send only after everything was seen, so that a later event cannot
    /// make up for a lost one.
    fn spawn_senders(&self, crowd: &mut Crowd, peers: &[Peer]) {
        for name in ["one", "other"] {
            let (sent, seen) = (Arc::clone(&self.sent), Arc::clone(&self.seen));
            let peers = peers.to_vec();
            crowd.join_in(name, SENDS, move |turn| {
                let index = usize::try_from(turn).unwrap() % CHANNELS;
                let seen = seen[index].load(Ordering::SeqCst);
                if index.is_multiple_of(2) || seen == sent[index].load(Ordering::SeqCst) {
                    sent[index].fetch_add(1, Ordering::SeqCst);
                    peers[index].guest.send(peers[index].port).unwrap();
                }
                ControlFlow::Continue(())
            });
        }
    }

    fn expect_nothing_lost(self) {
        for (sent, seen) in self.sent.iter().zip(&*self.seen) {
            assert_eq!(seen.load(Ordering::SeqCst), sent.load(Ordering::SeqCst));
        }
        let stats = self.ctx.stats();
        assert_eq!((stats.foreign, stats.faults, stats.unreported), (0, 0, 0));
        assert!(stats.wakes > 0, "{stats:?}");
        self.channels
            .into_iter()
            .for_each(|mut it| it.unbind().unwrap());
        self.ctx.teardown().unwrap();
    }
}

/// Overflows, devices and domains that come and go, ports that are bound and closed.
fn inject_fault(sim: &Sim, openers: &[SimOpen], turn: u64) {
    if turn.is_multiple_of(16) {
        openers.iter().for_each(|it| it.overflow().unwrap());
    }
    let domid = sim.create_domain().unwrap();
    let other = Context::with_registrar(sim.open(DomId::DOM0), PollLoop::new().unwrap());
    let peer_port = sim.guest(domid).alloc_unbound(DomId::DOM0).unwrap();
    let port = peer_port;
    let channel = other.bind_interdomain(RemotePort { domid, port }).unwrap();
    channel.wait().unwrap();
    sim.guest(domid).send(peer_port).unwrap();
    sim.destroy_domain(domid).unwrap();
    channel.notify().unwrap();
}

#[test]
fn contexts_and_guests_on_many_threads_lose_nothing_and_leave_nothing() {
    let sim = Sim::new(1);
    let before = sim.dump();
    let (sides, peers): (Vec<_>, Vec<_>) = (0..CONTEXTS).map(|_| Side::new(&sim)).unzip();
    let is_over = AtomicBool::new(false);
    let mut crowd = Crowd::new();
    let tallies = thread::scope(|scope| {
        let is_over = &is_over;
        for (side, peers) in sides.iter().zip(&peers) {
            scope.spawn(|| side.serve(is_over));
            side.spawn_senders(&mut crowd, peers);
        }
        // One context has no overflows, which would make up for a lost event.
        let openers = sides.iter().skip(1).map(|side| side.opener.clone());
        let openers: Vec<_> = openers.collect();
        let faulty = sim.clone();
        crowd.join_in("faults", FAULTS, move |turn| {
            inject_fault(&faulty, &openers, turn);
            ControlFlow::Continue(())
        });
        // The serving threads have to end even if a thread of the crowd has failed.
        let tallies = catch_unwind(AssertUnwindSafe(|| crowd.wait()));
        is_over.store(true, Ordering::SeqCst);
        sides.iter().for_each(|side| side.poll_loop.wake());
        tallies.unwrap_or_else(|panic| resume_unwind(panic))
    });
    let turns: u64 = tallies.iter().map(|tally| tally.turns).sum();
    assert_eq!(turns, 2 * CONTEXTS as u64 * SENDS + FAULTS);
    sides.into_iter().for_each(Side::expect_nothing_lost);
    assert_eq!(sim.open_files(), 0);
    for peers in peers {
        for Peer { guest, port } in peers {
            assert!(guest.events(port).unwrap() > 1, "the notifies came too");
            guest.close(port).unwrap();
        }
    }
    let left = sim.dump();
    assert_eq!(left.lines().count(), before.lines().count(), "{left}");
}
