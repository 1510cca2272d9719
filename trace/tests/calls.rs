//! Callbacks, threads that block and hand-overs, recorded on the simulator and replayed.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::memory::Memory;
use evtchn_core::{
    Cause, ChannelId, Device, DomId, Error, EventChannel, HandOver, Open, Outcome, Parts, Port,
    Trigger,
};
use evtchn_sim::{Errno, Guest, Sim, SimLoop, SimOpen};
use evtchn_trace::{
    Answer, Call, Cut, Header, RecordedChannel, RecordedContext, RecordedDevice, Recorder,
    Replayed, Salvaged, Source, Tape, Trace, What, observe, replay, replay_on_sim,
};

type Context = RecordedContext<Recorder<SimLoop>>;
type Channel = RecordedChannel<Recorder<SimLoop>>;

/// A program under its recorder, with a guest.
struct Rig {
    memory: Memory,
    tape: Tape,
    opener: SimOpen,
    looper: SimLoop,
    guest: Guest,
}

impl Rig {
    fn new(trigger: Trigger) -> Rig {
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

    fn seam(&self) -> (Recorder<SimOpen>, Recorder<SimLoop>) {
        (
            Recorder::new(self.opener.clone(), self.tape.clone()),
            Recorder::new(self.looper.clone(), self.tape.clone()),
        )
    }

    fn context(&self) -> Context {
        let (opener, looper) = self.seam();
        RecordedContext::new(opener, looper, self.tape.clone())
    }

    fn wire(&self, context: &Context) -> (Channel, Port) {
        let channel = context.bind_unbound_port(self.guest.domid()).unwrap();
        let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        (channel, theirs.unwrap())
    }

    /// Reads what was recorded, and replays it in both ways.
    fn replays(self) -> Trace {
        self.tape.finish().unwrap();
        let trace = Trace::read(&self.memory.bytes()).unwrap();
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
fn wakes(context: &Context) -> Vec<(ChannelId, Cause)> {
    let mut round = context.dispatch().unwrap();
    let wakes = round.by_ref().map(|wake| (wake.channel, wake.cause));
    let wakes = wakes.collect();
    assert_eq!(round.finish().unwrap(), Outcome::Done);
    wakes
}

/// Where something is in a trace.
fn place(trace: &Trace, is_it: impl Fn(&What) -> bool) -> usize {
    let found = trace.lines.iter().position(|line| is_it(&line.what));
    found.unwrap()
}

/// Two channels whose callbacks wait again, cancel one another, notify, and have another thread call.
fn called_back(trigger: Trigger) -> Trace {
    let rig = Rig::new(trigger);
    let context = Arc::new(rig.context());
    let wires = [rig.wire(&context), rig.wire(&context)];
    let ids = wires.each_ref().map(|(channel, _)| channel.id());
    let woken = Arc::new(Mutex::new(Vec::new()));
    for (channel, _) in &wires {
        let (woken, weak) = (Arc::clone(&woken), Arc::downgrade(&context));
        let called = move |wake: evtchn_core::Wake| {
            let context = weak.upgrade().unwrap();
            let times = {
                let mut woken = woken.lock().unwrap();
                woken.push(wake.channel);
                woken.len()
            };
            context.wait(wake.channel).unwrap();
            if times == 2 {
                context.cancel(ids[0]).unwrap();
            }
            if times == 3 {
                let elsewhere = std::thread::spawn(move || context.wait(ids[0]).unwrap());
                elsewhere.join().unwrap();
            }
        };
        channel.set_callback(called).unwrap();
        channel.wait().unwrap();
    }
    for round in 0..5 {
        for (_, theirs) in &wires {
            rig.guest.send(*theirs).unwrap();
        }
        if round == 3 {
            wires[1].0.wait_each().unwrap();
        }
        let ended = context.dispatch_callbacks().unwrap();
        assert_eq!(ended, Outcome::Done);
    }
    assert!(wires[0].0.remove_callback().unwrap());
    assert!(!wires[0].0.remove_callback().unwrap());
    assert!(woken.lock().unwrap().len() > 5);
    drop(wires);
    context.teardown().unwrap();
    drop(context);
    rig.replays()
}

#[test]
fn callbacks_are_called_again_and_make_the_calls_that_they_made() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        called_back(trigger);
    }
}

#[test]
fn a_callback_that_is_not_called_again_is_told_with_its_line() {
    let mut trace = called_back(Trigger::Level);
    let set = |what: &What| matches!(what, What::Call(Call::SetCallback { .. }));
    let set = place(&trace, set);
    trace.lines.drain(set..set + 2);
    let Replayed::Differs(difference) = replay(&trace).unwrap() else {
        panic!("it is not the same");
    };
    assert!(difference.expected.contains("calls"), "{difference}");
}

#[test]
fn a_callback_that_panicked_is_refused() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (channel, theirs) = rig.wire(&context);
    channel.set_callback(|_| panic!("as planned")).unwrap();
    channel.wait().unwrap();
    rig.guest.send(theirs).unwrap();
    let dispatch = std::panic::AssertUnwindSafe(|| context.dispatch_callbacks());
    assert!(std::panic::catch_unwind(dispatch).is_err());
    drop((channel, context));
    rig.tape.finish().unwrap();
    let trace = Trace::read(&rig.memory.bytes()).unwrap();
    let bad = replay(&trace).unwrap_err();
    assert!(bad.to_string().contains("panics"), "{bad}");
}

#[test]
fn a_thread_that_blocks_sleeps_and_wakes_again() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        let rig = Rig::new(trigger);
        let context = rig.context();
        let (channel, theirs) = rig.wire(&context);
        let until = |rig: &Rig| Some(rig.looper.now() + Duration::from_secs(1));
        assert_eq!(channel.block(until(&rig)).unwrap(), None);
        let guest = rig.guest.clone();
        rig.looper.while_asleep(move || guest.send(theirs).unwrap());
        let woken = Some(Cause::Event);
        assert_eq!(channel.block(until(&rig)).unwrap(), woken);
        rig.guest.send(theirs).unwrap();
        assert_eq!(channel.block(None).unwrap(), woken);
        channel.wait().unwrap();
        let refused = channel.block(None).unwrap_err();
        assert!(matches!(refused, Error::AlreadyWaited(_)), "{refused}");
        drop((channel, context));
        let trace = rig.replays();
        place(&trace, |what| *what == What::Answer(Answer::TimedOut));
    }
}

#[test]
fn a_context_goes_on_as_another_and_its_channels_are_told_to_look() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let error = context.hand_over(Vec::new()).unwrap_err();
    assert!(matches!(error.error, Error::NotOpen));
    let context = error.context;
    let (one, _) = rig.wire(&context);
    let (two, theirs) = rig.wire(&context);
    one.wait().unwrap();
    let error = context.hand_over(vec![one]).unwrap_err();
    assert!(matches!(error.error, Error::StillInUse(_)));
    let mut channels = error.channels;
    channels.push(two);
    let parts = error.context.hand_over(channels).unwrap();
    rig.guest.send(theirs).unwrap();
    let (opener, looper) = rig.seam();
    let (context, channels) = RecordedContext::from_parts(parts, opener, looper, rig.tape.clone());
    for channel in &channels {
        channel.wait().unwrap();
    }
    let adopted = wakes(&context);
    let each = channels.iter().map(|it| (it.id(), Cause::Adopted));
    assert_eq!(adopted, each.collect::<Vec<_>>());
    for channel in &channels {
        channel.wait().unwrap();
    }
    assert_eq!(wakes(&context), [(channels[1].id(), Cause::Event)]);
    drop(channels);
    context.teardown().unwrap();
    drop(context);
    rig.replays();
}

#[test]
fn a_device_that_nobody_goes_on_with_is_closed() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (channel, _) = rig.wire(&context);
    channel.wait().unwrap();
    channel.cancel().unwrap();
    channel.notify().unwrap();
    let parts = context.hand_over(vec![channel]).unwrap();
    drop(parts);
    let other = rig.context();
    assert_eq!(other.next_timeout(), None);
    rig.tape.finish().unwrap();
    let trace = Trace::read(&rig.memory.bytes()).unwrap();
    let last = &trace.lines[place(&trace, |what| *what == What::Call(Call::NextTimeout))..];
    // A second context of its own is not replayed.
    let Replayed::Differs(difference) = replay(&trace).unwrap() else {
        panic!("there is no such context");
    };
    assert_eq!(difference.line - 2, trace.lines.len() - last.len());
}

#[test]
fn what_another_process_left_is_adopted_over_its_answers_alone() {
    let rig = Rig::new(Trigger::Level);
    let device = rig.opener.open().unwrap();
    let port = device.bind_unbound_port(rig.guest.domid()).unwrap();
    let theirs = rig.guest.bind_interdomain(DomId::DOM0, port).unwrap();
    let parts = Parts {
        device: Device::new(RecordedDevice::adopted(device, &rig.tape)),
        table: HandOver::new(vec![port], None).unwrap(),
    };
    let (opener, looper) = rig.seam();
    let (context, channels) = RecordedContext::from_parts(parts, opener, looper, rig.tape.clone());
    let [channel] = <[Channel; 1]>::try_from(channels).unwrap();
    channel.wait().unwrap();
    assert_eq!(wakes(&context), [(channel.id(), Cause::Adopted)]);
    rig.guest.send(theirs).unwrap();
    channel.wait().unwrap();
    assert_eq!(wakes(&context), [(channel.id(), Cause::Event)]);
    drop((channel, context));
    rig.tape.finish().unwrap();
    let trace = Trace::read(&rig.memory.bytes()).unwrap();
    match replay(&trace).unwrap() {
        Replayed::Same(tally) => assert!(tally.seam > 5, "{tally:?}"),
        Replayed::Differs(difference) => panic!("{difference}"),
    }
    let bad = replay_on_sim(&trace).unwrap_err();
    assert!(bad.to_string().contains("another process"), "{bad}");
}

#[test]
fn all_is_written_out_once_a_round_is_over() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (channel, theirs) = rig.wire(&context);
    let id = channel.id();
    context.wait(id).unwrap();
    for rounds in 1..4 {
        rig.guest.send(theirs).unwrap();
        let mut round = context.dispatch_at_most(8).unwrap();
        while round.next().is_some() {
            context.wait(id).unwrap();
        }
        if rounds == 2 {
            drop(round);
        } else {
            round.finish().unwrap();
        }
        let bytes = rig.memory.bytes();
        let written = Salvaged::read(&bytes[..]).unwrap().trace.lines;
        let ends = written
            .iter()
            .filter(|line| matches!(line.what, What::Call(Call::Finish | Call::Leave)));
        assert_eq!(ends.count(), rounds);
        assert!(matches!(written.last().unwrap().what, What::Answer(_)));
    }
}

#[test]
fn a_call_that_failed_is_on_the_trace_with_its_port_and_errno() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (channel, _) = rig.wire(&context);
    rig.opener.fail_next(evtchn_sim::Call::Notify, Errno::EIO);
    assert!(channel.notify().is_err());
    let bytes = rig.memory.bytes();
    let lines = Salvaged::read(&bytes[..]).unwrap().trace.lines;
    let failed = lines.iter().find_map(|line| {
        let What::Seam(at) = &line.what else {
            return None;
        };
        at.failed.as_ref()
    });
    let failed = failed.unwrap();
    assert_eq!(failed.call.as_deref(), Some("notify"));
    assert_eq!(failed.port, Some(channel.port().as_raw()));
    assert_eq!(failed.errno, Some(5));
}
