//! Names, arguments, variables and traces with characters that control a terminal: none of these reach it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Output, Stdio};

use evtchn_core::{ErrorKind, Trigger};
use evtchn_trace::{
    Answer, BackendCall, BackendRecord, Call, Failed, Header, Line, Op, Record, Source, Trace,
    Verdict,
};
use serde_json::Value;

use super::directory;
use crate::support::evtchn;

/// A window title, a color with the 8-bit introducer, a forged line, reversed directions of text, and a
/// noncharacter.
const HOSTILE: &str =
    "x\u{1b}]0;owned\u{7}\u{9b}31m\r\nevtchn: forged\u{202e}\u{2066}\u{200f}\u{fffe}";

/// Fails if an output of the command has a character that controls a terminal.
fn assert_harmless(what: &str, output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = str::from_utf8(bytes).unwrap();
        let acts = text.chars().find(|&letter| {
            let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}');
            turns || (letter.is_control() && letter != '\n')
        });
        assert_eq!(acts, None, "{what}: {text}");
        assert!(!text.contains("\nevtchn: forged"), "{what}: {text}");
    }
}

/// Runs the command, which must fail with one line.
fn assert_fails(arguments: &[&OsStr]) {
    let output = evtchn("")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let what = format!("{arguments:?}");
    assert_harmless(&what, &output);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        matches!(output.status.code(), Some(1..=6)),
        "{what}: {error}"
    );
    assert!(error.starts_with("evtchn: "), "{what}: {error}");
    assert_eq!(error.lines().count(), 1, "{what}: {error}");
}

#[test]
fn arguments_are_escaped_before_they_reach_the_terminal() {
    let not_unicode = OsStr::from_bytes(b"\xff\x1b[31m");
    let option = format!("--{HOSTILE}");
    let picture = format!("{HOSTILE}.svg");
    for word in [OsStr::new(HOSTILE), not_unicode, OsStr::new(&option)] {
        assert_fails(&[word]);
        for command in [
            &["watch"][..],
            &["watch", "--only"],
            &["watch", "--exec"],
            &["watch", "--timeout"],
            &["watch", "--record", "/nowhere", "--backend"],
            &["watch", "--loopback", "1", "--device"],
            &["watch", "--backend", "xen", "--virq"],
            &["listen"],
            &["listen", "3", "--device"],
            &["notify"],
            &["ping"],
            &["ls"],
            &["replay"],
            &["timeline", "/nowhere", "-o"],
            &["timeline", "-o", "/nowhere.svg"],
            &["completions"],
            &["man"],
        ] {
            let words = command.iter().map(OsStr::new).chain([word]);
            assert_fails(&words.collect::<Vec<_>>());
        }
    }
    let trace = Path::new("/nowhere").join(HOSTILE);
    assert_fails(&["watch".as_ref(), "--record".as_ref(), trace.as_os_str()]);
    assert_fails(&[
        "timeline".as_ref(),
        trace.as_os_str(),
        "-o".as_ref(),
        picture.as_ref(),
    ]);
}

#[test]
fn variables_and_the_program_name_are_escaped_before_they_reach_the_terminal() {
    let output = evtchn("watch --once")
        .env("RUST_LOG", format!("evtchn={HOSTILE}"))
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_harmless("RUST_LOG", &output);
    for arguments in ["--help", "watch --help", "--bogus", "watch --bogus", ""] {
        let output = evtchn(arguments).arg0(HOSTILE).output().unwrap();
        assert_harmless(arguments, &output);
    }
    let device = Path::new("/nowhere").join(HOSTILE);
    let mut command = evtchn("watch --loopback 1 --device");
    let output = command
        .arg(device)
        .env("RUST_LOG", "evtchn=trace")
        .output()
        .unwrap();
    assert_harmless("the log", &output);
}

/// A trace with these lines.
fn trace(source: Source, lines: Vec<Record>) -> Vec<u8> {
    let mut header = Header::new(source, Trigger::Level);
    header.slots = Some(3);
    let lines = lines.into_iter().map(Line::new).collect();
    Trace { header, lines }.to_bytes()
}

/// Traces whose strings are hostile, each with the exit code of its replay.
fn traces() -> Vec<(&'static str, i32, Vec<u8>)> {
    let hostile = || HOSTILE.to_owned();
    let header = String::from_utf8(trace(Source::Sim, Vec::new())).unwrap();
    let header = header.lines().next().unwrap();
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let line = |line: String| format!("{header}\n{line}\n").into_bytes();
    let failed = Failed::new(ErrorKind::Other, HOSTILE);
    let at = BackendRecord {
        call: BackendCall::Open,
        peer: None,
        answer: None,
        failed: Some(Box::new(failed)),
    };
    let answer = Answer::Failed {
        step: hostile(),
        count: None,
        failed: None,
    };
    let difference = vec![
        Record::Call(Call::BindStatic {
            port: evtchn_core::Port::new(7).unwrap(),
        }),
        Record::Backend(at),
        Record::Answer(answer),
    ];
    let op = |op: &str| Record::Op(Op { op: op.to_owned() });
    let broken = Verdict::Broken {
        step: 0,
        what: hostile(),
    };
    let other = evtchn_trace::Guest::Other { what: hostile() };
    vec![
        ("a kind", 2, line(format!("{{{quoted}:1}}"))),
        ("a variant", 2, line(format!("{{\"call\":{quoted}}}"))),
        (
            "a field",
            2,
            line(format!(
                "{{\"answer\":\"wake\",\"channel\":0,\"cause\":{quoted}}}"
            )),
        ),
        ("no JSON", 2, line(hostile())),
        ("a difference", 1, trace(Source::Sim, difference)),
        ("a guest", 2, trace(Source::Sim, vec![Record::Guest(other)])),
        ("a step", 2, trace(Source::Script, vec![op(HOSTILE)])),
        (
            "a verdict",
            2,
            trace(
                Source::Script,
                vec![op("bind 0 unbound"), Record::Verdict(broken)],
            ),
        ),
    ]
}

#[test]
fn strings_and_file_names_of_traces_are_escaped_before_they_reach_the_terminal() {
    let directory = directory("hostile");
    for (name, code, bytes) in traces() {
        let mut file = OsString::from(format!("{name} "));
        file.push(HOSTILE);
        let file = directory.join(file);
        fs::write(&file, bytes).unwrap();
        let output = evtchn("replay --on sim").arg(&file).output().unwrap();
        assert_harmless(name, &output);
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        assert!(output.stderr.len() + output.stdout.len() > 0, "{name}");
        for format in ["svg", "html", "json"] {
            let mut command = evtchn("timeline -o /proc/self/fd/1 --format");
            let output = command.arg(format).arg(&file).output().unwrap();
            assert_harmless(&format!("{name} as {format}"), &output);
        }
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_line_of_megabytes_is_cut_in_the_error() {
    let directory = directory("hostile-long");
    let file = directory.join("trace");
    let header = trace(Source::Sim, Vec::new());
    let header = str::from_utf8(&header).unwrap().lines().next().unwrap();
    let kind = "k".repeat(2_000_000);
    fs::write(&file, format!("{header}\n{{\"{kind}\":1}}\n")).unwrap();
    let output = evtchn("replay").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("line 2: unknown kind of line"), "{error}");
    assert!(
        error.len() < 11_000 && error.ends_with("...\n"),
        "{} bytes",
        error.len()
    );
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn trace_events_keep_the_strings_of_the_trace() {
    let directory = directory("hostile-json");
    let file = directory.join("trace");
    let (_, _, bytes) = traces().swap_remove(4);
    fs::write(&file, bytes).unwrap();
    let mut command = evtchn("timeline -o /proc/self/fd/1 --format json");
    let output = command.arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let events: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut events = events["traceEvents"].as_array().unwrap().iter();
    assert!(events.any(|event| event["args"]["what"] == HOSTILE));
    fs::remove_dir_all(directory).unwrap();
}
