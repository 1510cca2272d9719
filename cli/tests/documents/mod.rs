//! The documents do what they say: every block of code is compiled, run or compared by a test,
//! every link leads somewhere, and every test that is named exists.
//!
//! Shell is run here, on the simulator (`sim::`) and, with what needs the device, on
//! `/dev/xen/evtchn` (`xen::`). Without the device the second half is ignored, and said to be;
//! with `EVTCHN_REQUIRE_XEN=1` it fails. `cargo xtask xen` boots a machine that has it. Rust is
//! compiled and run by rustdoc; here stands that rustdoc is given it.
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
    "docs/coming-from.md",
    "docs/command.md",
    "docs/comparison.md",
    "docs/figures.md",
    "docs/overflow.md",
    "docs/record-and-replay.md",
    "docs/test-without-xen.md",
    "docs/timeline.md",
    "docs/tokio.md",
    "docs/traces.md",
    "testing/bench-others/README.md",
    "testing/mutations/README.md",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every file with this ending below a folder, as paths from the root, but what builds leave.
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

fn every_document_is_looked_at() {
    let mut found = Vec::new();
    files(root(), "md", &mut found).unwrap();
    found.sort();
    let listed: Vec<PathBuf> = DOCUMENTS.iter().map(|(path, _)| path.into()).collect();
    assert_eq!(found, listed, "DOCUMENTS of this test lacks some");
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

/// rustdoc runs every block of a comment that has no other language, in libraries.
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

fn every_link_leads_somewhere() {
    let mut complaints = Vec::new();
    for (path, text) in DOCUMENTS {
        complaints.extend(links::broken(root(), path, text));
        complaints.extend(links::unsourced(path, text));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Names of functions of these modules, with the functions.
macro_rules! named {
    ($($($part:ident)::+),* $(,)?) => {
        &[$((stringify!($($part)::+), $($part)::+)),*]
    };
}

const CHECKS: &[(&str, fn())] = named![
    every_document_is_looked_at,
    every_block_is_compiled_run_or_compared,
    every_block_of_a_comment_is_compiled,
    every_link_leads_somewhere,
    cases::a_block_that_nothing_tests_is_told,
    cases::a_comment_that_rustdoc_does_not_compile_is_told,
    cases::a_link_to_nothing_is_told,
    cases::a_cell_without_its_source_is_told,
    cases::shell_that_does_not_do_what_it_says_is_told,
    cases::shell_for_the_device_is_run_in_dom0_alone,
];

fn trial(name: &str, check: fn()) -> Trial {
    let name = format!("documents::{}", name.replace(' ', ""));
    Trial::test(name, move || {
        check();
        Ok(())
    })
}

/// The checks, and the shell of each document on both sides.
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
