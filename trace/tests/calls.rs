//! Callbacks, threads that block and hand-overs, recorded on the simulator and replayed.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::rig::{Channel, Context, Rig, wakes};
use evtchn_core::{
    Cause, ChannelId, Device, DomId, Error, EventChannel, HandOver, NotifySet, Open, Outcome,
    Parts, Trigger,
};
use evtchn_sim::Errno;
use evtchn_trace::{
    Answer, BackendCall, BackendRecord, Call, Record, Replayed, Salvaged, Trace, replay,
    replay_on_sim,
};

/// Where something is in a trace.
fn place(trace: &Trace, is_it: impl Fn(&Record) -> bool) -> usize {
    let found = trace.lines.iter().position(|line| is_it(&line.record));
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
fn callbacks_are_replayed_with_the_calls_that_they_made() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        called_back(trigger);
    }
}

#[test]
fn a_callback_that_a_replay_does_not_call_is_a_difference() {
    let mut trace = called_back(Trigger::Level);
    let set = |record: &Record| matches!(record, Record::Call(Call::SetCallback { .. }));
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
    let trace = rig.trace();
    let bad = replay(&trace).unwrap_err();
    assert!(bad.to_string().contains("panics"), "{bad}");
}

#[test]
fn blocks_replay_with_their_sleeps_and_wakes() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        let rig = Rig::new(trigger);
        let context = rig.context();
        let (channel, theirs) = rig.wire(&context);
        let until = |rig: &Rig| rig.looper.now() + Duration::from_secs(1);
        assert_eq!(channel.block_until(until(&rig)).unwrap(), None);
        let guest = rig.guest.clone();
        rig.looper.while_asleep(move || guest.send(theirs).unwrap());
        let woken = Some(Cause::Event);
        assert_eq!(channel.block_until(until(&rig)).unwrap(), woken);
        rig.guest.send(theirs).unwrap();
        assert_eq!(channel.block().unwrap(), Cause::Event);
        channel.wait().unwrap();
        let refused = channel.block().unwrap_err();
        assert!(matches!(refused, Error::AlreadyWaited(_)), "{refused}");
        drop((channel, context));
        let trace = rig.replays();
        place(&trace, |record| *record == Record::Answer(Answer::TimedOut));
    }
}

#[test]
fn batches_of_notifies_replay_with_what_was_refused() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        let rig = Rig::new(trigger);
        let context = rig.context();
        let mut wires = [(); 3].map(|()| rig.wire(&context));
        let ids = wires.each_ref().map(|(channel, _)| channel.id());
        let set: NotifySet = wires.iter().map(|(it, _)| it.notifier()).collect();
        context.notify_many(&[ids[2], ids[0]]).unwrap();
        set.notify().unwrap();
        wires[1].0.unbind().unwrap();
        for refused in [context.notify_many(&ids), set.notify()] {
            let Err(Error::NotNotified(refused)) = refused else {
                panic!("one is not bound");
            };
            assert_eq!((refused.failed.len(), refused.of), (1, 3));
        }
        drop(set);
        drop(wires);
        context.teardown().unwrap();
        drop(context);
        let trace = rig.replays();
        let many = |record: &Record| {
            let expected = vec![2, 0];
            *record == Record::Call(Call::NotifyMany { channels: expected })
        };
        let first = place(&trace, many);
        let port = |line: &evtchn_trace::Line| {
            let Record::Backend(record) = &line.record else {
                return None;
            };
            let BackendCall::Notify { port } = record.call else {
                return None;
            };
            Some(port)
        };
        let notified: Vec<_> = trace.lines[first..].iter().filter_map(port).collect();
        let [one, two, three] = ids.map(ChannelId::port);
        let all = [three, one, one, two, three, one, three, one, three];
        assert_eq!(notified, all);
    }
}

#[test]
fn a_batch_of_notifiers_replays_without_its_context() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let wires = [rig.wire(&context), rig.wire(&context)];
    let set: NotifySet = wires.iter().map(|(it, _)| it.notifier()).collect();
    drop(context);
    set.notify().unwrap();
    drop(set);
    drop(wires);
    let trace = rig.replays();
    place(&trace, |record| {
        matches!(record, Record::Call(Call::NotifyMany { .. }))
    });
}

#[test]
fn a_hand_over_replays_with_the_adopted_channels() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let error = context.hand_over(&mut []).unwrap_err();
    assert!(matches!(error, Error::NotOpen));
    let (one, _) = rig.wire(&context);
    let (two, theirs) = rig.wire(&context);
    one.wait().unwrap();
    let mut channels = vec![one];
    let error = context.hand_over(&mut channels).unwrap_err();
    assert!(matches!(error, Error::StillInUse(_)));
    channels.push(two);
    let parts = context.hand_over(&mut channels).unwrap();
    let before = (context, channels);
    rig.guest.send(theirs).unwrap();
    let (context, channels) = Context::from_parts(parts, rig.backend(), rig.looper.clone());
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
    drop((channels, before));
    context.teardown().unwrap();
    drop(context);
    rig.replays();
}

#[test]
fn a_device_that_was_handed_over_and_dropped_is_closed() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (channel, _) = rig.wire(&context);
    channel.wait().unwrap();
    channel.cancel().unwrap();
    channel.notify().unwrap();
    let parts = context.hand_over(&mut [channel]).unwrap();
    assert_eq!(context.next_timeout(), None);
    drop(parts);
    // The context opens another one.
    let (channel, theirs) = rig.wire(&context);
    channel.wait().unwrap();
    rig.guest.send(theirs).unwrap();
    assert_eq!(wakes(&context), [(channel.id(), Cause::Event)]);
    drop((channel, context));
    let trace = rig.replays();
    let close = Record::Backend(BackendRecord {
        call: BackendCall::Close,
        peer: None,
        answer: None,
        failed: None,
    });
    let closes = trace.lines.iter().filter(|line| line.record == close);
    assert_eq!(closes.count(), 2);
}

#[test]
fn the_device_of_another_process_replays_with_recorded_answers_only() {
    let rig = Rig::new(Trigger::Level);
    let device = rig.opener.open().unwrap();
    let port = device.bind_unbound_port(rig.guest.domid()).unwrap();
    let theirs = rig.guest.bind_interdomain(DomId::DOM0, port).unwrap();
    let parts = Parts {
        device: Device::new(device),
        table: HandOver::new(vec![port], None).unwrap(),
    };
    let (context, channels) = Context::from_parts(parts, rig.backend(), rig.looper.clone());
    let [channel] = <[Channel; 1]>::try_from(channels).unwrap();
    channel.wait().unwrap();
    assert_eq!(wakes(&context), [(channel.id(), Cause::Adopted)]);
    rig.guest.send(theirs).unwrap();
    channel.wait().unwrap();
    assert_eq!(wakes(&context), [(channel.id(), Cause::Event)]);
    drop((channel, context));
    let trace = rig.trace();
    match replay(&trace).unwrap() {
        Replayed::Same(tally) => assert!(tally.backend_calls > 5, "{tally:?}"),
        Replayed::Differs(difference) => panic!("{difference}"),
    }
    let bad = replay_on_sim(&trace).unwrap_err();
    assert!(bad.to_string().contains("another process"), "{bad}");
}

#[test]
fn all_lines_are_written_out_when_a_round_ends() {
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
            .filter(|line| matches!(line.record, Record::Call(Call::Finish | Call::Leave)));
        assert_eq!(ends.count(), rounds);
        assert!(matches!(written.last().unwrap().record, Record::Answer(_)));
    }
}

#[test]
fn a_call_that_failed_is_recorded_with_its_port_and_errno() {
    let rig = Rig::new(Trigger::Level);
    let context = rig.context();
    let (channel, _) = rig.wire(&context);
    rig.opener.fail_next(evtchn_sim::Call::Notify, Errno::EIO);
    assert!(channel.notify().is_err());
    let bytes = rig.memory.bytes();
    let lines = Salvaged::read(&bytes[..]).unwrap().trace.lines;
    let failed = lines.iter().find_map(|line| {
        let Record::Backend(backend) = &line.record else {
            return None;
        };
        backend.failed.as_ref()
    });
    let failed = failed.unwrap();
    assert_eq!(failed.call.as_deref(), Some("notify"));
    assert_eq!(failed.port, Some(channel.port().as_raw()));
    assert_eq!(failed.errno, Some(5));
}
