//! `cargo xtask xen`: from Debian packages and this workspace to a test result.
//!
//! It reads the command line and starts what that names. No module but `main` imports this one.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    bench,
    binaries::{self, GuestTest, TESTS},
    boot::{self, Config, OUTPUT},
    debian::NotServed,
    differential, guest,
    platform::{self, Architecture, Bootable, LeftOut},
    shell, soak, syscalls,
    toolchain::Toolchain,
    vm::{Clock, Line, Setup},
};

/// Boot a real Xen under qemu; run the tests, or one command, in its dom0.
///
/// Without a command it runs every test binary for real Xen, and the last line is `N passed, N failed`.
/// The run fails if a test fails, if a kernel or the hypervisor complains on its console, if the guest hangs, or if
/// no test ran. With a command, it prints the output of that and exits with its exit code. If xtask itself fails, it
/// exits with 125.
///
/// What the guest needs comes from Debian packages and is kept in target/xen, so only the first run uses the
/// network. The package lists of this machine stay as they are. The console is in target/xen/console.log.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Boot this pair of Linux and Xen; `list` names them all [default: linux-6.1-xen-4.17]
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// Number of virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    smp: u8,
    /// Seconds on the host's clock after which the guest counts as hung [default: 900, more for long runs]
    #[arg(long, value_name = "SECS")]
    timeout: Option<u64>,
    /// Run only this test binary (may be repeated)
    #[arg(long = "test", value_name = "NAME", conflicts_with = "command")]
    tests: Vec<String>,
    /// Build the guest's binaries optimized and without debug assertions
    #[arg(long)]
    release: bool,
    /// Set an environment variable in the guest (may be repeated)
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<String>,
    #[command(flatten)]
    differential: differential::Differential,
    #[command(flatten)]
    bench: bench::Bench,
    #[command(flatten)]
    syscalls: syscalls::Syscalls,
    #[command(flatten)]
    guest: guest::Guest,
    #[command(flatten)]
    soak: soak::Soak,
    /// Run this in the guest instead of the tests: `evtchn` or any busybox applet, with arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Options {
    fn timeout(&self) -> Duration {
        const USUAL: u64 = 900;
        let extra = self.differential.extra_seconds()
            + self.bench.extra_seconds()
            + self.guest.extra_seconds()
            + self.soak.extra_seconds();
        Duration::from_secs(self.timeout.unwrap_or(USUAL + extra))
    }

    /// The boot that the command line asks for.
    fn config(&self, dir: PathBuf, platform: &'static Bootable) -> Result<Config> {
        let variables = self.variables.iter();
        let exports = variables.map(|variable| shell::call("export", [variable]));
        Ok(Config {
            toolchain: Toolchain::new(&dir, platform.architecture, self.release)?,
            dir,
            platform,
            setup: Setup {
                cpus: self.smp,
                clock: Clock::Wall,
                has_guests: self.guest.has_guests(),
                timeout: self.timeout(),
            },
            environment: exports.collect(),
        })
    }

    /// What needs the tools of this machine in the guest.
    fn is_native(&self) -> bool {
        let Options {
            bench,
            syscalls,
            guest,
            soak,
            ..
        } = self;
        bench.bench || syscalls.syscalls || guest.has_guests() || soak.soak.is_some()
    }
}

/// Runs `cargo xtask xen`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let name = options.platform.as_deref();
    if name == Some("list") {
        io::stdout().write_all(platform::list().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let platform = name.map_or(Ok(Bootable::default()), Bootable::named)?;
    ensure!(
        !options.is_native() || platform.architecture == Architecture::Amd64,
        "this runs on amd64 alone"
    );
    let dir = boot::work_dir()?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let _lock = boot::lock(&dir)?;

    match boot::prepare(&dir, platform) {
        Err(error) if error.is::<NotServed>() && name.is_some() => {
            println(&format!("SKIPPED: {}: {error}", platform.name()))?;
            return Ok(ExitCode::SUCCESS);
        }
        prepared => prepared?,
    }
    run_on(options, &options.config(dir, platform)?)
}

/// Runs what the command line asks for.
fn run_on(options: &Options, config: &Config) -> Result<ExitCode> {
    if options.differential.differential {
        differential::run(&options.differential, config)
    } else if options.bench.bench {
        bench::run(&options.bench, config)
    } else if options.syscalls.syscalls {
        syscalls::run(config)
    } else if let Some(minutes) = options.soak.soak {
        soak::run(&options.soak, config, minutes)
    } else if options.guest.guest && options.command.is_empty() {
        guest::run(config)
    } else if options.guest.inside {
        guest::run_inside(config)
    } else if options.command.is_empty() {
        run_tests(options, config)
    } else {
        run_command(options, config)
    }
}

/// Runs the chosen test binaries in one boot.
fn run_tests(options: &Options, config: &Config) -> Result<ExitCode> {
    let tests = chosen(&options.tests)?;
    let mut programs = binaries::tests(&tests, &config.toolchain)?;
    if tests.iter().any(|test| test.package == "evtchn-cli") {
        programs.push(config.command()?);
    }
    let mut job = config.environment.clone();
    for LeftOut { test, case, reason } in config.platform.left_out {
        println(&format!("LEFT OUT of {test}: {case}: {reason}"))?;
    }
    for test in &tests {
        job += &test.call(config.platform.left_out);
    }

    let archive = config.archive(&programs, &job)?;
    let end = config.boot(archive, &[Line::Report])?;
    let names: Vec<&str> = tests.iter().map(|test| test.name).collect();
    config.verdict(&names, end)
}

/// Runs one command in the guest and exits with its exit code.
fn run_command(options: &Options, config: &Config) -> Result<ExitCode> {
    let programs = [config.command()?];
    let job = config.environment.clone() + &shell::call("run_command", &options.command);
    let archive = match options.guest.guest {
        true => guest::archive(config, &programs, &job)?,
        false => config.archive(&programs, &job)?,
    };
    config.run_archive(archive, &OUTPUT)
}

fn println(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Refuses what the guest's shell cannot export: if that shell ends, the kernel crashes, because it is the
/// first process.
fn variable(text: &str) -> Result<String, String> {
    let name = text.split_once('=').map_or("", |(name, _)| name);
    let fits = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits)
    {
        return Err("not NAME=VALUE".to_owned());
    }
    Ok(text.to_owned())
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

#[cfg(test)]
mod tests {
    use super::variable;

    #[test]
    fn only_what_a_shell_can_export_is_a_variable() {
        for good in ["EVTCHN_LOAD=10", "_a1=", "A=b c=d'"] {
            assert_eq!(variable(good).as_deref(), Ok(good));
        }
        for bad in ["", "A", "=1", "1A=1", "A B=1", "A-B=1", "'=1"] {
            assert!(variable(bad).is_err(), "{bad}");
        }
    }
}
