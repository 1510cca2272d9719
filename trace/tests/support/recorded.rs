//! A simulated program that is recorded.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use evtchn_core::{Context, DomId, Error, RemotePort, Trigger, WakeBuf};
use evtchn_sim::{Call, Choice, Config, Delivery, Errno, Fault, Sim, SimLoop};
use evtchn_trace::{Header, Source, Tape, observe};

use super::memory::Memory;

/// A program that does nearly everything, with guests, failures, a second thread and another
/// holder of the device.
pub(crate) fn recorded(seed: u64, trigger: Trigger, delivery: Delivery) -> Vec<u8> {
    let memory = Memory::default();
    let mut header = Header::new(Source::Sim, trigger);
    header.seed = Some(seed);
    let tape = Tape::new(&header, memory.clone());
    let sim = Sim::with_config(Config::seeded(seed));
    observe(&sim, &tape);
    sim.set_delivery(delivery);
    let opener = sim.open(DomId::DOM0);
    let looper = SimLoop::new(trigger);
    let ctx = Context::with_registrar(tape.record(opener.clone()), looper.clone());
    let mut choice = Choice::seeded(seed ^ 0xabcd);
    let guest = sim.guest(sim.create_domain().unwrap());
    let mut channels = Vec::new();
    for _ in 0..6 {
        let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
        let theirs = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
        channels.push((channel, theirs));
    }
    let peer = tape.open_peer(sim.open(DomId::DOM0)).unwrap();
    drop(peer);
    for round in 0..20 {
        for (channel, theirs) in &channels {
            match choice.of(4) {
                0 => drop(channel.notify()),
                1 => guest.send(*theirs).unwrap(),
                _ => drop(channel.wait()),
            }
        }
        match round {
            5 => opener.fail_next(Call::Unmask, Errno::ENOMEM),
            7 => opener.overflow().unwrap(),
            9 => opener.shorten_next(Call::Unmask, 1),
            11 => opener.install(Fault::fail(Call::Notify, Errno::EIO).nth(2)),
            _ => {}
        }
        sim.with(|world| while world.choice().flip() && world.step() {});
        let timeout = ctx.next_timeout();
        if !looper.ready() && timeout.is_none() {
            continue;
        }
        let budget = 1 + choice.of(5);
        let mut taken = match ctx.dispatch_at_most(budget) {
            Ok(round) => round,
            // Of a round that was dropped, once.
            Err(Error::Device(_) | Error::NotUnmasked { .. }) => {
                ctx.dispatch_at_most(budget).unwrap()
            }
            Err(error) => panic!("{error}"),
        };
        if choice.flip() {
            let mut buf = WakeBuf::with_capacity(3);
            let _wakes = taken.fill(&mut buf);
        }
        for wake in taken.by_ref() {
            if choice.flip() {
                drop(ctx.wait(wake.channel));
            }
        }
        if choice.of(4) == 0 {
            drop(taken);
        } else {
            drop(taken.finish());
        }
        let (one, theirs) = &channels[choice.of(channels.len())];
        let id = one.id();
        std::thread::scope(|scope| {
            scope.spawn(|| drop((ctx.wait(id), ctx.cancel(id))));
        });
        if round % 6 == 5 {
            guest.close(*theirs).unwrap();
            let place = channels.iter().position(|(it, _)| it.id() == id).unwrap();
            let (mut old, _) = channels.remove(place);
            old.unbind().unwrap();
            let port = guest.alloc_unbound(DomId::DOM0).unwrap();
            let domid = guest.domid();
            let channel = ctx.bind_interdomain(RemotePort { domid, port }).unwrap();
            assert!(channel.wait().is_ok());
            channels.push((channel, port));
        }
    }
    drop(ctx.teardown());
    drop(channels);
    ctx.teardown().unwrap();
    drop(ctx);
    tape.finish().unwrap();
    memory.bytes()
}
