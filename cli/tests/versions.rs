//! Traces of each version of the format, as the programs of their time wrote them: those of earlier
//! versions are refused, those of this version replay and are drawn.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use evtchn_trace::VERSION;

use crate::support::evtchn;

/// A run, the example of the documents, and a script of a check, in two versions.
const OLDER: [(u32, &str, &[u8]); 6] = [
    (
        1,
        "run",
        include_bytes!("../../trace/tests/version-1/run.trace"),
    ),
    (
        1,
        "example",
        include_bytes!("../../trace/tests/version-1/example.trace"),
    ),
    (
        1,
        "script",
        include_bytes!("../../trace/tests/version-1/script.trace"),
    ),
    (
        2,
        "run",
        include_bytes!("../../trace/tests/version-2/run.trace"),
    ),
    (
        2,
        "example",
        include_bytes!("../../trace/tests/version-2/example.trace"),
    ),
    (
        2,
        "script",
        include_bytes!("../../trace/tests/version-2/script.trace"),
    ),
];

/// The same in this version, each with what its replay prints; a script is replayed by another program.
const OF_THIS_VERSION: [(&str, Option<&str>, &[u8]); 3] = [
    (
        "run",
        Some("the same: "),
        include_bytes!("../../trace/tests/version-3/run.trace"),
    ),
    (
        "example",
        Some("the same: "),
        include_bytes!("../../trace/tests/version-3/example.trace"),
    ),
    (
        "script",
        None,
        include_bytes!("../../trace/tests/version-3/script.trace"),
    ),
];

/// The pictures that `timeline` can draw.
const FORMATS: [&str; 3] = ["svg", "html", "json"];

fn written(version: u32, name: &str, trace: &[u8]) -> PathBuf {
    let name = format!("version-{version}-{name}.trace");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, trace).unwrap();
    file
}

fn draw(trace: &Path, format: &str) -> (Output, PathBuf) {
    let picture = trace.with_extension(format);
    let _unless_there_is_none = fs::remove_file(&picture);
    let mut command = evtchn("timeline");
    command.arg(trace).arg("-o").arg(&picture);
    (command.output().unwrap(), picture)
}

#[test]
fn traces_of_earlier_versions_are_refused_with_their_version_and_what_to_do() {
    for (version, name, trace) in OLDER {
        let file = written(version, name, trace);
        let expected = format!(
            "evtchn: {}: line 1: version {version} is older than {VERSION}, the only one that is read \
             here: record the run again\n",
            file.display()
        );
        let is_refused = |output: Output| {
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert_eq!(output.stdout, b"", "{output:?}");
            assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
        };
        for replay in ["replay", "replay --on sim"] {
            is_refused(evtchn(replay).arg(&file).output().unwrap());
        }
        for format in FORMATS {
            let (output, picture) = draw(&file, format);
            is_refused(output);
            assert!(!picture.exists(), "{}", picture.display());
        }
    }
}

#[test]
fn traces_of_this_version_replay_and_are_drawn() {
    for (name, expected, trace) in OF_THIS_VERSION {
        let file = written(VERSION, name, trace);
        for replay in ["replay", "replay --on sim"] {
            let output = evtchn(replay).arg(&file).output().unwrap();
            let Some(expected) = expected else {
                assert_eq!(output.status.code(), Some(2), "{output:?}");
                continue;
            };
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(output.stderr, b"", "{output:?}");
            let printed = String::from_utf8(output.stdout).unwrap();
            assert!(printed.contains(expected), "{name}: {printed}");
        }
        for format in FORMATS {
            let (output, picture) = draw(&file, format);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let picture = fs::read_to_string(picture).unwrap();
            assert!(picture.contains("port 10"), "{name} as {format}");
        }
    }
}
