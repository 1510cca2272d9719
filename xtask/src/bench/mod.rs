//! `cargo xtask xen --bench`: this library and others on the real device, in the same boots, one after the other in turn.

use std::{
    env, fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};

use crate::{
    binaries::{self, Builder},
    initramfs, packages, vm,
    vm::{Line, Setup},
    xen,
};

mod bounds;
mod plan;
mod row;
mod sample;

use plan::{Plan, Program};
pub(crate) use row::{Row, Unit, from_json};
use sample::Sample;

/// What the run is to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Measure this library beside others, write target/xen-bench.json, and hold it against its bounds
    #[arg(long, conflicts_with_all = ["differential", "tests", "command", "smp", "release"])]
    pub(crate) bench: bool,
    /// Measure less: instructions alone, and not the slowest; all bounds on the rest are checked
    #[arg(long, requires = "bench")]
    quick: bool,
}

impl Bench {
    /// Seconds that one boot may take on a slow host.
    pub(crate) fn patience(&self) -> u64 {
        const WHOLE: u64 = 3000;
        const QUICK: u64 = 300;
        match (self.bench, self.quick) {
            (false, _) => 0,
            (true, false) => WHOLE,
            (true, true) => QUICK,
        }
    }
}

/// Measures, writes down what was measured, and fails where a bound does not hold.
pub(crate) fn run(options: &xen::Options, dir: &Path) -> Result<ExitCode> {
    let plan = if options.bench.quick {
        Plan::QUICK
    } else {
        Plan::WHOLE
    };
    let programs = programs(dir, &plan)?;
    let path = dir.with_file_name(plan.result);
    let mut rows = Vec::new();
    for (clock, cpus) in plan.machines {
        let unit = Unit::of(*clock);
        eprintln!("xtask: measuring {} on {cpus} vCPU", unit.name());
        let setup = Setup {
            clock: *clock,
            cpus: *cpus,
            ..options.setup()
        };
        rows.extend(measure(setup, dir, &plan, &programs)?);
        // After each boot, since the next one may take long or fail.
        fs::write(&path, row::to_json(&rows)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let report = bounds::report(&rows);
    io::stdout().write_all(format!("{}\n{report}", row::listing(&rows)).as_bytes())?;
    Ok(ExitCode::from(u8::from(!report.is_success())))
}

/// Runs the plan in one boot.
fn measure(
    setup: Setup,
    dir: &Path,
    plan: &Plan,
    programs: &[binaries::Program],
) -> Result<Vec<Row>> {
    let job = initramfs::call("run_command", ["sh", "-c", &plan.script()]);
    let code = xen::run_programs(setup, dir, programs, &job, &[Line::Stderr])?;
    ensure!(code == ExitCode::SUCCESS, "a program failed in the guest");
    let samples = Sample::all(&vm::recorded(dir, Line::Stdout)?)?;
    row::all(
        &samples,
        plan.repetitions,
        Unit::of(setup.clock),
        setup.cpus,
    )
}

/// Builds every program of the plan.
fn programs(dir: &Path, plan: &Plan) -> Result<Vec<binaries::Program>> {
    const SOURCE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testing/bench-others/libxl.c"
    );
    const LIBRARIES: [&str; 3] = ["xenevtchn", "xentoolcore", "xentoollog"];
    // As users build: in the plain release profile.
    let builder = Builder::new(dir);
    plan.programs()
        .into_iter()
        .map(|program| {
            let path = match program {
                Program::Own => builder.benchmark()?,
                Program::Krata => builder.peer(program.name())?,
                Program::Libxl => {
                    let root = packages::unpacked(dir, "libxen-dev")?;
                    builder.c_program(Path::new(SOURCE), &root, &LIBRARIES)?
                }
            };
            Ok((program.name().to_owned(), path))
        })
        .collect()
}
