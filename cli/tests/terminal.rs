//! What the command prints to a pipe, to a terminal with and without `NO_COLOR`, to a full disk and to an
//! output that is closed. `.ci/terminal` looks at whole screens.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::{evtchn, program, skipped, stderr};

/// A dump with a stuck port, in a file of its own.
fn dump(name: &str) -> PathBuf {
    let name = format!("evtchn-terminal-{name}-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    fs::write(&file, include_str!("dumps/xen-4.19-two-looks.txt")).unwrap();
    file
}

/// Every command that prints, and each way in which it prints.
fn printing(dump: &Path) -> Vec<String> {
    let from = format!("ls --from {}", dump.display());
    let others = [
        "--help",
        "--version",
        "help watch",
        "watch --events 40 --no-table",
        "watch --events 40 --json",
        "watch --once --verbose --no-table",
        "listen --backend sim 3 --count 2",
        "notify --backend sim 3:7 -vv",
        "ping --backend sim --count 20",
        "ls --backend sim",
        "ls --backend sim --watch --count 2",
        "doctor",
        "doctor --json",
        "timeline --help",
        "completions zsh",
        "man",
        "bogus",
        "notify 3",
    ];
    let others = others.into_iter().map(str::to_owned);
    others.chain([from.clone(), from + " --json"]).collect()
}

/// What a command prints on a terminal of 80 columns, both outputs in one.
fn on_terminal(arguments: &str, variables: &[(&str, &str)]) -> Option<String> {
    let line = format!("stty columns 80; exec {} {arguments}", program().display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env("TERM", "xterm").env_remove("NO_COLOR");
    script.env_remove("RUST_LOG").stdin(Stdio::null());
    let output = script.envs(variables.iter().copied()).output();
    let Ok(output) = output else {
        skipped("script of util-linux");
        return None;
    };
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The sequences that set a color or another look of letters.
fn colors(text: &str) -> usize {
    let sequences = text.split("\u{1b}[").skip(1);
    let ends = sequences.filter_map(|it| {
        it.find(|letter: char| letter.is_ascii_alphabetic())
            .map(|at| (it, at))
    });
    ends.filter(|(it, at)| it[*at..].starts_with('m')).count()
}

#[test]
fn a_terminal_gets_colors_and_with_no_color_none() {
    let dump = dump("colors");
    let from = format!("ls --from {}", dump.display());
    for colored in ["--help", "watch --once --verbose --no-table", &from] {
        let Some(shown) = on_terminal(colored, &[]) else {
            return;
        };
        assert!(colors(&shown) > 0, "{colored}: {shown:?}");
        let unset = on_terminal(colored, &[("NO_COLOR", "")]).unwrap();
        assert!(colors(&unset) > 0, "{colored}: an empty NO_COLOR counts");
    }
    for arguments in printing(&dump) {
        let shown = on_terminal(&arguments, &[("NO_COLOR", "1")]).unwrap();
        assert_eq!(colors(&shown), 0, "{arguments}: {shown:?}");
    }
    fs::remove_file(dump).unwrap();
}

#[test]
fn a_locale_without_utf_8_gets_only_ascii_on_a_terminal_and_in_a_pipe() {
    let dump = dump("locale");
    for arguments in printing(&dump) {
        let mut command = evtchn(&arguments);
        let Output { stdout, stderr, .. } = command.env("LC_ALL", "C").output().unwrap();
        assert!(stdout.is_ascii() && stderr.is_ascii(), "{arguments}");
        if let Some(shown) = on_terminal(&arguments, &[("LC_ALL", "C")]) {
            assert!(shown.is_ascii(), "{arguments}: {shown:?}");
        }
    }
    fs::remove_file(dump).unwrap();
}

#[test]
fn a_pipe_gets_no_sequence_for_a_terminal() {
    let dump = dump("pipe");
    for arguments in printing(&dump) {
        let mut command = evtchn(&arguments);
        let output = command.env("TERM", "xterm").output().unwrap();
        for bytes in [&output.stdout, &output.stderr] {
            assert!(!bytes.contains(&0x1b), "{arguments}: {output:?}");
        }
    }
    fs::remove_file(dump).unwrap();
}

#[test]
fn a_full_disk_is_one_line_and_exit_code_1_in_each_command() {
    let dump = dump("full");
    for arguments in printing(&dump) {
        // These print only errors.
        if ["bogus", "notify 3"].contains(&&*arguments) {
            continue;
        }
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = evtchn(&arguments).stdout(full).output().unwrap();
        let error = stderr(&output);
        let last = error.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("evtchn: cannot write the output: No space left"),
            "{arguments}: {error}"
        );
        assert_eq!(output.status.code(), Some(1), "{arguments}: {error}");
    }
    fs::remove_file(dump).unwrap();
}

#[test]
fn a_closed_output_changes_no_exit_code_and_prints_nothing() {
    let dump = dump("closed");
    for arguments in printing(&dump) {
        let expected = evtchn(&arguments).output().unwrap();
        let closed = |what: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec \"$@\" {what}"), "sh"]);
            shell.arg(program()).args(arguments.split_whitespace());
            shell.env_remove("RUST_LOG").output().unwrap()
        };
        let output = closed(">&-");
        assert_eq!(output.stderr.is_empty(), expected.stderr.is_empty());
        assert_eq!(output.status.code(), expected.status.code(), "{arguments}");
        for without_errors in ["2>&-", "2>/dev/full"] {
            let output = closed(without_errors);
            assert_eq!(output.status.code(), expected.status.code(), "{arguments}");
        }
    }
    fs::remove_file(dump).unwrap();
}
