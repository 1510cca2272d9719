//! `cargo xtask xen --syscalls`: which system calls the loops of the library make, by strace in dom0.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::{
    binaries,
    boot::{Config, OUTPUT},
    packages, shell,
    toolchain::Toolchain,
};

const TRACER: &str = "strace";

/// Whether it runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Syscalls {
    /// Trace the library's loops, and fail if they make other system calls than expected
    #[arg(long, conflicts_with_all = ["bench", "differential", "tests", "command", "release"])]
    pub(crate) syscalls: bool,
}

/// Runs it. Its output and its exit code are those of the program in the guest.
pub(crate) fn run(config: &Config) -> Result<ExitCode> {
    packages::require(TRACER, TRACER)?;
    let programs = [
        binaries::program("xenbench", "xenbench", &Toolchain::native(false))?,
        (TRACER.to_owned(), Path::new("/usr/bin").join(TRACER)),
    ];
    let job = shell::call("run_command", ["xenbench", "syscalls", TRACER]);
    config.run_programs(&programs, &job, &OUTPUT)
}
