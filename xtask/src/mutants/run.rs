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

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Caught(String),
    TimedOut(String),
    Missed,
}

/// A test binary with its tests, the quick ones first.
#[derive(Debug)]
pub(super) struct Suite {
    binary: Binary,
    tests: Vec<Test>,
}

/// A test, and what it does without a mutant.
#[derive(Debug)]
struct Test {
    name: String,
    took: Duration,
    /// The mutants that it comes by.
    met: BTreeSet<u32>,
}

impl Suite {
    /// Runs each test once without a mutant. Those that fail so are left out.
    fn of(binary: &Binary, work: &Path, patience: Duration) -> Result<Self> {
        let mut suite = Self {
            binary: binary.clone(),
            tests: Vec::new(),
        };
        let listed = Command::new(&binary.executable)
            .current_dir(&binary.folder)
            .arg("--list")
            .output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for name in listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
        {
            let met = work.join("met");
            if met.exists() {
                fs::remove_file(&met)?;
            }
            let began = Instant::now();
            let child = suite.start(0, &[name], Some(&met))?;
            let ended = finish(child, patience)?;
            if !ended.is_some_and(|status| status.success()) {
                eprintln!("without a mutant {name} fails or takes long, and is left out");
                continue;
            }
            let met = fs::read_to_string(met).unwrap_or_default();
            suite.tests.push(Test {
                name: name.to_owned(),
                took: began.elapsed(),
                met: met.lines().filter_map(|line| line.parse().ok()).collect(),
            });
        }
        suite.tests.sort_by_key(|test| test.took);
        eprintln!("{}: {} tests", suite.label(), suite.tests.len());
        Ok(suite)
    }

    fn label(&self) -> String {
        format!("{} {}", self.binary.package, self.binary.name)
    }

    fn start(&self, mutant: u32, tests: &[&str], met: Option<&Path>) -> Result<Child> {
        let mut command = Command::new(&self.binary.executable);
        command
            .arg("--exact")
            .args(tests)
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
        let label = self.label();
        command
            .spawn()
            .with_context(|| format!("cannot run {label}"))
    }

    /// Runs the tests that come by the mutant, a few first, as the first often fails.
    fn try_out(&self, mutant: u32) -> Result<Fate> {
        const LEAST: Duration = Duration::from_secs(20);
        let come_by = self.tests.iter().filter(|test| test.met.contains(&mutant));
        let mut left: &[&Test] = &come_by.collect::<Vec<_>>();
        let mut count = 4;
        while !left.is_empty() {
            let (some, rest) = left.split_at(count.min(left.len()));
            let names: Vec<&str> = some.iter().map(|test| &*test.name).collect();
            let took: Duration = some.iter().map(|test| test.took).sum();
            match finish(self.start(mutant, &names, None)?, LEAST + took * 8)? {
                Some(status) if status.success() => {}
                Some(_) => return Ok(Fate::Caught(self.label())),
                None => return Ok(Fate::TimedOut(self.label())),
            }
            left = rest;
            count *= 8;
        }
        Ok(Fate::Missed)
    }
}

/// The tests of these binaries.
pub(super) fn suites(binaries: &[Binary], work: &Path, is_look: bool) -> Result<Vec<Suite>> {
    let patience = Duration::from_secs(if is_look { 10 } else { 1800 });
    let suites = binaries.iter();
    let suites = suites.map(|binary| Suite::of(binary, work, patience));
    let suites: Vec<Suite> = suites.collect::<Result<_>>()?;
    ensure!(
        suites.iter().any(|suite| !suite.tests.is_empty()),
        "no tests"
    );
    Ok(suites)
}

/// Whether any test comes by it.
pub(super) fn is_met(mutant: &Mutant, suites: &[Suite]) -> bool {
    let mut tests = suites.iter().flat_map(|suite| &suite.tests);
    tests.any(|test| test.met.contains(&mutant.id))
}

/// Runs what comes by the mutant, the tests of its package first, until something fails.
pub(super) fn try_out(mutant: &Mutant, suites: &[Suite]) -> Result<Fate> {
    let own = |suite: &&Suite| suite.binary.package == mutant.package;
    let others = suites.iter().filter(|suite| !own(suite));
    for suite in suites.iter().filter(own).chain(others) {
        let fate = suite.try_out(mutant.id)?;
        if fate != Fate::Missed {
            return Ok(fate);
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
