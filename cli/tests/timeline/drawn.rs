//! Runs `evtchn timeline`, and reads its output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::day;

pub(crate) fn evtchn(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evtchn"));
    command.args(arguments).output().unwrap()
}

/// A file for one test only.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Exit code and standard error of `evtchn timeline`.
pub(crate) fn timeline(trace: &Path, output: &Path) -> (i32, String) {
    let (trace, output) = (trace.to_str().unwrap(), output.to_str().unwrap());
    let ended = evtchn(&["timeline", trace, "-o", output]);
    assert_eq!(ended.stdout, b"", "nothing is printed");
    let error = String::from_utf8(ended.stderr).unwrap();
    (ended.status.code().unwrap(), error)
}

/// The picture of a trace, in the format of the extension `end`.
pub(crate) fn drawn(trace: &Path, end: &str) -> String {
    let output = trace.with_extension(end);
    assert_eq!(timeline(trace, &output), (0, String::new()));
    fs::read_to_string(output).unwrap()
}

pub(crate) fn rough_day(name: &str) -> PathBuf {
    let path = file(name);
    let _stats = day::record(day::SEED, fs::File::create(&path).unwrap()).unwrap();
    path
}

/// The complete trace in docs/traces.md.
pub(crate) fn documented(name: &str) -> PathBuf {
    let document = include_str!("../../../docs/traces.md");
    let (_, rest) = document.split_once("```jsonl whole\n").unwrap();
    let (trace, _) = rest.split_once("```").unwrap();
    let path = file(name);
    fs::write(&path, trace).unwrap();
    path
}

/// The lanes of a picture: the name, the bands and the marks of each.
pub(crate) fn lanes(svg: &str) -> Vec<(String, Vec<String>, Vec<String>)> {
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

/// The events of a trace for Perfetto, without those that name lanes.
pub(crate) fn events(json: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(json).unwrap();
    let all = all["traceEvents"].as_array().unwrap();
    all.iter().filter(|it| it["ph"] != "M").cloned().collect()
}

pub(crate) fn count(events: &[Value], name: &str) -> u64 {
    events.iter().filter(|it| it["name"] == name).count() as u64
}
