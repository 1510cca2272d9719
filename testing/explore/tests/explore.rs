//! Tests of exploration and of replays of scripts. They limit steps, not time, so each run is the same everywhere.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use evtchn_checks::{Failing, Op, Source, record};
use evtchn_core::Trigger;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evtchn-explore"));
    command.args(arguments.split_whitespace());
    command
}

fn run(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

/// Starts a run of an hour, and returns once it is saved for the first time.
fn started(arguments: &str, kept: &Path) -> Child {
    let _may_be_missing = fs::remove_file(kept);
    let mut command = command(&format!("--time 1h --keep-every 500 {arguments}"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    while !kept.exists() {
        assert_eq!(child.try_wait().unwrap(), None);
        thread::yield_now();
    }
    child
}

fn stdout(arguments: &str, code: i32) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {output:?}");
    assert_eq!(output.stderr, b"", "{arguments}");
    String::from_utf8(output.stdout).unwrap()
}

/// The number of steps of a saved run.
fn steps(kept: &Path) -> u64 {
    let kept = fs::read_to_string(kept).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    kept["state"]["steps"].as_u64().unwrap()
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
    assert_eq!(cells.len(), 190 + 20);
    let met = |table: &str| {
        let met = cells.iter().filter(|cell| cell["table"] == table);
        met.filter(|cell| cell["steps"] != 0).count() as u64
    };
    assert_eq!(object["port_cells"]["met"], met("port"));
    assert_eq!(object["link_cells"]["met"], met("link"));
}

#[test]
fn a_resumed_run_prints_what_an_uninterrupted_run_prints() {
    let kept = file("goes-on.json");
    let _may_be_missing = fs::remove_file(&kept);
    let resume = format!("--seed 3 --resume {}", kept.display());
    stdout(&format!("--steps 5000 {resume}"), 0);
    let left = 20_000 - steps(&kept);
    let resumed = stdout(&format!("--steps {left} {resume}"), 0);
    assert_eq!(resumed, stdout("--seed 3 --steps 20000", 0));
}

#[test]
fn a_run_ended_by_ctrl_c_resumes_as_if_uninterrupted() {
    let kept = file("ctrl-c.json");
    let resume = format!("--seed 4 --resume {}", kept.display());
    let child = started(&resume, &kept);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let summary = String::from_utf8(output.stdout).unwrap();
    let done = steps(&kept);
    assert!(
        summary.contains(&format!("\n  {done} steps, ")),
        "{summary}"
    );
    let resumed = stdout(&format!("--steps 5000 {resume}"), 0);
    assert!(steps(&kept) >= done + 5000);
    let whole = stdout(&format!("--seed 4 --steps {}", done + 5000), 0);
    assert_eq!(resumed, whole);
}

#[test]
fn a_killed_run_resumes_from_its_last_saved_state() {
    let kept = file("killed.json");
    let resume = format!("--seed 5 --resume {}", kept.display());
    let mut child = started(&resume, &kept);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    let done = steps(&kept);
    assert!(done >= 500, "{done}");
    let resumed = stdout(&format!("--steps 5000 {resume}"), 0);
    let whole = stdout(&format!("--seed 5 --steps {}", done + 5000), 0);
    assert_eq!(resumed, whole);
}

#[test]
fn a_run_that_cannot_be_saved_ends_with_an_error() {
    let folder = file("kept-nowhere");
    fs::create_dir_all(&folder).unwrap();
    let kept = folder.join("run.json");
    let _may_be_missing = fs::remove_file(&kept);
    let kept = kept.display();
    // With a limit of zero bytes each write is an error.
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_evtchn-explore")]);
    let arguments = format!("--time 1h --resume {kept} --keep-every 500");
    let output = command.args(arguments.split_whitespace()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&format!("cannot write {kept}")), "{stderr}");
}

#[test]
fn saving_a_run_does_not_touch_other_files() {
    let folder = file("kept-beside");
    let _may_be_missing = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("run.new"), "of the user").unwrap();
    let kept = folder.join("run.json");
    stdout(&format!("--steps 2000 --resume {}", kept.display()), 0);
    assert!(steps(&kept) >= 2000);
    assert_eq!(
        fs::read_to_string(folder.join("run.new")).unwrap(),
        "of the user"
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
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

/// A name that controls a terminal if it is printed as it is.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\r\nevtchn: forged\u{202e}";

#[test]
fn names_and_steps_are_escaped_before_they_reach_the_terminal() {
    let kept = file(HOSTILE);
    fs::write(&kept, "").unwrap();
    let mut resumed = command("--steps 1 --resume");
    let mut replayed = command("--replay");
    for (command, code) in [(&mut resumed, 1), (&mut replayed, 2)] {
        let output = command.arg(&kept).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            !stderr.contains('\u{1b}') && stderr.contains("\\u{1b}"),
            "{stderr}"
        );
    }
}

#[test]
fn an_endless_saved_run_is_refused_in_bounded_memory() {
    // With 256 MiB of address space.
    let limited = "ulimit -v 262144; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_evtchn-explore")]);
    let output = command
        .args(["--steps", "1", "--resume", "/dev/zero"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("longer than 1048576 bytes"), "{stderr}");
}

#[test]
fn a_script_is_played_against_the_model() {
    let script = [
        Op::Bind(0, Source::Interdomain),
        Op::Wait(0),
        Op::Fail(Failing::Unmasking),
        Op::Serve,
    ];
    let path = file("script.trace");
    let out = fs::File::create(&path).unwrap();
    record(3, Trigger::Level, &script, out).unwrap().unwrap();
    let output = stdout(&format!("--replay {}", path.display()), 0);
    assert!(
        output.ends_with("it passes: 4 steps, 1 wakes\n"),
        "{output}"
    );
}

#[test]
fn the_trace_of_a_run_names_the_command_that_plays_it() {
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/timeline.trace");
    let output = run(&format!("--replay {trace}"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("`evtchn replay` plays it"), "{stderr}");
}
