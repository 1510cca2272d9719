//! Wrong uses: each ends with one line on stderr that says what was wrong, and with its exit code.
//!
//! Nothing stays bound. On the simulator the command itself compares the hypervisor's table of
//! domain 0 with the one that it found, and fails with `still bound` where they differ. On the
//! device, what can be bound once only is bound again.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{DEVICE, evtchn, program, skipped, stderr};

/// Arguments, exit code, and what the line says.
type Wrong = (&'static str, i32, &'static [&'static str]);

/// Arguments that are refused before anything is done.
const USAGE: &[Wrong] = &[
    ("bogus", 2, &["bogus", "evtchn --help"]),
    ("--bogus", 2, &["--bogus", "evtchn --help"]),
    ("watch --bogus", 2, &["--bogus", "evtchn watch --help"]),
    ("watch --event 3", 2, &["--event", "'--events'"]),
    ("watch stray", 2, &["stray"]),
    ("watch --backend vmware", 2, &["vmware", "sim, xen"]),
    ("watch --events 0", 2, &["--events"]),
    ("watch --guests 5000", 2, &["4096"]),
    ("watch --once --events 3", 2, &["--once", "--events"]),
    ("watch --timeout soon", 2, &["soon", "20ms"]),
    ("watch --timeout 1y", 2, &["1y", "20ms"]),
    ("watch --only nonsense", 2, &["nonsense", "DOM_EXC"]),
    ("watch --only 3:0", 2, &["3:0"]),
    ("watch --exec '", 2, &["quote"]),
    ("watch --unbound 3", 2, &["--unbound needs --backend xen"]),
    (
        "watch --interdomain 3:7",
        2,
        &["--interdomain needs --backend xen"],
    ),
    (
        "watch --device /dev/null",
        2,
        &["--device needs --backend xen"],
    ),
    ("watch --backend xen --interdomain 3", 2, &["3"]),
    ("watch --backend xen --interdomain 3:0", 2, &["port 0"]),
    ("watch --backend xen --unbound 65536", 2, &["16 bits"]),
    ("listen", 2, &["<DOM>", "evtchn listen --help"]),
    ("listen -1", 2, &["-1"]),
    ("listen everyone", 2, &["everyone"]),
    ("listen 3 --once --count 3", 2, &["--once", "--count"]),
    ("listen 3 --count 0", 2, &["--count"]),
    ("listen 3 --seed 7", 2, &["--seed needs --backend sim"]),
    (
        "listen 3 --dies-after 7",
        2,
        &["--dies-after needs --backend sim"],
    ),
    (
        "listen --backend sim 3 --device /dev/null",
        2,
        &["--device needs --backend xen"],
    ),
    ("notify", 2, &["<DOM:PORT>"]),
    ("notify 3", 2, &["3"]),
    ("notify 3:", 2, &["3:"]),
    ("notify 3:2147483648", 2, &["31 bits"]),
    ("notify 3:7 --interval -1", 2, &["-1"]),
    ("ping 3:7:9", 2, &["3:7:9"]),
    ("ping --count 0", 2, &["--count"]),
    ("ping --timeout 1.5s", 2, &["1.5s"]),
    ("replay", 2, &["<FILE>"]),
    ("completions", 2, &["<SHELL>"]),
    ("completions csh", 2, &["csh", "bash"]),
];

/// What goes wrong on the simulator, and with files that are no device.
const RUNS: &[Wrong] = &[
    (
        "notify --backend sim 3:2000",
        5,
        &["EINVAL", "evtchn listen"],
    ),
    (
        "notify --backend sim 40000:1",
        5,
        &["ESRCH", "no such domain"],
    ),
    // Domain 0 itself holds port 3.
    ("notify --backend sim 0:3", 5, &["EINVAL"]),
    ("ping --backend sim 3:2000", 5, &["EINVAL"]),
    (
        "ping --backend sim 3:7 --dies-after 5",
        6,
        &["no answer from 3:7", "after 5 of 1000"],
    ),
    (
        "ping --backend sim 3:7 --timeout 1us",
        6,
        &["no answer", "after 0 of 1000"],
    ),
    (
        "listen --backend sim 3 --count 6 --timeout 1h",
        6,
        &["1 wake still"],
    ),
    (
        "listen --backend sim 3 --once --timeout 0",
        6,
        &["1 wake still"],
    ),
    ("watch --once --timeout 1ms", 6, &["1 wake still"]),
    ("watch --events 2000 --timeout 100ms", 6, &["wakes still"]),
    ("watch --only 99:", 1, &["--only"]),
    ("watch --only DOM_EXC", 1, &["--only"]),
    (
        "watch --exec /nonexistent/program",
        1,
        &["/nonexistent/program"],
    ),
    ("watch --exec /dev", 1, &["/dev", "denied"]),
    (
        "watch --record /nonexistent/trace",
        1,
        &["/nonexistent/trace"],
    ),
    ("watch --record /dev/full", 1, &["trace"]),
    (
        "watch --backend xen --device /nonexistent/evtchn",
        3,
        &["/nonexistent/evtchn", DEVICE],
    ),
    (
        "listen 3 --device /nonexistent/evtchn",
        3,
        &["/nonexistent/evtchn"],
    ),
    (
        "notify 3:7 --device /dev/null",
        3,
        &["not an event-channel device"],
    ),
    (
        "ping --device /dev/zero",
        3,
        &["not an event-channel device"],
    ),
    ("listen 3 --device /", 1, &["cannot open /"]),
    ("man /nonexistent/directory", 1, &["/nonexistent/directory"]),
    ("replay /nonexistent/trace", 2, &["/nonexistent/trace"]),
    ("replay /", 2, &["directory"]),
    ("replay /dev/null", 2, &["/dev/null"]),
];

/// What this machine lacks.
const NO_DEVICE: &[Wrong] = &[
    (
        "watch --backend xen",
        3,
        &[DEVICE, "not a Xen domain", "--backend sim"],
    ),
    (
        "watch --backend xen --virq DOM_EXC --json",
        3,
        &[DEVICE, "not a Xen domain"],
    ),
    (
        "watch --backend xen --unbound 3 --interdomain 3:7",
        3,
        &[DEVICE],
    ),
    ("listen 3", 3, &[DEVICE, "not a Xen domain"]),
    ("notify 3:7", 3, &[DEVICE, "not a Xen domain"]),
    ("ping", 3, &[DEVICE, "not a Xen domain"]),
    ("ping 3:7", 3, &[DEVICE, "not a Xen domain"]),
];

/// What the device refuses in domain 0 of a machine without other domains.
const DEVICE_REFUSES: &[Wrong] = &[
    ("notify 0:60000", 5, &["EINVAL", "evtchn listen"]),
    ("notify self:60000", 5, &["EINVAL"]),
    // The kernel's own: bound already.
    ("notify 0:1", 5, &["EINVAL"]),
    ("notify 7:1", 5, &["ESRCH", "no such domain"]),
    ("ping 7:1", 5, &["ESRCH"]),
    ("watch --backend xen --interdomain 7:1", 5, &["ESRCH"]),
    (
        "watch --backend xen --virq TIMER",
        1,
        &["EEXIST", "stop the holder"],
    ),
    ("watch --backend xen --virq 24", 1, &["EINVAL"]),
    (
        "watch --backend xen --virq DOM_EXC --virq DOM_EXC",
        1,
        &["EEXIST"],
    ),
    (
        "watch --backend xen --virq DOM_EXC --once --timeout 10ms",
        6,
        &["1 wake still"],
    ),
    (
        "watch --backend xen --unbound 7 --once --timeout 10ms",
        6,
        &["1 wake still"],
    ),
    (
        "watch --backend xen --virq DOM_EXC --only TIMER",
        1,
        &["--only"],
    ),
    ("listen 7 --once --timeout 10ms", 6, &["1 wake still"]),
    (
        "watch --backend xen --exec /nonexistent/program",
        1,
        &["/nonexistent/program"],
    ),
];

/// Why an output is not that of a wrong use, if it is not.
fn complaint(output: &Output, (arguments, code, says): Wrong) -> Option<String> {
    let line = stderr(output);
    let is_line = line.starts_with("evtchn: ") && line.ends_with('\n') && line.lines().count() == 1;
    let says_all = says.iter().all(|part| line.contains(part));
    let is_right = output.status.code() == Some(code) && is_line && says_all;
    (!is_right).then(|| {
        format!(
            "evtchn {arguments}: {code} expected, {}: {line}",
            output.status
        )
    })
}

fn all_are_told(table: &[Wrong]) {
    let complaints = table.iter().filter_map(|&wrong| {
        let output = evtchn(wrong.0).stdin(Stdio::null()).output().unwrap();
        complaint(&output, wrong)
    });
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn wrong_arguments_are_told() {
    all_are_told(USAGE);
}

#[test]
fn what_goes_wrong_on_the_simulator_and_with_other_files_is_told() {
    all_are_told(RUNS);
}

#[test]
fn a_machine_without_the_device_is_told() {
    if Path::new(DEVICE).exists() {
        skipped("a machine without /dev/xen/evtchn");
        return;
    }
    all_are_told(NO_DEVICE);
}

#[test]
fn what_the_device_refuses_is_told_and_leaves_nothing_bound() {
    if !Path::new(DEVICE).exists() {
        skipped("a machine with /dev/xen/evtchn");
        return;
    }
    all_are_told(DEVICE_REFUSES);
    // One domain can bind DOM_EXC once: nobody has it any more.
    let again = "watch --backend xen --virq DOM_EXC --timeout 0";
    let output = evtchn(again).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_killed_command_leaves_nothing_bound() {
    if !Path::new(DEVICE).exists() {
        skipped("a machine with /dev/xen/evtchn");
        return;
    }
    let command = "watch --backend xen --virq DOM_EXC --no-table";
    let mut child = evtchn(command).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    let taken = evtchn(command).output().unwrap();
    assert!(stderr(&taken).contains("EEXIST"), "{taken:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let output = evtchn("watch --backend xen --virq DOM_EXC --timeout 0").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// A directory of one test alone, open to everybody.
fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("evtchn-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn nobody_is_told_that_the_device_is_roots() {
    let directory = directory("nobody");
    let device = directory.join("evtchn");
    File::create(&device).unwrap();
    fs::set_permissions(&device, Permissions::from_mode(0o600)).unwrap();
    let Some(mut command) = as_nobody(&directory) else {
        skipped("to be run as root");
        return;
    };
    let real = Path::new(DEVICE).exists();
    let device = if real { Path::new(DEVICE) } else { &device };
    let output = command
        .args(["listen", "3", "--device"])
        .arg(device)
        .output();
    fs::remove_dir_all(directory).unwrap();
    let wrong: Wrong = ("listen 3, as nobody", 4, &["denied", "run this as root"]);
    assert_eq!(complaint(&output.unwrap(), wrong), None);
}

/// The command run by a user without rights, who can reach a copy of it.
fn as_nobody(directory: &Path) -> Option<Command> {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let found = program();
    let found = if found.exists() {
        found
    } else {
        Path::new("/guest").join(found)
    };
    let copy = directory.join("evtchn-copy");
    // Another process writes it: a child that another test forks meanwhile would keep it open for
    // writing, and what is open for writing cannot be run.
    let copied = Command::new("cp").arg(found).arg(&copy).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    Some(command)
}

/// Commands that write to stdout, whoever reads it.
const SPEAKERS: &[&str] = &[
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
    "explore --scenario list",
    "completions bash",
    "man",
];

#[test]
fn a_reader_that_is_gone_ends_each_quietly() {
    for arguments in SPEAKERS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = evtchn(arguments).stdout(writer).output().unwrap();
        assert_eq!(stderr(&output), "", "{arguments}");
        assert_eq!(output.status.code(), Some(0), "{arguments}");
    }
}

#[test]
fn output_that_cannot_be_written_is_told() {
    for arguments in SPEAKERS
        .iter()
        .filter(|it| !it.contains("--help") && !it.contains("list") && !it.contains("--version"))
    {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = evtchn(arguments).stdout(full).output().unwrap();
        let wrong: Wrong = (arguments, 1, &["cannot write the output", "No space left"]);
        assert_eq!(complaint(&output, wrong), None);
    }
}

#[test]
fn a_trace_that_was_damaged_is_told() {
    let directory = directory("damaged");
    let trace = directory.join("trace");
    let record = format!("watch --guests 2 --events 20 --record {}", trace.display());
    assert!(evtchn(&record).output().unwrap().status.success());
    let whole = fs::read(&trace).unwrap();
    let middle = whole.len() / 2;
    let damages: [(&str, Vec<u8>); 4] = [
        ("cut", whole[..middle].to_vec()),
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
fn without_a_terminal_lines_come_and_no_table() {
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
fn a_log_that_is_not_understood_is_told() {
    let mut command = evtchn("watch --once");
    let output = command.env("RUST_LOG", "evtchn=loud").output().unwrap();
    let wrong: Wrong = ("watch, with RUST_LOG", 2, &["RUST_LOG", "level"]);
    assert_eq!(complaint(&output, wrong), None);
}
