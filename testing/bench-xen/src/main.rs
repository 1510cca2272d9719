//! Event channels on the real device, measured: this library and a loop written by hand, in one binary.
//!
//! One process, N loopback channels of dom0: `A[i]` is allocated, `B[i]` is bound to it, and a notify of `B[i]` fires
//! `A[i]`. `cargo xtask xen --bench` boots a Xen, runs this once per row and repetition, and prints the table. The clock
//! is the guest's; where qemu counts instructions, it counts them too.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bind;
mod library;
mod play;
mod raw;
mod reactors;
mod syscalls;
mod tally;
mod threads;

use bind::Bind;
use play::Plan;
use syscalls::Syscalls;
use threads::Threads;

/// Measures event channels on the device of this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays one case and prints the cost per event
    Run(Plan),
    /// Binds and unbinds ports and prints the cost per port
    Bind(Bind),
    /// Lets threads notify while this one handles
    Threads(Threads),
    /// Traces itself and checks which system calls it makes
    Syscalls(Syscalls),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(plan) => plan.run(),
        Command::Bind(bind) => bind.run(),
        Command::Threads(threads) => threads.run(),
        Command::Syscalls(syscalls) => syscalls.run(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
