//! `cargo xtask xen --differential`: the simulator against the device, in one process in dom0.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::{
    binaries::{Builder, GuestTest},
    initramfs, xen,
};

const PROGRAM: GuestTest = GuestTest {
    name: "differential",
    package: "evtchn-xen",
    args: &[],
};

/// What the run is to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Differential {
    /// Hold the simulator against the device: random calls on both, every answer compared
    #[arg(long, conflicts_with_all = ["tests", "command"])]
    pub(crate) differential: bool,
    /// Number of calls
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50_000,
        requires = "differential"
    )]
    ops: u64,
    /// Where the calls are drawn from
    #[arg(long, value_name = "S", default_value_t = 1, requires = "differential")]
    seed: u64,
}

impl Differential {
    /// Seconds that suffice on a slow host.
    pub(crate) fn patience(&self) -> u64 {
        const PER_SECOND: u64 = 1000;
        self.ops / PER_SECOND
    }
}

/// Runs it. The last line that it prints and its exit code are those of the program in the guest.
pub(crate) fn run(options: &xen::Options, dir: &Path) -> Result<ExitCode> {
    let Differential { ops, seed, .. } = &options.differential;
    // Under emulation an unoptimised simulator would be most of the time.
    let program = Builder::new(dir, true).test(&PROGRAM)?;
    let [ops, seed] = [ops, seed].map(u64::to_string);
    let command = [PROGRAM.name, "--ops", &ops, "--seed", &seed];
    xen::run_program(
        options,
        dir,
        (PROGRAM.name, program),
        &initramfs::call("run_command", command),
    )
}
