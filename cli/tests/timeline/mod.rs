//! Tests of `evtchn timeline`: a picture shows what is in the trace.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod calls;
#[path = "../../examples/rough_day/day.rs"]
mod day;
mod drawn;
mod files;

use std::fs;

use drawn::{count, documented, drawn, events, evtchn, file, lanes, rough_day};
use evtchn_checks::{Failing, Op, Source, record};
use evtchn_core::{ErrorKind, Trigger};
use evtchn_trace::{Failed, Record, Trace};
use serde_json::Value;

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
                "masked, lines 38 to 52",
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
fn the_picture_in_the_documents_is_drawn_from_the_trace_beside_it() {
    let trace = file("beside.trace");
    fs::write(&trace, include_str!("../../../docs/timeline.trace")).unwrap();
    let committed = include_str!("../../../docs/timeline.svg");
    same("docs/timeline.svg", &drawn(&trace, "svg"), committed);
}

#[test]
fn the_legends_of_the_picture_and_of_the_page_have_the_same_words() {
    let trace = rough_day("legend.trace");
    let svg = drawn(&trace, "svg");
    let (_, legend) = svg.split_once("<g class=\"legend\">").unwrap();
    let words = legend.lines().filter_map(|line| {
        let (_, rest) = line.split_once("<text ")?.1.split_once('>')?;
        Some(rest.split_once("</text>")?.0)
    });
    let page = drawn(&trace, "html");
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let (data, script) = data.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let names = |key: &str| -> Vec<String> {
        let entries = data[key].as_array().unwrap().iter();
        entries
            .map(|entry| entry[1].as_str().unwrap().to_owned())
            .collect()
    };
    let names = [names("looks"), names("kinds")].concat();
    assert!(
        names.contains(&"waiting, registered".to_owned()),
        "{names:?}"
    );
    for word in words {
        assert!(names.iter().any(|name| name == word), "{word}: {names:?}");
    }
    // The script takes the words from there.
    assert!(script.contains("LEGEND = new Map(data.looks)"));
    assert!(script.contains("LEGEND.get(look)"));
}

#[test]
fn the_trace_in_the_documents_is_recorded_by_its_example() {
    let recorded = fs::read_to_string(rough_day("documented.trace")).unwrap();
    let committed = include_str!("../../../docs/timeline.trace");
    same("docs/timeline.trace", &recorded, committed);
}

fn same(name: &str, made: &str, committed: &str) {
    let lines = made.lines().zip(committed.lines());
    let line = lines.take_while(|(a, b)| a == b).count() + 1;
    assert!(
        made == committed,
        "{name} differs in line {line}. If that is intended, make it again as docs/timeline.md says."
    );
}

#[test]
fn the_counts_of_the_picture_are_those_of_the_context() {
    for seed in 0..16 {
        let path = file(&format!("day-{seed}.trace"));
        let stats = day::record(seed, fs::File::create(&path).unwrap()).unwrap();
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
    let mut is_open = vec![false; names.len() + 1];
    let mut before = 0;
    for event in events(&json) {
        let (at, tid) = (event["ts"].as_u64().unwrap(), &event["tid"]);
        assert!(before <= at, "{event} is before {before}");
        before = at;
        assert!(names.iter().any(|(named, _)| *named == tid), "{event}");
        assert_eq!(event["pid"], 1);
        let is_open = &mut is_open[usize::try_from(tid.as_u64().unwrap()).unwrap()];
        match event["ph"].as_str().unwrap() {
            begin_or_end @ ("B" | "E") => {
                assert_eq!(*is_open, begin_or_end == "E", "{event}");
                *is_open = begin_or_end == "B";
            }
            mark => assert_eq!(mark, "i"),
        }
    }
    assert!(!is_open.contains(&true), "a state does not end");
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
fn the_page_is_self_contained_and_shows_the_same_as_the_picture() {
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
fn the_table_of_the_page_counts_the_marks_of_the_picture() {
    let trace = rough_day("table.trace");
    let page = drawn(&trace, "html");
    let kinds = [
        "wake",
        "latch",
        "sent by the other end",
        "notify",
        "overflow",
        "fault",
    ];
    for (name, _, marks) in lanes(&drawn(&trace, "svg")) {
        let row = format!("<tr><th scope=\"row\">{name}</th>");
        let (_, row) = page.split_once(&row).unwrap();
        let cells = row
            .lines()
            .next()
            .unwrap()
            .split("<td class=\"number\">")
            .skip(1);
        let counted: Vec<&str> = cells.map(|it| it.split('<').next().unwrap()).collect();
        let count = |kind: &str| marks.iter().filter(|it| it.starts_with(kind)).count();
        let expected: Vec<String> = kinds.iter().map(|kind| count(kind).to_string()).collect();
        assert_eq!(counted, expected, "{name}: {marks:?}");
    }
}

#[test]
fn strings_of_a_trace_are_escaped_in_every_format() {
    let path = rough_day("hostile.trace");
    let mut trace = Trace::load(&path).unwrap();
    let text = "</script></title><script>alert(1)</script>\u{1b}\u{9b}\u{202e}\u{fffe}\u{ffff}\"&";
    let failed = Box::new(Failed::new(ErrorKind::Other, text));
    for line in &mut trace.lines {
        if let Record::Backend(at) = &mut line.record
            && at.failed.is_some()
        {
            at.failed = Some(failed.clone());
        }
    }
    fs::write(&path, trace.to_bytes()).unwrap();
    for (end, scripts) in [("svg", 0), ("html", 2)] {
        let drawn = drawn(&path, end);
        assert!(drawn.contains("alert(1)"), "the fault is shown");
        assert_eq!(drawn.matches("<script").count(), scripts, "{end}");
        assert_eq!(drawn.matches("</script").count(), scripts, "{end}");
        let wrong = drawn.chars().find(|it| !is_shown(*it));
        assert_eq!(wrong, None, "{end}");
        assert!(
            drawn.contains("\\u{1b}\\u{9b}\\u{202e}\\u{fffe}\\u{ffff}"),
            "{end}"
        );
    }
    let json = drawn(&path, "json");
    assert_eq!(json.chars().find(|it| !is_shown(*it)), None);
    let all = events(&json);
    assert!(all.iter().any(|it| it["args"]["what"] == text));
}

/// Whether XML has the character and a terminal shows it.
fn is_shown(letter: char) -> bool {
    let is_in_xml = matches!(letter, '\n' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
    let turns = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    is_in_xml && !turns && (letter == '\n' || !letter.is_control())
}

#[test]
fn a_long_trace_of_many_ports_is_drawn_in_bounded_size_with_a_note() {
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
