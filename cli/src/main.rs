//! The `evtchn` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    evtchn_cli::run()
}
