//! Pairs of what begins and ends a binding, a device and a context.

use evtchn::sim::{Config, Sim, SimDevice, SimLoop};
use evtchn::{Context, Device, DomId, Link, Port, PortBuf, RemotePort, Sleep, Slept, Virq};

use super::rig::{Channel, Pair, Rig, flat, nearly_flat};

pub(super) const PAIRS: &[Pair] = &[
    ("bind_and_drop", &[], bind_and_drop),
    (
        "bind_and_unbind_of_a_virtual_interrupt",
        &["Context::bind_virq"],
        virq,
    ),
    (
        "bind_and_unbind_of_a_static_port",
        &["Context::bind_static"],
        static_port,
    ),
    (
        "contexts_that_are_made_and_dropped",
        &["Context::new", "Context::with_registrar"],
        contexts,
    ),
    ("contexts_that_are_cloned_and_dropped", &[], clones),
    (
        "references_to_a_context_and_the_handles_made_of_them",
        &["Context::downgrade", "WeakContext::upgrade"],
        references,
    ),
    ("bind_and_teardown", &["Context::teardown"], teardown),
    ("restrict_and_drop", &["Context::restrict"], restrict),
    (
        "hand_over_and_from_parts",
        &["Context::hand_over", "Context::from_parts"],
        hand_over,
    ),
    (
        "devices_that_are_wrapped_and_taken_out",
        &["Device::new", "Device::into_inner"],
        devices,
    ),
    (
        "devices_that_are_opened_and_dropped",
        &[
            "Backend::open",
            "Backend::statuses",
            "Open::open",
            "Open::statuses",
        ],
        backends,
    ),
    (
        "bind_and_unbind_on_a_device",
        &[
            "EventChannel::bind_unbound_port",
            "EventChannel::bind_interdomain",
            "EventChannel::bind_virq",
            "EventChannel::bind_static",
            "EventChannel::unbind",
        ],
        ports,
    ),
    (
        "an_event_and_the_read_and_the_unmask_of_its_port",
        &[
            "EventChannel::notify",
            "EventChannel::pending",
            "EventChannel::unmask",
            "EventChannel::reset",
        ],
        events,
    ),
    (
        "a_call_of_a_loop_and_the_sleep_that_it_ends",
        &[
            "Registrar::wake",
            "Sleep::ticket",
            "Sleep::sleep",
            "Sleep::sleep_as",
            "Sleep::leave",
        ],
        sleeps,
    ),
];

fn bind_and_drop(rig: &Rig) {
    flat(|| {
        let near = rig.ctx.bind_unbound_port(DomId::SELF).unwrap();
        let remote = RemotePort::from((DomId::SELF, near.port()));
        let far = rig.ctx.bind_interdomain(remote).unwrap();
        near.wait().unwrap();
        far.wait().unwrap();
        rig.ctx.drive().unwrap();
        drop((near, far));
    });
}

fn virq(rig: &Rig) {
    flat(|| {
        let mut channel = rig.ctx.bind_virq(Virq::DOM_EXC).unwrap();
        channel.wait().unwrap();
        channel.unbind().unwrap();
        drop(rig.ctx.bind_virq(Virq::DOM_EXC).unwrap());
    });
}

/// A machine whose kernel knows static ports, with one that is connected at boot.
fn connected() -> (Sim, Port) {
    let mut config = Config::seeded(1);
    config.dom0.bind_static = true;
    let sim = Sim::with_config(config);
    let guest = sim.create_domain().unwrap();
    let raw = 900;
    sim.with(|it| it.connect_static((DomId::DOM0, raw), (guest, raw)))
        .unwrap();
    (sim, Port::new(raw).unwrap())
}

fn static_port(_: &Rig) {
    let (sim, port) = connected();
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    let _keeps_it_open = ctx.bind_unbound_port(DomId::SELF).unwrap();
    flat(|| {
        let mut channel = ctx.bind_static(port).unwrap();
        channel.wait().unwrap();
        channel.unbind().unwrap();
    });
}

fn contexts(rig: &Rig) {
    let event_loop = SimLoop::level();
    flat(|| {
        let backend = rig.sim.backend(DomId::DOM0);
        let one: Context<SimLoop> = Context::new(backend.clone()).unwrap();
        let other = Context::with_registrar(backend, event_loop.clone());
        for ctx in [one, other] {
            let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
            channel.wait().unwrap();
            drop(ctx);
        }
    });
    assert!(!event_loop.is_registered());
}

fn clones(rig: &Rig) {
    flat(|| drop(Context::clone(&rig.ctx)));
}

fn references(rig: &Rig) {
    flat(|| {
        let weak = rig.ctx.downgrade();
        drop(weak.upgrade().unwrap());
    });
}

fn teardown(rig: &Rig) {
    let ctx = Context::with_registrar(rig.sim.open(DomId::DOM0), SimLoop::level());
    flat(|| {
        let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
        channel.wait().unwrap();
        drop(channel);
        ctx.teardown().unwrap();
        assert_eq!(ctx.link(), Link::Closed);
    });
}

fn restrict(rig: &Rig) {
    let event_loop = SimLoop::level();
    flat(|| {
        let ctx = Context::with_registrar(rig.sim.open(DomId::DOM0), event_loop.clone());
        let channel = ctx.bind_unbound_port(rig.guest.domid()).unwrap();
        ctx.restrict(rig.guest.domid()).unwrap();
        drop((ctx, channel));
    });
}

fn hand_over(rig: &Rig) {
    let event_loop = SimLoop::level();
    let opener = rig.sim.open(DomId::DOM0);
    let ctx = Context::with_registrar(opener.clone(), event_loop.clone());
    let bind = |_| ctx.bind_unbound_port(rig.guest.domid()).unwrap();
    let channels: Vec<Channel> = (0..2).map(bind).collect();
    let mut owner = Some((ctx, channels));
    flat(|| {
        let (ctx, mut channels) = owner.take().unwrap();
        channels[0].wait().unwrap();
        let parts = ctx.hand_over(&mut channels).unwrap();
        drop((ctx, channels));
        owner = Some(Context::from_parts(
            parts,
            opener.clone(),
            event_loop.clone(),
        ));
    });
}

fn devices(rig: &Rig) {
    let backend = rig.sim.backend(DomId::DOM0);
    let mut device = backend.open().unwrap().into_inner::<SimDevice>().ok();
    flat(|| {
        let wrapped = Device::new(device.take().unwrap());
        drop(wrapped.clone());
        device = wrapped.into_inner().ok();
    });
}

fn backends(rig: &Rig) {
    let backend = rig.sim.backend(DomId::DOM0);
    flat(|| {
        let device = backend.open().unwrap();
        drop(backend.statuses().unwrap());
        drop(device);
    });
}

fn ports(_: &Rig) {
    let (sim, fixed) = connected();
    let device = sim.backend(DomId::DOM0).open().unwrap();
    flat(|| {
        let near = device.bind_unbound_port(DomId::SELF).unwrap();
        let remote = RemotePort::from((DomId::SELF, near));
        let far = device.bind_interdomain(remote).unwrap();
        let virq = device.bind_virq(Virq::DOM_EXC).unwrap();
        device.bind_static(fixed).unwrap();
        // Entries that binds left in the ring would overflow it in the end.
        device.reset().unwrap();
        for port in [near, far, virq, fixed] {
            device.unbind(port).unwrap();
        }
    });
}

fn events(rig: &Rig) {
    let device = rig.sim.backend(DomId::DOM0).open().unwrap();
    let near = device.bind_unbound_port(DomId::SELF).unwrap();
    let remote = RemotePort::from((DomId::SELF, near));
    let far = device.bind_interdomain(remote).unwrap();
    let mut fired = PortBuf::with_capacity(8);
    device.pending(&mut fired).unwrap();
    device.unmask(&[near, far]).unwrap();
    flat(|| {
        device.notify(far).unwrap();
        device.pending(&mut fired).unwrap();
        assert_eq!(fired.words(), [near.as_raw()]);
        assert_eq!(device.unmask(&[near]).unwrap(), 1);
        device.notify(near).unwrap();
        device.reset().unwrap();
        assert_eq!(device.unmask(&[far]).unwrap(), 1);
    });
}

fn sleeps(_: &Rig) {
    let sim = Sim::new(1);
    let ctx = evtchn::poll::Context::new(sim.backend(DomId::DOM0)).unwrap();
    let event_loop = ctx.registrar();
    let sleeper = evtchn::Sleeper::new(std::num::NonZeroU32::MIN);
    nearly_flat(|| {
        let ticket = event_loop.ticket();
        evtchn::Registrar::wake(event_loop);
        assert_eq!(event_loop.sleep(ticket, None).unwrap(), Slept::Notified);
        let slept = event_loop.sleep_as(sleeper, ticket, None).unwrap();
        assert_eq!(slept, Slept::Notified);
        event_loop.leave(sleeper);
    });
}
