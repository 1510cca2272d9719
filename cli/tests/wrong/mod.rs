//! Wrong uses: each ends with one line on stderr that names the error, and with its exit code.
//!
//! Nothing stays bound. On the simulator the command itself compares the bound ports of domain 0 with
//! those at its start, and fails with `still bound` if they differ. On the device a test binds again what
//! can be bound only once.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod hostile;
mod table;
mod xen;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::{DEVICE, as_unprivileged_user, evtchn, program, skipped, stderr};
use table::{NO_DEVICE, RUNS, USAGE, Wrong};

/// The complaint if an output is not as expected.
fn complaint(output: &Output, (arguments, code, parts): Wrong) -> Option<String> {
    let line = stderr(output);
    let is_line = line.starts_with("evtchn: ") && line.ends_with('\n') && line.lines().count() == 1;
    let has_all = parts.iter().all(|part| line.contains(part));
    let is_right = output.status.code() == Some(code) && is_line && has_all;
    (!is_right).then(|| {
        format!(
            "evtchn {arguments}: {code} expected, {}: {line}",
            output.status
        )
    })
}

fn assert_one_line_and_exit_code(table: &[Wrong]) {
    let complaints = table.iter().filter_map(|&wrong| {
        let output = evtchn(wrong.0).stdin(Stdio::null()).output().unwrap();
        complaint(&output, wrong)
    });
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn each_wrong_argument_is_one_line_and_its_exit_code() {
    assert_one_line_and_exit_code(USAGE);
}

#[test]
fn each_failure_on_the_simulator_and_with_files_is_one_line_and_its_exit_code() {
    assert_one_line_and_exit_code(RUNS);
}

#[test]
fn a_missing_device_is_one_line_and_its_exit_code() {
    if Path::new(DEVICE).exists() {
        skipped("a machine without /dev/xen/evtchn");
        return;
    }
    assert_one_line_and_exit_code(NO_DEVICE);
}

/// A directory for one test only, which every user may enter.
fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("evtchn-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn an_unprivileged_user_may_not_open_a_device_of_root() {
    let directory = directory("nobody");
    let device = directory.join("evtchn");
    File::create(&device).unwrap();
    fs::set_permissions(&device, Permissions::from_mode(0o600)).unwrap();
    let Some(mut command) = as_unprivileged_user(&directory) else {
        skipped("to be run as root");
        return;
    };
    let output = command
        .args(["listen", "3", "--device"])
        .arg(&device)
        .output();
    fs::remove_dir_all(directory).unwrap();
    let wrong: Wrong = ("listen 3, as nobody", 4, &["denied", "run this as root"]);
    assert_eq!(complaint(&output.unwrap(), wrong), None);
}

/// Commands that write to stdout.
const PRINTING: &[&str] = &[
    "--help",
    "--version",
    "watch --help",
    "watch --events 100000",
    "watch --events 100000 --json",
    "listen --backend sim 3",
    "listen --backend sim 3 --dies-after 100000",
    "notify --backend sim 3:7 --count 100000",
    "ping --backend sim",
    "ping --backend sim --json",
    "ls --backend sim",
    "watch --help",
    "ls --help",
    "doctor --help",
    "timeline --help",
    "completions bash",
    "man",
];

#[test]
fn a_closed_pipe_ends_each_command_without_an_error() {
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = evtchn(arguments).stdout(writer).output().unwrap();
        assert_eq!(stderr(&output), "", "{arguments}");
        assert_eq!(output.status.code(), Some(0), "{arguments}");
    }
}

#[test]
fn each_output_is_ascii_so_that_any_locale_shows_it() {
    for arguments in PRINTING.iter().filter(|it| !it.contains("100000")) {
        let output = evtchn(arguments).env("LC_ALL", "C").output().unwrap();
        assert!(output.stdout.is_ascii(), "{arguments}: {output:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_one_line_in_each_command() {
    for arguments in PRINTING
        .iter()
        .filter(|it| !it.contains("--help") && !it.contains("--version"))
    {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = evtchn(arguments).stdout(full).output().unwrap();
        let wrong: Wrong = (arguments, 1, &["cannot write the output", "No space left"]);
        assert_eq!(complaint(&output, wrong), None);
    }
}

#[test]
fn a_damaged_trace_is_refused_in_one_line() {
    let directory = directory("damaged");
    let trace = directory.join("trace");
    let record = format!("watch --guests 2 --events 20 --record {}", trace.display());
    assert!(evtchn(&record).output().unwrap().status.success());
    let whole = fs::read(&trace).unwrap();
    let middle = whole.len() / 2;
    let damages: [(&str, Vec<u8>); 4] = [
        ("cut in its first line", whole[..20].to_vec()),
        (
            "flipped",
            [&whole[..middle], &[whole[middle] ^ 1], &whole[middle + 1..]].concat(),
        ),
        ("zeros", vec![0; 4096]),
        ("no trace", b"#!/bin/sh\necho no\n".to_vec()),
    ];
    for (name, bytes) in damages {
        fs::write(&trace, bytes).unwrap();
        let output = evtchn(&format!("replay {}", trace.display()))
            .output()
            .unwrap();
        let line = stderr(&output);
        assert_eq!(line.lines().count(), 1, "{name}: {output:?}");
        assert_eq!(output.status.code(), Some(2), "{name}: {line}");
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_file_that_may_not_be_written_is_not_replaced() {
    let directory = directory("protected");
    let Some(mut command) = as_unprivileged_user(&directory) else {
        skipped("to be run as root");
        return;
    };
    // The directory may be written, the file in it may not.
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    let output = directory.join("run.trace");
    fs::write(&output, "was here").unwrap();
    fs::set_permissions(&output, Permissions::from_mode(0o444)).unwrap();
    let ended = command
        .args(["watch", "--once", "--record"])
        .arg(&output)
        .output();
    let wrong: Wrong = (
        "watch --record, as nobody",
        1,
        &["run.trace: cannot be created", "denied"],
    );
    assert_eq!(complaint(&ended.unwrap(), wrong), None);
    assert_eq!(fs::read_to_string(&output).unwrap(), "was here");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_file_that_root_replaces_keeps_its_owner() {
    let directory = directory("owner");
    let output = directory.join("run.trace");
    fs::write(&output, "was here").unwrap();
    if chown(&output, Some(65_534), Some(65_533)).is_err() {
        skipped("to be run as root");
        return;
    }
    let mut command = evtchn("watch --once --record");
    assert!(command.arg(&output).output().unwrap().status.success());
    let kept = fs::metadata(&output).unwrap();
    assert!(kept.len() > 100);
    assert_eq!((kept.uid(), kept.gid()), (65_534, 65_533));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn pages_of_the_manual_that_cannot_be_written_leave_the_old_pages() {
    let directory = directory("manual");
    let install = format!("man {}", directory.display());
    assert!(evtchn(&install).output().unwrap().status.success());
    let page = directory.join("evtchn-watch.1");
    let before = fs::read(&page).unwrap();
    assert!(directory.join("evtchn.1").exists());
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let mut command = Command::new("bash");
    let output = command
        .args(["-c", limited, "sh"])
        .arg(program())
        .arg("man")
        .arg(&directory);
    let output = output.output().unwrap();
    let wrong: Wrong = (
        "man DIR, on a full disk",
        1,
        &["cannot write to", "File too large"],
    );
    assert_eq!(complaint(&output, wrong), None);
    assert!(fs::read(&page).unwrap() == before);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn without_a_terminal_watch_prints_lines_instead_of_a_table() {
    for term in ["xterm", "dumb", ""] {
        let mut command = evtchn("watch --events 3");
        let output = command
            .env("TERM", term)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.stdout.contains(&0x1b), "{output:?}");
        assert_eq!(stderr(&output), "");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn an_invalid_log_filter_is_a_usage_error() {
    let mut command = evtchn("watch --once");
    let output = command.env("RUST_LOG", "evtchn=loud").output().unwrap();
    let wrong: Wrong = ("watch, with RUST_LOG", 2, &["RUST_LOG", "level"]);
    assert_eq!(complaint(&output, wrong), None);
}
