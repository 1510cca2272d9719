//! A forked child that uses and drops an adapter: its parent's event loop goes on as before.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a scene ends by panicking, and its process with it"
)]

#[path = "../fd_device.rs"]
mod fd_device;
#[path = "../../../fork/tests/scenes/mod.rs"]
mod scenes;
mod tasks;
mod threads;
#[path = "../../../fork/tests/scenes/unavailable.rs"]
mod unavailable;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use calloop::EventLoop;
use evtchn_core::{Cause, Channel, Context, DomId, Error, LoopError, Port, Registrar};
use evtchn_fork::Inherited;
use evtchn_loops::{
    CalloopRegistrar, CalloopSource, MioRegistrar, PollArray, PollFd, PollingRegistrar,
};
use evtchn_sim::{Guest, Sim};
use polling::{Events, Poller};
use rustix::event::{PollFlags, Timespec};
use scenes::{Forks, Scene};

/// How long a wake may take. Only a failure ever takes so long.
const PATIENCE: Duration = Duration::from_secs(5);

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

const SCENES: &[Scene] = &[
    (
        "polling_goes_on_after_a_child_dropped_the_adapter",
        polling_goes_on_after_a_child_dropped_the_adapter,
    ),
    (
        "mio_goes_on_after_a_child_dropped_the_adapter",
        mio_goes_on_after_a_child_dropped_the_adapter,
    ),
    (
        "calloop_goes_on_after_a_child_dropped_the_source",
        calloop_goes_on_after_a_child_dropped_the_source,
    ),
    (
        "calloop_gets_a_wake_although_a_child_had_a_round_for_it",
        calloop_gets_a_wake_although_a_child_had_a_round_for_it,
    ),
    (
        "adapter_of_a_parent_registers_no_device_of_a_child",
        adapter_of_a_parent_registers_no_device_of_a_child,
    ),
    (
        "poll_array_goes_on_after_a_child_dropped_the_adapter",
        poll_array_goes_on_after_a_child_dropped_the_adapter,
    ),
    (
        "no_adapter_watches_where_a_fork_cannot_be_noticed",
        no_adapter_watches_where_a_fork_cannot_be_noticed,
    ),
    (
        "tokio_goes_on_after_a_child_dropped_the_adapter",
        tasks::tokio_goes_on_after_a_child_dropped_the_adapter,
    ),
    (
        "async_io_goes_on_after_a_child_dropped_the_adapter",
        tasks::async_io_goes_on_after_a_child_dropped_the_adapter,
    ),
    (
        "dispatcher_goes_on_after_a_child_dropped_it",
        threads::dispatcher_goes_on_after_a_child_dropped_it,
    ),
    (
        "child_that_uses_a_dispatcher_is_refused_and_waits_for_no_thread",
        threads::child_that_uses_a_dispatcher_is_refused_and_waits_for_no_thread,
    ),
    (
        "child_that_drops_a_delivery_leaves_it_to_its_parent",
        threads::child_that_drops_a_delivery_leaves_it_to_its_parent,
    ),
    (
        "delivery_that_a_child_has_done_stays_with_its_parent",
        threads::delivery_that_a_child_has_done_stays_with_its_parent,
    ),
];

fn main() {
    scenes::main(SCENES);
}

/// A context whose one channel is waited for, and the way to wake it.
struct Rig<R: Registrar> {
    ctx: Arc<Context<R>>,
    channel: Channel<R>,
    guest: Guest,
    theirs: Port,
}

fn rig<R: Registrar>(event_loop: R) -> Rig<R> {
    let sim = Sim::new(1);
    let guest = sim.guest(sim.create_domain().unwrap());
    let ctx = Arc::new(Context::with_registrar(sim.open(DomId::DOM0), event_loop));
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let theirs = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    channel.wait().unwrap();
    Rig {
        ctx,
        channel,
        guest,
        theirs,
    }
}

impl<R: Registrar> Rig<R> {
    fn fire(&self) {
        self.guest.send(self.theirs).unwrap();
    }

    /// Takes the wake of the channel, and waits again.
    fn expect_a_wake(&self) {
        let mut round = self.ctx.dispatch().unwrap();
        assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Event));
        round.finish().unwrap();
        self.channel.wait().unwrap();
    }

    /// What a child inherits, and then drops.
    fn refuse_and_drop(self) {
        assert!(self.ctx.is_inherited());
        let waited = self.channel.wait();
        assert!(matches!(waited, Err(Error::Inherited)));
        let dispatched = self.ctx.dispatch().map(drop);
        assert!(matches!(dispatched, Err(Error::Inherited)));
    }
}

fn polling_goes_on_after_a_child_dropped_the_adapter(forks: &Forks) {
    let poller = Arc::new(Poller::new().unwrap());
    let rig = rig(PollingRegistrar::new(Arc::clone(&poller), 7).unwrap());
    let (rig, poller) = forks.in_child((rig, poller), |(rig, poller)| {
        rig.refuse_and_drop();
        drop(poller);
    });
    let mut events = Events::new();
    rig.fire();
    poller.wait(&mut events, Some(PATIENCE)).unwrap();
    assert!(rig.ctx.registrar().is_ready(&events));
    rig.expect_a_wake();
    events.clear();
    // The wake-up of the poller itself.
    Registrar::wake(rig.ctx.registrar());
    poller.wait(&mut events, None).unwrap();
    assert!(rig.ctx.registrar().take_wake_error().is_none());
}

fn mio_goes_on_after_a_child_dropped_the_adapter(forks: &Forks) {
    let mut poll = mio::Poll::new().unwrap();
    let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
    let event_loop = MioRegistrar::new(poll.registry(), mio::Token(1), waker).unwrap();
    let rig = forks.in_child(rig(event_loop), Rig::refuse_and_drop);
    let mut events = mio::Events::with_capacity(4);
    rig.fire();
    poll.poll(&mut events, Some(PATIENCE)).unwrap();
    assert!(rig.ctx.registrar().is_ready(&events));
    rig.expect_a_wake();
    Registrar::wake(rig.ctx.registrar());
    poll.poll(&mut events, Some(PATIENCE)).unwrap();
    assert_eq!(
        events.iter().next().map(mio::event::Event::token),
        Some(mio::Token(0))
    );
}

/// A calloop event loop that notes which ports woke.
fn calloop(registrar: &CalloopRegistrar) -> (EventLoop<'static, Vec<Port>>, Rig<CalloopRegistrar>) {
    let rig = rig(registrar.clone());
    let event_loop = EventLoop::<Vec<Port>>::try_new().unwrap();
    let source = CalloopSource::new(Context::clone(&rig.ctx), registrar).unwrap();
    let inserted = event_loop.handle().insert_source(source, |wake, _, fired| {
        fired.push(wake.port());
    });
    inserted.map_err(|it| it.error).unwrap();
    (event_loop, rig)
}

fn calloop_goes_on_after_a_child_dropped_the_source(forks: &Forks) {
    let registrar = CalloopRegistrar::new().unwrap();
    let (event_loop, rig) = calloop(&registrar);
    let (mut event_loop, rig) = forks.in_child((event_loop, rig), |(event_loop, rig)| {
        rig.refuse_and_drop();
        drop(event_loop);
    });
    let mut fired = Vec::new();
    rig.fire();
    event_loop.dispatch(Some(PATIENCE), &mut fired).unwrap();
    assert_eq!(fired, [rig.channel.port()]);
}

fn calloop_gets_a_wake_although_a_child_had_a_round_for_it(forks: &Forks) {
    let registrar = CalloopRegistrar::new().unwrap();
    let (event_loop, rig) = calloop(&registrar);
    Registrar::wake(&registrar);
    let (mut event_loop, rig) = forks.in_child((event_loop, rig), |(mut event_loop, rig)| {
        let refused = event_loop.dispatch(Some(PATIENCE), &mut Vec::new());
        assert!(refused.is_err());
        drop((event_loop, rig));
    });
    // The descriptor that announces it is still readable.
    let epoll = registrar.as_fd();
    let mut fds = [rustix::event::PollFd::new(&epoll, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&NOW)).unwrap(), 1);
    rig.fire();
    let mut fired = Vec::new();
    event_loop.dispatch(Some(PATIENCE), &mut fired).unwrap();
    assert_eq!(fired, [rig.channel.port()]);
}

fn adapter_of_a_parent_registers_no_device_of_a_child(forks: &Forks) {
    let calloop = CalloopRegistrar::new().unwrap();
    let poller = Arc::new(Poller::new().unwrap());
    let polling = PollingRegistrar::new(poller, 7).unwrap();
    let array = PollArray::new().unwrap();
    let opener = Sim::new(1).open(DomId::DOM0);
    forks.in_child((calloop, polling, array), |(calloop, polling, array)| {
        let ctx = Context::with_registrar(opener.clone(), array);
        expect_refused(&ctx);
        let ctx = Context::with_registrar(opener.clone(), calloop);
        expect_refused(&ctx);
        let ctx = Context::with_registrar(opener, polling);
        expect_refused(&ctx);
    });
}

/// A context of a child cannot use the event loop of the parent.
fn expect_refused<R: Registrar>(ctx: &Context<R>) {
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    let Err(Error::Register(refused)) = channel.wait() else {
        unreachable!("the parent's event loop watches a device of the child");
    };
    assert!(why::<Inherited>(&refused).is_some());
}

fn poll_array_goes_on_after_a_child_dropped_the_adapter(forks: &Forks) {
    let rig = rig(PollArray::new().unwrap());
    let mut fds = Vec::new();
    assert_eq!(rig.ctx.registrar().before_poll(&mut fds), None);
    // While this thread polls, another one wakes the loop.
    Registrar::wake(rig.ctx.registrar());
    let rig = forks.in_child(rig, |rig| {
        let mut copy = fds.clone();
        poll(&mut copy);
        assert_ne!(copy[0].revents, 0);
        assert!(!rig.ctx.registrar().after_poll(&copy));
        let mut own = Vec::new();
        assert_eq!(rig.ctx.registrar().before_poll(&mut own), None);
        assert_eq!(own, []);
        rig.refuse_and_drop();
    });
    poll(&mut fds);
    assert_ne!(fds[0].revents, 0, "the child took the call for its parent");
    assert!(rig.ctx.registrar().after_poll(&fds));
    rig.fire();
    let mut fds = Vec::new();
    assert_eq!(rig.ctx.registrar().before_poll(&mut fds), None);
    poll(&mut fds);
    assert_eq!((fds[0].revents, fds[1].revents), (0, 1));
    assert!(rig.ctx.registrar().after_poll(&fds));
    rig.expect_a_wake();
}

fn poll(fds: &mut [PollFd]) {
    let entry = |it: &PollFd| {
        // SAFETY: the adapter and the device that the entries are of live as long as the scene.
        let fd = unsafe { BorrowedFd::borrow_raw(it.fd) };
        rustix::event::PollFd::from_borrowed_fd(fd, PollFlags::IN)
    };
    let mut polled: Vec<_> = fds.iter().map(entry).collect();
    rustix::event::poll(&mut polled, Some(&NOW)).unwrap();
    for (fd, polled) in fds.iter_mut().zip(&polled) {
        fd.revents = polled.revents().bits().cast_signed();
    }
}

fn no_adapter_watches_where_a_fork_cannot_be_noticed(_: &Forks) {
    let poller = Arc::new(Poller::new().unwrap());
    let unavailable = unavailable::forget_forks();
    let refused = [
        PollingRegistrar::new(poller, 7).unwrap_err().into(),
        CalloopRegistrar::new().unwrap_err().into(),
        PollArray::new().unwrap_err().into(),
        tasks::registers_no_device(),
    ];
    for error in refused {
        assert_eq!(why(&error), Some(&unavailable));
    }
}

/// Why a call was refused, where it was for this.
fn why<E: std::error::Error + 'static>(error: &LoopError) -> Option<&E> {
    let error: &io::Error = error.get_ref().downcast_ref()?;
    error.get_ref()?.downcast_ref()
}
