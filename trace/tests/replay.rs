//! Runs on the simulator that are recorded and replayed.
#![expect(clippy::panic, reason = "a helper of a test fails as the test does")]

use crate::support::changed::changed_bytes;
use crate::support::recorded::recorded;
use crate::support::seal::seal;
use evtchn_core::{DomId, Trigger};
use evtchn_sim::Delivery;
use evtchn_trace::{
    Answer, BackendAnswer, BackendCall, BackendRecord, BadTraceKind, Call, Cut, Guest, Header,
    Line, LoadError, Record, Recording, Replayed, Salvaged, Source, Trace, VERSION, replay,
    replay_on_sim,
};
use proptest::prelude::*;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

fn same(replayed: Replayed) -> usize {
    match replayed {
        Replayed::Same(tally) => tally.calls,
        Replayed::Differs(difference) => panic!("{difference}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_recorded_run_replays_over_its_answers_and_on_the_simulator(
        seed in 0_u64..1 << 40,
        edge in any::<bool>(),
        kind in 0_usize..3,
    ) {
        let trigger = if edge { Trigger::Edge } else { Trigger::Level };
        let delivery = [Delivery::Immediate, Delivery::Held, Delivery::Chosen][kind];
        let bytes = recorded(seed, trigger, delivery);
        let trace = Trace::read(&bytes).unwrap();
        prop_assert_eq!(&trace.to_bytes(), &bytes);
        let calls = same(replay(&trace).unwrap());
        prop_assert!(calls > 100);
        prop_assert_eq!(same(replay_on_sim(&trace).unwrap()), calls);
    }
}

/// Traces that were recorded when this version of the format was new: a run, and the example of the
/// documents. They must replay for as long as this version is read.
const OF_THIS_VERSION: [(&str, &[u8]); 2] = [
    ("run", include_bytes!("version-3/run.trace")),
    ("example", include_bytes!("version-3/example.trace")),
];

#[test]
fn kept_traces_of_this_version_replay() {
    for (name, bytes) in OF_THIS_VERSION {
        let trace = Trace::read(bytes).unwrap();
        assert_eq!(trace.header.version(), VERSION, "{name}");
        let calls = same(replay(&trace).unwrap());
        assert!(calls > 10, "{name}: {calls} calls");
        assert_eq!(same(replay_on_sim(&trace).unwrap()), calls, "{name}");
    }
}

#[test]
fn the_first_difference_is_reported_with_its_line() {
    let bytes = recorded(3, Trigger::Level, Delivery::Immediate);
    let mut trace = Trace::read(&bytes).unwrap();
    let notify = |line: &Line| matches!(line.record, Record::Call(Call::Notify { .. }));
    let place = trace.lines.iter().position(notify).unwrap();
    trace.lines[place].record = Record::Call(Call::NextTimeout);
    let Replayed::Differs(difference) = replay(&trace).unwrap() else {
        panic!("it is not the same");
    };
    // Lines of what others did may come between the call and its backend call.
    let mut after = (place..).zip(&trace.lines[place..]);
    let backend = after.find(|(_, line)| matches!(line.record, Record::Backend(_)));
    assert_eq!(Some(difference.line - 2), backend.map(|(at, _)| at));
    assert!(difference.expected.contains(r#""seam":"notify""#));
    assert!(difference.got.contains(r#""answer":"timeout""#));
}

#[test]
fn a_read_that_the_simulator_answers_otherwise_is_a_difference() {
    let bytes = recorded(4, Trigger::Level, Delivery::Immediate);
    let mut trace = Trace::read(&bytes).unwrap();
    let send = |line: &Line| matches!(line.record, Record::Guest(Guest::Send { .. }));
    let place = trace.lines.iter().position(send).unwrap();
    trace.lines.remove(place);
    assert!(matches!(replay(&trace), Ok(Replayed::Same(_))));
    assert!(matches!(replay_on_sim(&trace), Ok(Replayed::Differs(_))));
}

#[test]
fn calls_that_overlap_are_refused_with_both_lines() {
    let bytes = recorded(5, Trigger::Level, Delivery::Immediate);
    let mut trace = Trace::read(&bytes).unwrap();
    let call = |line: &Line| matches!(line.record, Record::Call(_));
    let place = trace.lines.iter().position(call).unwrap();
    let mut other = Line::new(Record::Call(Call::NextTimeout));
    other.thread = 1;
    trace.lines.insert(place + 1, other);
    let bad = replay(&trace).unwrap_err();
    assert_eq!(bad.line, place + 3);
    assert!(bad.to_string().contains(&format!("line {}", place + 2)));
}

#[test]
fn one_changed_byte_is_always_refused() {
    let bytes = recorded(6, Trigger::Edge, Delivery::Chosen);
    for on in [replay, replay_on_sim] {
        let outcomes = changed_bytes(&bytes, false, on);
        eprintln!("100 changed bytes: {outcomes:?}");
        assert_eq!(outcomes.refused, 100);
    }
}

#[test]
fn one_changed_byte_under_a_matching_digest_never_panics() {
    let bytes = recorded(7, Trigger::Level, Delivery::Immediate);
    for (on, most) in [(replay as fn(&Trace) -> _, 70), (replay_on_sim, 50)] {
        let outcomes = changed_bytes(&bytes, true, on);
        eprintln!("100 changed bytes, sealed again: {outcomes:?}");
        // The replay is the same where the byte is in a line that it does not use, such as one of a guest.
        assert!(outcomes.differs > 20, "{outcomes:?}");
        assert!(outcomes.same <= most, "{outcomes:?}");
    }
}

#[test]
fn a_recording_that_is_cut_off_anywhere_replays_up_to_its_last_whole_line() {
    let bytes = recorded(8, Trigger::Level, Delivery::Chosen);
    let ends = bytes.iter().zip(1..).filter(|(byte, _)| **byte == b'\n');
    let ends: Vec<usize> = ends.map(|(_, end)| end).collect();
    let mut calls = 0;
    // `after` whole lines, and some bytes of the next one.
    for (after, pair) in (1..).zip(ends.windows(2)).step_by(5) {
        let part = after % (pair[1] - pair[0]);
        let salvaged = Salvaged::read(&bytes[..pair[0] + part]).unwrap();
        assert_eq!(salvaged.cut, Some(Cut { after }));
        let replayed = same(salvaged.replay().unwrap());
        assert!(replayed >= calls, "{replayed} calls after line {after}");
        calls = replayed;
        assert_eq!(same(salvaged.replay_on_sim().unwrap()), calls);
    }
    let whole = Salvaged::read(&bytes[..]).unwrap();
    assert_eq!(whole.cut, None);
    assert!(same(whole.replay().unwrap()) > 100);
}

#[test]
fn a_difference_in_a_recording_that_was_cut_off_is_reported() {
    let bytes = recorded(9, Trigger::Level, Delivery::Immediate);
    let mut salvaged = Salvaged::read(&bytes[..bytes.len() / 2]).unwrap();
    let lines = &mut salvaged.trace.lines;
    let answer = |line: &Line| matches!(&line.record, Record::Answer(it) if *it != Answer::Nothing);
    let place = lines.iter().rposition(answer).unwrap();
    lines[place].record = Record::Answer(Answer::Nothing);
    let Replayed::Differs(difference) = salvaged.replay().unwrap() else {
        panic!("it is not the same");
    };
    assert_eq!(difference.line, place + 2);
}

/// A trace with one backend call that returns a port, and its answer.
fn bound(call: BackendCall, answer: Option<BackendAnswer>) -> Trace {
    let bind = BackendRecord {
        call,
        answer,
        peer: None,
        failed: None,
    };
    let remote = DomId::new(1);
    let lines = [
        Record::Call(Call::BindUnboundPort { remote }),
        Record::Backend(BackendRecord {
            call: BackendCall::Open,
            answer: None,
            peer: None,
            failed: None,
        }),
        Record::Backend(bind),
        Record::Answer(Answer::Done),
    ];
    Trace {
        header: Header::new(Source::Sim, Trigger::Level),
        lines: lines.map(Line::new).into(),
    }
}

#[test]
fn a_port_that_no_domain_can_have_is_refused_before_anything_is_played() {
    let remote = DomId::new(1);
    for port in [1 << 17, i32::MAX.cast_unsigned()] {
        let port_id = evtchn_core::Port::new(port).unwrap();
        for trace in [
            bound(
                BackendCall::BindUnboundPort { remote },
                Some(BackendAnswer::Number(port)),
            ),
            bound(BackendCall::BindStatic { port: port_id }, None),
        ] {
            let bad = replay(&trace).unwrap_err();
            assert_eq!(bad.line, 4);
            assert!(
                matches!(&bad.kind, BadTraceKind::Field(why) if why.contains(&port.to_string()))
            );
        }
    }
    let most = bound(
        BackendCall::BindUnboundPort { remote },
        Some(BackendAnswer::Number((1 << 17) - 1)),
    );
    assert!(replay(&most).is_ok());
}

#[test]
fn a_replay_starts_only_the_threads_that_the_trace_names() {
    let mut call = Line::new(Record::Call(Call::NextTimeout));
    let mut answer = Line::new(Record::Answer(Answer::Timeout { zero: false }));
    (call.thread, answer.thread) = (1023, 1023);
    let mut trace = Trace {
        header: Header::new(Source::Sim, Trigger::Level),
        lines: vec![call, answer],
    };
    let Replayed::Same(tally) = replay(&trace).unwrap() else {
        panic!("it is the same");
    };
    assert_eq!((tally.calls, tally.threads), (1, 1));
    for line in &mut trace.lines {
        line.thread = 1024;
    }
    let bad = replay(&trace).unwrap_err();
    assert_eq!(
        (bad.line, bad.to_string().contains("thread 1024")),
        (2, true)
    );
}

#[test]
fn a_call_that_cannot_be_made_is_a_difference_at_its_own_line() {
    let why = "no channel of this number was bound";
    for (call, answer, why) in [
        (Call::Wait { channel: 7 }, Answer::Done, why),
        (
            Call::Cancel { channel: 7 },
            Answer::Cancelled { ended: true },
            why,
        ),
        (Call::Finish, Answer::Nothing, "no round is under way"),
    ] {
        let lines = [
            Record::Call(Call::NextTimeout),
            Record::Answer(Answer::Timeout { zero: false }),
            Record::Call(call),
            Record::Answer(answer),
        ];
        let trace = Trace {
            header: Header::new(Source::Sim, Trigger::Level),
            lines: lines.map(Line::new).into(),
        };
        let Replayed::Differs(difference) = replay(&trace).unwrap() else {
            panic!("it cannot be the same");
        };
        // The header is line 1, so the call is line 4 and its answer line 5.
        assert_eq!(difference.line, 4, "{difference}");
        assert!(difference.expected.contains(r#""call":"#), "{difference}");
        assert!(difference.got.contains(why), "{difference}");
    }
}

#[test]
fn a_read_of_more_ports_than_it_has_room_for_is_a_difference() {
    let bytes = recorded(10, Trigger::Level, Delivery::Immediate);
    let mut trace = Trace::read(&bytes).unwrap();
    let read = trace.lines.iter_mut().find_map(|line| {
        let Record::Backend(BackendRecord {
            call: BackendCall::Pending { room },
            answer: Some(BackendAnswer::Ports(ports)),
            ..
        }) = &mut line.record
        else {
            return None;
        };
        Some((*room, ports))
    });
    let (room, ports) = read.unwrap();
    *ports = vec![10; room + 1];
    assert!(matches!(replay(&trace), Ok(Replayed::Differs(_))));
}

#[test]
fn a_read_that_has_room_for_more_ports_than_a_domain_is_refused_before_anything_is_played() {
    let by_peer = |call, answer| {
        Line::new(Record::Backend(BackendRecord {
            call,
            peer: Some(0),
            answer,
            failed: None,
        }))
    };
    let read = |room| Trace {
        header: Header::new(Source::Sim, Trigger::Level),
        lines: vec![
            by_peer(BackendCall::Open, None),
            by_peer(
                BackendCall::Pending { room },
                Some(BackendAnswer::Ports(Vec::new())),
            ),
        ],
    };
    let bad = replay_on_sim(&read(usize::MAX)).unwrap_err();
    assert_eq!(bad.line, 3);
    assert!(replay_on_sim(&read(1 << 17)).is_ok());
}

#[test]
fn a_trace_of_more_guests_or_holders_than_the_simulator_has_room_for_is_refused() {
    let trace = |lines: Vec<Record>| Trace {
        header: Header::new(Source::Sim, Trigger::Level),
        lines: lines.into_iter().map(Line::new).collect(),
    };
    let create = |domid| {
        Record::Guest(Guest::Create {
            domid: DomId::new(domid),
            max_port: 1023,
        })
    };
    let mut guests: Vec<Record> = (1..=4097).map(create).collect();
    let bad = replay_on_sim(&trace(guests.clone())).unwrap_err();
    assert_eq!(
        (bad.line, bad.to_string().contains("4096 guests")),
        (4098, true)
    );
    let domid = DomId::new(1);
    guests.insert(4096, Record::Guest(Guest::Kill { domid }));
    guests.insert(4097, Record::Guest(Guest::Remove { domid }));
    same(replay_on_sim(&trace(guests)).unwrap());
    let opens = |peer| {
        Record::Backend(BackendRecord {
            call: BackendCall::Open,
            peer: Some(peer),
            answer: None,
            failed: None,
        })
    };
    let bad = replay_on_sim(&trace(vec![opens(1024)])).unwrap_err();
    assert_eq!(
        (bad.line, bad.to_string().contains("holder 1024")),
        (2, true)
    );
    same(replay_on_sim(&trace((0..1024).map(opens).collect())).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_recording_replays_from_its_file_as_it_does_from_memory(
        seed in 0_u64..1 << 40,
        place in any::<prop::sample::Index>(),
        is_changed in any::<bool>(),
    ) {
        let mut bytes = recorded(seed, Trigger::Level, Delivery::Chosen);
        if is_changed {
            let last = bytes[..bytes.len() - 1].iter().rposition(|it| *it == b'\n');
            bytes.truncate(last.unwrap() + 1);
            let place = place.index(bytes.len());
            bytes[place] ^= 1;
            let end = seal(&bytes);
            bytes.extend_from_slice(end.as_bytes());
        } else {
            bytes.truncate(place.index(bytes.len()));
        }
        let read = || Recording::read(Cursor::new(bytes.clone()));
        let shown = |it: Result<Replayed, LoadError>| it.map_err(|error| error.to_string());
        let in_memory = Salvaged::read(&bytes[..]);
        let replay = |salvaged: &Salvaged| salvaged.replay().map_err(LoadError::from);
        let on_sim = |salvaged: &Salvaged| salvaged.replay_on_sim().map_err(LoadError::from);
        match (&in_memory, read()) {
            (Ok(salvaged), Ok(recording)) => {
                prop_assert_eq!(recording.cut(), salvaged.cut);
                prop_assert_eq!(shown(recording.replay()), shown(replay(salvaged)));
                let streamed = read().unwrap().replay_on_sim();
                prop_assert_eq!(shown(streamed), shown(on_sim(salvaged)));
            }
            (Err(memory), Err(file)) => prop_assert_eq!(memory.to_string(), file.to_string()),
            (_, other) => prop_assert!(false, "{:?}", other.map(|it| it.cut())),
        }
    }
}

/// A file that is replaced by another one after it was read to its end.
struct Replaced(Cursor<Vec<u8>>, Vec<u8>);

impl Read for Replaced {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl BufRead for Replaced {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl Seek for Replaced {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if self.0.position() > 0 {
            self.0 = Cursor::new(std::mem::take(&mut self.1));
        }
        self.0.seek(to)
    }
}

#[test]
fn a_recording_that_is_changed_while_it_is_replayed_is_refused() {
    let bytes = recorded(7, Trigger::Level, Delivery::Immediate);
    let text = String::from_utf8(bytes.clone()).unwrap();
    let changed = text.replacen("\"way\":", "\"why\":", 1);
    let recording = Recording::read(Replaced(Cursor::new(bytes), changed.into()));
    let error = recording.unwrap().replay().unwrap_err();
    assert!(matches!(error, LoadError::Bad(_)), "{error}");
}
