//! One scenario under every kind of `Choice`: seeded, read from a script or from bytes, or a tour
//! through all decisions.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::collections::BTreeSet;

use evtchn::sim::{Call, Choice, Config, Delivery, Errno, Fault, Sim, SimLoop};
use evtchn::{Channel, Context, DomId};

type Channels = [Channel<SimLoop>; 2];

/// A guest fires while the program dispatches from time to time; an unmask may fail, and the loop
/// may report a spurious readiness. Under every decision, each waiter gets the last event of its
/// channel. Runs that differ have different digests.
fn scenario(choice: Choice) -> u64 {
    let mut config = Config::seeded(0);
    config.choice = choice;
    let sim = Sim::with_config(config);
    let opener = sim.open(DomId::DOM0);
    let event_loop = SimLoop::level().on(&sim);
    let ctx = Context::with_registrar(opener.clone(), event_loop.clone());
    let guest = sim.guest(sim.create_domain().unwrap());
    let channels = [(); 2].map(|()| ctx.bind_unbound_port(guest.domid()).unwrap());
    let peer = |channel: &Channel<_>| guest.bind_interdomain(DomId::DOM0, channel.port());
    let peer_ports = channels.each_ref().map(|channel| peer(channel).unwrap());
    for channel in &channels {
        channel.wait().unwrap();
    }
    opener.install(Fault::fail(Call::Unmask, Errno::EINTR).once_in(2));
    event_loop.install(Fault::spurious().once_in(2));
    sim.set_delivery(Delivery::Chosen);

    let mut unseen = [false; 2];
    for index in [0, 1, 0] {
        unseen[index] = true;
        guest.send(peer_ports[index]).unwrap();
        if event_loop.ready() {
            look(&ctx, &channels, &mut unseen);
        }
    }
    opener.clear_faults();
    event_loop.clear_faults();
    sim.set_delivery(Delivery::Immediate);
    while ctx.next_timeout().is_some() || event_loop.ready() {
        look(&ctx, &channels, &mut unseen);
    }
    assert_eq!(unseen, [false; 2], "an event was lost");
    sim.digest()
}

/// One round, in which each woken channel is noted and waits again.
fn look(ctx: &Context<SimLoop>, channels: &Channels, unseen: &mut [bool; 2]) {
    let mut round = ctx.dispatch().unwrap();
    for wake in &mut round {
        let woken = channels.iter().position(|it| it.port() == wake.port());
        unseen[woken.unwrap()] = false;
        ctx.wait(wake.channel).unwrap();
    }
    // An unmask that failed is done by the next round.
    let _failed_or_not = round.finish();
}

#[test]
fn a_seeded_run_is_repeated_by_the_script_of_its_decisions() {
    let mut scripts = BTreeSet::new();
    for seed in 0..50 {
        let (choice, taken) = Choice::seeded(seed).recorded();
        let digest = scenario(choice);
        let script = taken.script();
        assert_eq!(scenario(Choice::scripted(script.clone())), digest);
        scripts.insert(script);
    }
    assert!(scripts.len() > 20, "{scripts:?}");
}

#[test]
fn bytes_of_a_fuzzer_decide_like_the_script_of_the_same_numbers() {
    let bytes = [1, 0, 1, 1, 0, 1, 0, 0, 1];
    let script = bytes.map(u32::from);
    let digest = scenario(Choice::bytes(bytes));
    assert_eq!(digest, scenario(Choice::scripted(script)));
    assert_ne!(digest, scenario(Choice::bytes([])));
}

#[test]
fn a_tour_takes_every_run_once_including_those_of_the_seeds() {
    let mut digests = BTreeSet::new();
    let mut scripts = BTreeSet::new();
    let tour = Choice::exhaustive(100_000, |choice| {
        let (choice, taken) = choice.recorded();
        digests.insert(scenario(choice));
        assert!(scripts.insert(taken.script()), "taken twice");
    });
    assert!(tour.complete, "{tour:?}");
    assert_eq!(tour.runs, scripts.len() as u64);
    assert!(tour.runs > 50, "{tour:?}");
    assert!((0..50).all(|seed| digests.contains(&scenario(Choice::seeded(seed)))));
    let part = Choice::exhaustive(tour.runs - 1, |choice| {
        scenario(choice);
    });
    assert!(!part.complete);
}
