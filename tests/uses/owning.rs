//! Contexts and channels inside the types of a program.

use std::collections::HashMap;
use std::sync::mpsc::channel as queue;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use evtchn::mio::MioRegistrar;
use evtchn::sim::Sim;
use evtchn::{
    AfterHandler, Call, Cause, ChannelId, DomId, Error, Link, Notifier, RemotePort, UnmaskPolicy,
    Wake, poll,
};

use mio::{Poll, Token, Waker};

use super::{bind_peer, machine};

/// No type parameter, for any backend.
struct Console {
    ctx: poll::Context,
    line: poll::Channel,
}

impl Console {
    fn new(backend: impl Into<evtchn::Backend>, guest: DomId) -> Result<Console, Error> {
        let ctx = poll::Context::new(backend)?;
        let line = ctx.bind_unbound_port(guest)?;
        Ok(Console { ctx, line })
    }

    fn next(&self) -> Result<Cause, Error> {
        self.line.block()
    }
}

#[test]
fn a_struct_without_type_parameters_owns_a_context_and_a_channel() {
    let (sim, guest) = machine();
    let console = Console::new(sim.backend(DomId::DOM0), guest.domid()).unwrap();
    let peer_port = bind_peer(&guest, &console.line);
    guest.send(peer_port).unwrap();
    assert_eq!(console.next().unwrap(), Cause::Event);
    // The fields may be dropped in either order.
    let Console { ctx, line } = console;
    drop(ctx);
    line.notify().unwrap();
    drop(line);
    assert_eq!(sim.open_files(), 0);
}

/// Which loop it runs on is decided while the program runs.
enum Server {
    Blocking(poll::Context),
    Tasks(evtchn::tokio::Context),
}

impl Server {
    fn link(&self) -> Link {
        match self {
            Server::Blocking(ctx) => ctx.link(),
            Server::Tasks(ctx) => ctx.link(),
        }
    }
}

#[tokio::test]
async fn an_enum_holds_a_context_on_either_of_two_loops() {
    let sim = Sim::new(1);
    let backend = sim.backend(DomId::DOM0);
    let blocking = poll::Context::new(backend.clone()).unwrap();
    let channel = blocking.bind_unbound_port(DomId::SELF).unwrap();
    let tasks = evtchn::tokio::Context::new(backend).unwrap();
    let servers = [Server::Blocking(blocking), Server::Tasks(tasks)];
    let links: Vec<_> = servers.iter().map(Server::link).collect();
    assert_eq!(links, [Link::Idle, Link::Closed]);
    drop(channel);
}

#[test]
fn a_map_finds_the_channel_of_a_wake() {
    let (sim, guest) = machine();
    let ctx = poll::Context::new(sim.backend(DomId::DOM0)).unwrap();
    let mut disks: HashMap<ChannelId, (&str, poll::Channel)> = HashMap::new();
    for name in ["xvda", "xvdb", "xvdc"] {
        let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
        let peer_port = bind_peer(&guest, &channel);
        channel.wait().unwrap();
        if name == "xvdb" {
            guest.send(peer_port).unwrap();
        }
        disks.insert(channel.id(), (name, channel));
    }
    let mut served = Vec::new();
    for wake in ctx.dispatch().unwrap() {
        let (name, channel) = &disks[&wake.channel];
        channel.notify().unwrap();
        served.push(*name);
    }
    assert_eq!(served, ["xvdb"]);
    // A channel that leaves the map is unbound, and its id names no other one.
    let gone = *disks.keys().next().unwrap();
    disks.remove(&gone);
    let next = ctx.bind_unbound_port(guest.domid()).unwrap();
    assert_eq!(next.port(), gone.port());
    assert!(!disks.contains_key(&next.id()));
}

#[test]
fn threads_share_a_context_by_arc_and_by_clone() {
    let sim = Sim::new(1);
    let shared = Arc::new(poll::Context::new(sim.backend(DomId::DOM0)).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let shared = Arc::clone(&shared);
            let clone = poll::Context::clone(&shared);
            thread::spawn(move || {
                let near = shared.bind_unbound_port(DomId::SELF)?;
                let remote = RemotePort::from((DomId::SELF, near.port()));
                let far = clone.bind_interdomain(remote)?;
                far.notify()?;
                near.block()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap(), Cause::Event);
    }
    assert_eq!(shared.stats().opens, 1);
    shared.teardown().unwrap();
}

#[test]
fn a_notifier_goes_to_another_thread() {
    let (sim, guest) = machine();
    let ctx = poll::Context::new(sim.backend(DomId::DOM0)).unwrap();
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let peer_port = bind_peer(&guest, &channel);
    let before = guest.events(peer_port).unwrap();
    let (send, receive) = queue::<Notifier>();
    let thread = thread::spawn(move || {
        let notifier = receive.recv().unwrap();
        notifier.notify().map(|()| notifier.id())
    });
    send.send(channel.notifier()).unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), channel.id());
    assert_eq!(guest.events(peer_port).unwrap(), before + 1);
}

/// A trait of the program.
trait Service: Send {
    fn id(&self) -> ChannelId;
    fn serve(&mut self) -> Result<usize, Error>;
}

struct Echo {
    ctx: poll::Context,
    line: poll::Channel,
}

impl Service for Echo {
    fn id(&self) -> ChannelId {
        self.line.id()
    }

    fn serve(&mut self) -> Result<usize, Error> {
        let mut served = 0;
        let mut round = self.ctx.dispatch()?;
        for wake in &mut round {
            assert_eq!(wake.channel, self.line.id());
            self.line.notify()?;
            served += 1;
        }
        round.finish()?;
        Ok(served)
    }
}

#[test]
fn a_trait_object_owns_a_context() {
    let (sim, guest) = machine();
    let mut services: Vec<Box<dyn Service>> = Vec::new();
    let mut peer_ports = Vec::new();
    for _ in 0..2 {
        let ctx = poll::Context::new(sim.backend(DomId::DOM0)).unwrap();
        let line = ctx.bind_unbound_port(guest.domid()).unwrap();
        line.wait_each().unwrap();
        peer_ports.push(bind_peer(&guest, &line));
        services.push(Box::new(Echo { ctx, line }));
    }
    for turn in 1..=3 {
        let mut served = 0;
        for (service, peer_port) in services.iter_mut().zip(&peer_ports) {
            guest.send(*peer_port).unwrap();
            served += service.serve().unwrap();
        }
        assert_eq!(served, 2, "turn {turn}");
    }
    assert_ne!(services[0].id(), services[1].id());
    let service = services.remove(0);
    thread::spawn(move || drop(service)).join().unwrap();
    assert_eq!(sim.open_files(), 1);
}

#[test]
fn callbacks_and_policies_come_in_boxes() {
    let (sim, guest) = machine();
    let ctx = poll::Context::new(sim.backend(DomId::DOM0)).unwrap();
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let peer_port = bind_peer(&guest, &channel);
    let (send, receive) = queue();
    let sender = send.clone();
    let callback: Box<dyn FnMut(Wake) + Send> =
        Box::new(move |wake| sender.send(wake.cause).unwrap());
    channel.set_callback(callback).unwrap();
    channel.wait().unwrap();
    guest.send(peer_port).unwrap();
    ctx.dispatch_callbacks().unwrap();
    assert_eq!(receive.try_recv(), Ok(Cause::Event));
    assert!(channel.remove_callback().unwrap());

    let policy: Box<dyn UnmaskPolicy> = Box::new(AfterHandler);
    let handler: Box<dyn FnMut(&mut Call) + Send> =
        Box::new(move |call| send.send(call.wake().cause).unwrap());
    let mut handlers = ctx.handlers();
    handlers.add(channel.id(), policy, handler).unwrap();
    guest.send(peer_port).unwrap();
    handlers.round(Duration::ZERO).unwrap();
    assert_eq!(receive.try_recv(), Ok(Cause::Event));
}

#[test]
fn a_static_holds_the_context_of_a_process() {
    static CONTEXT: OnceLock<poll::Context> = OnceLock::new();
    fn context() -> &'static poll::Context {
        CONTEXT.get_or_init(|| poll::Context::new(Sim::new(1).backend(DomId::DOM0)).unwrap())
    }
    let near = context().bind_unbound_port(DomId::SELF).unwrap();
    let remote = (DomId::SELF, near.port()).into();
    let far = thread::spawn(move || context().bind_interdomain(remote));
    far.join().unwrap().unwrap().notify().unwrap();
    assert_eq!(near.block().unwrap(), Cause::Event);
}

#[test]
fn a_context_gets_a_loop_of_the_program() {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let event_loop = MioRegistrar::new(poll.registry(), Token(1), waker).unwrap();
    let backend = Sim::new(1).backend(DomId::DOM0);
    let ctx = evtchn::mio::Context::with_registrar(backend, event_loop);
    let channel: evtchn::mio::Channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    channel.wait().unwrap();
    assert_eq!(ctx.link(), Link::Watching);
}
