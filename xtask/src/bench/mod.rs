//! `cargo xtask xen --bench`: measures this library and others on the real device, in the same boots, in turn.

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};

use crate::{
    binaries::{self, Builder},
    boot::Config,
    packages, shell,
    vm::{Line, Setup},
    workspace,
};

mod bounds;
mod plan;
mod row;
mod sample;

use plan::{Plan, Program};
pub(crate) use row::{Row, Unit, from_json};
use sample::Sample;

/// The options of this run.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Measure this library beside others, write target/xen-bench.json, and check the bounds
    #[arg(long, conflicts_with_all = ["differential", "tests", "command", "smp", "release"])]
    pub(crate) bench: bool,
    /// Measure less: only instructions, and without the slowest implementations; check the bounds on these
    #[arg(long, requires = "bench")]
    quick: bool,
}

impl Bench {
    /// Seconds that one boot may take beyond the usual on a slow host.
    pub(crate) fn extra_seconds(&self) -> u64 {
        const WHOLE: u64 = 3000;
        const QUICK: u64 = 300;
        match (self.bench, self.quick) {
            (false, _) => 0,
            (true, false) => WHOLE,
            (true, true) => QUICK,
        }
    }
}

/// Measures, writes the figures to a file, and fails if a bound does not hold.
pub(crate) fn run(options: &Bench, config: &Config) -> Result<ExitCode> {
    let plan = if options.quick {
        Plan::QUICK
    } else {
        Plan::WHOLE
    };
    let programs = programs(config, &plan)?;
    let path = config.dir.with_file_name(plan.result);
    let mut rows = Vec::new();
    for (clock, cpus) in plan.machines {
        let unit = Unit::of(*clock);
        eprintln!("xtask: measuring {} on {cpus} vCPU", unit.name());
        let mut config = config.clone();
        config.setup = Setup {
            clock: *clock,
            cpus: *cpus,
            ..config.setup
        };
        rows.extend(measure(&config, &plan, &programs)?);
        // After each boot, since the next one may take long or fail.
        fs::write(&path, row::to_json(&rows)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let report = bounds::report(&rows);
    io::stdout().write_all(format!("{}\n{report}", row::listing(&rows)).as_bytes())?;
    Ok(ExitCode::from(u8::from(!report.is_success())))
}

/// Runs the plan in one boot.
fn measure(config: &Config, plan: &Plan, programs: &[binaries::Program]) -> Result<Vec<Row>> {
    let job = shell::call("run_command", ["sh", "-c", &plan.script()]);
    let code = config.run_programs(programs, &job, &[Line::Stderr])?;
    ensure!(code == ExitCode::SUCCESS, "a program failed in the guest");
    let samples = Sample::all(&config.recorded(Line::Stdout)?)?;
    row::all(
        &samples,
        plan.repetitions,
        Unit::of(config.setup.clock),
        config.setup.cpus,
    )
}

/// Builds every program of the plan.
fn programs(config: &Config, plan: &Plan) -> Result<Vec<binaries::Program>> {
    const SOURCE: &str = "testing/bench-others/libxl.c";
    const LIBRARIES: [&str; 3] = ["xenevtchn", "xentoolcore", "xentoollog"];
    // In the release profile without changes, as users build.
    let builder = Builder::new(&config.dir);
    plan.programs()
        .into_iter()
        .map(|program| {
            let path = match program {
                Program::Own => builder.benchmark()?,
                Program::Krata => builder.other(program.name())?,
                Program::Libxl => {
                    let root = packages::unpacked(&config.dir, "libxen-dev")?;
                    builder.c_program(&workspace::root().join(SOURCE), &root, &LIBRARIES)?
                }
            };
            Ok((program.name().to_owned(), path))
        })
        .collect()
}
