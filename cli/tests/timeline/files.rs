//! The files that `evtchn timeline` reads and writes, and the errors.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::drawn::{drawn, evtchn, file, rough_day, timeline};

/// An empty directory for one test only.
fn directory(name: &str) -> PathBuf {
    let directory = file(name);
    let _may_be_missing = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// The names in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// `evtchn timeline` with these arguments.
fn draw(arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evtchn"));
    command.arg("timeline").args(arguments);
    command
}

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

#[test]
fn a_refused_trace_is_exit_code_2_with_its_line_and_draws_nothing() {
    let whole = fs::read(rough_day("refused.trace")).unwrap();
    let mut changed = whole.clone();
    let digit = changed.iter().rposition(|it| *it == b'0').unwrap();
    changed[digit] = b'1';
    let lines = whole.iter().filter(|it| **it == b'\n').count();
    for (name, bytes, part) in [
        ("changed", changed, format!("line {lines}: ")),
        ("header", whole[..20].to_vec(), "line 1: trunc".to_owned()),
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
fn an_output_name_without_a_known_format_is_a_usage_error() {
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
fn an_output_that_cannot_be_completed_leaves_the_old_file() {
    let trace = rough_day("unwritten.trace");
    let folder = file("unwritten");
    fs::create_dir_all(&folder).unwrap();
    let output = folder.join("day.html");
    fs::write(&output, "was here").unwrap();
    // A write beyond four kilobytes is an error.
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
fn the_trace_is_not_overwritten_under_any_name() {
    let directory = directory("same-file");
    let trace = directory.join("run.json");
    fs::copy(rough_day("same-file.trace"), &trace).unwrap();
    let whole = fs::read(&trace).unwrap();
    symlink("run.json", directory.join("link.svg")).unwrap();
    symlink("link.svg", directory.join("link.html")).unwrap();
    symlink(".", directory.join("here")).unwrap();
    fs::hard_link(&trace, directory.join("hard.svg")).unwrap();
    let before = names(&directory);
    for output in [
        "run.json",
        "./run.json",
        "here/run.json",
        "link.svg",
        "link.html",
        "hard.svg",
        "/dev/stdin",
        "/proc/self/fd/0",
    ] {
        let arguments = ["run.json", "--format", "json", "-o", output].map(OsStr::new);
        let open = File::options().read(true).write(true).open(&trace);
        let mut command = draw(&arguments);
        let command = command.current_dir(&directory).stdin(open.unwrap());
        let ended = command.output().unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{output}: {error}");
        let expected =
            format!("evtchn: {output}: cannot be created: it is the file that is read\n");
        assert_eq!(error, expected);
        assert!(
            fs::read(&trace).unwrap() == whole,
            "{output} is overwritten"
        );
    }
    assert_eq!(names(&directory), before);
}

#[test]
fn a_link_is_followed_and_stays_a_link() {
    let directory = directory("links");
    let trace = rough_day("links.trace");
    let picture = drawn(&trace, "svg");
    fs::create_dir(directory.join("elsewhere")).unwrap();
    fs::write(directory.join("elsewhere/old.svg"), "was here").unwrap();
    symlink("elsewhere/old.svg", directory.join("first.svg")).unwrap();
    symlink("first.svg", directory.join("second.svg")).unwrap();
    symlink("elsewhere/new.svg", directory.join("dangling.svg")).unwrap();
    for (link, target) in [
        ("second.svg", "elsewhere/old.svg"),
        ("dangling.svg", "elsewhere/new.svg"),
    ] {
        let link = directory.join(link);
        assert_eq!(timeline(&trace, &link), (0, String::new()));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(directory.join(target)).unwrap() == picture);
    }
    assert_eq!(names(&directory.join("elsewhere")), ["new.svg", "old.svg"]);
    symlink("round.svg", directory.join("round.svg")).unwrap();
    let (code, error) = timeline(&trace, &directory.join("round.svg"));
    assert_eq!(code, 1);
    assert!(
        error.contains("Too many levels of symbolic links"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode() {
    let directory = directory("modes");
    let trace = rough_day("modes.trace");
    for mode in [0o600, 0o640, 0o755] {
        let output = directory.join(format!("{mode:o}.svg"));
        fs::write(&output, "was here").unwrap();
        fs::set_permissions(&output, Permissions::from_mode(mode)).unwrap();
        assert_eq!(timeline(&trace, &output), (0, String::new()));
        let kept = fs::metadata(&output).unwrap().permissions().mode();
        assert_eq!(kept & 0o7777, mode, "{kept:o}");
        assert!(fs::read_to_string(&output).unwrap().starts_with("<svg"));
    }
    // A new file has the mode of other new files of this process.
    let (own, new) = (directory.join("own"), directory.join("new.svg"));
    fs::write(&own, "").unwrap();
    assert_eq!(timeline(&trace, &new), (0, String::new()));
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(new), mode(own));
}

#[test]
fn files_that_a_killed_run_left_do_not_block_later_runs() {
    let directory = directory("left");
    let trace = rough_day("left.trace");
    let output = directory.join("day.svg");
    // The shell has the process id that the command will have.
    let left =
        "for name in .evtchn-$$-0 .evtchn-$$-1 .day.svg.$$; do echo left >$name; done; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", left, "sh", env!("CARGO_BIN_EXE_evtchn"), "timeline"]);
    command
        .current_dir(&directory)
        .arg(&trace)
        .arg("-o")
        .arg(&output);
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(fs::read_to_string(&output).unwrap() == drawn(&trace, "svg"));
    let names = names(&directory);
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names.iter().filter(|name| name.starts_with('.')) {
        assert_eq!(fs::read_to_string(directory.join(name)).unwrap(), "left\n");
    }
}

#[test]
fn a_killed_run_leaves_only_the_old_file() {
    let directory = directory("killed");
    let (output, trace) = (directory.join("day.json"), file("killed.trace"));
    let _may_be_missing = fs::remove_file(&trace);
    pipe(&trace);
    fs::write(&output, "was here").unwrap();
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::WRONLY;
    if rustix::fs::open(&directory, flags, Mode::RWXU).is_err() {
        // This depends on the file system of the machine.
        let _ignored = writeln!(
            std::io::stderr(),
            "SKIPPED: this case needs a file system with files that have no name"
        );
        return;
    }
    let mut child = draw(&[trace.as_os_str(), OsStr::new("-o"), output.as_os_str()])
        .spawn()
        .unwrap();
    let mut input = File::options().write(true).open(&trace).unwrap();
    input
        .write_all(
            b"{\"trace\":\"evtchn\",\"version\":3,\"source\":\"sim\",\"trigger\":\"level\"}\n",
        )
        .unwrap();
    // This is more than the pipe can hold, so the command is drawing once all is written.
    for _ in 0..20_000 {
        input
            .write_all(b"{\"call\":\"teardown\"}\n{\"answer\":\"done\"}\n")
            .unwrap();
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    assert_eq!(fs::read_to_string(&output).unwrap(), "was here");
    assert_eq!(names(&directory), ["day.json"]);
}

#[test]
fn pipes_and_devices_are_written_directly() {
    let directory = directory("streams");
    let trace = rough_day("streams.trace");
    let (json, svg) = (drawn(&trace, "json"), drawn(&trace, "svg"));
    let drawing = |format: &str, output: &str| {
        let (trace, output) = (trace.as_os_str(), OsStr::new(output));
        let arguments = [
            trace,
            "--format".as_ref(),
            format.as_ref(),
            "-o".as_ref(),
            output,
        ];
        draw(&arguments)
    };
    // A link like /dev/stdout: a fault would replace this one, not that of the machine.
    let stdout = directory.join("stdout");
    symlink("/proc/self/fd/1", &stdout).unwrap();
    let stdout = stdout.to_str().unwrap();
    for (format, expected) in [("json", &json), ("svg", &svg)] {
        let ended = drawing(format, stdout).output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.stdout == expected.as_bytes(), "{format}");
    }

    let fifo = directory.join("day.json");
    pipe(&fifo);
    let reader = fifo.clone();
    let reader = thread::spawn(move || fs::read_to_string(reader).unwrap());
    assert_eq!(timeline(&trace, &fifo), (0, String::new()));
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    assert!(reader.join().unwrap() == json);

    // A file to which the shell appends is not overwritten.
    let log = directory.join("log");
    fs::write(&log, "was here\n").unwrap();
    let append = File::options().append(true).open(&log).unwrap();
    let ended = drawing("svg", stdout).stdout(append).status();
    assert_eq!(ended.unwrap().code(), Some(0));
    assert!(fs::read_to_string(&log).unwrap() == "was here\n".to_owned() + &svg);

    let ended = drawing("html", "/dev/null").output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
    let ended = drawing("html", "/dev/full").output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(
        error.contains("/dev/full: cannot be written: No space left"),
        "{error}"
    );
    let ended = drawing("html", directory.to_str().unwrap())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(names(&directory), ["day.json", "log", "stdout"]);
}

#[test]
fn a_trace_from_a_pipe_is_drawn() {
    let trace = rough_day("from-a-pipe.trace");
    let output = file("from-a-pipe-drawn.svg");
    let arguments = [
        OsStr::new("/dev/stdin"),
        OsStr::new("-o"),
        output.as_os_str(),
    ];
    let mut child = draw(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&fs::read(&trace).unwrap()).unwrap();
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(fs::read_to_string(output).unwrap() == drawn(&trace, "svg"));
}

#[test]
fn a_truncated_recording_is_drawn_up_to_the_cut_with_a_message() {
    let whole = fs::read(rough_day("cut-off-whole.trace")).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|it| *it == b'\n').collect();
    let after = lines.len() / 2;
    let kept = lines[..after].concat();
    for (name, more) in [
        ("line", &b""[..]),
        ("part", b"{\"call\":\""),
        ("utf8", b"{\"a\xe2\x80"),
    ] {
        let trace = file(&format!("cut-off-{name}.trace"));
        fs::write(&trace, [&kept, more].concat()).unwrap();
        for end in ["svg", "html", "json"] {
            let output = trace.with_extension(end);
            let (code, error) = timeline(&trace, &output);
            let expected = format!("evtchn: {}: cut off after line {after}\n", trace.display());
            assert_eq!((code, error), (0, expected));
            let drawn = fs::read_to_string(output).unwrap();
            assert!(drawn.contains(&format!("{after} lines")), "{end}");
            assert!(drawn.contains(" \u{b7} cut off"), "{end}");
        }
    }
    let damaged = [&kept, &b"{\"call\":\n"[..], lines[after]].concat();
    let trace = file("cut-off-damaged.trace");
    fs::write(&trace, damaged).unwrap();
    let (code, error) = timeline(&trace, &file("cut-off-damaged.svg"));
    assert_eq!(code, 2);
    let line = format!("{}: line {}: not a JSON object", trace.display(), after + 1);
    assert!(error.contains(&line), "{error}");
}

#[test]
fn help_lists_formats_and_exit_codes() {
    let help = evtchn(&["timeline", "--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    for part in [
        ".svg, .html, or .json",
        "Exit code 0: success",
        "ui.perfetto.dev",
    ] {
        assert!(help.contains(part), "{help}");
    }
}

#[test]
fn a_trace_of_more_than_a_picture_has_room_for_is_refused_as_one_and_written_as_events() {
    let trace = file("crowded.trace");
    let mut lines = "{\"trace\":\"evtchn\",\"version\":3,\"source\":\"script\",\
                     \"trigger\":\"level\",\"slots\":1000}\n\
                     {\"op\":\"many bind 0 1000 unbound\"}\n"
        .to_owned();
    for port in 1..=1000 {
        lines += &format!("{{\"seam\":\"bind_static\",\"port\":{port}}}\n");
    }
    let turn = "{\"op\":\"many wait 0 1000\"}\n{\"seam\":\"reset\"}\n";
    // It ends as one that was cut off.
    fs::write(&trace, lines + &turn.repeat(400)).unwrap();
    for format in ["svg", "html"] {
        let output = file(&format!("crowded.{format}"));
        fs::write(&output, "was here").unwrap();
        let (code, error) = timeline(&trace, &output);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("crowded.trace: line "), "{error}");
        assert!(error.contains("more happens up to here"), "{error}");
        assert_eq!(fs::read_to_string(&output).unwrap(), "was here");
    }
    let events = ["--format", "json", "-o", "/dev/null"].map(OsStr::new);
    let output = draw(&events).arg(&trace).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
