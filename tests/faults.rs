//! Faults of every kind, which a context survives: no wake is lost, a failed call can be repeated,
//! and nothing is left behind.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::time::Duration;

use evtchn::sim::{
    Call, Choice, Config, Delivery, DomainConfig, Errno, Fault, Guest, Sim, SimLoop, SimOpen, World,
};
use evtchn::{Cause, Context, DeviceCall, DomId, Error, ErrorKind, Outcome, Port, Virq};

type Channel = evtchn::Channel<SimLoop>;

const MS: Duration = Duration::from_millis(1);

struct Rig {
    sim: Sim,
    opener: SimOpen,
    event_loop: SimLoop,
    ctx: Context<SimLoop>,
    guest: Guest,
}

impl Rig {
    fn new() -> Rig {
        Rig::deciding([])
    }

    /// With a machine that takes its decisions from a script.
    fn deciding<const N: usize>(script: [u32; N]) -> Rig {
        let mut config = Config::seeded(0);
        config.choice = Choice::scripted(script);
        let sim = Sim::with_config(config);
        let opener = sim.open(DomId::DOM0);
        let event_loop = SimLoop::level().on(&sim);
        Rig {
            ctx: Context::with_registrar(opener.clone(), event_loop.clone()),
            guest: sim.guest(sim.create_domain().unwrap()),
            opener,
            event_loop,
            sim,
        }
    }

    /// A channel with a wait, and the port of the guest at its other end.
    fn waiting(&self) -> (Channel, Port) {
        let channel = self.ctx.bind_unbound_port(self.guest.domid()).unwrap();
        channel.wait().unwrap();
        let peer_port = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        (channel, peer_port.unwrap())
    }

    /// One round; a woken channel does not wait again.
    fn wakes(&self) -> Vec<(Port, Cause)> {
        let mut round = self.ctx.dispatch().unwrap();
        let wakes = (&mut round).map(|wake| (wake.port(), wake.cause)).collect();
        assert_eq!(round.finish().unwrap(), Outcome::Done);
        wakes
    }

    #[track_caller]
    fn expect_clean_end(self, channels: impl IntoIterator<Item = Channel>) {
        channels.into_iter().for_each(|mut it| it.unbind().unwrap());
        self.ctx.teardown().unwrap();
        assert_eq!(self.event_loop.violations(), []);
        assert_eq!(self.sim.open_files(), 0);
    }
}

#[test]
fn calls_fail_when_the_choice_says_so_and_can_be_repeated() {
    let rig = Rig::deciding([1, 0, 1, 1, 0]);
    let (channel, peer_port) = rig.waiting();
    rig.opener
        .install(Fault::fail(Call::Notify, Errno::EINTR).once_in(2));
    let went = [(); 5].map(|()| channel.notify().is_ok());
    assert_eq!(went, [false, true, false, false, true]);
    // Two events, after the one of the bind.
    assert_eq!(rig.guest.events(peer_port), Ok(3));
    rig.expect_clean_end([channel]);
}

#[test]
fn a_fault_of_the_machine_hits_all_openers_and_one_of_an_opener_only_its_devices() {
    let rig = Rig::new();
    let other = Context::with_registrar(rig.sim.open(DomId::DOM0), SimLoop::level());
    let bind = |ctx: &Context<_>| ctx.bind_unbound_port(DomId::SELF).is_ok();
    rig.opener.install(Fault::fail(Call::Open, Errno::EMFILE));
    assert!(!bind(&rig.ctx) && bind(&other));
    rig.sim
        .install(Fault::fail(Call::BindUnboundPort, Errno::EIO));
    rig.opener.clear_faults();
    assert!(!bind(&rig.ctx) && !bind(&other));
    rig.sim.clear_faults();
    assert!(bind(&rig.ctx) && bind(&other));
}

#[test]
fn a_delayed_event_arrives_when_due_and_coalesces_until_then() {
    // The notify at the bind, then the events of the guest.
    let rig = Rig::deciding([0, 5]);
    rig.sim.set_delivery(Delivery::Delayed(8 * MS));
    let (channel, peer_port) = rig.waiting();
    rig.sim.advance(Duration::ZERO);
    (0..3).for_each(|_| rig.guest.send(peer_port).unwrap());
    rig.sim.advance(4 * MS);
    assert!(!rig.event_loop.ready());
    rig.sim.advance(MS);
    assert!(rig.event_loop.ready());
    assert_eq!(rig.wakes(), [(channel.port(), Cause::Event)]);
    channel.wait().unwrap();
    rig.sim.advance(8 * MS);
    assert!(!rig.event_loop.ready(), "three events were one");
    rig.expect_clean_end([channel]);
}

#[test]
fn delayed_events_of_several_ports_are_reordered_within_the_greatest_delay() {
    // First the delay of each event, then which of the remaining ones arrives.
    let rig = Rig::deciding([8, 2, 3, 2, 1]);
    let (channels, peer_ports): (Vec<_>, Vec<_>) = (0..3).map(|_| rig.waiting()).unzip();
    rig.sim.set_delivery(Delivery::Delayed(8 * MS));
    peer_ports
        .iter()
        .for_each(|&it| rig.guest.send(it).unwrap());
    rig.sim.advance(8 * MS);
    let ports: Vec<_> = rig.wakes().into_iter().map(|(port, _)| port).collect();
    assert_eq!(ports, [2, 1, 0].map(|index: usize| channels[index].port()));
    rig.expect_clean_end(channels);
}

#[test]
fn a_spurious_readiness_brings_no_wake_and_ends_no_block() {
    let rig = Rig::new();
    let (channel, peer_port) = rig.waiting();
    rig.event_loop.install(Fault::spurious().nth(1));
    assert!(rig.event_loop.ready());
    assert_eq!(rig.wakes(), []);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.wakes(), [(channel.port(), Cause::Event)]);
    rig.event_loop.install(Fault::spurious().nth(1));
    rig.event_loop.install(Fault::spurious().nth(2));
    let reads = rig.ctx.stats().empty_reads;
    let blocked = channel.block_until(3 * MS).unwrap();
    assert_eq!(
        rig.ctx.stats().empty_reads,
        reads + 3,
        "and at the deadline"
    );
    assert_eq!((blocked, rig.sim.now()), (None, 3 * MS));
    rig.expect_clean_end([channel]);
}

#[test]
fn a_ring_that_overflows_just_before_the_read_wakes_every_waiter() {
    let rig = Rig::new();
    let (channels, peer_ports): (Vec<_>, Vec<_>) = (0..3).map(|_| rig.waiting()).unzip();
    rig.guest.send(peer_ports[1]).unwrap();
    rig.opener.install(Fault::overflow(Call::Pending).nth(1));
    let mut wakes = rig.wakes();
    wakes.sort_by_key(|&(port, _)| port);
    let expected: Vec<_> = channels
        .iter()
        .map(|it| (it.port(), Cause::Overflow))
        .collect();
    assert_eq!(wakes, expected);
    assert_eq!(rig.ctx.stats().overflows, 1);
    rig.expect_clean_end(channels);
}

#[test]
fn a_storming_guest_causes_one_wake_per_wait_and_prolongs_no_round() {
    let rig = Rig::new();
    let (loud, storming) = rig.waiting();
    let (calm, quiet) = rig.waiting();
    rig.opener
        .install(Fault::storm(rig.guest.domid(), storming, 7));
    rig.guest.send(quiet).unwrap();
    for turn in 0..20 {
        let mut round = rig.ctx.dispatch_at_most(2).unwrap();
        let ports: Vec<_> = (&mut round).map(|wake| wake.port()).collect();
        round.finish().unwrap();
        let expected = match turn {
            0 => vec![calm.port(), loud.port()],
            _ => vec![loud.port()],
        };
        assert_eq!(ports, expected, "turn {turn}");
        // An event may have come meanwhile: then this wait queues its wake at once.
        loud.wait().unwrap();
    }
    let stats = rig.ctx.stats();
    assert_eq!((stats.overflows, stats.foreign), (0, 0));
    rig.expect_clean_end([loud, calm]);
}

#[test]
fn a_peer_that_dies_between_wake_and_unmask_leaves_a_silent_channel() {
    let rig = Rig::new();
    let (channel, peer_port) = rig.waiting();
    rig.guest.send(peer_port).unwrap();
    let domid = rig.guest.domid();
    let death = move |world: &mut World| world.destroy_domain(domid).unwrap();
    rig.opener
        .install(Fault::meanwhile(Call::Unmask, death).nth(1));
    let mut round = rig.ctx.dispatch().unwrap();
    let wake = round.next().unwrap();
    rig.ctx.wait(wake.channel).unwrap();
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    assert!(rig.guest.send(peer_port).is_err(), "it is dead");
    channel.notify().unwrap();
    assert!(!rig.event_loop.ready());
    channel.cancel().unwrap();
    assert_eq!(channel.block_until(MS).unwrap(), None);
    rig.expect_clean_end([channel]);
}

#[test]
fn out_of_memory_fails_binds_and_unmasks_until_memory_is_free() {
    let rig = Rig::new();
    let (channel, peer_port) = rig.waiting();
    rig.guest.send(peer_port).unwrap();
    rig.sim.install(Fault::out_of_memory());
    let error = rig.ctx.bind_unbound_port(DomId::SELF).unwrap_err();
    let error = error.device().unwrap();
    // The device had been opened.
    assert_eq!(error.call(), DeviceCall::BindUnboundPort(DomId::SELF));
    assert_eq!(error.kind(), ErrorKind::NoMemory);
    let mut round = rig.ctx.dispatch().unwrap();
    let wake = round.next().unwrap();
    rig.ctx.wait(wake.channel).unwrap();
    let error = round.finish().unwrap_err();
    let Error::Device(source) = error else {
        panic!("{error}")
    };
    let (first, count) = (channel.port(), 1);
    assert_eq!(source.call(), DeviceCall::Unmask { first, count });
    assert_eq!(source.kind(), ErrorKind::NoMemory);
    rig.guest.send(peer_port).unwrap();
    assert_eq!(rig.ctx.next_timeout(), Some(Duration::ZERO));
    rig.sim.clear_faults();
    // The unmask comes first, and delivers the event that came meanwhile.
    let woken: Vec<_> = (0..2).flat_map(|_| rig.wakes()).collect();
    assert_eq!(woken, [(channel.port(), Cause::Event)]);
    rig.expect_clean_end([channel]);
}

#[test]
fn out_of_memory_at_the_first_bind_leaves_nothing_open() {
    // Each of the two calls of a first bind fails once.
    let rig = Rig::deciding([1, 0, 1]);
    rig.sim.install(Fault::out_of_memory().once_in(2));
    let bind = || rig.ctx.bind_virq(Virq::DOM_EXC);
    for call in [DeviceCall::Open, DeviceCall::BindVirq(Virq::DOM_EXC)] {
        let error = bind().unwrap_err();
        let error = error.device().unwrap();
        assert_eq!((error.call(), error.kind()), (call, ErrorKind::NoMemory));
    }
    assert_eq!((rig.sim.open_files(), rig.opener.opens()), (0, 1));
    let channel = bind().unwrap();
    rig.expect_clean_end([channel]);
}

#[test]
fn out_of_ports_refuses_a_bind_and_changes_no_other_channel() {
    // Once by a fault, once by the limit of ports: the reserved port, and two.
    let by_rule = Rig::new();
    let mut config = Config::seeded(0);
    config.dom0 = DomainConfig::guest();
    config.dom0.max_port = 2;
    let sim = Sim::with_config(config);
    let by_count = Rig {
        // Not the opener of the context, which the rule does not hit then.
        opener: sim.open(DomId::DOM0),
        ctx: Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level().on(&sim)),
        event_loop: SimLoop::level(),
        guest: sim.guest(sim.create_domain().unwrap()),
        sim,
    };
    for rig in [by_rule, by_count] {
        let ((one, peer_port), (mut other, _)) = (rig.waiting(), rig.waiting());
        rig.opener.install(Fault::out_of_ports());
        let error = rig.ctx.bind_unbound_port(DomId::SELF).unwrap_err();
        assert!(error.to_string().contains("ENOSPC"), "{error}");
        rig.guest.send(peer_port).unwrap();
        assert_eq!(rig.wakes(), [(one.port(), Cause::Event)]);
        rig.opener.clear_faults();
        other.unbind().unwrap();
        let (again, _) = rig.waiting();
        rig.expect_clean_end([one, again]);
    }
}
