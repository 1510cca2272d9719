//! `cargo xtask xen`: from Debian packages and this workspace to a verdict.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    bench,
    binaries::{self, GuestTest, Program, TESTS},
    differential, guest, initramfs,
    initramfs::Archive,
    packages, report,
    report::Verdict,
    soak, syscalls,
    vm::{self, Clock, End, Line, Machine, Setup},
};

/// Boot a real Xen under qemu; run the tests, or one command, in its dom0.
///
/// Without a command every test binary for real Xen runs and the last line is `N passed, N failed`.
/// A test that fails, a kernel or hypervisor that complains on its console, a hang, and a run without tests all
/// fail. With a command, its output and its exit code are passed on. Trouble of xtask itself exits with 125.
///
/// What the guest needs comes from Debian packages and is kept in target/xen, so only the first run uses the
/// network. The console is in target/xen/console.log.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Number of virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    smp: u8,
    /// Seconds, on the host's clock, after which the guest counts as hung; 900, and more for many calls
    #[arg(long, value_name = "SECS")]
    timeout: Option<u64>,
    /// Run only this test binary (may be repeated)
    #[arg(long = "test", value_name = "NAME", conflicts_with = "command")]
    tests: Vec<String>,
    /// Build the guest's binaries optimised and without debug assertions
    #[arg(long)]
    pub(crate) release: bool,
    /// Set an environment variable in the guest (may be repeated)
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<String>,
    #[command(flatten)]
    pub(crate) differential: differential::Differential,
    #[command(flatten)]
    pub(crate) bench: bench::Bench,
    #[command(flatten)]
    pub(crate) syscalls: syscalls::Syscalls,
    #[command(flatten)]
    pub(crate) guest: guest::Guest,
    #[command(flatten)]
    pub(crate) soak: soak::Soak,
    /// Run this in the guest instead of the tests: `evtchn` or any busybox applet, with arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Options {
    fn patience(&self) -> Duration {
        const PATIENCE: u64 = 900;
        let seconds = self.timeout;
        let extra = self.differential.patience()
            + self.bench.patience()
            + self.guest.patience()
            + self.soak.patience();
        Duration::from_secs(seconds.unwrap_or(PATIENCE + extra))
    }

    /// The machine that the command line asks for.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            cpus: self.smp,
            clock: Clock::Wall,
            has_guests: self.guest.guest,
            timeout: self.patience(),
        }
    }
}

/// The lines of a command.
pub(crate) const OUTPUT: [Line; 2] = [Line::Stdout, Line::Stderr];

/// Runs `cargo xtask xen`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let dir = work_dir()?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let _lock = lock(&dir)?;

    packages::require_qemu()?;
    packages::prepare(&dir)?;
    if options.differential.differential {
        differential::run(options, &dir)
    } else if options.bench.bench {
        bench::run(options, &dir)
    } else if options.syscalls.syscalls {
        syscalls::run(options, &dir)
    } else if let Some(minutes) = options.soak.soak {
        soak::run(options, &dir, minutes)
    } else if options.guest.guest && options.command.is_empty() {
        guest::run(options, &dir)
    } else if options.command.is_empty() {
        run_tests(options, &dir)
    } else {
        run_command(options, &dir)
    }
}

/// Runs the chosen test binaries in one boot.
fn run_tests(options: &Options, dir: &Path) -> Result<ExitCode> {
    let tests = chosen(&options.tests)?;
    let mut programs = binaries::tests(&tests, options.release)?;
    programs.push(command(options)?);
    let mut job = environment(options);
    for test in &tests {
        job += &test.call();
    }

    let archive = packed(dir, &programs, &job)?;
    let end = boot(options.setup(), dir, archive, &[Line::Report])?;
    let names: Vec<&str> = tests.iter().map(|test| test.name).collect();
    let verdict = Verdict::new(
        &names,
        &vm::recorded(dir, Line::Report)?,
        &vm::recorded(dir, Line::Console)?,
        end,
    );
    if !verdict.is_success() {
        show_console(dir)?;
    }
    io::stdout().write_all(format!("\n{verdict}\n").as_bytes())?;
    Ok(ExitCode::from(u8::from(!verdict.is_success())))
}

/// Runs one command in the guest and takes over its exit code.
fn run_command(options: &Options, dir: &Path) -> Result<ExitCode> {
    let programs = [command(options)?];
    let job = environment(options) + &initramfs::call("run_command", &options.command);
    let archive = match options.guest.guest {
        true => guest::packed(dir, &programs, &job)?,
        false => packed(dir, &programs, &job)?,
    };
    run_archive(options.setup(), dir, archive, &OUTPUT)
}

/// The `evtchn` command, built.
pub(crate) fn command(options: &Options) -> Result<Program> {
    binaries::program("evtchn-cli", "evtchn", options.release)
}

/// Runs a job with some programs in the guest and takes over the exit code of its last command. What the `echoed`
/// lines carry is passed on.
pub(crate) fn run_programs(
    setup: Setup,
    dir: &Path,
    programs: &[Program],
    job: &str,
    echoed: &[Line],
) -> Result<ExitCode> {
    run_archive(setup, dir, packed(dir, programs, job)?, echoed)
}

fn run_archive(setup: Setup, dir: &Path, archive: Archive, echoed: &[Line]) -> Result<ExitCode> {
    let end = boot(setup, dir, archive, echoed)?;

    let console = vm::recorded(dir, Line::Console)?;
    let code = report::exit_code(&vm::recorded(dir, Line::Report)?);
    let complaint = report::complaint(&console);
    if end == End::TimedOut || complaint.is_some() || code.is_none() {
        show_console(dir)?;
    }
    ensure!(
        end == End::PoweredOff,
        "no end after {} s",
        setup.timeout.as_secs()
    );
    if let Some(complaint) = complaint {
        bail!("the console says: {complaint}");
    }
    let code = code.context("the guest never ran the command")?;
    Ok(ExitCode::from(code))
}

/// Refuses what the guest's shell would not export: it is the first process, and nobody outlives it.
fn variable(text: &str) -> Result<String, String> {
    let name = text.split_once('=').map_or("", |(name, _)| name);
    let fits = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits)
    {
        return Err("not NAME=VALUE".to_owned());
    }
    Ok(text.to_owned())
}

/// The start of every job: what the guest's programs find in their environment.
pub(crate) fn environment(options: &Options) -> String {
    let variables = options.variables.iter();
    variables
        .map(|variable| initramfs::call("export", [variable]))
        .collect()
}

/// What dom0 boots from, with these programs.
pub(crate) fn packed(dir: &Path, programs: &[Program], job: &str) -> Result<Archive> {
    let mut archive = Archive::new(dir, job)?;
    for (name, path) in programs {
        archive.program(name, path)?;
    }
    Ok(archive)
}

/// Runs dom0 to its end, passing on what it writes on the `echoed` lines.
pub(crate) fn boot(setup: Setup, dir: &Path, archive: Archive, echoed: &[Line]) -> Result<End> {
    archive.write()?;
    let machine = Machine { dir, setup };
    machine.run(|line, bytes| match line {
        _ if !echoed.contains(&line) => Ok(()),
        Line::Stderr => io::stderr().write_all(bytes),
        Line::Console | Line::Report | Line::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
    })
}

/// The tests that the command line asks for.
fn chosen(names: &[String]) -> Result<Vec<&'static GuestTest>> {
    if names.is_empty() {
        return Ok(TESTS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            TESTS
                .iter()
                .find(|test| test.name == name)
                .with_context(|| format!("no guest test is called {name}"))
        })
        .collect()
}

/// Prints the end of the console, where the cause of most failures is.
pub(crate) fn show_console(dir: &Path) -> Result<()> {
    const SHOWN: usize = 40;
    let console = vm::recorded(dir, Line::Console)?;
    let lines: Vec<&str> = console.lines().collect();
    let tail = lines.len().saturating_sub(SHOWN);
    eprintln!(
        "xtask: the end of {}:",
        dir.join(Line::Console.file()).display()
    );
    for line in &lines[tail..] {
        eprintln!("  {line}");
    }
    Ok(())
}

/// `target/xen`, wherever cargo's target directory is.
pub(crate) fn work_dir() -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    Ok(target.canonicalize()?.join("xen"))
}

/// Lets only one run at a time use the directory.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let lock = File::create(dir.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("xtask: waiting for another run to end");
            lock.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::variable;

    #[test]
    fn only_what_a_shell_exports_is_a_variable() {
        for good in ["EVTCHN_LOAD=10", "_a1=", "A=b c=d'"] {
            assert_eq!(variable(good).as_deref(), Ok(good));
        }
        for bad in ["", "A", "=1", "1A=1", "A B=1", "A-B=1", "'=1"] {
            assert!(variable(bad).is_err(), "{bad}");
        }
    }
}
