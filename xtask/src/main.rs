//! Chores of the workspace: `cargo xtask xen` boots a real Xen under qemu and runs tests, or one command, in its dom0;
//! `cargo xtask docs` rewrites what the documents take from the code.
//!
//! Standard output carries only what the guest prints (and the closing tally of a test run); everything
//! xtask has to say about itself goes to standard error.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod binaries;
mod differential;
mod docs;
mod guest;
mod initramfs;
mod mutants;
mod packages;
mod report;
mod soak;
mod syscalls;
mod vm;
mod xen;

/// The exit code of xtask's own trouble, kept apart from codes that a command in the guest is likely to return.
const TROUBLE: u8 = 125;

/// Chores of the evtchn workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Docs(docs::Options),
    Mutants(mutants::Options),
    Xen(xen::Options),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().task {
        Task::Docs(options) => docs::run(&options),
        Task::Mutants(options) => mutants::run(&options),
        Task::Xen(options) => xen::run(&options),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(TROUBLE)
    })
}
