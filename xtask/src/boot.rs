//! One boot of dom0: the archive that it boots from, the job that it runs there, and the result.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    binaries::{self, Program},
    image,
    initramfs::{Archive, Files},
    platform::{Bootable, VARIABLE},
    report::{self, Verdict},
    results::Results,
    shell,
    toolchain::Toolchain,
    vm::{self, End, Line, Machine, Setup},
    workspace,
};

/// The lines that carry the output of a command.
pub(crate) const OUTPUT: [Line; 2] = [Line::Stdout, Line::Stderr];

/// What the command line says about every boot.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// `target/xen`, which holds the images, the archives and the recorded lines.
    pub(crate) dir: PathBuf,
    /// What is booted. Its image is complete.
    pub(crate) platform: &'static Bootable,
    /// The machine.
    pub(crate) setup: Setup,
    /// How the guest's binaries are built.
    pub(crate) toolchain: Toolchain,
    /// Shell lines that set environment variables in the guest.
    pub(crate) environment: String,
}

impl Config {
    /// Builds the command `evtchn`.
    pub(crate) fn command(&self) -> Result<Program> {
        binaries::program("evtchn-cli", "evtchn", &self.toolchain)
    }

    /// The archive that dom0 boots from, with these programs.
    pub(crate) fn archive(&self, programs: &[Program], job: &str) -> Result<Archive> {
        let platform = shell::call("export", [format!("{VARIABLE}={}", self.platform.name())]);
        let image = self.image();
        let mut archive = Archive::new(&self.dir, &self.files(&image), &(platform + job))?;
        for (name, path) in programs {
            archive.program(name, path)?;
        }
        Ok(archive)
    }

    /// The directory of the platform's files.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join(self.platform.image())
    }

    /// What the files of an archive depend on.
    pub(crate) fn files<'a>(&self, image: &'a Path) -> Files<'a> {
        Files {
            image,
            strip: self.toolchain.strip(),
        }
    }

    /// Boots dom0 and runs it to its end. Prints what it writes on the `echoed` lines.
    pub(crate) fn boot(&self, archive: Archive, echoed: &[Line]) -> Result<End> {
        archive.write()?;
        let machine = Machine {
            dir: &self.dir,
            platform: self.platform,
            setup: self.setup,
        };
        let end = machine.run(|line, bytes| match line {
            _ if !echoed.contains(&line) => Ok(()),
            Line::Stderr => io::stderr().write_all(bytes),
            Line::Console | Line::Report | Line::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
        })?;
        self.check_versions()?;
        Ok(end)
    }

    /// Says which versions were booted, and fails where they are not the platform's. A guest that did not come so far
    /// said nothing.
    fn check_versions(&self) -> Result<()> {
        let report = self.recorded(Line::Report)?;
        let Some(booted) = report::booted(&report) else {
            return Ok(());
        };
        eprintln!("xtask: {} was {booted}", self.platform.name());
        for version in self.platform.versions() {
            ensure!(booted.contains(&version), "that is not {version}*");
        }
        Ok(())
    }

    /// Runs a job with some programs in the guest and returns the exit code of its last command. Prints what the
    /// `echoed` lines carry.
    pub(crate) fn run_programs(
        &self,
        programs: &[Program],
        job: &str,
        echoed: &[Line],
    ) -> Result<ExitCode> {
        self.run_archive(self.archive(programs, job)?, echoed)
    }

    /// [`run_programs`](Self::run_programs) with an archive that is made already.
    pub(crate) fn run_archive(&self, archive: Archive, echoed: &[Line]) -> Result<ExitCode> {
        let end = self.boot(archive, echoed)?;

        let console = self.recorded(Line::Console)?;
        let code = report::exit_code(&self.recorded(Line::Report)?);
        let complaint = report::complaint(&console);
        if end == End::TimedOut || complaint.is_some() || code.is_none() {
            self.show_console()?;
        }
        ensure!(
            end == End::PoweredOff,
            "the guest still ran after {} s",
            self.setup.timeout.as_secs()
        );
        if let Some(complaint) = complaint {
            bail!("the console says: {complaint}");
        }
        let code = code.context("the guest never ran the command")?;
        Ok(ExitCode::from(code))
    }

    /// Prints what the last boot found of these tests, and keeps it.
    pub(crate) fn verdict(&self, names: &[&str], end: End) -> Result<ExitCode> {
        let report = self.recorded(Line::Report)?;
        let verdict = Verdict::new(names, &report, &self.recorded(Line::Console)?, end);
        if !verdict.is_success() {
            self.show_console()?;
        }
        self.keep(|results| {
            for (name, tally) in verdict.tallies() {
                results.test(name, *tally);
            }
        })?;
        writeln!(io::stdout().lock(), "\n{verdict}")?;
        Ok(ExitCode::from(u8::from(!verdict.is_success())))
    }

    /// Keeps what the last boot has tried. One with several vCPUs runs less, and is not kept.
    pub(crate) fn keep(&self, add: impl FnOnce(&mut Results)) -> Result<()> {
        let report = self.recorded(Line::Report)?;
        let Some(booted) = report::booted(&report).filter(|_| self.setup.cpus == 1) else {
            return Ok(());
        };
        let mut results = Results::new(self.platform, booted);
        add(&mut results);
        results.save()
    }

    /// What a line carried in the last boot.
    pub(crate) fn recorded(&self, line: Line) -> Result<String> {
        vm::recorded(&self.dir, line)
    }

    /// Prints the end of the console, which shows the cause of most failures.
    pub(crate) fn show_console(&self) -> Result<()> {
        const SHOWN: usize = 40;
        let console = self.recorded(Line::Console)?;
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines.len().saturating_sub(SHOWN);
        eprintln!(
            "xtask: the end of {}:",
            self.dir.join(Line::Console.file()).display()
        );
        for line in &lines[tail..] {
            eprintln!("  {line}");
        }
        Ok(())
    }
}

/// Installs the emulator of a platform and completes its image.
pub(crate) fn prepare(dir: &Path, platform: &Bootable) -> Result<()> {
    vm::require_qemu(platform.architecture)?;
    image::prepare(dir, platform)
}

/// `xen` in cargo's target directory.
pub(crate) fn work_dir() -> Result<PathBuf> {
    let target = workspace::target_dir();
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
