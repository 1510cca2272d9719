//! What is written is read again, and what is not as it was written is refused.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use evtchn_core::{ErrorKind, Trigger};
use evtchn_sim::Delivery;
use evtchn_trace::{
    BackendCall, BackendRecord, BadTraceKind, Call, Cut, Failed, Header, LINE_LIMIT, Line, Lines,
    LoadError, Record, Salvaged, Source, Tape, Trace, VERSION,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::{self, Write};

use crate::support::memory::Memory;
use crate::support::recorded::recorded;
use crate::support::seal::seal;

pub(crate) fn sealed(lines: &str) -> Vec<u8> {
    (lines.to_owned() + &seal(lines.as_bytes())).into_bytes()
}

pub(crate) const HEADER: &str =
    "{\"trace\":\"evtchn\",\"version\":3,\"source\":\"sim\",\"trigger\":\"level\"}\n";

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let calls = (0_u32..9, any::<u32>()).prop_map(|(kind, number)| {
        let channel = number % 7;
        let port = number % 1000 + 1;
        match kind {
            0 => json!({"call": "wait", "channel": channel}),
            1 => json!({"call": "bind_unbound_port", "remote": number % 65536}),
            2 => json!({"answer": "wakes", "wakes": [[channel, "event"], [1, "gone"]]}),
            3 => json!({"seam": "pending", "room": 64, "got": [port, number]}),
            4 => json!({"seam": "unmask", "ports": [port, 1], "got": 2, "peer": channel}),
            5 => {
                json!({"seam": "reset", "failed": {"kind": "gone", "errno": 5, "text": "\u{e9}\n"}})
            }
            6 => json!({"guest": "send", "domid": 1, "port": port}),
            7 => json!({"sim": "deliver", "domid": 0, "port": port, "within": true}),
            _ => json!({"op": "bind 0 unbound"}),
        }
    });
    let line = (calls, 0_u32..3, prop::option::of("[a-z]{9,12}")).prop_map(
        |(mut object, thread, more)| {
            if thread > 0 {
                object["thread"] = thread.into();
            }
            if let Some(more) = more {
                object[&more] = json!({"deep": [1, "two", null]});
            }
            let text = sealed(&format!("{HEADER}{object}\n"));
            Trace::read(&text).unwrap().lines.remove(0)
        },
    );
    prop::collection::vec(line, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_read(lines in lines(), seed in any::<Option<u64>>()) {
        let mut header = Header::new(Source::Xen, Trigger::Edge);
        header.seed = seed;
        let trace = Trace { header, lines };
        let bytes = trace.to_bytes();
        let read = Trace::read(&bytes).unwrap();
        prop_assert_eq!(&read, &trace);
        prop_assert_eq!(read.to_bytes(), bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Trace::read(&bytes).is_err());
        let mut after = HEADER.as_bytes().to_vec();
        after.extend(bytes);
        prop_assert!(Trace::read(&after).is_err());
    }
}

#[test]
fn a_trace_that_ends_too_early_is_refused_as_truncated() {
    let mut trace = Trace::read(&recorded(1, Trigger::Level, Delivery::Immediate)).unwrap();
    trace.lines.truncate(300);
    let bytes = trace.to_bytes();
    let ends = bytes.iter().zip(1..).filter(|(byte, _)| **byte == b'\n');
    let ends: Vec<usize> = ends.map(|(_, end)| end).collect();
    for (line, end) in ends[..ends.len() - 1].iter().enumerate() {
        let bad = Trace::read(&bytes[..*end]).unwrap_err();
        assert_eq!((bad.line, bad.kind), (line + 1, BadTraceKind::Truncated));
        let cut = Trace::read(&bytes[..end + 7]).unwrap_err();
        assert_eq!((cut.line, cut.kind), (line + 2, BadTraceKind::Truncated));
    }
    assert_eq!(Trace::read(b"").unwrap_err().kind, BadTraceKind::NotATrace);
    let mut more = bytes;
    more.extend(b"{}\n");
    assert_eq!(
        Trace::read(&more).unwrap_err().kind,
        BadTraceKind::AfterTheEnd
    );
}

#[test]
fn a_newer_version_and_another_format_are_refused() {
    let newer = HEADER.replace("\"version\":3", "\"version\":4");
    let bad = Trace::read(&sealed(&newer)).unwrap_err();
    assert_eq!(bad.kind, BadTraceKind::Newer(4));
    let message = format!(
        "line 1: version 4 is newer than {VERSION}, the newest that is read here: use the evtchn that \
         wrote it"
    );
    assert_eq!(bad.to_string(), message);
    for other in [
        "{}\n",
        "[]\n",
        "{\"trace\":\"other\",\"version\":3}\n",
        &HEADER.replace("\"version\":3", "\"version\":0"),
    ] {
        assert_eq!(
            Trace::read(&sealed(other)).unwrap_err().kind,
            BadTraceKind::NotATrace
        );
    }
}

/// Traces that earlier versions wrote: a run, the example of the documents, and a script of a check.
const OLDER: [(u64, &str, &[u8]); 6] = [
    (1, "run", include_bytes!("version-1/run.trace")),
    (1, "example", include_bytes!("version-1/example.trace")),
    (1, "script", include_bytes!("version-1/script.trace")),
    (2, "run", include_bytes!("version-2/run.trace")),
    (2, "example", include_bytes!("version-2/example.trace")),
    (2, "script", include_bytes!("version-2/script.trace")),
];

#[test]
fn traces_of_earlier_versions_are_refused_with_their_version_and_what_to_do() {
    for (version, name, bytes) in OLDER {
        let expected = BadTraceKind::Older(version);
        let bad = Trace::read(bytes).unwrap_err();
        assert_eq!((bad.line, &bad.kind), (1, &expected), "{version} {name}");
        let message = format!(
            "line 1: version {version} is older than {VERSION}, the only one that is read here: record \
             the run again"
        );
        assert_eq!(bad.to_string(), message, "{version} {name}");
        // Also one that was cut off, and line by line.
        let cut = refused(&bytes[..bytes.len() / 2]);
        assert_eq!(cut, expected, "{version} {name}");
        let line = Lines::new(bytes).and_then(|mut lines| lines.next().transpose());
        let Err(LoadError::Bad(bad)) = line else {
            panic!("{version} {name} is read");
        };
        assert_eq!(bad.kind, expected, "{version} {name}");
    }
}

#[test]
fn an_unknown_kind_is_refused_and_an_unknown_field_is_kept() {
    for (line, names) in [
        ("{\"mystery\":1}", "mystery"),
        ("{\"call\":\"fly\"}", "fly"),
        ("{\"seam\":\"ring\"}", "ring"),
    ] {
        let bad = Trace::read(&sealed(&format!("{HEADER}{line}\n"))).unwrap_err();
        assert_eq!(bad.line, 2);
        let is_kind = matches!(&bad.kind, BadTraceKind::UnknownKind(what) if what.contains(names));
        assert!(is_kind, "{bad}");
    }
    let header = HEADER.replace("}", ",\"host\":\"kelvin\"}");
    let lines = header + "{\"call\":\"wait\",\"channel\":0,\"time_ns\":17}\n";
    let trace = Trace::read(&sealed(&lines)).unwrap();
    assert_eq!(trace.header.rest["host"], "kelvin");
    assert_eq!(trace.lines[0].rest["time_ns"], 17);
    let again = Trace::read(&trace.to_bytes()).unwrap();
    assert_eq!(again, trace);
}

#[test]
fn a_change_in_a_field_that_is_not_used_is_noticed_too() {
    let lines = HEADER.to_owned() + "{\"call\":\"teardown\", \"note\":\"a b\"}\n";
    let whole = String::from_utf8(sealed(&lines)).unwrap();
    assert!(Trace::read(whole.as_bytes()).is_ok());
    for (old, new) in [
        (", ", ",\t"),
        ("a b", "a c"),
        ("note", "nota"),
        ("\"end\":2,", "\"end\":3,"),
    ] {
        let changed = whole.replacen(old, new, 1);
        let bad = Trace::read(changed.as_bytes()).unwrap_err();
        assert!(
            matches!(bad.kind, BadTraceKind::Changed { .. }),
            "{new}: {bad}"
        );
        assert_eq!(bad.line, 3);
    }
}

#[test]
fn a_wrong_field_is_refused_with_its_line() {
    for line in [
        "{\"call\":\"wait\"}",
        "{\"call\":\"wait\",\"channel\":-1}",
        "{\"seam\":\"notify\",\"port\":0}",
        "{\"seam\":\"bind_unbound_port\",\"remote\":65536}",
        "{\"answer\":\"wake\",\"channel\":0,\"cause\":\"luck\"}",
        "{\"answer\":\"done\",\"thread\":\"x\"}",
    ] {
        let bad = Trace::read(&sealed(&format!("{HEADER}{line}\n"))).unwrap_err();
        assert_eq!(bad.line, 2);
        assert!(matches!(bad.kind, BadTraceKind::Field(_)), "{line}: {bad}");
    }
}

#[test]
fn each_example_of_the_document_is_written_as_it_is_read() {
    let document = include_str!("../../docs/traces.md");
    let mut kinds = std::collections::BTreeSet::new();
    let mut examples = 0;
    for line in document.lines().filter(|line| line.starts_with('{')) {
        let object: Value = serde_json::from_str(line).unwrap();
        if object.get("trace").is_some() {
            Trace::read(&sealed(&format!("{line}\n"))).unwrap();
            continue;
        }
        if object.get("end").is_some() {
            continue;
        }
        let bytes = sealed(&format!("{HEADER}{line}\n"));
        let trace = Trace::read(&bytes).unwrap_or_else(|bad| panic!("{line}: {bad}"));
        assert!(trace.lines[0].rest.is_empty(), "{line}");
        assert_eq!(
            String::from_utf8(trace.to_bytes()).unwrap().lines().nth(1),
            Some(line)
        );
        kinds.insert(match trace.lines[0].record {
            Record::Call(_) => "call",
            Record::Answer(_) => "answer",
            Record::Backend(_) => "seam",
            Record::Guest(_) => "guest",
            Record::Sim(_) => "sim",
            Record::Op(_) => "op",
            Record::Input(_) => "input",
            Record::Schedule(_) => "schedule",
            Record::Verdict(_) => "verdict",
        });
        examples += 1;
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    assert!(examples > 40);
    let whole = document.split("```jsonl whole\n").nth(1).unwrap();
    let whole = whole.split("```").next().unwrap();
    Trace::read(whole.as_bytes()).unwrap();
}

/// The reason for which a salvage of these bytes is refused.
fn refused(bytes: &[u8]) -> BadTraceKind {
    match Salvaged::read(bytes) {
        Err(LoadError::Bad(bad)) => bad.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_whole_line_of_a_recording_that_was_cut_off_is_read() {
    let lines = HEADER.to_owned()
        + "{\"call\":\"teardown\",\"note\":\"\u{2014}\"}\n{\"answer\":\"done\"}\n";
    let whole = sealed(&lines);
    let mut ends = Vec::new();
    for end in 0..=whole.len() {
        // Also in the middle of a character.
        let after = whole[..end].iter().filter(|it| **it == b'\n').count();
        match after {
            0 => assert!(Salvaged::read(&whole[..end]).is_err(), "{end} bytes"),
            4 => assert_eq!(Salvaged::read(&whole[..end]).unwrap().cut, None),
            after => {
                let salvaged = Salvaged::read(&whole[..end]).unwrap();
                assert_eq!(salvaged.cut, Some(Cut { after }), "{end} bytes");
                assert_eq!(salvaged.trace.lines.len(), after - 1);
                assert!(Trace::read(&whole[..end]).is_err());
            }
        }
        ends.push(after);
    }
    assert_eq!(ends.last(), Some(&4));
}

#[test]
fn damage_in_the_middle_of_a_recording_that_was_cut_off_is_refused_with_its_line() {
    let cut = HEADER.to_owned() + "{\"call\":\"tear";
    for (bytes, line) in [
        (HEADER.to_owned() + "{\"call\":\"tear\n{\"answer\":\"do", 2),
        (HEADER.to_owned() + "{\"answer\":\"done\"}\n\0\0\0\n", 3),
        (HEADER.to_owned() + "{\"mystery\":1}\n{", 2),
    ] {
        let LoadError::Bad(bad) = Salvaged::read(bytes.as_bytes()).unwrap_err() else {
            panic!("it can be read");
        };
        assert_eq!(bad.line, line, "{bad}");
    }
    let mut after_the_end = sealed(HEADER);
    after_the_end.extend(b"{\"call\":");
    assert_eq!(refused(&after_the_end), BadTraceKind::AfterTheEnd);
    let damaged = sealed(HEADER);
    let damaged = String::from_utf8(damaged).unwrap().replace("sim", "xen");
    assert!(matches!(
        refused(damaged.as_bytes()),
        BadTraceKind::Changed { .. }
    ));
    assert_eq!(refused(&HEADER.as_bytes()[..20]), BadTraceKind::Truncated);
    assert!(Salvaged::read(cut.as_bytes()).is_ok());
}

#[test]
fn a_tape_that_is_finished_takes_no_more_lines() {
    let memory = Memory::default();
    let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), memory.clone());
    tape.put(|| Record::Call(Call::Teardown));
    tape.finish().unwrap();
    let whole = memory.bytes();
    tape.put(|| Record::Call(Call::DropContext));
    tape.finish().unwrap();
    drop(tape);
    assert_eq!(memory.bytes(), whole);
    assert_eq!(Trace::read(&whole).unwrap().lines.len(), 1);
}

#[test]
fn a_failure_with_a_very_long_message_is_shortened_and_can_be_read() {
    let message = "\u{20ac}".repeat(LINE_LIMIT);
    let failed = Failed::new(ErrorKind::Other, message);
    assert_eq!(failed.text.len(), 65_535, "whole characters");
    let register = BackendRecord {
        call: BackendCall::Register,
        peer: None,
        answer: None,
        failed: Some(Box::new(failed)),
    };
    let trace = Trace {
        header: Header::new(Source::Sim, Trigger::Level),
        lines: vec![Line::new(Record::Backend(register))],
    };
    assert_eq!(Trace::read(&trace.to_bytes()).unwrap(), trace);
}

/// A disk with room for this many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0 {
            0 => Err(io::ErrorKind::StorageFull.into()),
            room => {
                let taken = room.min(bytes.len());
                self.0 -= taken;
                Ok(taken)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn check_and_finish_return_the_error_of_a_failed_write_each_time() {
    let header = Header::new(Source::Sim, Trigger::Level);
    let tape = Tape::new(&header, Full(HEADER.len()));
    tape.check().unwrap();
    tape.put(|| Record::Call(Call::Teardown));
    for _ in 0..2 {
        assert_eq!(tape.check().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            tape.finish().unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
    Tape::off().check().unwrap();
}
