//! Tasks of the workspace: `cargo xtask xen` boots a real Xen under qemu and runs tests, or one command, in its dom0;
//! `cargo xtask docs` rewrites the generated parts of the documents; `cargo xtask capi` links and installs the C libraries.
//!
//! Standard output carries only what the guest prints, and the last line of a test run. Messages of xtask itself go to
//! standard error.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

// A module imports only modules of the groups below its own, which a test checks.
mod capi;
mod docs;
mod xen;

mod bench;
mod differential;
mod guest;
mod mutants;
mod soak;
mod syscalls;

mod boot;

mod results;

mod report;

mod vm;

mod initramfs;

mod binaries;
mod image;

mod toolchain;

mod debian;

mod packages;
mod platform;
mod shell;
mod workspace;

/// The exit code if xtask itself fails. A command in the guest is unlikely to return it.
const FAILED: u8 = 125;

/// Tasks of the evtchn workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Capi(capi::Options),
    Docs(docs::Options),
    Mutants(mutants::Options),
    Xen(xen::Options),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().task {
        Task::Capi(options) => capi::run(&options),
        Task::Docs(options) => docs::run(&options),
        Task::Mutants(options) => mutants::run(&options),
        Task::Xen(options) => xen::run(&options),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(FAILED)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use crate::workspace;

    /// The Rust files of a module.
    fn files(path: &Path) -> Vec<String> {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap();
            return entries
                .flat_map(|entry| files(&entry.unwrap().path()))
                .collect();
        }
        vec![fs::read_to_string(path).unwrap()]
    }

    #[test]
    fn modules_import_only_modules_of_the_groups_below_their_own() {
        let main = include_str!("main.rs")
            .split("#[cfg(test)]")
            .next()
            .unwrap();
        let groups: Vec<Vec<&str>> = main
            .split("\n\n")
            .map(|group| {
                let lines = group.lines();
                let names = lines.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
                names.collect()
            })
            .collect();
        let source = workspace::root().join("xtask/src");
        let mut checked = 0;
        for (place, group) in groups.iter().enumerate() {
            let not_below = groups[..=place].concat();
            for module in group {
                let folder = source.join(module);
                let file = folder.with_extension("rs");
                for text in files(if file.exists() { &file } else { &folder }) {
                    for import in text.split("use crate::").skip(1) {
                        let import = import.split(';').next().unwrap();
                        let mut words = import.split(|c: char| !c.is_alphanumeric() && c != '_');
                        let wrong = words.find(|word| not_below.contains(word));
                        assert_eq!(wrong, None, "{module} imports {import}");
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 20, "{checked} imports");
    }
}
