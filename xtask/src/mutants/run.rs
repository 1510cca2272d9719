//! Test binaries, run with one mutant at a time.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{build::Binary, list::Mutant};

/// Modules of tests that take long, or that say nothing of a single change. They are run by themselves.
const SLOW: [&str; 14] = [
    "choices",
    "corpus",
    "determinism",
    "domains",
    "endurance",
    "examples",
    "exhaustive",
    "footprint",
    "memory",
    "peers",
    "properties",
    "soak",
    "thousands",
    "virtual_time",
];
/// The package whose tests are split so.
const SPLIT: &str = "evtchn";

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Caught(String),
    TimedOut(String),
    Missed,
}

/// A test binary with arguments, and what it does without a mutant.
#[derive(Debug)]
pub(super) struct Program {
    binary: Binary,
    arguments: Vec<String>,
    took: Duration,
    /// The mutants that it comes by.
    met: BTreeSet<u32>,
}

impl Program {
    fn label(&self) -> String {
        format!("{} {}", self.binary.package, self.binary.name)
    }

    fn patience(&self) -> Duration {
        const LEAST: Duration = Duration::from_secs(20);
        LEAST + self.took * 8
    }

    fn start(&self, mutant: u32, met: Option<&Path>) -> Result<Child> {
        let mut command = Command::new(&self.binary.executable);
        command
            .args(&self.arguments)
            .current_dir(&self.binary.folder)
            .env("CARGO_MANIFEST_DIR", &self.binary.folder)
            .env("EVTCHN_MUTANT", mutant.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        if let Some(met) = met {
            command.env("EVTCHN_MUTANTS_MET", met);
        }
        command
            .spawn()
            .with_context(|| format!("cannot run {}", self.label()))
    }
}

/// Runs every binary once without a mutant, which it must pass.
pub(super) fn programs(binaries: &[Binary], work: &Path) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for binary in binaries {
        for arguments in parts(binary) {
            let mut program = Program {
                binary: binary.clone(),
                arguments,
                took: Duration::MAX,
                met: BTreeSet::new(),
            };
            let met = work.join("met");
            if met.exists() {
                fs::remove_file(&met)?;
            }
            let began = Instant::now();
            let ended = finish(program.start(0, Some(&met))?, Duration::from_secs(1800))?;
            program.took = began.elapsed();
            let label = program.label();
            if !ended.is_some_and(|status| status.success()) {
                eprintln!(
                    "without a mutant {label} {:?} fails and is left out",
                    program.arguments
                );
                continue;
            }
            let met = fs::read_to_string(met).unwrap_or_default();
            program.met = met.lines().filter_map(|line| line.parse().ok()).collect();
            eprintln!("{label}: {:?}, meets {}", program.took, program.met.len());
            programs.push(program);
        }
    }
    ensure!(!programs.is_empty(), "no tests");
    programs.sort_by_key(|program| program.took);
    Ok(programs)
}

fn parts(binary: &Binary) -> Vec<Vec<String>> {
    if binary.package != SPLIT || binary.name == "evtchn" {
        return vec![Vec::new()];
    }
    let slow = SLOW.iter().map(|name| format!("{name}::"));
    let quick = slow
        .clone()
        .flat_map(|name| ["--skip".to_owned(), name])
        .collect();
    vec![quick, slow.collect()]
}

/// Whether any test comes by it.
pub(super) fn is_met(mutant: &Mutant, programs: &[Program]) -> bool {
    programs
        .iter()
        .any(|program| program.met.contains(&mutant.id))
}

/// Runs what comes by the mutant, the tests of its package first, until something fails.
pub(super) fn try_out(mutant: &Mutant, programs: &[Program]) -> Result<Fate> {
    let own = |program: &&Program| program.binary.package == mutant.package;
    let others = programs.iter().filter(|program| !own(program));
    for program in programs.iter().filter(own).chain(others) {
        if !program.met.contains(&mutant.id) {
            continue;
        }
        match finish(program.start(mutant.id, None)?, program.patience())? {
            Some(status) if status.success() => {}
            Some(_) => return Ok(Fate::Caught(program.label())),
            None => return Ok(Fate::TimedOut(program.label())),
        }
    }
    Ok(Fate::Missed)
}

/// Does this for all mutants, so many at a time.
pub(super) fn all(
    mutants: &[&Mutant],
    jobs: usize,
    each: impl Fn(&Mutant) -> Result<()> + Sync,
) -> Result<()> {
    let left = Mutex::new(mutants.iter());
    let next = || left.lock().ok()?.next();
    let lane = || -> Result<()> {
        while let Some(mutant) = next() {
            each(mutant)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..jobs).map(|_| scope.spawn(lane)).collect();
        let ends = lanes.into_iter().map(ScopedJoinHandle::join);
        let ends: Vec<_> = ends.collect();
        for end in ends {
            end.map_err(|_| anyhow::anyhow!("a lane panicked"))??;
        }
        Ok(())
    })
}

/// Waits for its end. What takes longer is killed, with what it started.
fn finish(mut child: Child, patience: Duration) -> Result<Option<ExitStatus>> {
    const STEP: Duration = Duration::from_millis(5);
    let began = Instant::now();
    let group = Pid::from_child(&child);
    let ended = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if began.elapsed() > patience {
            break None;
        }
        thread::sleep(STEP);
    };
    // What it started may outlive it.
    let _may_be_gone = kill_process_group(group, Signal::KILL);
    child.wait()?;
    Ok(ended)
}
