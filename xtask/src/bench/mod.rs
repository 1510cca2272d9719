//! `cargo xtask xen --bench`: this library and others on the real device, in the same boots, one after the other in turn.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, ensure};

use crate::{
    binaries::Builder,
    initramfs, vm,
    vm::{Clock, Line, Setup},
    xen,
};

mod plan;
mod sample;

use plan::Plan;
use sample::Sample;

/// What the run is to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Measure this library beside others, and write target/xen-bench.json
    #[arg(long, conflicts_with_all = ["differential", "tests", "command"])]
    pub(crate) bench: bool,
    /// Measure less: instructions on one virtual CPU; the bounds are checked all the same
    #[arg(long, requires = "bench")]
    quick: bool,
}

impl Bench {
    /// Seconds that one boot may take on a slow host.
    pub(crate) fn patience(&self) -> u64 {
        const WHOLE: u64 = 1800;
        const QUICK: u64 = 300;
        match (self.bench, self.quick) {
            (false, _) => 0,
            (true, false) => WHOLE,
            (true, true) => QUICK,
        }
    }
}

/// Measures, and judges what was measured.
pub(crate) fn run(options: &xen::Options, dir: &Path) -> Result<ExitCode> {
    let programs = [("xenbench", Builder::new(dir, true).benchmark()?)];
    let plan = Plan::quick();
    let setup = Setup {
        clock: Clock::Instructions,
        ..options.setup()
    };
    let job = initramfs::call("run_command", ["sh", "-c", &plan.script()]);
    let code = xen::run_programs(setup, dir, &programs, &job)?;
    ensure!(code == ExitCode::SUCCESS, "a program failed in the guest");
    let _samples = Sample::all(&vm::recorded(dir, Line::Stdout)?)?;
    Ok(ExitCode::SUCCESS)
}
