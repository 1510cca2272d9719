//! `evtchn timeline` as its users meet it: what a picture shows is what the trace says.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

#[path = "../examples/rough_day/scene.rs"]
mod scene;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evtchn_checks::{Failing, Op, Source, record};
use evtchn_core::{ErrorKind, Trigger};
use evtchn_trace::{Failed, Trace, What};
use serde_json::Value;

fn evtchn(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evtchn"));
    command.args(arguments).output().unwrap()
}

/// A file of this test alone.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Exit code and standard error of a drawing.
fn timeline(trace: &Path, output: &Path) -> (i32, String) {
    let (trace, output) = (trace.to_str().unwrap(), output.to_str().unwrap());
    let ended = evtchn(&["timeline", trace, "-o", output]);
    assert_eq!(ended.stdout, b"", "nothing is printed");
    let error = String::from_utf8(ended.stderr).unwrap();
    (ended.status.code().unwrap(), error)
}

/// What is drawn of a trace, in the format that `end` names.
fn drawn(trace: &Path, end: &str) -> String {
    let output = trace.with_extension(end);
    assert_eq!(timeline(trace, &output), (0, String::new()));
    fs::read_to_string(output).unwrap()
}

fn rough_day(name: &str) -> PathBuf {
    let path = file(name);
    let _stats = scene::record(scene::SEED, fs::File::create(&path).unwrap()).unwrap();
    path
}

/// The whole trace that docs/traces.md shows.
fn documented(name: &str) -> PathBuf {
    let document = include_str!("../../docs/traces.md");
    let (_, rest) = document.split_once("```jsonl whole\n").unwrap();
    let (trace, _) = rest.split_once("```").unwrap();
    let path = file(name);
    fs::write(&path, trace).unwrap();
    path
}

/// What stands on the lanes of a picture: of each its name, its bands and its marks.
fn lanes(svg: &str) -> Vec<(String, Vec<String>, Vec<String>)> {
    let parts = svg.split("<g class=\"lane\" aria-label=\"").skip(1);
    let lanes = parts.map(|part| {
        let part = part.split("\n  </g>").next().unwrap();
        let name = part.split('"').next().unwrap().to_owned();
        let titles = |element: &str| {
            let lines = part.lines().filter(|line| line.contains(element));
            let title = |line: &str| {
                let (_, rest) = line.split_once("<title>")?;
                Some(rest.split_once("</title>")?.0.to_owned())
            };
            lines.filter_map(title).collect()
        };
        (name, titles("<rect "), titles("<use "))
    });
    lanes.collect()
}

/// The events of a trace for Perfetto, those that name lanes aside.
fn events(json: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(json).unwrap();
    let all = all["traceEvents"].as_array().unwrap();
    all.iter().filter(|it| it["ph"] != "M").cloned().collect()
}

fn count(events: &[Value], name: &str) -> u64 {
    events.iter().filter(|it| it["name"] == name).count() as u64
}

#[test]
fn each_lane_shows_the_states_and_marks_of_its_port_with_their_lines() {
    let trace = documented("whole.trace");
    let text = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = [
        (
            "device",
            text(&[
                "idle, lines 4 to 22",
                "watching, lines 22 to 47",
                "idle, lines 47 to 56",
            ]),
            text(&["read: 1 port, line 37"]),
        ),
        (
            "port 10",
            text(&[
                "live, lines 5 to 21",
                "waiting, lines 21 to 38",
                "held, lines 38 to 52",
            ]),
            text(&[
                "bind: new, for domain 1, line 5",
                "unbind, line 52",
                "wake, line 38",
                "sent by the other end, line 30",
                "sent by the other end, line 33",
                "notify, line 14",
                "notify, line 41",
            ]),
        ),
    ];
    let expected = expected.map(|(name, bands, marks)| (name.to_owned(), bands, marks));
    assert_eq!(lanes(&drawn(&trace, "svg")), expected);
}

#[test]
fn the_picture_in_the_documents_is_what_the_command_draws() {
    let drawn = drawn(&rough_day("documented.trace"), "svg");
    let stands = include_str!("../../docs/timeline.svg");
    let same = drawn
        .lines()
        .zip(stands.lines())
        .take_while(|(a, b)| a == b);
    let line = same.count() + 1;
    assert!(
        drawn == stands,
        "docs/timeline.svg differs in line {line}. If that is right, draw it again as \
         docs/timeline.md says."
    );
}

#[test]
fn the_picture_counts_what_the_context_counted() {
    for seed in 0..16 {
        let path = file(&format!("day-{seed}.trace"));
        let stats = scene::record(seed, fs::File::create(&path).unwrap()).unwrap();
        let all = events(&drawn(&path, "json"));
        let wakes = count(&all, "wake") + count(&all, "wake without an event");
        assert_eq!(wakes, stats.wakes, "wakes of seed {seed}");
        assert_eq!(
            count(&all, "latch"),
            stats.latched,
            "latches of seed {seed}"
        );
        assert_eq!(
            count(&all, "overflow"),
            stats.overflows,
            "overflows of seed {seed}"
        );
        assert_eq!(
            count(&all, "watching"),
            stats.registers,
            "registrations of seed {seed}"
        );
        let reads = stats.reads + stats.empty_reads;
        assert_eq!(count(&all, "read"), reads, "reads of seed {seed}");
        assert_eq!(count(&all, "fault"), 1, "faults of seed {seed}");
        assert_eq!(
            count(&all, "other end gone"),
            1,
            "guests that died of seed {seed}"
        );
    }
}

#[test]
fn events_for_perfetto_are_in_order_and_each_lane_has_a_name() {
    let json = drawn(&rough_day("perfetto.trace"), "json");
    let all: Value = serde_json::from_str(&json).unwrap();
    let names = all["traceEvents"].as_array().unwrap().iter();
    let names = names.filter(|it| it["name"] == "thread_name");
    let names: Vec<_> = names.map(|it| (&it["tid"], &it["args"]["name"])).collect();
    assert_eq!(names[1].1, "port 10 (domain 1, port 1)");
    let mut ends = vec![0; names.len() + 1];
    let mut before = 0;
    for event in events(&json) {
        let (at, tid) = (event["ts"].as_u64().unwrap(), &event["tid"]);
        assert!(before <= at, "{event} is before {before}");
        before = at;
        assert!(names.iter().any(|(named, _)| *named == tid), "{event}");
        assert_eq!(event["pid"], 1);
        if event["ph"] == "X" {
            let end = &mut ends[usize::try_from(tid.as_u64().unwrap()).unwrap()];
            assert!(*end <= at, "{event} begins before the state before it ends");
            *end = at + event["dur"].as_u64().unwrap();
        } else {
            assert_eq!(event["ph"], "i");
        }
    }
}

#[test]
fn a_script_shows_the_wakes_that_it_had() {
    let script = [
        Op::Many(evtchn_checks::Each::Binds(Source::Unbound), 0, 4),
        Op::Many(evtchn_checks::Each::Waits, 0, 3),
        Op::Storm(3, 3),
        Op::Many(evtchn_checks::Each::Signals, 0, 4),
        Op::Serve,
        Op::Wait(3),
        Op::Signal(1),
        Op::Fail(Failing::Unmasking),
        Op::Serve,
        Op::Turn,
        Op::Overflow,
        Op::Turn,
        Op::Cancel(0),
        Op::Unbind(1),
        Op::Signal(2),
        Op::Turn,
    ];
    let path = file("script.trace");
    let out = fs::File::create(&path).unwrap();
    let played = record(4, Trigger::Level, &script, out).unwrap().unwrap();
    let all = events(&drawn(&path, "json"));
    let wakes = count(&all, "wake") + count(&all, "wake without an event");
    assert!(wakes > 4, "{wakes}");
    assert_eq!(wakes, played.wakes);
    assert_eq!(count(&all, "fault"), 1);
    assert_eq!(count(&all, "overflow"), 1);
}

#[test]
fn the_page_needs_nothing_else_and_has_what_the_picture_has() {
    let trace = rough_day("page.trace");
    let page = drawn(&trace, "html");
    let outside = page.replace("http://www.w3.org/2000/svg", "");
    for outside_of in ["http:", "https:", "src=", "@import", "url(/", "import("] {
        assert!(!outside.contains(outside_of), "the page has {outside_of}");
    }
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let picture = lanes(&drawn(&trace, "svg"));
    let of_page = data["lanes"].as_array().unwrap();
    assert_eq!(of_page.len(), picture.len());
    for (lane, (name, bands, marks)) in of_page.iter().zip(picture) {
        assert_eq!(lane["name"], name);
        assert_eq!(lane["spans"].as_array().unwrap().len(), 3 * bands.len());
        assert_eq!(lane["marks"].as_array().unwrap().len(), 3 * marks.len());
        assert!(
            page.contains(&format!("<th scope=\"row\">{name}</th>")),
            "{name}"
        );
    }
}

#[test]
fn what_a_trace_says_is_text_in_every_format() {
    let path = rough_day("hostile.trace");
    let mut trace = Trace::load(&path).unwrap();
    let text = "</script></title><script>alert(1)</script>\u{1b}\"&";
    let failed = Box::new(Failed::new(ErrorKind::Other, text));
    for line in &mut trace.lines {
        if let What::Seam(at) = &mut line.what
            && at.failed.is_some()
        {
            at.failed = Some(failed.clone());
        }
    }
    fs::write(&path, trace.to_bytes()).unwrap();
    for (end, scripts) in [("svg", 0), ("html", 2)] {
        let drawn = drawn(&path, end);
        assert!(drawn.contains("alert(1)"), "the fault is told");
        assert_eq!(drawn.matches("<script").count(), scripts, "{end}");
        assert_eq!(drawn.matches("</script").count(), scripts, "{end}");
        assert!(!drawn.contains('\u{1b}'), "{end}");
    }
    let all = events(&drawn(&path, "json"));
    assert!(all.iter().any(|it| it["args"]["what"] == text));
}

#[test]
fn a_long_trace_of_many_ports_is_a_bounded_picture_that_says_so() {
    let trace = file("long.trace");
    let path = trace.to_str().unwrap();
    let ran = evtchn(&[
        "watch", "--guests", "90", "--events", "4000", "--record", path,
    ]);
    assert_eq!(ran.status.code(), Some(0));
    let svg = drawn(&trace, "svg");
    assert!(svg.contains("dense: a bar counts "));
    assert!(svg.contains("59 ports with fewer marks left out"));
    assert!(svg.contains("class=\"crowd crowd-wake\""));
    let elements = svg.matches('<').count();
    assert!(elements < 40_000, "{elements} tags");
    assert_eq!(lanes(&svg).len(), 32);
    assert_eq!(lanes(&svg)[0].0, "device");
}

#[test]
fn a_trace_that_is_refused_is_exit_code_2_with_its_line_and_draws_nothing() {
    let whole = fs::read(rough_day("refused.trace")).unwrap();
    let mut changed = whole.clone();
    let digit = changed.iter().rposition(|it| *it == b'0').unwrap();
    changed[digit] = b'1';
    let lines = whole.iter().filter(|it| **it == b'\n').count();
    for (name, bytes, part) in [
        (
            "cut",
            whole[..whole.len() / 2].to_vec(),
            "truncated".to_owned(),
        ),
        ("changed", changed, format!("line {lines}: ")),
        (
            "other",
            b"no trace\n".to_vec(),
            "line 1: not the first".to_owned(),
        ),
        ("empty", Vec::new(), "line 1: not the first".to_owned()),
    ] {
        let (trace, output) = (file(name), file(&format!("{name}.svg")));
        fs::write(&trace, bytes).unwrap();
        fs::write(&output, "was here").unwrap();
        let (code, error) = timeline(&trace, &output);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(&part), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(fs::read_to_string(&output).unwrap(), "was here");
    }
    let (code, error) = timeline(Path::new("/nowhere.trace"), &file("nowhere.svg"));
    assert_eq!(code, 2);
    assert!(error.contains("/nowhere.trace: No such file"), "{error}");
}

#[test]
fn the_name_of_the_output_tells_its_format_or_it_is_a_wrong_argument() {
    let trace = rough_day("formats.trace");
    for wrong in ["-", "picture", "picture.png", ".svg", "picture.svg.gz"] {
        let (code, error) = timeline(&trace, Path::new(wrong));
        assert_eq!(code, 2, "{wrong}: {error}");
        assert!(
            error.contains("must end in .svg, .html or .json"),
            "{error}"
        );
        assert!(!Path::new(wrong).exists(), "{wrong} was written");
    }
    let (code, error) = timeline(&trace, &file("CAPITALS.SVG"));
    assert_eq!((code, error.as_str()), (0, ""));
}

#[test]
fn what_cannot_be_written_whole_is_not_written() {
    let trace = rough_day("unwritten.trace");
    let folder = file("unwritten");
    fs::create_dir_all(&folder).unwrap();
    let output = folder.join("day.html");
    fs::write(&output, "was here").unwrap();
    // No file may be longer than four kilobytes, and a write beyond that is an error.
    let limited = "trap '' XFSZ; ulimit -f 4; exec \"$@\"";
    let mut command = Command::new("bash");
    command.args([
        "-c",
        limited,
        "sh",
        env!("CARGO_BIN_EXE_evtchn"),
        "timeline",
    ]);
    let ended = command.arg(&trace).arg("-o").arg(&output).output().unwrap();
    let error = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{error}");
    assert!(
        error.contains("day.html: cannot be written: File too large"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&output).unwrap(), "was here");
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    let (code, error) = timeline(&trace, Path::new("/nowhere/day.svg"));
    assert_eq!(code, 1);
    assert!(
        error.contains("/nowhere/day.svg: cannot be created"),
        "{error}"
    );
}

#[test]
fn help_tells_the_formats_and_exit_codes() {
    let help = evtchn(&["timeline", "--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    for part in [
        ".svg, .html, or .json",
        "Exit code 0: it is written",
        "ui.perfetto.dev",
    ] {
        assert!(help.contains(part), "{help}");
    }
}
