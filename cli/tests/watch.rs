//! Tests of `evtchn watch`: arguments in, lines and an exit code out.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const DEVICE: &str = "/dev/xen/evtchn";

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evtchn"));
    command.args(arguments.split_whitespace());
    command
}

pub(crate) fn run(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

pub(crate) fn stdout(arguments: &str) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {output:?}");
    assert_eq!(output.stderr, b"", "{arguments}");
    String::from_utf8(output.stdout).unwrap()
}

/// The error line of a run that failed with this code.
pub(crate) fn failure(code: i32, output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("evtchn: "), "{stderr}");
    stderr
}

/// Reports a skipped test.
#[expect(
    clippy::explicit_write,
    reason = "the test harness keeps what a passing test prints to itself"
)]
fn skipped(needed: &str) {
    writeln!(io::stderr(), "SKIPPED: this case needs {needed} {DEVICE}").unwrap();
}

fn objects(arguments: &str) -> Vec<Value> {
    let lines = stdout(arguments);
    let objects = lines.lines().map(serde_json::from_str);
    objects.collect::<Result<_, _>>().unwrap()
}

fn count(objects: &[Value], event: &str) -> u64 {
    let found = objects.iter().filter(|object| object["event"] == event);
    found.count().try_into().unwrap()
}

/// Checks the summary of a run with one kind of notifier against its lines.
fn assert_summary_agrees(arguments: &str) {
    let objects = objects(arguments);
    let summary = objects.last().unwrap();
    let number = |key: &str| summary[key].as_u64().unwrap();
    assert_eq!(count(&objects, "summary"), 1, "{arguments}");
    assert_eq!(count(&objects, "wake"), number("wakes"), "{arguments}");
    for event in ["registered", "deregistered"] {
        assert_eq!(count(&objects, event), number(event), "{arguments}");
    }
    assert_eq!(number("registered"), number("deregistered"), "{arguments}");
    assert_eq!(summary["idle"], true, "{arguments}");

    let notifier = &summary["notifiers"][0];
    let sent = notifier["notifies"].as_u64().unwrap();
    let coalesced = notifier["coalesced"].as_u64().unwrap();
    assert_eq!(notifier["wakes"], summary["wakes"], "{arguments}");
    assert_eq!(sent, number("wakes") + coalesced, "{arguments}");
}

#[test]
fn a_small_run_prints_the_expected_lines() {
    let expected = "\
[    0.000000] backend       simulator, seed 1
[    0.000000] bound         port 10     remote 1:1
[    0.000000] bound         port 11     remote 2:1
[    0.005508] registered
[    0.006772] wake          port 10     remote 1:1          cause event
[    0.007067] wake          port 10     remote 1:1          cause event
[    0.008505] wake          port 11     remote 2:1          cause event
[    0.009414] wake          port 11     remote 2:1          cause event
[    0.009414] wake          port 10     remote 1:1          cause event
[    0.012621] wake          port 11     remote 2:1          cause event
[    0.012621] deregistered
summary               notifies sent   coalesced   wakes delivered
  2 guests                        7           1                 6
  reads                           5       0.833 per wake
  writes                          4       0.667 per wake
  times registered                1
  backend             simulator, seed 1
  idle: nothing registered, nothing open
";
    assert_eq!(stdout("watch --guests 2 --events 6 --seed 1"), expected);
}

#[test]
fn the_seed_decides_every_byte() {
    let seven = stdout("watch --seed 7");
    assert_eq!(stdout("watch --seed 7"), seven);
    assert_ne!(stdout("watch --seed 8"), seven);
}

#[test]
fn the_summary_agrees_with_the_lines() {
    assert_summary_agrees("watch --json");
    assert_summary_agrees("watch --json --seed 3 --guests 1 --events 1");
    assert_summary_agrees("watch --json --seed 5 --guests 1 --events 500");
    assert_summary_agrees("watch --json --guests 300 --events 20000");
}

#[test]
fn registrations_alternate_and_every_wake_comes_while_registered() {
    let mut is_registered = false;
    let mut latest = 0;
    for object in objects("watch --json --seed 11") {
        match object["event"].as_str().unwrap() {
            "registered" => assert!(!std::mem::replace(&mut is_registered, true)),
            "deregistered" => assert!(std::mem::replace(&mut is_registered, false)),
            "wake" => assert!(is_registered, "{object}"),
            _ => assert!(!is_registered, "{object}"),
        }
        let time = object["time_ns"].as_u64().unwrap();
        assert!(time >= latest, "{object}");
        latest = time;
    }
    assert!(!is_registered);
}

#[test]
fn without_options_notifies_coalesce_and_the_device_is_deregistered_at_times() {
    let objects = objects("watch --json");
    let summary = objects.last().unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let wakes = number(&summary["wakes"]);
    assert!((2000..5000).contains(&wakes));
    assert!(number(&summary["notifiers"][0]["coalesced"]) > 0);
    assert!(number(&summary["reads"]) < wakes);
    assert!(number(&summary["writes"]) < wakes);
    assert!((2..100).contains(&number(&summary["registered"])));
}

/// Starts a run that does not end by itself, and reads the first line of its output.
fn endless() -> (Child, BufReader<impl Read>) {
    let mut child = command("watch --events 1000000000000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.contains("backend       simulator, seed 0"), "{first}");
    (child, lines)
}

#[test]
fn a_closed_pipe_ends_it_without_an_error() {
    let (child, lines) = endless();
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn ctrl_c_tears_down_and_prints_the_summary() {
    let (child, mut lines) = endless();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
    let (lines, summary) = rest.split_once("summary").unwrap();
    let last = lines.lines().next_back().unwrap();
    assert!(last.ends_with("deregistered"), "{last}");
    let idle = "idle: nothing registered, nothing open\n";
    assert!(summary.ends_with(idle), "{summary}");
}

#[test]
fn output_that_cannot_be_written_is_one_line() {
    let full = fs::File::options().write(true).open("/dev/full");
    let output = command("watch").stdout(full.unwrap()).output().unwrap();
    assert!(failure(1, output).contains("cannot write the output"));
}

#[test]
fn without_a_device_the_real_backend_fails_with_one_line() {
    if Path::new(DEVICE).exists() {
        skipped("a machine without");
        return;
    }
    for arguments in [
        "watch --loopback 4",
        "watch --backend xen --loopback 4",
        "watch --virq DOM_EXC --json",
    ] {
        let output = run(arguments);
        assert_eq!(output.stdout, b"", "{arguments}");
        let line = failure(3, output);
        for part in [DEVICE, "not a Xen domain", "--backend sim"] {
            assert!(line.contains(part), "{line}");
        }
    }
}

#[test]
fn with_a_device_the_real_backend_does_the_same_job() {
    if !Path::new(DEVICE).exists() {
        skipped("a machine with");
        return;
    }
    assert_summary_agrees("watch --backend xen --json --loopback 16 --events 2000");
    let output = run("watch --backend xen --virq TIMER");
    assert!(failure(1, output).contains("stop the process that has it"));
}

/// An empty directory for one test only.
pub(crate) fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _may_be_missing = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// The number of files in a directory, hidden ones too.
pub(crate) fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_run_that_cannot_begin_keeps_the_old_recording() {
    let directory = directory("recorded-before");
    let good = directory.join("good.trace");
    let record = good.display();
    stdout(&format!("watch --events 20 --record {record}"));
    let whole = fs::read(&good).unwrap();
    for (arguments, code) in [
        ("--loopback 1 --device /nonexistent/evtchn", 3),
        ("--loopback 1 --device /dev/null", 3),
        ("--only 99:", 1),
    ] {
        failure(code, run(&format!("watch {arguments} --record {record}")));
        assert!(fs::read(&good).unwrap() == whole, "{arguments}");
    }
    let none = directory.join("none.trace");
    failure(
        1,
        run(&format!("watch --only 99: --record {}", none.display())),
    );
    assert_eq!(files(&directory), 1, "nothing is left beside it");
}

#[test]
fn a_full_disk_at_the_start_keeps_the_old_recording() {
    let directory = directory("recorded-full");
    let good = directory.join("good.trace");
    fs::write(&good, "was here").unwrap();
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let mut command = Command::new("bash");
    command.args([
        "-c",
        limited,
        "sh",
        env!("CARGO_BIN_EXE_evtchn"),
        "watch",
        "--record",
    ]);
    let error = failure(1, command.arg(&good).output().unwrap());
    assert!(
        error.contains("cannot write the trace: File too large"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&good).unwrap(), "was here");
    assert_eq!(files(&directory), 1, "nothing is left beside it");
}

#[test]
fn a_killed_run_keeps_what_it_has_recorded() {
    let directory = directory("recorded-killed");
    let trace = directory.join("run.trace");
    let record = format!("watch --events 100000000 --record {}", trace.display());
    let mut child = command(&record).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..100 {
        lines.read_line(&mut String::new()).unwrap();
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    assert_eq!(files(&directory), 1);
    let replayed = run(&format!("replay {}", trace.display()));
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    let error = String::from_utf8(replayed.stderr).unwrap();
    assert!(error.contains("run.trace: cut off after line "), "{error}");
    let output = String::from_utf8(replayed.stdout).unwrap();
    let (_, output) = output.split_once("the same up to line ").unwrap();
    let line: usize = output.split_once(':').unwrap().0.parse().unwrap();
    // Each printed wake has more than one line in the trace.
    assert!(line > 100, "{output}");
}

#[test]
fn a_recording_ended_by_a_full_disk_is_an_error_and_replays_up_to_the_cut() {
    let directory = directory("recorded-short");
    let trace = directory.join("run.trace");
    let limited = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let mut command = Command::new("bash");
    command.args([
        "-c",
        limited,
        "sh",
        env!("CARGO_BIN_EXE_evtchn"),
        "watch",
        "--record",
    ]);
    let error = failure(1, command.arg(&trace).output().unwrap());
    assert!(
        error.contains("cannot write the trace: File too large"),
        "{error}"
    );
    assert_eq!(fs::metadata(&trace).unwrap().len(), 8 * 1024);
    let replayed = run(&format!("replay {}", trace.display()));
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    let error = String::from_utf8(replayed.stderr).unwrap();
    assert!(error.contains("run.trace: cut off after line "), "{error}");
}

#[test]
fn a_recording_follows_links_and_writes_to_pipes_and_devices() {
    let directory = directory("recorded-where");
    let plain = directory.join("plain.trace");
    let watch = "watch --guests 2 --events 50 --record";
    stdout(&format!("{watch} {}", plain.display()));
    let whole = fs::read(&plain).unwrap();

    let (link, target) = (directory.join("link"), directory.join("target"));
    symlink("target", &link).unwrap();
    fs::write(&target, "was here").unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
    stdout(&format!("{watch} {}", link.display()));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read(&target).unwrap() == whole);
    let mode = fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    let fifo = directory.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let reader = fifo.clone();
    let reader = thread::spawn(move || fs::read(reader).unwrap());
    stdout(&format!("{watch} {}", fifo.display()));
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    assert!(reader.join().unwrap() == whole);

    stdout(&format!("{watch} /dev/null"));
    let full = failure(1, run(&format!("{watch} /dev/full")));
    assert!(
        full.contains("cannot write the trace: No space left"),
        "{full}"
    );
    let nowhere = failure(1, run(&format!("{watch} /nowhere/trace")));
    assert!(
        nowhere.contains("/nowhere/trace: cannot be created"),
        "{nowhere}"
    );
    assert_eq!(files(&directory), 4);
}

#[test]
fn wrong_arguments_are_exit_code_2() {
    for (arguments, part) in [
        ("", "Usage"),
        ("watch --bogus", "--bogus"),
        ("watch --guests 0", "--guests"),
        ("watch --guests many", "--guests"),
        ("watch --guests 100000", "--guests"),
        ("watch --events 0", "--events"),
        ("watch --events -1", "-1"),
        ("watch --seed x", "--seed"),
        ("watch --backend vmware", "vmware"),
        ("watch --backend sim --loopback 4", "--backend xen"),
        ("watch --backend sim --virq TIMER", "--backend xen"),
        ("watch --backend xen --seed 1", "--backend sim"),
        ("watch --backend xen --guests 1", "--backend sim"),
        ("watch --backend xen --loopback 0", "--loopback"),
        ("watch --backend xen --virq BOGUS", "--virq"),
        ("watch --backend xen --virq -1", "-1"),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert_eq!(output.stdout, b"", "{arguments}");
        assert!(stderr.contains(part), "{arguments}: {stderr}");
    }
}

#[test]
fn help_gives_examples() {
    let help = stdout("watch --help");
    for part in [
        "evtchn watch --loopback 16",
        "Options that need Xen:",
        "Options of the simulator:",
    ] {
        assert!(help.contains(part), "{help}");
    }
}
