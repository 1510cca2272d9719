//! Tests of `evtchn watch --record` and `evtchn replay`.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn evtchn(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evtchn"));
    command.args(arguments).output().unwrap()
}

/// A file for one test only.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Exit code, standard output and standard error of a replay.
fn replay(arguments: &[&str], file: &Path) -> (i32, String, String) {
    let mut all = vec!["replay"];
    all.extend(arguments);
    all.push(file.to_str().unwrap());
    let output = evtchn(&all);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn recorded(name: &str, seed: &str) -> PathBuf {
    let file = file(name);
    let path = file.to_str().unwrap();
    let run = ["watch", "--seed", seed, "--guests", "3", "--events", "200"];
    let plain = evtchn(&run);
    let taped = evtchn(&[&run[..], &["--record", path]].concat());
    assert_eq!(taped.status.code(), Some(0), "{taped:?}");
    assert_eq!(taped.stdout, plain.stdout, "recording changes nothing");
    file
}

#[test]
fn a_recorded_run_replays_the_same_from_its_answers_and_on_the_simulator() {
    let file = recorded("same.trace", "7");
    let (code, output, error) = replay(&[], &file);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(output.contains("same.trace: the same: "), "{output}");
    assert!(output.ends_with("on 1 threads\n"), "{output}");
    assert_eq!(replay(&["--on", "sim"], &file), (0, output, error));
    let again = recorded("again.trace", "7");
    assert_eq!(fs::read(&again).unwrap(), fs::read(&file).unwrap());
}

#[test]
fn a_run_whose_peers_are_checked_replays_and_is_drawn() {
    let file = file("checked.trace");
    let run = "watch --guests 2 --dies-after 20 --check-peers 10ms --record";
    let mut run: Vec<&str> = run.split(' ').collect();
    run.push(file.to_str().unwrap());
    let watched = evtchn(&run);
    assert_eq!(watched.status.code(), Some(5), "{watched:?}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"cause\":\"peer_gone\""), "{text}");
    let (code, output, error) = replay(&[], &file);
    assert_eq!((code, error.as_str()), (0, ""), "{output}");
    assert_eq!(replay(&["--on", "sim"], &file), (0, output, error));
    let picture = file.with_extension("svg");
    let drawn = [&file, &picture].map(|it| it.to_str().unwrap());
    let drawn = evtchn(&["timeline", drawn[0], "-o", drawn[1]]);
    assert_eq!(drawn.status.code(), Some(0), "{drawn:?}");
}

#[test]
fn a_damaged_trace_is_exit_code_2_with_the_line() {
    let whole = fs::read(recorded("whole.trace", "8")).unwrap();
    let mut changed = whole.clone();
    let digit = changed.iter().rposition(|it| *it == b'4').unwrap();
    changed[digit] = b'5';
    let newer = b"{\"trace\":\"evtchn\",\"version\":9}\n".to_vec();
    for (name, bytes, part) in [
        ("cut", whole[..20].to_vec(), "line 1: truncated"),
        ("changed", changed, "changed or damaged"),
        ("newer", newer, "line 1: version 9 is newer"),
        ("other", b"[0.0] bound\n".to_vec(), "line 1: not the first"),
    ] {
        let file = file(name);
        fs::write(&file, bytes).unwrap();
        let (code, output, error) = replay(&[], &file);
        assert_eq!((code, output.as_str()), (2, ""), "{error}");
        assert!(error.contains("line "), "{error}");
        assert!(error.contains(part), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let (code, _, error) = replay(&[], Path::new("/nowhere.trace"));
    assert_eq!(code, 2);
    assert!(error.contains("No such file"), "{error}");
}

#[test]
fn a_truncated_recording_replays_up_to_the_cut_with_a_message() {
    let whole = fs::read(recorded("cut-off.trace", "10")).unwrap();
    let ends = whole.iter().zip(1..).filter(|(byte, _)| **byte == b'\n');
    let ends: Vec<usize> = ends.map(|(_, end)| end).collect();
    let (last, middle) = (ends.len() - 1, ends.len() / 2);
    // In the middle of a line, after a line, and without the last line.
    for (bytes, after) in [
        (ends[middle - 1] + 5, middle),
        (ends[middle - 1], middle),
        (ends[last - 1], last),
        (ends[last] - 1, last),
    ] {
        let file = file("cut-off-part.trace");
        fs::write(&file, &whole[..bytes]).unwrap();
        for on in [&[][..], &["--on", "sim"]] {
            let (code, output, error) = replay(on, &file);
            let name = file.display();
            assert_eq!(
                error,
                format!("evtchn: {name}: cut off after line {after}\n")
            );
            assert_eq!(code, 0, "{output}");
            let same = format!("{name}: the same up to line {after}: ");
            assert!(output.starts_with(&same), "{output}");
        }
    }
    let damaged = [
        &whole[..ends[middle]],
        b"no line\n",
        &whole[ends[middle]..ends[last - 1]],
    ]
    .concat();
    let file = file("cut-off-damaged.trace");
    fs::write(&file, damaged).unwrap();
    let (code, output, error) = replay(&[], &file);
    assert_eq!((code, output.as_str()), (2, ""));
    let line = format!("{}: line {}: not a JSON object", file.display(), middle + 2);
    assert!(error.contains(&line), "{error}");
}

#[test]
fn an_endless_file_is_refused_in_bounded_memory() {
    // With 256 MiB of address space.
    let limited = "ulimit -v 262144; exec \"$@\"";
    let part = "line 1: longer than 4194304 bytes";
    for arguments in [
        &["replay", "/dev/zero"][..],
        &["timeline", "/dev/zero", "-o", "zero.svg"],
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_evtchn")]);
        let ended = command.args(arguments).output().unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{error}");
        assert!(
            error.contains("/dev/zero: ") && error.contains(part),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_run_that_differs_is_exit_code_1_with_the_line() {
    use evtchn_trace::{Answer, Record, Replayed, Trace};
    let file = recorded("differs.trace", "9");
    let mut trace = Trace::load(&file).unwrap();
    let woke =
        |line: &evtchn_trace::Line| matches!(line.record, Record::Answer(Answer::Wake { .. }));
    let place = trace.lines.iter().position(woke).unwrap();
    trace.lines[place].record = Record::Answer(Answer::Nothing);
    assert!(matches!(
        evtchn_trace::replay(&trace),
        Ok(Replayed::Differs(_))
    ));
    fs::write(&file, trace.to_bytes()).unwrap();
    let (code, output, error) = replay(&[], &file);
    assert_eq!((code, error.as_str()), (1, ""));
    let expected = format!("line {}: expected {{\"answer\":\"nothing\"}}", place + 2);
    assert!(output.contains(&expected), "{output}");
    assert!(output.contains("but got {\"answer\":\"wake\""), "{output}");
}

#[test]
fn a_script_is_refused_with_the_program_that_plays_it() {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../trace/tests/version-3/script.trace"
    );
    let (code, output, error) = replay(&[], Path::new(script));
    assert_eq!((code, output.as_str()), (2, ""));
    assert!(
        error.contains("`evtchn-explore --replay` plays it"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn help_lists_exit_codes() {
    let help = evtchn(&["replay", "--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Exit code 0: the same run"), "{help}");
    let watch = evtchn(&["watch", "--help"]);
    assert!(
        String::from_utf8(watch.stdout)
            .unwrap()
            .contains("--record <FILE>")
    );
}

#[test]
fn a_trace_that_comes_through_a_pipe_replays_as_its_file_does() {
    let file = recorded("piped.trace", "9");
    let (_, output, _) = replay(&[], &file);
    let (_, says) = output.split_once(": ").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_evtchn"))
        .args(["replay", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&fs::read(&file).unwrap()).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("/dev/stdin: {says}"));
}
