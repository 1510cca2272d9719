//! A real fork of a program that runs on the simulator fails as it would on the real device: using
//! what the child inherited is an error, and dropping it changes nothing for the parent.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a scene ends by panicking, and its process with it"
)]

#[path = "../../fork/tests/scenes/mod.rs"]
mod scenes;

use std::future::Future;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context as Cx, Waker};
use std::thread;

use evtchn_core::{
    Cause, Channel, Context, DomId, Error, EventChannel, Link, Notifier, Open, PortBuf, Stats, Virq,
};
use evtchn_sim::abi::PollBits;
use evtchn_sim::{Call, Crowd, Fault, Guest, Sim, SimDevice, SimLoop, SimOpen};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use scenes::Forks;

fn main() {
    scenes::main(&[
        (
            "child_that_uses_a_context_gets_the_error_of_the_real_device",
            child_that_uses_a_context_gets_the_error_of_the_real_device,
        ),
        (
            "child_that_drops_everything_leaves_its_parent_alone",
            child_that_drops_everything_leaves_its_parent_alone,
        ),
        (
            "child_that_closes_a_ready_device_leaves_it_ready_for_its_parent",
            child_that_closes_a_ready_device_leaves_it_ready_for_its_parent,
        ),
        (
            "event_on_the_machine_of_a_child_is_not_seen_by_its_parent",
            event_on_the_machine_of_a_child_is_not_seen_by_its_parent,
        ),
        (
            "child_drops_a_device_of_a_machine_that_another_thread_had_locked",
            child_drops_a_device_of_a_machine_that_another_thread_had_locked,
        ),
        (
            "no_call_of_a_child_waits_for_a_lock_that_a_thread_of_its_parent_has",
            no_call_of_a_child_waits_for_a_lock_that_a_thread_of_its_parent_has,
        ),
        (
            "child_opens_a_device_of_its_own_and_so_does_a_child_of_the_child",
            child_opens_a_device_of_its_own_and_so_does_a_child_of_the_child,
        ),
        (
            "child_that_drops_a_crowd_waits_for_no_thread",
            child_that_drops_a_crowd_waits_for_no_thread,
        ),
        (
            "child_that_stops_a_crowd_waits_for_no_thread",
            child_that_stops_a_crowd_waits_for_no_thread,
        ),
    ]);
}

type SimContext = Context<SimLoop>;
type SimChannel = Channel<SimLoop>;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

struct Rig {
    sim: Sim,
    guest: Guest,
    opener: SimOpen,
    event_loop: SimLoop,
    ctx: SimContext,
    channel: SimChannel,
    notifier: Notifier,
    theirs: evtchn_core::Port,
}

/// A context with a channel that is waited for.
fn rig() -> Rig {
    let sim = Sim::new(1);
    let guest = sim.guest(sim.create_domain().unwrap());
    let opener = sim.open(DomId::DOM0);
    let event_loop = SimLoop::level();
    let ctx = Context::with_registrar(opener.clone(), event_loop.clone());
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let theirs = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    let notifier = channel.notifier();
    channel.wait().unwrap();
    Rig {
        sim,
        guest,
        opener,
        event_loop,
        ctx,
        channel,
        notifier,
        theirs,
    }
}

impl Rig {
    fn expect_a_wake(&self) {
        self.guest.send(self.theirs).unwrap();
        assert!(self.event_loop.ready());
        let mut round = self.ctx.dispatch().unwrap();
        assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Event));
        round.finish().unwrap();
        self.channel.wait().unwrap();
    }
}

fn child_that_uses_a_context_gets_the_error_of_the_real_device(forks: &Forks) {
    let rig = rig();
    rig.expect_a_wake();
    let device = rig.opener.dup().unwrap();
    let rig = forks.in_child(rig, |rig| {
        let Rig {
            ctx,
            mut channel,
            notifier,
            ..
        } = rig;
        assert!(ctx.is_inherited() && device.is_inherited());
        let bound = ctx.bind_unbound_port(DomId::SELF);
        assert!(matches!(bound, Err(Error::Inherited)));
        let waited = channel.wait();
        assert!(matches!(waited, Err(Error::Inherited)));
        let cancelled = channel.cancel();
        assert!(matches!(cancelled, Err(Error::Inherited)));
        let notified = [channel.notify(), notifier.notify()];
        assert!(matches!(
            notified,
            [Err(Error::Inherited), Err(Error::Inherited)]
        ));
        let dispatched = ctx.dispatch().map(drop);
        assert!(matches!(dispatched, Err(Error::Inherited)));
        let restricted = ctx.restrict(DomId::new(1));
        assert!(matches!(restricted, Err(Error::Inherited)));
        let torn_down = ctx.teardown();
        assert!(matches!(torn_down, Err(Error::Inherited)));
        let Err(Error::Inherited) = channel.unbind() else {
            panic!("the child unbound a port of its parent");
        };
    });
    rig.expect_a_wake();
}

fn child_that_drops_everything_leaves_its_parent_alone(forks: &Forks) {
    let rig = rig();
    let before = rig.sim.with(|world| world.digest());
    let rig = forks.in_child(rig, |rig| {
        let Rig {
            sim,
            event_loop,
            ctx,
            channel,
            notifier,
            ..
        } = rig;
        let (digest, counts) = (sim.with(|world| world.digest()), event_loop.counts());
        drop((channel, notifier, ctx));
        // Nor did the drop close the file in the child's copy of the machine: it is the parent's
        // too.
        assert_eq!(sim.with(|world| world.digest()), digest);
        assert_eq!(event_loop.counts(), counts);
        assert_eq!(event_loop.violations(), []);
    });
    assert_eq!(rig.sim.with(|world| world.digest()), before);
    rig.expect_a_wake();
    rig.notifier.notify().unwrap();
}

fn revents(fd: impl AsFd) -> PollFlags {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&NOW)).unwrap();
    fds[0].revents()
}

fn reported(epoll: impl AsFd) -> usize {
    let mut events: Vec<epoll::Event> = Vec::with_capacity(4);
    let spare = rustix::buffer::spare_capacity(&mut events);
    epoll::wait(&epoll, spare, Some(&NOW)).unwrap();
    events.len()
}

/// A device with a descriptor, and the way to fire its port.
fn fired() -> (Sim, SimDevice, impl Fn()) {
    let sim = Sim::new(1);
    let guest = sim.guest(sim.create_domain().unwrap());
    let device = sim.open(DomId::DOM0).open().unwrap();
    let port = device.bind_unbound_port(guest.domid()).unwrap();
    let theirs = guest.bind_interdomain(DomId::DOM0, port).unwrap();
    device.try_fd().unwrap();
    (sim, device, move || guest.send(theirs).unwrap())
}

fn child_that_closes_a_ready_device_leaves_it_ready_for_its_parent(forks: &Forks) {
    let (_sim, device, fire) = fired();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(
        &epoll,
        device.fd().unwrap(),
        EventData::new_u64(7),
        EventFlags::IN,
    )
    .unwrap();
    fire();
    let second = device.dup().unwrap();
    let device = forks.in_child(device, |device| {
        drop(device);
        drop(second);
    });
    assert_eq!(revents(device.fd().unwrap()), PollFlags::IN);
    assert_eq!(reported(&epoll), 1);
    let mut read = PortBuf::with_capacity(4);
    device.pending(&mut read).unwrap();
    assert_eq!(read.words().len(), 1);
    assert_eq!(reported(&epoll), 0);
    device
        .unmask(&[evtchn_core::Port::new(read.words()[0]).unwrap()])
        .unwrap();
    fire();
    assert_eq!(reported(&epoll), 1);
}

fn event_on_the_machine_of_a_child_is_not_seen_by_its_parent(forks: &Forks) {
    let (sim, device, fire) = fired();
    forks.in_child((), |()| {
        fire();
        assert_eq!(device.poll().unwrap(), PollBits::READABLE);
        let mut read = PortBuf::with_capacity(4);
        device.pending(&mut read).unwrap();
        assert_eq!(read.words().len(), 1);
        sim.with(|world| world.overflow(device.file())).unwrap();
    });
    assert_eq!(device.poll().unwrap(), PollBits::WRITABLE);
    assert_eq!(revents(device.fd().unwrap()), PollFlags::empty());
    fire();
    assert_eq!(revents(device.fd().unwrap()), PollFlags::IN);
}

fn child_drops_a_device_of_a_machine_that_another_thread_had_locked(forks: &Forks) {
    let rig = rig();
    let device = rig.opener.dup().unwrap();
    let (locked, is_locked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let sim = rig.sim.clone();
    let holder = thread::spawn(move || {
        sim.with(|_| {
            locked.send(()).unwrap();
            released.recv().unwrap();
        });
    });
    is_locked.recv().unwrap();
    let (rig, device) = forks.in_child((rig, device), |(rig, device)| {
        assert!(matches!(rig.channel.notify(), Err(Error::Inherited)));
        drop((rig, device));
    });
    release.send(()).unwrap();
    holder.join().unwrap();
    assert!(!device.is_inherited());
    rig.expect_a_wake();
}

/// A bind holds every lock of the context, and that of the machine.
fn no_call_of_a_child_waits_for_a_lock_that_a_thread_of_its_parent_has(forks: &Forks) {
    let rig = rig();
    let (binds, is_binding) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let meanwhile = Fault::meanwhile(Call::BindVirq, move |_| {
        binds.send(()).unwrap();
        goes_on.recv().unwrap();
    });
    rig.opener.install(meanwhile);
    let ctx = Arc::new(rig.ctx);
    let binder = Arc::clone(&ctx);
    let binder = thread::spawn(move || drop(binder.bind_virq(Virq::DOM_EXC).unwrap()));
    is_binding.recv().unwrap();
    let (ctx, channel) = forks.in_child((ctx, rig.channel), |(ctx, mut channel)| {
        assert!(ctx.bind_unbound_port(DomId::SELF).is_err());
        assert!(channel.wait().is_err() && channel.cancel().is_err());
        assert!(channel.try_cancel().is_err() && channel.notify().is_err());
        assert!(channel.set_callback(|_| {}).is_err() && channel.remove_callback().is_err());
        assert!(channel.block().is_err());
        assert!(
            pin!(channel.woken())
                .poll(&mut Cx::from_waker(Waker::noop()))
                .is_ready()
        );
        assert!(channel.wakes().is_err() && ctx.wakes().add(channel.id()).is_err());
        assert!(ctx.dispatch().is_err() && ctx.dispatch_callbacks().is_err());
        assert!(ctx.drive().is_err() && ctx.restrict(DomId::new(1)).is_err());
        assert!(ctx.teardown().is_err());
        assert_eq!((ctx.next_timeout(), ctx.link()), (None, Link::Closed));
        assert_eq!(ctx.stats(), Stats::default());
        assert_eq!(format!("{ctx:?}"), "Context { is_inherited: true, .. }");
        let Err(Error::Inherited) = channel.unbind() else {
            panic!("the child unbound a port of its parent");
        };
    });
    go_on.send(()).unwrap();
    binder.join().unwrap();
    assert_eq!(ctx.link(), Link::Watching);
    channel.cancel().unwrap();
}

fn child_opens_a_device_of_its_own_and_so_does_a_child_of_the_child(forks: &Forks) {
    let rig = rig();
    let notify_itself = |opener: &SimOpen| {
        let ctx = Context::with_registrar(opener.clone(), SimLoop::level());
        let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
        channel.notify().unwrap();
        (ctx, channel)
    };
    forks.in_child((), |()| {
        let (ctx, channel) = notify_itself(&rig.opener);
        forks.in_child((), |()| {
            assert!(matches!(channel.notify(), Err(Error::Inherited)));
            assert!(ctx.is_inherited() && rig.ctx.is_inherited());
            let _own = notify_itself(&rig.opener);
        });
        channel.notify().unwrap();
        // A simulated fork is noticed beside a real one.
        rig.opener.fork();
        assert!(matches!(channel.notify(), Err(Error::Inherited)));
        let _own = notify_itself(&rig.opener);
    });
    rig.expect_a_wake();
}

/// A crowd of one member, which has taken a turn.
fn crowd() -> (Crowd, mpsc::Receiver<u64>) {
    let mut crowd = Crowd::new();
    let (turns, taken) = mpsc::channel();
    crowd.join_in("endless", u64::MAX, move |turn| match turns.send(turn) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    assert_eq!(taken.recv().unwrap(), 0);
    (crowd, taken)
}

fn child_that_drops_a_crowd_waits_for_no_thread(forks: &Forks) {
    let (crowd, _taken) = crowd();
    let crowd = forks.in_child(crowd, drop);
    assert_eq!(crowd.stop().len(), 1);
}

fn child_that_stops_a_crowd_waits_for_no_thread(forks: &Forks) {
    let (crowd, _taken) = crowd();
    let crowd = forks.in_child(crowd, |crowd| assert_eq!(crowd.stop(), []));
    assert_eq!(crowd.stop().len(), 1);
}
