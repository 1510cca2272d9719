//! `evtchn explore` as its users meet it. By steps, not by time: the same run everywhere.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evtchn"));
    let arguments = arguments.split_whitespace();
    command.arg("explore").args(arguments).output().unwrap()
}

fn stdout(arguments: &str, code: i32) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {output:?}");
    assert_eq!(output.stderr, b"", "{arguments}");
    String::from_utf8(output.stdout).unwrap()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_short_run_counts_its_steps_and_its_cells() {
    let object: Value = serde_json::from_str(&stdout("--steps 20000 --json", 0)).unwrap();
    assert!(object["steps"].as_u64().unwrap() >= 20_000);
    assert!(object["wakes"].as_u64().unwrap() > 1_000);
    assert!(object["found"].is_null() && object["steps_per_second"].is_null());
    assert_eq!(object["link_cells"]["reachable"], 16);
    let cells = object["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 126 + 20);
    let met = |table: &str| {
        let met = cells.iter().filter(|cell| cell["table"] == table);
        met.filter(|cell| cell["steps"] != 0).count() as u64
    };
    assert_eq!(object["port_cells"]["met"], met("port"));
    assert_eq!(object["link_cells"]["met"], met("link"));
}

#[test]
fn a_run_that_goes_on_prints_what_one_that_did_not_stop_does() {
    let kept = file("goes-on.json");
    let _unless_there_is_none = fs::remove_file(&kept);
    let resume = format!("--seed 3 --resume {}", kept.display());
    stdout(&format!("--steps 5000 {resume}"), 0);
    let first = fs::read_to_string(&kept).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    let left = 20_000 - first["state"]["steps"].as_u64().unwrap();
    let gone_on = stdout(&format!("--steps {left} {resume}"), 0);
    assert_eq!(gone_on, stdout("--seed 3 --steps 20000", 0));
}

#[test]
fn a_damaged_file_is_refused_in_one_line() {
    let kept = file("damaged.json");
    fs::write(&kept, "{\"version\":1,").unwrap();
    let output = run(&format!("--steps 10 --resume {}", kept.display()));
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("it is damaged"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn scenarios_are_listed() {
    let list = stdout("--scenario list", 0);
    assert!(
        list.lines().count() >= 6 && list.contains("storms"),
        "{list}"
    );
}

#[test]
fn wrong_arguments_are_exit_code_2() {
    for arguments in ["--steps 0", "--time 5x", "--scenario none", "--seed x"] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments}");
    }
}
