//! `cargo xtask xen --soak MINUTES`: processes and threads at random on the device in dom0, for so long.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::{binaries, initramfs, xen};

/// The test binary, in the package of the real backend.
const PROGRAM: &str = "soak";

/// How long it is to go on.
#[derive(Debug, clap::Args)]
pub(crate) struct Soak {
    /// Let processes and threads bind, notify, wait, cancel, unbind, fork, overflow rings and be killed at random for
    /// so many minutes; a line each minute, figures at the end, and a failure where a wake is lost or comes to the
    /// wrong channel, where anything is left bound, where a process grows, or where one hangs
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["bench", "differential", "guest", "tests", "syscalls", "command"])]
    pub(crate) soak: Option<u64>,
    /// Where the choices of the soak are drawn from
    #[arg(long, value_name = "S", default_value_t = 1, requires = "soak")]
    soak_seed: u64,
}

impl Soak {
    /// Seconds that it may take beyond the usual.
    pub(crate) fn patience(&self) -> u64 {
        const LAST_LAP: u64 = 120;
        self.soak.map_or(0, |minutes| minutes * 60 + LAST_LAP)
    }
}

/// Runs it. What it prints and its exit code are those of the program in the guest.
pub(crate) fn run(options: &xen::Options, dir: &Path, minutes: u64) -> Result<ExitCode> {
    let program = binaries::test("evtchn-xen", PROGRAM, options.release)?;
    let words = [
        PROGRAM,
        "--minutes",
        &minutes.to_string(),
        "--seed",
        &options.soak.soak_seed.to_string(),
    ];
    let job = initramfs::call("run_command", words);
    xen::run_programs(options.setup(), dir, &[program], &job, &xen::OUTPUT)
}
