//! A program on the simulator that is recorded, with a guest at the other end.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use evtchn_core::{Backend, Cause, ChannelId, DomId, Outcome, Port, Trigger};
use evtchn_sim::{Guest, Sim, SimLoop, SimOpen};
use evtchn_trace::{
    Cut, Header, Replayed, Salvaged, Source, Tape, Trace, observe, replay, replay_on_sim,
};

use super::memory::Memory;

/// A context of a test.
pub(crate) type Context = evtchn_core::Context<SimLoop>;
/// A channel of a test.
pub(crate) type Channel = evtchn_core::Channel<SimLoop>;

/// A program under its recorder, with a guest.
pub(crate) struct Rig {
    pub(crate) memory: Memory,
    pub(crate) tape: Tape,
    pub(crate) opener: SimOpen,
    pub(crate) looper: SimLoop,
    pub(crate) guest: Guest,
}

impl Rig {
    pub(crate) fn new(trigger: Trigger) -> Rig {
        let memory = Memory::default();
        let tape = Tape::new(&Header::new(Source::Sim, trigger), memory.clone());
        let sim = Sim::new(0);
        observe(&sim, &tape);
        Rig {
            memory,
            tape,
            opener: sim.open(DomId::DOM0),
            looper: SimLoop::new(trigger),
            guest: sim.guest(sim.create_domain().unwrap()),
        }
    }

    pub(crate) fn backend(&self) -> Backend {
        self.tape.record(self.opener.clone())
    }

    pub(crate) fn context(&self) -> Context {
        Context::with_registrar(self.backend(), self.looper.clone())
    }

    pub(crate) fn wire(&self, context: &Context) -> (Channel, Port) {
        let channel = context.bind_unbound_port(self.guest.domid()).unwrap();
        let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        (channel, theirs.unwrap())
    }

    /// What was recorded.
    pub(crate) fn trace(&self) -> Trace {
        self.tape.finish().unwrap();
        Trace::read(&self.memory.bytes()).unwrap()
    }

    /// Reads what was recorded, and replays it in both ways.
    pub(crate) fn replays(self) -> Trace {
        let trace = self.trace();
        for on in [replay, replay_on_sim] {
            match on(&trace).unwrap() {
                Replayed::Same(tally) => assert!(tally.calls > 5, "{tally:?}"),
                Replayed::Differs(difference) => panic!("{difference}"),
            }
        }
        cut_anywhere(&self.memory.bytes());
        trace
    }
}

/// A recording that is cut off after any of its lines is the same run up to there.
fn cut_anywhere(bytes: &[u8]) {
    let mut end = 0;
    for (line, after) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        end += line.len();
        if end == bytes.len() {
            break;
        }
        let salvaged = Salvaged::read(&bytes[..end]).unwrap();
        assert_eq!(salvaged.cut, Some(Cut { after }));
        for replayed in [salvaged.replay(), salvaged.replay_on_sim()] {
            match replayed.unwrap() {
                Replayed::Same(_) => {}
                Replayed::Differs(it) => panic!("cut off after line {after}: {it}"),
            }
        }
    }
}

/// What a whole round hands out.
pub(crate) fn wakes(context: &Context) -> Vec<(ChannelId, Cause)> {
    let mut round = context.dispatch().unwrap();
    let wakes = round.by_ref().map(|wake| (wake.channel, wake.cause));
    let wakes = wakes.collect();
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    wakes
}
