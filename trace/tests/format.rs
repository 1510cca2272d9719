//! What is written is read again, and what is not as it was written is refused.
#![expect(clippy::unwrap_used, reason = "a strategy fails as its test does")]

use crate::support::recorded::recorded;
use crate::support::seal::seal;
use evtchn_core::Trigger;
use evtchn_sim::Delivery;
use evtchn_trace::{Header, Line, Source, Trace, VERSION, What, Why};
use proptest::prelude::*;
use serde_json::{Value, json};

fn sealed(lines: &str) -> Vec<u8> {
    (lines.to_owned() + &seal(lines.as_bytes())).into_bytes()
}

const HEADER: &str =
    "{\"trace\":\"evtchn\",\"version\":1,\"source\":\"sim\",\"trigger\":\"level\"}\n";

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
fn a_trace_that_ends_too_early_is_told_as_truncated() {
    let mut trace = Trace::read(&recorded(1, Trigger::Level, Delivery::Immediate)).unwrap();
    trace.lines.truncate(300);
    let bytes = trace.to_bytes();
    let ends = bytes.iter().zip(1..).filter(|(byte, _)| **byte == b'\n');
    let ends: Vec<usize> = ends.map(|(_, end)| end).collect();
    for (line, end) in ends[..ends.len() - 1].iter().enumerate() {
        let bad = Trace::read(&bytes[..*end]).unwrap_err();
        assert_eq!((bad.line, bad.why), (line + 1, Why::Truncated));
        let cut = Trace::read(&bytes[..end + 7]).unwrap_err();
        assert_eq!((cut.line, cut.why), (line + 2, Why::Truncated));
    }
    assert_eq!(Trace::read(b"").unwrap_err().why, Why::NotATrace);
    let mut more = bytes;
    more.extend(b"{}\n");
    assert_eq!(Trace::read(&more).unwrap_err().why, Why::AfterTheEnd);
}

#[test]
fn a_newer_version_and_another_format_are_refused() {
    let newer = HEADER.replace("\"version\":1", "\"version\":2");
    let bad = Trace::read(&sealed(&newer)).unwrap_err();
    assert_eq!(bad.why, Why::Newer(2));
    let told = format!("line 1: version 2 is newer than {VERSION}, the newest that is read here");
    assert_eq!(bad.to_string(), told);
    for other in ["{}\n", "[]\n", "{\"trace\":\"other\",\"version\":1}\n"] {
        assert_eq!(Trace::read(&sealed(other)).unwrap_err().why, Why::NotATrace);
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
        let is_kind = matches!(&bad.why, Why::UnknownKind(what) if what.contains(names));
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
fn a_byte_that_says_nothing_is_noticed_too() {
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
        assert!(matches!(bad.why, Why::Changed { .. }), "{new}: {bad}");
        assert_eq!(bad.line, 3);
    }
}

#[test]
fn a_field_that_is_wrong_is_told_with_its_line() {
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
        assert!(matches!(bad.why, Why::Field(_)), "{line}: {bad}");
    }
}

#[test]
fn each_example_of_the_document_is_a_line_as_it_is_written() {
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
        kinds.insert(match trace.lines[0].what {
            What::Call(_) => "call",
            What::Answer(_) => "answer",
            What::Seam(_) => "seam",
            What::Guest(_) => "guest",
            What::Sim(_) => "sim",
            What::Op(_) => "op",
            What::Input(_) => "input",
            What::Schedule(_) => "schedule",
            What::Verdict(_) => "verdict",
        });
        examples += 1;
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    assert!(examples > 40);
    let whole = document.split("```jsonl whole\n").nth(1).unwrap();
    let whole = whole.split("```").next().unwrap();
    Trace::read(whole.as_bytes()).unwrap();
}
