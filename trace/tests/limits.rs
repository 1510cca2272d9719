//! How long a line may be, and how much one may hold.

use evtchn_trace::{
    BackendCall, BackendRecord, BadTraceKind, LINE_LIMIT, Lines, LoadError, Record, Trace,
};
use serde_json::json;
use std::io::{self, BufReader, Read};

use crate::format::{HEADER, sealed};

/// A reader without an end that counts what is taken from it.
struct Endless<'a>(&'a mut usize, &'a [u8]);

impl Read for Endless<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.1.is_empty() {
            return self.1.read(buf);
        }
        if *self.0 > 1 << 26 {
            return Err(io::Error::other("more is taken than a line may have"));
        }
        buf.fill(0);
        *self.0 += buf.len();
        Ok(buf.len())
    }
}

#[test]
fn a_line_without_an_end_is_refused_once_it_is_longer_than_a_line_may_be() {
    for (before, line) in [("", 1), (HEADER, 2)] {
        let mut taken = 0;
        let endless = BufReader::new(Endless(&mut taken, before.as_bytes()));
        let refused =
            Lines::new(endless).and_then(|it| it.salvaging().collect::<Result<Vec<_>, _>>());
        let LoadError::Bad(bad) = refused.unwrap_err() else {
            panic!("it can be read");
        };
        assert_eq!(
            (bad.line, &bad.kind),
            (line, &BadTraceKind::TooLong { limit: LINE_LIMIT })
        );
        assert!(bad.to_string().contains("4194304 bytes"), "{bad}");
        assert!(taken <= LINE_LIMIT + (1 << 16), "{taken} bytes");
    }
}

#[test]
fn the_longest_line_is_read_and_one_byte_more_is_refused() {
    let line = |more: usize| {
        let note = "x".repeat(LINE_LIMIT - "{\"answer\":\"done\",\"note\":\"\"}\n".len() + more);
        sealed(&format!(
            "{HEADER}{{\"answer\":\"done\",\"note\":\"{note}\"}}\n"
        ))
    };
    assert_eq!(Trace::read(&line(0)).unwrap().lines.len(), 1);
    let bad = Trace::read(&line(1)).unwrap_err();
    assert_eq!(
        (bad.line, bad.kind),
        (2, BadTraceKind::TooLong { limit: LINE_LIMIT })
    );
}

#[test]
fn a_line_with_wakes_of_every_port_of_a_domain_is_read() {
    let wakes: Vec<String> = (0..1 << 17)
        .map(|channel| format!("[{channel},\"peer_gone\"]"))
        .collect();
    let line = format!("{{\"answer\":\"wakes\",\"wakes\":[{}]}}\n", wakes.join(","));
    let trace = Trace::read(&sealed(&(HEADER.to_owned() + &line))).unwrap();
    assert_eq!(trace.lines.len(), 1);
}

#[test]
fn a_line_of_more_values_or_bytes_than_a_line_may_have_is_refused() {
    let many = |entry: &str, count: usize| vec![entry; count].join(",");
    let text = "\u{e9}".repeat((1 << 18) + 1);
    for fields in [
        format!("\"x\":[{}]", many("0", 5000)),
        many("\"x\":0", 5000),
        format!("\"x\":[{}]", many("{\"\":0}", 2000)),
        format!("\"x\":\"{text}\""),
        // This call has no such list.
        format!("\"got\":[{}]", many("0", 5000)),
    ] {
        let line = format!("{HEADER}{{\"call\":\"next\",{fields}}}\n");
        let bad = Trace::read(&sealed(&line)).unwrap_err();
        assert_eq!(bad.line, 2);
        assert!(matches!(bad.kind, BadTraceKind::TooMuch { .. }), "{bad}");
    }
    // The text of a string has no values.
    let text = format!("\"x\":\"\\\"{}\"", "[,{:".repeat(5000));
    let line = format!("{HEADER}{{\"call\":\"next\",{text}}}\n");
    Trace::read(&sealed(&line)).unwrap();
}

#[test]
fn a_list_of_every_port_is_read_and_an_unknown_list_is_kept() {
    let ports: Vec<u32> = (1..131_072).collect();
    let list = serde_json::to_string(&ports).unwrap();
    let lines = [
        format!("{{\"seam\":\"pending\",\"room\":64,\"got\":{list}}}"),
        format!("{{\"seam\":\"unmask\",\"ports\":{list},\"got\":2}}"),
        format!("{{\"call\":\"from_parts\",\"ports\":{list}}}"),
        format!("{{\"call\":\"hand_over\",\"channels\":{list}}}"),
        format!("{{\"answer\":\"adopted\",\"channels\":{list}}}"),
        "{\"answer\":\"wakes\",\"wakes\":[[7,\"event\"],[9,\"gone\"]]}".to_owned(),
        "{\"call\":\"next\",\"wakes\":[1,[2]],\"ports\":[\"x\"]}".to_owned(),
    ];
    let bytes = sealed(&format!("{HEADER}{}\n", lines.join("\n")));
    let trace = Trace::read(&bytes).unwrap();
    let backend = BackendRecord {
        call: BackendCall::Pending { room: 64 },
        peer: None,
        answer: Some(evtchn_trace::BackendAnswer::Ports(ports)),
        failed: None,
    };
    assert_eq!(trace.lines[0].record, Record::Backend(backend));
    assert_eq!(trace.lines[6].rest["wakes"], json!([1, [2]]));
    assert_eq!(trace.lines[6].rest["ports"], json!(["x"]));
    assert_eq!(Trace::read(&trace.to_bytes()).unwrap(), trace);
    for wrong in [
        "{\"seam\":\"unmask\",\"ports\":[0]}",
        "{\"seam\":\"pending\",\"room\":64,\"got\":[-1]}",
        "{\"answer\":\"wakes\",\"wakes\":[[7,\"luck\"]]}",
    ] {
        let bad = Trace::read(&sealed(&format!("{HEADER}{wrong}\n"))).unwrap_err();
        assert!(matches!(bad.kind, BadTraceKind::Field(_)), "{wrong}: {bad}");
    }
}
