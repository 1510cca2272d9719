//! Pairs on the event loops: register and deregister, make and drop, add and remove.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::RawFd;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Cx, Waker};
use std::time::Duration;

use evtchn::async_io::AsyncIoRegistrar;
use evtchn::calloop::{CalloopRegistrar, CalloopSource};
use evtchn::crossbeam::Dispatcher;
use evtchn::hooks::{Cookie, HookRegistrar, Hooks, Interest, PollArray};
use evtchn::mio::MioRegistrar;
use evtchn::poll::PollLoop;
use evtchn::polling::PollingRegistrar;
use evtchn::sim::{Sim, SimLoop};
use evtchn::tokio::TokioRegistrar;
use evtchn::{Context, DomId, Registrar};

use super::rig::{Pair, Rig, flat, flat_with_threads, nearly_flat};

pub(super) const PAIRS: &[Pair] = &[
    (
        "wait_and_cancel_on_poll",
        &["Registrar::register", "Registrar::deregister"],
        on_poll,
    ),
    (
        "loops_on_poll_that_are_made_and_dropped",
        &["poll::PollLoop::new"],
        poll_loops,
    ),
    (
        "a_call_and_the_wait_on_poll_that_it_ends",
        &["poll::PollLoop::wake", "poll::PollLoop::wait"],
        calls,
    ),
    (
        "wait_and_cancel_on_mio",
        &["mio::MioRegistrar::new"],
        on_mio,
    ),
    (
        "wait_and_cancel_on_polling",
        &["polling::PollingRegistrar::new"],
        on_polling,
    ),
    (
        "wait_and_cancel_on_calloop",
        &["calloop::CalloopRegistrar::new"],
        on_calloop,
    ),
    (
        "sources_of_calloop_that_are_inserted_and_removed",
        &["calloop::CalloopSource::new"],
        sources,
    ),
    (
        "wait_and_cancel_on_hooks",
        &[
            "hooks::HookRegistrar::new",
            "hooks::Hooks::register",
            "hooks::Hooks::deregister",
            "hooks::HookRegistrar::occurred",
        ],
        on_hooks,
    ),
    (
        "wait_and_cancel_on_an_array_of_poll",
        &[
            "hooks::PollArray::new",
            "hooks::PollArray::before_poll",
            "hooks::PollArray::after_poll",
        ],
        on_an_array,
    ),
    (
        "wait_and_cancel_on_tokio",
        &[
            "tokio::TokioRegistrar::new",
            "tokio::TokioRegistrar::with_handle",
            "tokio::TokioRegistrar::called",
        ],
        on_tokio,
    ),
    (
        "wait_and_cancel_on_async_io",
        &[
            "async_io::AsyncIoRegistrar::new",
            "async_io::AsyncIoRegistrar::called",
        ],
        on_async_io,
    ),
    (
        "add_and_remove_of_a_dispatcher",
        &[
            "crossbeam::Dispatcher::add",
            "crossbeam::Dispatcher::remove",
        ],
        added,
    ),
    (
        "a_delivery_and_its_end",
        &["crossbeam::Dispatcher::wakes", "crossbeam::Delivery::done"],
        delivered,
    ),
    (
        "dispatchers_that_are_made_stopped_and_run",
        &[
            "crossbeam::Dispatcher::new",
            "crossbeam::Dispatcher::run",
            "crossbeam::Dispatcher::stop",
        ],
        dispatchers,
    ),
    (
        "dispatchers_that_are_spawned_and_stopped",
        &["crossbeam::Dispatcher::spawn", "crossbeam::Running::stop"],
        spawned,
    ),
];

fn poll_once(future: impl Future<Output = ()>) {
    let _pending = pin!(future).poll(&mut Cx::from_waker(Waker::noop()));
}

/// Each wait registers the device, and each cancel deregisters it.
fn wait_and_cancel<R: Registrar>(ctx: &Context<R>) {
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    nearly_flat(|| {
        channel.wait().unwrap();
        channel.cancel().unwrap();
    });
}

fn on<R: Registrar>(rig: &Rig, event_loop: R) {
    wait_and_cancel(&Context::with_registrar(
        rig.sim.open(DomId::DOM0),
        event_loop,
    ));
}

fn on_poll(rig: &Rig) {
    on(rig, PollLoop::new().unwrap());
}

fn poll_loops(_: &Rig) {
    nearly_flat(|| drop(PollLoop::new().unwrap()));
}

fn calls(_: &Rig) {
    let event_loop = PollLoop::new().unwrap();
    nearly_flat(|| {
        event_loop.wake();
        let readiness = event_loop.wait(Some(Duration::ZERO)).unwrap();
        assert!(readiness.woken);
    });
}

fn on_mio(rig: &Rig) {
    let poll = mio::Poll::new().unwrap();
    let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
    let new = || MioRegistrar::new(poll.registry(), mio::Token(1), Arc::clone(&waker)).unwrap();
    on(rig, new());
    nearly_flat(|| drop(new()));
}

fn on_polling(rig: &Rig) {
    let poller = Arc::new(polling::Poller::new().unwrap());
    let new = || PollingRegistrar::new(Arc::clone(&poller), 1).unwrap();
    on(rig, new());
    nearly_flat(|| drop(new()));
}

fn on_calloop(rig: &Rig) {
    on(rig, CalloopRegistrar::new().unwrap());
    nearly_flat(|| drop(CalloopRegistrar::new().unwrap()));
}

fn sources(rig: &Rig) {
    let event_loop: calloop::EventLoop<'_, ()> = calloop::EventLoop::try_new().unwrap();
    let registrar = CalloopRegistrar::new().unwrap();
    let ctx = Context::with_registrar(rig.sim.open(DomId::DOM0), registrar.clone());
    let handle = event_loop.handle();
    nearly_flat(|| {
        let source = CalloopSource::new(ctx.clone(), &registrar).unwrap();
        let token = handle.insert_source(source, |_, _, ()| ()).unwrap();
        handle.remove(token);
    });
}

/// A loop that keeps the last request.
#[derive(Default)]
struct Foreign(Mutex<Option<Cookie>>);

impl Hooks for Foreign {
    fn register(&self, _: RawFd, _: Interest, cookie: Cookie) -> io::Result<()> {
        *self.0.lock().unwrap() = Some(cookie);
        Ok(())
    }

    fn modify(&self, fd: RawFd, interest: Interest, cookie: Cookie) -> io::Result<()> {
        self.register(fd, interest, cookie)
    }

    fn deregister(&self, _: RawFd, _: Cookie) -> io::Result<()> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }

    fn wake(&self) {}
}

fn on_hooks(rig: &Rig) {
    let foreign = Arc::new(Foreign::default());
    let hooks: Arc<dyn Hooks> = foreign.clone();
    let event_loop = HookRegistrar::new(Arc::clone(&hooks));
    let ctx = Context::with_registrar(rig.sim.open(DomId::DOM0), event_loop);
    wait_and_cancel(&ctx);
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    channel.wait().unwrap();
    let cookie = foreign.0.lock().unwrap().unwrap();
    flat(|| assert!(ctx.registrar().occurred(cookie)));
    flat(|| drop(HookRegistrar::new(Arc::clone(&hooks))));
}

fn on_an_array(rig: &Rig) {
    let ctx = Context::with_registrar(rig.sim.open(DomId::DOM0), PollArray::new().unwrap());
    wait_and_cancel(&ctx);
    let mut fds = Vec::new();
    nearly_flat(|| {
        fds.clear();
        ctx.registrar().wake();
        assert_eq!(ctx.registrar().before_poll(&mut fds), Some(Duration::ZERO));
        assert!(ctx.registrar().after_poll(&fds));
    });
}

fn on_tokio(rig: &Rig) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let _inside = runtime.enter();
    let event_loop = TokioRegistrar::with_handle(runtime.handle().clone());
    let ctx = Context::with_registrar(rig.sim.open(DomId::DOM0), event_loop);
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    nearly_flat(|| {
        channel.wait().unwrap();
        channel.cancel().unwrap();
        // The runtime frees what was deregistered when it polls.
        runtime.block_on(tokio::task::yield_now());
    });
    nearly_flat(|| {
        poll_once(ctx.registrar().called());
        drop(TokioRegistrar::new().unwrap());
    });
}

fn on_async_io(rig: &Rig) {
    on(rig, AsyncIoRegistrar::new());
    nearly_flat(|| poll_once(AsyncIoRegistrar::new().called()));
}

/// A dispatcher of the context, with room for two.
fn dispatcher(rig: &Rig) -> Dispatcher<SimLoop> {
    let two = NonZeroUsize::new(2).unwrap();
    Dispatcher::new(Arc::clone(&rig.ctx), two)
}

fn added(rig: &Rig) {
    let dispatcher = dispatcher(rig);
    let channel = Arc::new(rig.ctx.bind_unbound_port(rig.guest.domid()).unwrap());
    flat(|| {
        dispatcher.add(Arc::clone(&channel)).unwrap();
        let removed = dispatcher.remove(channel.id()).unwrap();
        assert!(removed.is_some());
    });
}

fn delivered(rig: &Rig) {
    let dispatcher = dispatcher(rig);
    let channel = Arc::new(rig.ctx.bind_unbound_port(rig.guest.domid()).unwrap());
    let peer_port = rig.guest.bind_interdomain(DomId::DOM0, channel.port());
    let peer_port = peer_port.unwrap();
    dispatcher.add(Arc::clone(&channel)).unwrap();
    flat(|| {
        rig.guest.send(peer_port).unwrap();
        rig.ctx.dispatch_callbacks().unwrap();
        let mut delivery = dispatcher.wakes().try_recv().unwrap();
        assert_eq!(delivery.wake().channel, channel.id());
        delivery.done().unwrap();
    });
}

fn dispatchers(rig: &Rig) {
    let channel = Arc::new(rig.ctx.bind_unbound_port(rig.guest.domid()).unwrap());
    flat(|| {
        let dispatcher = dispatcher(rig);
        dispatcher.add(Arc::clone(&channel)).unwrap();
        dispatcher.stop();
        dispatcher.run().unwrap();
    });
}

fn spawned(_: &Rig) {
    let ctx = evtchn::poll::Context::new(Sim::new(1).open(DomId::DOM0)).unwrap();
    let ctx = Arc::new(ctx);
    let one = NonZeroUsize::MIN;
    flat_with_threads(|| {
        let dispatcher = Dispatcher::new(Arc::clone(&ctx), one);
        let running = dispatcher.spawn().unwrap();
        running.stop().unwrap();
    });
}
