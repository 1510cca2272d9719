//! Pairs on the simulator: machines, domains, ports, devices, faults, timers.

use std::ops::ControlFlow;
use std::time::Duration;

use evtchn::sim::{
    Call, Config, Crowd, Delivery, DomainConfig, Errno, Fault, Sim, SimDevice, SimLoop,
};
use evtchn::{Cause, Context, Device, DomId, OwnTime, PortStatuses, Registrar, Virq};

use super::rig::{Pair, Rig, flat, flat_with_threads};

pub(super) const PAIRS: &[Pair] = &[
    (
        "machines_that_are_made_and_dropped",
        &["sim::Sim::new", "sim::Sim::with_config"],
        machines,
    ),
    (
        "domains_that_are_created_and_destroyed",
        &[
            "sim::Sim::create_domain",
            "sim::Sim::create_domain_with",
            "sim::Sim::create_domain_with_id",
            "sim::Sim::destroy_domain",
        ],
        domains,
    ),
    (
        "domains_that_are_restored_and_destroyed",
        &["sim::Sim::save_restore", "sim::Sim::checkpoint"],
        restored_domains,
    ),
    (
        "ports_of_a_guest_that_are_bound_and_closed",
        &[
            "sim::Guest::alloc_unbound",
            "sim::Guest::bind_interdomain",
            "sim::Guest::bind_virq",
            "sim::Guest::close",
        ],
        guest_ports,
    ),
    (
        "devices_that_are_duplicated_and_dropped",
        &["sim::Sim::open", "sim::SimDevice::dup"],
        files,
    ),
    (
        "faults_of_an_opener_that_are_installed_and_met_or_cleared",
        &[
            "sim::SimOpen::install",
            "sim::SimOpen::clear_faults",
            "sim::SimOpen::fail_next",
            "sim::SimOpen::fail_nth",
            "sim::SimOpen::shorten_next",
        ],
        opener_faults,
    ),
    (
        "an_overflow_and_the_round_that_ends_it",
        &["sim::SimOpen::overflow", "sim::SimOpen::dup"],
        overflow,
    ),
    (
        "faults_that_are_installed_and_cleared",
        &[
            "sim::Sim::install",
            "sim::Sim::clear_faults",
            "sim::SimLoop::install",
            "sim::SimLoop::clear_faults",
        ],
        faults,
    ),
    (
        "faults_that_are_installed_and_met",
        &[
            "sim::SimLoop::fail_nth",
            "sim::SimLoop::spurious",
            "sim::SimLoop::ready",
        ],
        met,
    ),
    (
        "an_event_and_its_delivery",
        &[
            "sim::Sim::set_delivery",
            "sim::Sim::step",
            "sim::Sim::run",
            "sim::Guest::send",
        ],
        deliveries,
    ),
    (
        "a_timer_and_the_time_at_which_it_is_due",
        &[
            "sim::Sim::after",
            "sim::Sim::advance",
            "sim::Sim::raise_virq",
            "OwnTime::pass",
        ],
        timers,
    ),
    (
        "statuses_that_are_made_and_dropped",
        &[
            "sim::Sim::privcmd",
            "PortStatuses::status",
            "PortStatuses::ports",
        ],
        statuses,
    ),
    (
        "guests_and_loops_that_are_made_and_dropped",
        &[
            "sim::Sim::guest",
            "sim::Sim::backend",
            "sim::SimLoop::new",
            "sim::SimLoop::level",
            "sim::SimLoop::edge",
            "sim::SimLoop::on",
        ],
        handles,
    ),
    (
        "crowds_that_join_and_are_waited_for",
        &[
            "sim::Crowd::new",
            "sim::Crowd::join_in",
            "sim::Crowd::wait",
            "sim::Crowd::stop",
        ],
        crowds,
    ),
];

fn machines(_: &Rig) {
    flat(|| {
        let sim = Sim::new(1);
        sim.create_domain().unwrap();
        drop(Sim::with_config(Config::seeded(1)));
    });
}

/// The simulator keeps a place for each domain id that was ever used, so the largest id is used
/// first.
fn domains(rig: &Rig) {
    let last = DomId::new(DomId::FIRST_RESERVED.as_raw() - 1);
    let largest = rig.sim.create_domain_with_id(last).unwrap();
    rig.sim.destroy_domain(largest).unwrap();
    flat(|| {
        // A new domain may have any id, in the end also one of those below.
        let any = rig.sim.create_domain().unwrap();
        rig.sim.destroy_domain(any).unwrap();
        let fixed = rig.sim.create_domain_with_id(last).unwrap();
        let config = DomainConfig::guest();
        let id = DomId::new(last.as_raw() - 1);
        let made = rig.sim.create_domain_with(Some(id), &config).unwrap();
        for domid in [fixed, made] {
            rig.sim.destroy_domain(domid).unwrap();
        }
    });
}

/// What a restore leaves open goes with the domain.
fn restored_domains(rig: &Rig) {
    let domid = DomId::new(DomId::FIRST_RESERVED.as_raw() - 1);
    let event_loop = SimLoop::level();
    let ctx = Context::with_registrar(rig.sim.open(domid), event_loop.clone());
    flat(|| {
        rig.sim.create_domain_with_id(domid).unwrap();
        let mut channel = ctx.bind_unbound_port(DomId::DOM0).unwrap();
        channel.wait().unwrap();
        rig.sim.checkpoint(domid).unwrap();
        rig.sim.save_restore(domid).unwrap();
        rig.sim.advance(Duration::from_secs(1));
        assert!(event_loop.ready());
        let cause = ctx.dispatch().unwrap().next().map(|wake| wake.cause);
        assert_eq!(cause, Some(Cause::Resumed));
        channel.unbind().unwrap();
        rig.sim.destroy_domain(domid).unwrap();
    });
}

fn guest_ports(rig: &Rig) {
    let guest = &rig.guest;
    flat(|| {
        let open = guest.alloc_unbound(guest.domid()).unwrap();
        let peer = guest.bind_interdomain(guest.domid(), open).unwrap();
        let virq = guest.bind_virq(Virq::DEBUG).unwrap();
        guest.send(peer).unwrap();
        for port in [open, peer, virq] {
            guest.close(port).unwrap();
        }
    });
}

fn files(rig: &Rig) {
    let device: SimDevice = {
        let device: Device = rig.sim.backend(DomId::DOM0).open().unwrap();
        device.into_inner().unwrap()
    };
    flat(|| drop(device.dup().unwrap()));
    flat(|| drop(rig.sim.open(DomId::DOM0)));
}

fn faults(rig: &Rig) {
    flat(|| {
        rig.sim.install(Fault::spurious());
        rig.sim
            .install(Fault::fail(Call::Notify, Errno::EIO).nth(1 << 40));
        rig.sim.clear_faults();
        rig.ctx.registrar().install(Fault::spurious());
        rig.ctx.registrar().clear_faults();
    });
}

fn opener_faults(rig: &Rig) {
    let opener = rig.sim.open(DomId::DOM0);
    let ctx = Context::with_registrar(opener.clone(), SimLoop::level());
    let channel = ctx.bind_unbound_port(rig.guest.domid()).unwrap();
    flat(|| {
        opener.fail_next(Call::Notify, Errno::EIO);
        opener.fail_nth(Call::Notify, 2, Errno::EIO);
        assert!(channel.notify().is_err());
        assert!(channel.notify().is_err());
        opener.install(Fault::spurious());
        opener.shorten_next(Call::Unmask, 1);
        opener.clear_faults();
        channel.notify().unwrap();
    });
}

fn overflow(rig: &Rig) {
    let opener = rig.sim.open(DomId::DOM0);
    let ctx = Context::with_registrar(opener.clone(), SimLoop::level());
    let channel = ctx.bind_unbound_port(rig.guest.domid()).unwrap();
    flat(|| {
        channel.wait().unwrap();
        opener.overflow().unwrap();
        let wake = ctx.dispatch().unwrap().last().unwrap();
        assert_eq!(wake.cause, Cause::Overflow);
        drop(opener.dup().unwrap());
    });
}

fn met(rig: &Rig) {
    let event_loop = rig.ctx.registrar();
    assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    flat(|| {
        event_loop.fail_nth(Call::Register, 1, Errno::EIO);
        assert!(rig.channels[1].wait().is_err());
        event_loop.spurious();
        Registrar::wake(event_loop);
        assert!(event_loop.ready() && !event_loop.ready());
    });
}

fn deliveries(rig: &Rig) {
    assert_eq!(rig.ctx.dispatch().unwrap().count(), 1);
    flat(|| {
        for index in [1, 2] {
            rig.channels[index].wait().unwrap();
        }
        rig.sim.set_delivery(Delivery::Held);
        rig.guest.send(rig.peer_ports[1]).unwrap();
        rig.guest.send(rig.peer_ports[2]).unwrap();
        assert!(rig.sim.step());
        rig.sim.run();
        rig.sim.set_delivery(Delivery::Immediate);
        assert_eq!(rig.ctx.dispatch().unwrap().count(), 2);
    });
}

fn timers(_: &Rig) {
    let sim = Sim::new(1);
    let device = sim.backend(DomId::DOM0).open().unwrap();
    let virq = device.bind_virq(Virq::DOM_EXC).unwrap();
    let second = Duration::from_secs(1);
    flat(|| {
        sim.after(second, |world| {
            world.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
        });
        sim.advance(2 * second);
        device.reset().unwrap();
        device.unmask(&[virq]).unwrap();
        sim.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
        device.reset().unwrap();
        device.unmask(&[virq]).unwrap();
        let time: &dyn OwnTime = device.own_time().unwrap();
        time.pass(Some(time.now() + second)).unwrap();
    });
}

fn statuses(rig: &Rig) {
    flat(|| {
        let privcmd = rig.sim.privcmd(DomId::DOM0);
        let (domid, port) = (rig.guest.domid(), rig.peer_ports[0]);
        privcmd.status(domid, port).unwrap();
        assert!(privcmd.ports(domid).next().is_some());
    });
}

fn handles(rig: &Rig) {
    flat(|| {
        drop(rig.sim.guest(rig.guest.domid()));
        drop(rig.sim.backend(DomId::DOM0));
        drop(SimLoop::new(evtchn::Trigger::Edge));
        drop((SimLoop::level(), SimLoop::edge().on(&rig.sim)));
    });
}

fn crowds(_: &Rig) {
    flat_with_threads(|| {
        let mut crowd = Crowd::new();
        crowd.join_in("one", 2, |_| ControlFlow::Continue(()));
        assert_eq!(crowd.wait()[0].turns, 2);
        let mut crowd = Crowd::new();
        crowd.join_in("other", 2, |_| ControlFlow::Break(()));
        assert_eq!(crowd.stop().len(), 1);
    });
}
