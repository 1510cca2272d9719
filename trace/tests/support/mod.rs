//! Programs that are recorded, and what is done to their traces.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use evtchn_core::{DomId, EventChannel, RemotePort, Trigger, Wait, WakeBuf};
use evtchn_sim::{Call, Choice, Config, Delivery, Errno, Fault, Sim, SimLoop};
use evtchn_trace::{
    BadTrace, Header, RecordedContext, RecordedDevice, Recorder, Replayed, Source, Tape, Trace,
    observe,
};

/// A file in memory.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

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
    let ctx = RecordedContext::new(
        Recorder::new(opener.clone(), tape.clone()),
        Recorder::new(looper.clone(), tape.clone()),
        tape.clone(),
    );
    let mut choice = Choice::seeded(seed ^ 0xabcd);
    let guest = sim.guest(sim.create_domain().unwrap());
    let mut channels = Vec::new();
    for _ in 0..6 {
        let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
        let theirs = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
        channels.push((channel, theirs));
    }
    let peer = RecordedDevice::peer(sim.open(DomId::DOM0), &tape);
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
        let mut taken = ctx.dispatch_at_most(1 + choice.of(5)).unwrap();
        if choice.flip() {
            let mut buf = WakeBuf::with_capacity(3);
            let again = choice.flip();
            let _wakes = taken.fill(&mut buf, 3, again);
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
            let (old, _) = channels.remove(place);
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

/// What became of a trace that was changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) refused: usize,
    pub(crate) differs: usize,
    pub(crate) same: usize,
}

impl Outcomes {
    pub(crate) fn count(&mut self, replayed: &Result<Replayed, BadTrace>) {
        match replayed {
            Ok(Replayed::Same(_)) => self.same += 1,
            Ok(Replayed::Differs(difference)) => {
                assert!(difference.line > 1 && difference.expected != difference.got);
                self.differs += 1;
            }
            Err(bad) => {
                assert!(bad.line > 0 && !bad.why.to_string().is_empty());
                self.refused += 1;
            }
        }
    }
}

/// Changes one byte at each of 100 places, and plays what that gives. Where `sealed`, the digest is
/// made right again, so that only what the trace says can tell.
pub(crate) fn changed_bytes(
    bytes: &[u8],
    sealed: bool,
    replay: impl Fn(&Trace) -> Result<Replayed, BadTrace>,
) -> Outcomes {
    let mut choice = Choice::seeded(100);
    let mut outcomes = Outcomes::default();
    let end = bytes[..bytes.len() - 1].iter().rposition(|it| *it == b'\n');
    let lines = end.unwrap() + 1;
    for turn in 0..100 {
        let mut place = choice.of(if sealed { lines } else { bytes.len() });
        let mut changed = bytes.to_vec();
        let by = u8::try_from(1 + choice.of(255)).unwrap();
        // A digit that becomes another one leaves JSON that says something else.
        if sealed || turn % 2 == 0 {
            while !changed[place].is_ascii_digit() {
                place = (place + 1) % lines;
            }
            changed[place] = b'0' + (changed[place] - b'0' + 1 + by % 9) % 10;
        } else {
            changed[place] ^= by;
        }
        if sealed {
            changed.truncate(lines);
            changed.extend_from_slice(seal(&changed).as_bytes());
        }
        let played = Trace::read(&changed).and_then(|trace| replay(&trace));
        outcomes.count(&played);
    }
    outcomes
}

/// The last line that fits.
pub(crate) fn seal(lines: &[u8]) -> String {
    let hash = lines.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let count = lines.iter().filter(|byte| **byte == b'\n').count();
    format!("{{\"end\":{count},\"digest\":\"{hash:016x}\"}}\n")
}

/// Sends through channels of a domain to itself, takes what comes, and leaves nothing.
pub(crate) fn loopback<O, R>(
    ctx: &RecordedContext<O, R>,
    peer: &RecordedDevice<impl EventChannel<Error: evtchn_trace::Failure>>,
    mut ready: impl FnMut() -> bool,
) -> usize
where
    O: evtchn_core::Open<Device: EventChannel<Error: evtchn_trace::Failure>>,
    R: evtchn_core::Registrar<O::Device, Error: evtchn_trace::Failure>,
{
    let bind = |_| ctx.bind_unbound_port(DomId::SELF).unwrap();
    let channels: Vec<_> = (0..8).map(bind).collect();
    let theirs = channels.iter().map(|channel| {
        let port = channel.port();
        let domid = DomId::SELF;
        peer.bind_interdomain(RemotePort { domid, port }).unwrap()
    });
    let theirs: Vec<_> = theirs.collect();
    let mut wakes = 0;
    for burst in 0..4 {
        for (place, channel) in channels.iter().enumerate() {
            if (place + burst) % 3 != 0 {
                wakes += usize::from(matches!(channel.wait().unwrap(), Wait::Ready(_)));
            }
            channel.notify().unwrap();
        }
        for (place, port) in theirs.iter().enumerate() {
            for _ in 0..(place + burst) % 3 {
                peer.notify(*port).unwrap();
            }
        }
        while ctx.next_timeout().is_some() || ready() {
            let mut round = ctx.dispatch().unwrap();
            let before = wakes;
            wakes += round.by_ref().count();
            round.finish().unwrap();
            if wakes == before {
                break;
            }
        }
    }
    for channel in channels {
        drop(channel.cancel());
        channel.unbind().unwrap();
    }
    for port in theirs {
        peer.unbind(port).unwrap();
    }
    ctx.teardown().unwrap();
    wakes
}
