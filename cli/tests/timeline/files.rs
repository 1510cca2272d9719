//! Which files are read and written, and what is said where they are not.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::drawn::{evtchn, file, rough_day, timeline};

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
