//! What a static bind refuses by itself, and what it leaves to the device.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

use evtchn_core::{
    Cause, Context, DomId, Error, ErrorKind, EventChannel, NotStatic, Open, Port, Status, Virq,
};
use evtchn_sim::{Call, Errno, Fault, Hypercalls, Platform, Sim, SimLoop, SimOpen};

type SimContext = Context<SimLoop>;

/// Domain 0 on a kernel that knows static ports.
fn machine() -> Sim {
    Sim::with_config(Platform::LINUX_6_12_ON_XEN_4_20.config(1))
}

fn context(open: &SimOpen) -> SimContext {
    Context::with_registrar(open.clone(), SimLoop::level())
}

/// A pair of static ports in domain 0. The first event of the second one is pending.
fn pair(sim: &Sim) -> (Port, Port) {
    sim.with(|world| {
        let one = world.alloc_unbound(DomId::DOM0, DomId::SELF, DomId::SELF);
        let one = one.unwrap();
        let other = world.bind_interdomain(DomId::DOM0, DomId::SELF, one);
        (Port::new(one).unwrap(), Port::new(other.unwrap()).unwrap())
    })
}

fn not_static(bound: Result<impl Sized, Error>) -> NotStatic {
    match bound {
        Err(Error::NotStatic(refused)) => refused,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was bound"),
    }
}

#[test]
fn both_ends_of_a_pair_are_bound_and_events_survive_unbind_and_teardown() {
    let sim = machine();
    let (one, other) = pair(&sim);
    let ctx = context(&sim.open(DomId::DOM0));
    let far = ctx.bind_static(other).unwrap();
    far.wait().unwrap();
    let wakes: Vec<_> = ctx.dispatch().unwrap().map(|wake| wake.cause).collect();
    assert_eq!(wakes, [Cause::Event]);
    for _ in 0..3 {
        far.notify().unwrap();
        let again = context(&sim.open(DomId::DOM0));
        let near = again.bind_static(one).unwrap();
        near.wait().unwrap();
        assert_eq!(again.dispatch().unwrap().count(), 1);
        drop(near);
        again.teardown().unwrap();
    }
    assert_eq!(sim.with(|world| world.static_misuses()), 0);
}

#[test]
fn a_port_of_this_context_is_refused_without_a_call_of_the_device() {
    let sim = machine();
    let open = sim.open(DomId::DOM0);
    let ctx = context(&open);
    let (one, _) = pair(&sim);
    let channels = [
        ctx.bind_unbound_port(DomId::SELF).unwrap(),
        ctx.bind_virq(Virq::TBUF).unwrap(),
        ctx.bind_static(one).unwrap(),
    ];
    open.install(Fault::fail(Call::BindStatic, Errno::EIO));
    open.install(Fault::fail(Call::Status, Errno::EIO));
    for channel in &channels {
        let refused = not_static(ctx.bind_static(channel.port()));
        assert_eq!(refused, NotStatic::Ours(channel.port()));
    }
}

#[test]
fn a_port_of_another_kind_is_refused_where_xen_can_be_asked() {
    let sim = machine();
    let open = sim.open(DomId::DOM0);
    let (virq, ipi, pirq, free) = sim.with(|world| {
        let kernel = (1..9).map(|port| {
            let status = world.status(DomId::DOM0, DomId::SELF, port);
            (port, status.unwrap().state)
        });
        let kernel: Vec<_> = kernel.collect();
        let is_virq = |it: &&(u32, Status)| matches!(it.1, Status::Virq { .. });
        let virq = kernel.iter().find(is_virq).copied().unwrap();
        let ipi = kernel.iter().find(|it| it.1 == Status::Ipi).copied();
        let pirq = world.kernel_bind_pirq(DomId::DOM0, 7).unwrap();
        let pirq = (pirq, Status::Pirq { pirq: 7 });
        let free = (pirq.0 + 1, Status::Closed);
        (virq, ipi.unwrap(), pirq, free)
    });
    open.install(Fault::fail(Call::BindStatic, Errno::EIO));
    let ctx = context(&open);
    // Beyond the end of Xen's table a port is closed too.
    for (port, state) in [virq, ipi, pirq, free, (5000, Status::Closed)] {
        let port = Port::new(port).unwrap();
        assert_eq!(
            not_static(ctx.bind_static(port)),
            NotStatic::Is(port, state)
        );
    }
    assert_eq!(open.opens(), 0, "the device is not opened for it");
}

#[test]
fn a_port_that_xen_hides_is_refused() {
    let mut config = Platform::LINUX_6_12_ON_XEN_4_20.config(1);
    config.xen = evtchn_sim::XenVersion(4, 18);
    let sim = Sim::with_config(config);
    let port = sim.with(|world| world.alloc_for_xen(DomId::DOM0, DomId::DOM0));
    let port = Port::new(port.unwrap()).unwrap();
    let ctx = context(&sim.open(DomId::DOM0));
    assert_eq!(not_static(ctx.bind_static(port)), NotStatic::Hidden(port));
}

#[test]
fn a_port_that_waits_for_its_peer_may_be_static() {
    let sim = machine();
    let port = sim.with(|world| world.alloc_unbound(DomId::DOM0, DomId::SELF, DomId::new(5)));
    let ctx = context(&sim.open(DomId::DOM0));
    ctx.bind_static(Port::new(port.unwrap()).unwrap()).unwrap();
}

#[test]
fn without_an_answer_of_xen_only_the_own_ports_are_refused() {
    let sim = machine();
    let mut refuses = Platform::LINUX_6_12_ON_XEN_4_20.guest();
    assert_eq!(refuses.hypercalls, Hypercalls::Refused);
    refuses.store_port = false;
    let guest = sim.create_domain_with(None, &refuses).unwrap();
    let ctx = context(&sim.open(guest));
    let own = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    assert_eq!(
        not_static(ctx.bind_static(own.port())),
        NotStatic::Ours(own.port())
    );
    // A port that the kernel holds: the simulated device refuses it, a real one may not.
    let Err(Error::Device(refused)) = ctx.bind_static(Port::new(1).unwrap()) else {
        panic!("the kernel holds port 1");
    };
    assert_eq!(refused.kind(), ErrorKind::InUse);
    assert_eq!(sim.with(|world| world.static_misuses()), 1);
}

#[test]
fn the_port_of_a_stranger_looks_like_a_static_one() {
    let sim = machine();
    let theirs = sim.open(DomId::DOM0).open().unwrap();
    let port = theirs.bind_unbound_port(DomId::SELF).unwrap();
    let ctx = context(&sim.open(DomId::DOM0));
    assert!(matches!(ctx.bind_static(port), Err(Error::Device(_))));
    assert_eq!(sim.with(|world| world.static_misuses()), 1);
}
