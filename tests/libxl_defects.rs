//! Defects of the event channels of libxl, and defects of its event loop that were fixed after
//! release. Each has a test, named after what happens here instead.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use evtchn::poll::PollLoop;
use evtchn::sim::{Call, Errno, Guest, Sim, SimLoop, SimOpen};
use evtchn::{Cause, Context, DomId, Error, Link, Outcome, Port, Registrar};

const NOW: Option<Duration> = Some(Duration::ZERO);

struct Rig<R: Registrar> {
    sim: Sim,
    opener: SimOpen,
    context: Context<R>,
    guest: Guest,
}

type Channel<R> = evtchn::Channel<R>;

impl Rig<SimLoop> {
    fn new() -> Rig<SimLoop> {
        Rig::on(SimLoop::level())
    }
}

impl<R: Registrar> Rig<R> {
    fn on(event_loop: R) -> Rig<R> {
        let sim = Sim::new(1);
        let opener = sim.open(DomId::DOM0);
        Rig {
            context: Context::with_registrar(opener.clone(), event_loop),
            guest: sim.guest(sim.create_domain().unwrap()),
            opener,
            sim,
        }
    }

    /// A channel, and the guest's port at its other end.
    fn wire(&self) -> (Channel<R>, Port) {
        let channel = self.context.bind_unbound_port(self.guest.domid()).unwrap();
        let peer_port = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        (channel, peer_port.unwrap())
    }

    /// Runs a round, which must succeed, and returns which ports fired.
    #[track_caller]
    fn turn(&self) -> Vec<(Port, Cause)> {
        let mut round = self.context.dispatch().unwrap();
        let wakes = round.by_ref().map(|wake| (wake.port(), wake.cause));
        let wakes = wakes.collect();
        assert_eq!(round.finish().unwrap(), Outcome::Done);
        wakes
    }
}

#[track_caller]
fn wait<R: Registrar>(channel: &Channel<R>) {
    channel.wait().unwrap();
}

/// Defect 1: only a cancel or a failed wait deregisters, so after the last wake the descriptor
/// stays registered and freeing the context aborts.
#[test]
fn the_last_wake_leaves_nothing_registered_and_teardown_succeeds() {
    let rig = Rig::new();
    let (mut channel, peer_port) = rig.wire();
    wait(&channel);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
    assert!(!rig.context.registrar().is_registered());
    channel.unbind().unwrap();
    rig.context.teardown().unwrap();
}

/// Defect 2: of two waiters on one port, one hangs. Here a channel has one waiter, and its two
/// waits are one.
#[test]
fn two_waits_on_one_channel_are_one_wait() {
    let rig = Rig::new();
    let (channel, peer_port) = rig.wire();
    wait(&channel);
    wait(&channel);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.turn().len(), 1);
    assert_eq!(rig.context.link(), Link::Idle);
}

/// Defects 3 and 12: a search through all waiters per event, and three calls per event.
#[test]
fn a_burst_on_many_ports_is_one_read_and_one_write() {
    let rig = Rig::new();
    let wires = [0; 50].map(|_| rig.wire());
    wires.iter().for_each(|(channel, _)| wait(channel));
    let sent = wires.iter().try_for_each(|(_, port)| rig.guest.send(*port));
    sent.unwrap();
    let mut round = rig.context.dispatch().unwrap();
    for wake in round.by_ref() {
        rig.context.wait(wake.channel).unwrap();
    }
    round.finish().unwrap();
    let stats = rig.context.stats();
    assert_eq!((stats.reads, stats.writes, stats.wakes), (1, 1, 50));
}

/// Defect 4: an overflow leaves the waiters on the list, never called, and the context is dead.
#[test]
fn an_overflow_wakes_every_waiter_and_the_context_goes_on() {
    let rig = Rig::new();
    let wires = [0; 3].map(|_| rig.wire());
    wires.iter().for_each(|(channel, _)| wait(channel));
    rig.opener.overflow().unwrap();
    let wakes = rig.turn();
    assert_eq!(wakes.len(), 3);
    assert!(wakes.iter().all(|(_, cause)| *cause == Cause::Overflow));
    let (channel, peer_port) = &wires[0];
    wait(channel);
    rig.guest.send(*peer_port).unwrap();
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
}

/// Defects 5 and 14: an `EFBIG` from the read itself, between poll and read, is met again in
/// each round, or ends the program.
#[test]
fn an_overflow_between_poll_and_read_is_survived_in_that_round() {
    let rig = Rig::new();
    let (channel, _) = rig.wire();
    wait(&channel);
    rig.opener.fail_next(Call::Pending, Errno::EFBIG);
    assert_eq!(rig.turn(), [(channel.port(), Cause::Overflow)]);
    assert_eq!(rig.context.stats().overflows, 1);
    assert_eq!(rig.turn(), []);
}

/// Defect 6: bind, wait and cancel trust the caller's lock, so two threads open two devices and
/// corrupt the list.
#[test]
fn threads_that_bind_wait_and_cancel_at_once_share_one_device() {
    let rig = Rig::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (channel, _) = rig.wire();
                for _ in 0..50 {
                    wait(&channel);
                    channel.cancel().unwrap();
                }
            });
        }
    });
    assert_eq!(rig.context.stats().opens, 1);
    assert!(!rig.context.registrar().is_registered());
    assert_eq!(rig.context.registrar().violations(), []);
    rig.context.teardown().unwrap();
}

/// Defect 7: an event that is read without a waiter is dropped, and its port stays masked.
#[test]
fn an_event_without_a_wait_is_kept_for_the_next_wait() {
    let rig = Rig::new();
    let (channel, peer_port) = rig.wire();
    let (other, _) = rig.wire();
    wait(&other);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.turn(), []);
    wait(&channel);
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
    wait(&channel);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
}

/// Defect 8: a wait on a port that is not bound neither fires nor fails.
#[test]
fn a_wait_on_a_port_that_is_not_bound_is_an_error() {
    let rig = Rig::new();
    let (mut channel, _) = rig.wire();
    let id = channel.id();
    channel.unbind().unwrap();
    let error = rig.context.wait(id).unwrap_err();
    assert!(matches!(error, Error::NotBound(_)), "{error:?}");
}

/// Defect 9: a program that reads the shared handle until its own port appears throws away the
/// events of all other ports.
#[test]
fn a_program_that_takes_one_wake_leaves_the_others_queued() {
    let rig = Rig::new();
    let [(mine, my_peer_port), (other, other_peer_port)] = [0; 2].map(|_| rig.wire());
    wait(&mine);
    wait(&other);
    rig.guest.send(my_peer_port).unwrap();
    rig.guest.send(other_peer_port).unwrap();
    let first = rig.context.dispatch().unwrap().next();
    assert_eq!(first.map(|wake| wake.channel), Some(mine.id()));
    assert_eq!(rig.turn(), [(other.port(), Cause::Event)]);
}

/// Defect 10: the waiter of an unbound port fires for the next owner of its number, and the next
/// owner for an event of the old.
#[test]
fn a_number_that_is_bound_again_mixes_up_no_wakes() {
    let rig = Rig::new();
    let (other, _) = rig.wire();
    wait(&other);
    let (mut old, peer_port) = rig.wire();
    wait(&old);
    rig.guest.send(peer_port).unwrap();
    let number = old.port();
    old.unbind().unwrap();
    let (new, peer_port) = rig.wire();
    assert_eq!(new.port(), number);
    wait(&new);
    assert_eq!(rig.turn(), []);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.turn(), [(number, Cause::Event)]);
}

/// Defect 11: a guest that notifies all the time keeps the program in one round of callbacks.
#[test]
fn a_guest_that_never_stops_notifying_does_not_prolong_a_round() {
    let rig = Rig::new();
    let (channel, peer_port) = rig.wire();
    wait(&channel);
    rig.guest.send(peer_port).unwrap();
    let mut round = rig.context.dispatch().unwrap();
    let mut wakes = 0;
    for wake in round.by_ref() {
        wakes += 1;
        rig.context.wait(wake.channel).unwrap();
        rig.guest.send(peer_port).unwrap();
    }
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert_eq!(wakes, 1);
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
}

/// Defect 13: Xen does not report that a peer closed or died. The program can still end the wait,
/// and `VIRQ_DOM_EXC`, which reports deaths, wakes like any channel.
#[test]
fn a_wait_whose_peer_died_can_be_ended() {
    let rig = Rig::new();
    let (channel, _) = rig.wire();
    let deaths = rig.context.bind_virq(evtchn::Virq::DOM_EXC).unwrap();
    wait(&channel);
    wait(&deaths);
    rig.sim.destroy_domain(rig.guest.domid()).unwrap();
    rig.sim
        .raise_virq(DomId::DOM0, evtchn::Virq::DOM_EXC)
        .unwrap();
    assert_eq!(rig.turn().last(), Some(&(deaths.port(), Cause::Event)));
    channel.cancel().unwrap();
    assert_eq!(rig.context.link(), Link::Idle);
}

/// libxl bc7e8a2a81: a callback ran for a descriptor that was deregistered meanwhile.
#[test]
fn a_readiness_after_the_cancel_calls_no_callback() {
    let rig = Rig::new();
    let (channel, peer_port) = rig.wire();
    let called = Arc::new(Mutex::new(0));
    let calls = Arc::clone(&called);
    let set = channel.set_callback(move |_| *calls.lock().unwrap() += 1);
    set.unwrap();
    wait(&channel);
    rig.guest.send(peer_port).unwrap();
    assert!(rig.context.registrar().ready());
    channel.cancel().unwrap();
    rig.context.dispatch_callbacks().unwrap();
    assert_eq!(*called.lock().unwrap(), 0);
}

/// libxl 681ce16816: a descriptor that was closed and opened again under the same number made
/// poll report it as invalid.
#[test]
fn a_device_that_was_closed_and_opened_again_is_polled_anew() {
    let poll_loop = PollLoop::new().unwrap();
    let rig = Rig::on(poll_loop.clone());
    for _ in 0..3 {
        let (mut channel, peer_port) = rig.wire();
        wait(&channel);
        assert!(poll_loop.wait(NOW).unwrap().timed_out());
        rig.guest.send(peer_port).unwrap();
        assert!(poll_loop.wait(NOW).unwrap().ready);
        assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
        channel.unbind().unwrap();
        rig.context.teardown().unwrap();
    }
}

/// libxl 56d2350bf5: an unrequested event of the descriptor was taken for an error.
#[test]
fn a_readiness_without_an_event_is_harmless() {
    let rig = Rig::new();
    let (channel, peer_port) = rig.wire();
    wait(&channel);
    rig.context.registrar().spurious();
    assert!(rig.context.registrar().ready());
    assert_eq!(rig.turn(), []);
    assert_eq!(rig.context.link(), Link::Watching);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.turn(), [(channel.port(), Cause::Event)]);
}

/// Blocks a thread in the poll loop, does `act`, and demands that the thread comes back.
fn comes_back(poll_loop: &PollLoop, act: impl FnOnce()) {
    let before = poll_loop.counters().polls;
    thread::scope(|scope| {
        let (sender, back) = mpsc::channel();
        scope.spawn(move || sender.send(poll_loop.wait(None).unwrap()));
        while poll_loop.counters().polls == before {
            thread::yield_now();
        }
        act();
        assert!(!back.recv().unwrap().timed_out());
    });
}

/// libxl 5a533d0ba5: a thread in poll did not learn of a descriptor that another thread added.
#[test]
fn a_wait_in_another_thread_reaches_a_loop_that_blocks() {
    let poll_loop = PollLoop::new().unwrap();
    let rig = Rig::on(poll_loop.clone());
    let (channel, peer_port) = rig.wire();
    comes_back(&poll_loop, || wait(&channel));
    rig.guest.send(peer_port).unwrap();
    assert!(poll_loop.wait(None).unwrap().ready);
}

/// libxl ba7a0dbb37: nor of work without a descriptor.
#[test]
fn a_callback_queued_in_another_thread_reaches_a_loop_that_blocks() {
    let poll_loop = PollLoop::new().unwrap();
    let rig = Rig::on(poll_loop.clone());
    let [(channel, peer_port), (other, _)] = [0; 2].map(|_| rig.wire());
    channel.set_callback(|_| ()).unwrap();
    wait(&other);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.turn(), []);
    comes_back(&poll_loop, || wait(&channel));
    assert_eq!(rig.context.next_timeout(), NOW);
}
