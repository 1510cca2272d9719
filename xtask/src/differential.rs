//! `cargo xtask xen --differential`: the simulator against the device, in one process in dom0.

use std::{ffi::OsStr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};

use crate::{
    binaries,
    boot::{Config, OUTPUT},
    shell,
    vm::Line,
};

/// The test binary that compares the two, in the package of the real backend.
const PROGRAM: &str = "differential";

/// The options of this run.
#[derive(Debug, clap::Args)]
pub(crate) struct Differential {
    /// Make random calls on the simulator and on the device, and compare every result
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
    /// Seed of the random calls
    #[arg(long, value_name = "S", default_value_t = 1, requires = "differential")]
    seed: u64,
    /// Run these programs instead, each until it finds a difference (for testing/mutations/differential)
    #[arg(long, value_name = "PATH", requires = "differential", hide = true)]
    built: Vec<PathBuf>,
}

impl Differential {
    /// Seconds that it may take beyond the usual on a slow host.
    pub(crate) fn extra_seconds(&self) -> u64 {
        const PER_SECOND: u64 = 1000;
        self.ops / PER_SECOND * self.built.len().max(1) as u64
    }
}

/// Runs it. Its last line and its exit code are those of the program in the guest.
pub(crate) fn run(options: &Differential, config: &Config) -> Result<ExitCode> {
    let Differential {
        ops, seed, built, ..
    } = options;
    let [ops, seed] = [ops, seed].map(u64::to_string);
    let arguments = ["--ops", &ops, "--seed", &seed];
    if built.is_empty() {
        let program = binaries::test("evtchn-xen", PROGRAM, &config.toolchain)?;
        let job = shell::call("run_command", [PROGRAM].iter().chain(&arguments));
        let code = config.run_programs(&[program], &job, &OUTPUT)?;
        let output = config.recorded(Line::Stdout)?;
        let last = output.lines().next_back().unwrap_or_default();
        config.keep(|results| results.differential(last))?;
        return Ok(code);
    }
    let mut programs = Vec::new();
    let mut job = String::new();
    for path in built {
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.with_context(|| format!("{} has no name", path.display()))?;
        programs.push((name.to_owned(), path.clone()));
        job += &shell::call("run_command", ["echo", "==", name]);
        job += &shell::call(
            "run_command",
            [name].iter().chain(&arguments).chain(&["--first"]),
        );
    }
    config.run_programs(&programs, &job, &OUTPUT)
}
