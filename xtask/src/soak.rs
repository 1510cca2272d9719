//! `cargo xtask xen --soak MINUTES`: processes and threads that use the device in dom0 at random.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    binaries,
    boot::{Config, OUTPUT},
    shell,
};

/// The test binary, in the package of the real backend.
const PROGRAM: &str = "soak";

/// How long it runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Soak {
    /// For this many minutes, let processes and threads bind, notify, wait, cancel, unbind, fork, overflow rings and
    /// be killed at random. Prints a line each minute and figures at the end. Fails if a wake is lost or goes to the
    /// wrong channel, if anything is left bound, if a process grows, or if one hangs
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["bench", "differential", "guest", "tests", "syscalls", "command"])]
    pub(crate) soak: Option<u64>,
    /// Seed of the soak
    #[arg(long, value_name = "S", default_value_t = 1, requires = "soak")]
    soak_seed: u64,
}

impl Soak {
    /// Seconds that it may take beyond the usual.
    pub(crate) fn extra_seconds(&self) -> u64 {
        const LAST_ROUND: u64 = 120;
        self.soak.map_or(0, |minutes| minutes * 60 + LAST_ROUND)
    }
}

/// Runs it. Its output and its exit code are those of the program in the guest.
pub(crate) fn run(options: &Soak, config: &Config, minutes: u64) -> Result<ExitCode> {
    let program = binaries::test("evtchn-xen", PROGRAM, &config.toolchain)?;
    let words = [
        PROGRAM,
        "--minutes",
        &minutes.to_string(),
        "--seed",
        &options.soak_seed.to_string(),
    ];
    let job = shell::call("run_command", words);
    config.run_programs(&[program], &job, &OUTPUT)
}
