//! Checks the documents: a test compiles, runs or compares every block of code, every link has a
//! target, and every named test exists.
//!
//! Shell runs here: on the simulator (`sim::`), and commands that need the device on `/dev/xen/evtchn`
//! (`xen::`). Without the device the second half is ignored, and a message says so; with
//! `EVTCHN_REQUIRE_XEN=1` it fails. `cargo xtask xen` boots a machine that has the device. rustdoc
//! compiles and runs Rust; these tests check that it gets each document.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blocks;
mod cases;
mod links;
mod places;
mod shell;

use std::path::{Path, PathBuf};
use std::{fs, io};

use libtest_mimic::Trial;

use blocks::{Block, blocks};
use shell::Where;

/// A document: its path from the root of the workspace, and its text.
type Document = (&'static str, &'static str);

macro_rules! documents {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../", $path)))),*]
    };
}

/// Every document. The guest of `cargo xtask xen` has no files of the workspace.
const DOCUMENTS: &[Document] = documents![
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "backend-sim/README.md",
    "backend-xen/README.md",
    "cli/README.md",
    "core/README.md",
    "docs/c.md",
    "docs/coming-from.md",
    "docs/command.md",
    "docs/comparison.md",
    "docs/compilers.md",
    "docs/figures.md",
    "docs/notify-many.md",
    "docs/overflow.md",
    "docs/peers.md",
    "docs/platforms.md",
    "docs/record-and-replay.md",
    "docs/restored-guests.md",
    "docs/restrict.md",
    "docs/test-without-xen.md",
    "docs/threads.md",
    "docs/timeline.md",
    "docs/tokio.md",
    "docs/traces.md",
    "fork/README.md",
    "loops/README.md",
    "testing/bench-others/README.md",
    "testing/mutations/README.md",
    "trace/README.md",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Finds every file with this extension below a folder, as paths from the root, without build output.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            files(&path, ending, found)?;
        } else if path.extension().is_some_and(|it| it == ending) {
            found.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    Ok(())
}

fn every_document_is_checked() {
    let mut found = Vec::new();
    files(root(), "md", &mut found).unwrap();
    found.sort();
    let listed: Vec<PathBuf> = DOCUMENTS.iter().map(|(path, _)| path.into()).collect();
    assert_eq!(found, listed, "DOCUMENTS of this test is incomplete");
}

fn every_block_is_compiled_run_or_compared() {
    let mut complaints = Vec::new();
    for (path, text) in DOCUMENTS {
        for block in blocks(text) {
            if let Err(complaint) = places::ensure_tested(path, &block) {
                complaints.push(format!("{path}:{}: {complaint}", block.line));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// rustdoc compiles the blocks of comments in libraries, unless they have another language.
fn every_block_of_a_comment_is_compiled() {
    let mut found = Vec::new();
    files(root(), "rs", &mut found).unwrap();
    let mut complaints = Vec::new();
    for path in found {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        for Block { line, info, .. } in blocks::of_comments(&text) {
            if let Err(complaint) = places::ensure_doctest(&path, &info) {
                complaints.push(format!("{}:{line}: {complaint}", path.display()));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn every_link_has_a_target() {
    let mut complaints = Vec::new();
    for (path, text) in DOCUMENTS {
        complaints.extend(links::broken(root(), path, text));
        complaints.extend(links::unsourced(path, text));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Functions with their names.
macro_rules! named {
    ($($($part:ident)::+),* $(,)?) => {
        &[$((stringify!($($part)::+), $($part)::+)),*]
    };
}

const CHECKS: &[(&str, fn())] = named![
    every_document_is_checked,
    every_block_is_compiled_run_or_compared,
    every_block_of_a_comment_is_compiled,
    every_link_has_a_target,
    cases::an_untested_block_is_a_complaint,
    cases::a_comment_that_rustdoc_does_not_compile_is_a_complaint,
    cases::a_broken_link_is_a_complaint,
    cases::a_cell_without_its_source_is_a_complaint,
    cases::shell_that_fails_or_prints_something_else_is_a_complaint,
    cases::shell_for_the_device_runs_only_in_dom0,
];

fn trial(name: &str, check: fn()) -> Trial {
    let name = format!("documents::{}", name.replace(' ', ""));
    Trial::test(name, move || {
        check();
        Ok(())
    })
}

/// The checks, and the shell of each document with and without the device.
pub(crate) fn trials() -> Vec<Trial> {
    let is_left_out = crate::is_left_out();
    let mut trials: Vec<Trial> = CHECKS
        .iter()
        .map(|&(name, check)| trial(name, check))
        .collect();
    for (path, text) in DOCUMENTS {
        for place in [Where::Here, Where::Xen] {
            let scripts = shell::scripts(text, place);
            if scripts.is_empty() {
                continue;
            }
            let name = format!("documents::{}::{path}", place.name());
            let trial = Trial::test(name, move || Ok(shell::run(path, &scripts)?));
            trials.push(trial.with_ignored_flag(place == Where::Xen && is_left_out));
        }
    }
    trials
}
