//! Tests of dumps of Xen's debug key `e`: as several versions of Xen print them, from a file and live.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::{evtchn, stderr};

/// The name of a dump, its text, and the list of it.
macro_rules! dump {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("dumps/", $name, ".txt")),
            include_str!(concat!("dumps/", $name, ".list")),
        )
    };
}
/// Dumps, each with the list of it.
pub(crate) const DUMPS: &[(&str, &str, &str)] = &[
    dump!("xen-4.11-two-levels"),
    dump!("xen-4.13-dates"),
    dump!("xen-4.14-fifo-hvm"),
    dump!("xen-4.16-flask"),
    dump!("xen-4.17-debian"),
    dump!("xen-4.19-two-looks"),
    dump!("xen-4.22-mail"),
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// What the command prints of a dump on its standard input.
fn list(arguments: &str, dump: &str) -> Output {
    // A pipe has room for a dump.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(dump.as_bytes()).unwrap();
    drop(writer);
    let mut command = evtchn("ls --from -");
    command.args(arguments.split_whitespace());
    command.stdin(reader).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stderr, b"", "{output:?}");
    str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn the_dumps_of_each_version_are_listed() {
    for (name, dump, expected) in DUMPS {
        assert_eq!(stdout(&list("", dump)), *expected, "{name}");
    }
}

#[test]
fn each_port_of_a_dump_is_a_json_object() {
    let (_, dump, _) = DUMPS[5];
    let output = list("--json", dump);
    let objects = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let objects: Vec<Value> = objects.collect();
    let verdicts = objects
        .iter()
        .filter_map(|it| Some((it["port"].as_u64()?, it["verdict"].as_str()?)));
    let verdicts: Vec<_> = verdicts.collect();
    assert_eq!(
        verdicts,
        [(19, "stuck"), (21, "busy"), (23, "not_taken"), (24, "busy")]
    );
    assert!(
        objects.iter().all(|it| it["backend"] == "dump"),
        "{objects:?}"
    );
    assert_eq!(objects[2]["remote"], "0:20");
}

#[test]
fn only_named_domains_of_a_dump_are_listed() {
    let (_, dump, all) = DUMPS[0];
    let output = list("27", dump);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    let of_27 = all.lines().filter(|line| line.starts_with("   27"));
    assert_eq!(lines[2..6], of_27.collect::<Vec<_>>());
    let missing = list("27 9", dump);
    assert_eq!(missing.status.code(), Some(5), "{missing:?}");
    assert_eq!(
        stderr(&missing),
        "evtchn: the dump has no port of domain 9\n"
    );
}

#[test]
fn a_text_without_a_dump_is_refused_in_one_line() {
    for (path, part) in [
        ("/nonexistent/dump", "No such file"),
        ("/", "Is a directory"),
        ("/dev/null", "no dump of the debug key e"),
        (
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            "no dump of the debug key e",
        ),
        ("/dev/zero", "longer than 16777216 bytes"),
    ] {
        let output = evtchn("ls --from").arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{path}: {output:?}");
        let line = stderr(&output);
        assert!(
            line.contains(part) && line.lines().count() == 1,
            "{path}: {line}"
        );
    }
}

/// A folder with a program `xl` that prints the first dump until it has been asked twice for one, and
/// then the second.
fn toolstack(name: &str, script: &str) -> PathBuf {
    let folder = file(name);
    let _may_be_missing = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join("xl"),
        format!("#!/bin/sh\ncd '{}'\n{script}", folder.display()),
    )
    .unwrap();
    fs::set_permissions(folder.join("xl"), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The dumps of the looks: the log keeps the first when the second is made, and later has a third.
const LOOKS: &str = "\
case \"$*\" in
'debug-keys e') echo >>asked
    case $(wc -l <asked) in 1) cp first log ;; 2) cp both log ;; *) cp third log ;; esac ;;
dmesg) cat log ;;
*) exit 1 ;;
esac
";

fn live(folder: &Path, arguments: &str) -> Output {
    let mut command = evtchn("ls --live --interval 0");
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.display()));
    command.args(arguments.split_whitespace()).output().unwrap()
}

#[test]
fn two_looks_tell_a_stuck_port_from_a_busy_one() {
    let (_, both, _) = DUMPS[5];
    let (first, _) = both.split_once("an unrelated line").unwrap();
    // Port 24 is pending and masked in both looks too, but not when it is looked at again.
    let both = both.replace(
        "24 [1/1/  -   ]: s=3 n=0 x=0 d=6 p=2",
        "24 [1/1/  -   ]: s=3 n=0 x=0 d=4 p=10",
    );
    let third = both.replace("24 [1/1/", "24 [0/0/");
    let folder = toolstack("xl-looks", LOOKS);
    for (name, log) in [("first", first), ("both", &both), ("third", &third)] {
        fs::write(folder.join(name), log).unwrap();
    }
    let output = live(&folder, "0 --json");
    let verdict = |port: u64| {
        let objects = stdout(&output)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let mut objects = objects.filter(|it: &Value| it["port"] == port);
        let object = objects.next().unwrap();
        assert_eq!(object["backend"], "xen");
        object["verdict"].as_str().map(str::to_owned)
    };
    let verdicts = [3, 19, 20, 21, 24].map(verdict);
    let expected = [None, Some("stuck"), None, Some("busy"), Some("busy")];
    assert_eq!(verdicts, expected.map(|it| it.map(str::to_owned)));
    // Two looks, and six more while a port seems stuck.
    let asked = fs::read_to_string(folder.join("asked")).unwrap();
    assert_eq!(asked.lines().count(), 8);
}

#[test]
fn a_toolstack_that_fails_or_is_missing_is_one_line() {
    let failing = toolstack("xl-failing", "echo 'xl: not on Xen' >&2\nexit 1\n");
    let silent = toolstack("xl-silent", "exit 0\n");
    for (folder, part) in [
        (&failing, "xl debug-keys e failed: xl: not on Xen"),
        (&silent, "xl dmesg has no dump of the debug key e"),
    ] {
        let output = live(folder, "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let line = stderr(&output);
        assert!(line.contains(part) && line.lines().count() == 1, "{line}");
    }
    let mut missing = evtchn("ls --live");
    let output = missing.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("--from FILE reads a dump"),
        "{output:?}"
    );
}
