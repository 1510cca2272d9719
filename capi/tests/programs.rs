//! C programs on the simulator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use crate::installed::{build, build_with, command, library, prefix, run, source};

fn text(path: &str) -> String {
    fs::read_to_string(source(path)).unwrap()
}

#[test]
fn a_program_sees_what_it_would_see_on_the_device() {
    let program = build("conformance", &["tests/c/conformance.c"]);
    assert_eq!(run(&mut command(&program)), text("tests/conformance.txt"));
}

#[test]
fn a_program_that_is_built_already_runs_on_a_preloaded_simulator() {
    let program = build_with("xenevtchn", "built", &["tests/c/conformance.c"]);
    let mut preloads = command(&program);
    preloads.env("LD_PRELOAD", library("xenevtchn-sim"));
    let ended = preloads.env("LD_DEBUG", "bindings").output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(printed, text("tests/conformance.txt"));
    // What the loader says: `binding file P [0] to L [0]: normal symbol `xenevtchn_open' [VERS_1.0]`.
    let bound = String::from_utf8_lossy(&ended.stderr).into_owned();
    let opens = bound.lines().find(|line| line.contains("`xenevtchn_open'"));
    assert!(
        opens.unwrap().contains("libxenevtchn-sim.so.1 "),
        "{opens:?}"
    );
    assert!(opens.unwrap().ends_with("[VERS_1.0]"), "{opens:?}");
}

#[test]
fn a_daemon_survives_an_overflow_with_the_switch_and_ends_without() {
    let program = build("overflow", &["tests/c/overflow.c"]);
    let ended = command(&program).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        text("tests/overflow-ends.txt")
    );

    let mut survives = command(&program);
    survives.env("EVTCHN_SURVIVE_OVERFLOW", "1");
    assert_eq!(run(&mut survives), text("tests/overflow.txt"));
}

#[test]
fn restrict_all_reaches_each_open_handle_and_no_closed_one() {
    let program = build("restrict_all", &["tests/c/restrict_all.c"]);
    let library = prefix().join("lib/libxentoolcore.so.1");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-Wl,-soname,libxentoolcore.so.1", "-o"]);
    run(compile.arg(library).arg(source("tests/c/toolcore.c")));
    assert_eq!(run(&mut command(&program)), text("tests/restrict_all.txt"));
}

#[test]
fn each_function_of_the_simulator_does_what_its_header_says() {
    let program = build("simulator", &["tests/c/simulator.c"]);
    assert_eq!(
        run(&mut command(&program)),
        "unmask of port 11 before its event was read: the ring can overflow\n\
         unmask of port 999, which the handle has not bound: it has no effect\n\
         bind to domain 65541, of which Linux sees the low 16 bits: domain 5\n\
         all passed\n"
    );
}

/// Whether a test has to be skipped, because the machine has no such program.
pub(crate) fn is_missing(program: &str) -> bool {
    let is_missing = Command::new(program).arg("--version").output().is_err();
    if is_missing {
        eprintln!("skipped: there is no {program}");
    }
    is_missing
}

/// The section of the document whose commands need several shells.
pub(crate) const SEVERAL_PROCESSES: &str = "Several processes, one machine";

/// The commands in the sections of the document.
fn sections() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(source("../docs/c.md")).unwrap();
    let of = |section: &str| {
        let title = section.lines().next().unwrap().to_owned();
        let blocks = section.split("```sh\n").skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap());
        (
            title,
            blocks.flat_map(str::lines).map(str::to_owned).collect(),
        )
    };
    page.split("\n## ").map(of).collect()
}

/// The commands in one section of the document.
pub(crate) fn lines_of(title: &str) -> Vec<String> {
    let section = sections().into_iter().find(|(it, _)| it == title);
    section.unwrap().1
}

/// The commands of the document that a reader types after the installation, in one shell.
fn commands() -> String {
    let sections = sections().into_iter();
    let lines = sections.filter(|(title, _)| title != SEVERAL_PROCESSES);
    let typed: Vec<String> = lines
        .flat_map(|(_, lines)| lines)
        .filter(|line| !line.starts_with("cargo ") && !line.starts_with("export PREFIX"))
        .collect();
    assert!(typed.len() >= 3, "{typed:?}");
    typed.join("\n")
}

/// A folder with the sources of the example.
pub(crate) fn example(folder: &str) -> PathBuf {
    let folder = prefix().join(folder);
    fs::create_dir_all(&folder).unwrap();
    for source in fs::read_dir(source("examples")).unwrap() {
        let source = source.unwrap().path();
        fs::copy(&source, folder.join(source.file_name().unwrap())).unwrap();
    }
    folder
}

#[test]
fn the_commands_of_the_document_build_the_example_and_its_test_passes() {
    if is_missing("pkg-config") {
        return;
    }
    let folder = example("example");
    let mut shell = Command::new("sh");
    shell.args(["-euc", &commands()]).current_dir(&folder);
    let printed = run(shell.env("PREFIX", prefix()));
    assert_eq!(printed, "all passed\n");
}

#[test]
fn valgrind_finds_no_error_and_no_leak() {
    if is_missing("valgrind") {
        return;
    }
    let example = ["examples/backend.c", "examples/backend_test.c"];
    let programs: [(&str, &[&str]); 4] = [
        ("checked-conformance", &["tests/c/conformance.c"]),
        ("checked-overflow", &["tests/c/overflow.c"]),
        ("checked-simulator", &["tests/c/simulator.c"]),
        ("checked-example", &example),
    ];
    thread::scope(|scope| {
        for (name, sources) in programs {
            scope.spawn(|| check(&build(name, sources), |_| ()));
        }
    });
}

/// Runs a program in valgrind, with what `prepare` adds to its environment.
pub(crate) fn check(program: &Path, prepare: impl FnOnce(&mut Command)) {
    let mut checked: Command = command(&PathBuf::from("valgrind"));
    checked.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
    // The environment makes only the one program survive that overflows.
    if program.to_string_lossy().ends_with("overflow") {
        checked.env("EVTCHN_SURVIVE_OVERFLOW", "1");
    }
    prepare(&mut checked);
    run(checked.arg(program));
}
