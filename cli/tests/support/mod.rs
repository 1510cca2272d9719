//! Runs the command as a child, on this machine or in a guest that has only the binaries.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The device of this machine.
pub(crate) const DEVICE: &str = "/dev/xen/evtchn";

/// The command that cargo built, or in a guest the one in the search path.
pub(crate) fn program() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_evtchn"));
    let found = if built.exists() {
        built
    } else {
        Path::new("evtchn")
    };
    found.to_owned()
}

/// The command with these arguments, split at spaces.
pub(crate) fn evtchn(arguments: &str) -> Command {
    let mut command = Command::new(program());
    command.args(arguments.split_whitespace());
    command.env_remove("RUST_LOG");
    command
}

/// Its standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Whether the device exists. Reports a skipped test if not.
pub(crate) fn has_device() -> bool {
    let is_here = Path::new(DEVICE).exists();
    if !is_here {
        skipped("a machine with /dev/xen/evtchn");
    }
    is_here
}

/// Reports a skipped test.
#[expect(
    clippy::explicit_write,
    reason = "the test harness keeps what a passing test prints to itself"
)]
pub(crate) fn skipped(needed: &str) {
    writeln!(io::stderr(), "SKIPPED: this case needs {needed}").unwrap();
}

/// A copy of the command, run as the user `nobody`; none if this user is not root.
pub(crate) fn as_unprivileged_user(directory: &Path) -> Option<Command> {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let found = program();
    let found = if found.exists() {
        found
    } else {
        Path::new("/guest").join(found)
    };
    let copy = directory.join("evtchn-copy");
    // Another process writes the copy: a child that another test forks meanwhile would keep it open
    // for writing, and a program that is open for writing cannot be run.
    let copied = Command::new("cp").arg(found).arg(&copy).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    Some(command)
}
