//! `cargo xtask xen --syscalls`: which system calls the loops of the library make, by strace in dom0.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};

use crate::{binaries, initramfs, packages, xen};

const TRACER: &str = "strace";

/// Whether to run it.
#[derive(Debug, clap::Args)]
pub(crate) struct Syscalls {
    /// Trace the library's loops, and fail where they make other system calls than they must
    #[arg(long, conflicts_with_all = ["bench", "differential", "tests", "command", "release"])]
    pub(crate) syscalls: bool,
}

/// Runs it. What it prints and its exit code are those of the program in the guest.
pub(crate) fn run(options: &xen::Options, dir: &Path) -> Result<ExitCode> {
    packages::require(TRACER, TRACER)?;
    let programs = [
        binaries::program("xenbench", "xenbench", false)?,
        (TRACER.to_owned(), Path::new("/usr/bin").join(TRACER)),
    ];
    let job = initramfs::call("run_command", ["xenbench", "syscalls", TRACER]);
    xen::run_programs(options.setup(), dir, &programs, &job, &xen::OUTPUT)
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name", path.display()))?;
    Ok(name.to_owned())
}
