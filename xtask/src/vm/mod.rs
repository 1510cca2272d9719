//! The virtual machine: qemu without KVM, with four serial lines that are recorded in files.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    packages,
    platform::{Architecture, Bootable},
};

mod command;

/// Installs the emulator of an architecture if it is missing; only root can.
pub(crate) fn require_qemu(architecture: Architecture) -> Result<()> {
    let package = match architecture {
        Architecture::Amd64 => "qemu-system-x86",
        Architecture::Arm64 => "qemu-system-arm",
    };
    packages::require(command::program(architecture), package)
}

/// A serial line of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// COM1: Xen's messages and dom0's.
    Console,
    /// COM2: what ran and how it ended, with the output of tests.
    Report,
    /// COM3: standard output of a command.
    Stdout,
    /// COM4: standard error of a command.
    Stderr,
}

impl Line {
    const ALL: [Self; 4] = [Self::Console, Self::Report, Self::Stdout, Self::Stderr];

    /// The file that records the line, under `target/xen`.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Console => "console.log",
            Self::Report => "report.log",
            Self::Stdout => "stdout.log",
            Self::Stderr => "stderr.log",
        }
    }

    /// The PC's I/O port and interrupt for the line.
    ///
    /// COM3 and COM4 get interrupts of their own: their usual ones are those of COM1, which Xen keeps, and COM2.
    fn resources(self) -> (u16, u8) {
        match self {
            Self::Console => (0x3f8, 4),
            Self::Report => (0x2f8, 3),
            Self::Stdout => (0x3e8, 6),
            Self::Stderr => (0x2e8, 7),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest powered off, or crashed and tried to reboot.
    PoweredOff,
    /// It still ran at the timeout.
    TimedOut,
}

/// What the guest's clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The time of the host.
    Wall,
    /// A nanosecond for each instruction that a virtual CPU executes in the program, the kernel or Xen. It stands still
    /// while all are idle.
    Instructions,
}

/// What machine to boot, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Number of virtual CPUs.
    pub(crate) cpus: u8,
    /// What its clock shows.
    pub(crate) clock: Clock,
    /// Whether it has memory for other domains beside dom0.
    pub(crate) has_guests: bool,
    /// How long it may run.
    pub(crate) timeout: Duration,
}

/// The machine to boot.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    /// `target/xen`, with the images and the initramfs.
    pub(crate) dir: &'a Path,
    pub(crate) platform: &'a Bootable,
    pub(crate) setup: Setup,
}

impl Machine<'_> {
    /// Boots and runs until the guest ends or times out. `observe` gets what the lines carry as it comes.
    pub(crate) fn run(
        &self,
        mut observe: impl FnMut(Line, &[u8]) -> io::Result<()>,
    ) -> Result<End> {
        const POLL: Duration = Duration::from_millis(50);
        let mut lines = Vec::new();
        for line in Line::ALL {
            let path = self.dir.join(line.file());
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            lines.push((line, File::open(path)?));
        }
        let deadline = Instant::now() + self.setup.timeout;
        let mut qemu = Qemu::spawn(&mut self.command())?;
        loop {
            let status = qemu.0.try_wait()?;
            let is_late = Instant::now() >= deadline;
            for (line, file) in &mut lines {
                let mut bytes = Vec::new();
                if file.read_to_end(&mut bytes)? > 0 {
                    observe(*line, &bytes)?;
                }
            }
            match status {
                Some(status) => {
                    ensure!(status.success(), "qemu failed ({status})");
                    return Ok(End::PoweredOff);
                }
                None if is_late => return Ok(End::TimedOut),
                None => thread::sleep(POLL),
            }
        }
    }
}

/// What a line carried in the last run.
pub(crate) fn recorded(dir: &Path, line: Line) -> Result<String> {
    let path = dir.join(line.file());
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The running qemu, which is killed when this value is dropped. If xtask itself is killed, the kernel kills qemu,
/// because `setpriv` has asked for that.
struct Qemu(Child);

impl Qemu {
    fn spawn(command: &mut Command) -> Result<Self> {
        Ok(Self(
            command.spawn().context("cannot run setpriv and qemu")?,
        ))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _already_over: io::Result<()> = self.0.kill();
        let _reaped: io::Result<ExitStatus> = self.0.wait();
    }
}
