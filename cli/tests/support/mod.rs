//! Runs the command as a child, on this machine or in a guest that has only the binaries.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::io::{self, Write};
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
