//! The soak: processes and threads that bind, notify, wait, cancel, unbind, fork, overflow rings and
//! get killed, at random, for as long as wanted, while everything is checked that can be.
//!
//! `cargo xtask xen --soak MINUTES` runs it on the real device: this program with
//! `--minutes` and `--seed`. Without them it is a test of a few laps on the simulator, and of what it notices.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]
#![expect(clippy::print_stdout, reason = "what a program of its own has to say")]

mod board;
mod client;
mod fork;
mod place;
mod player;
mod process;
mod processes;
mod random;
mod server;
mod side;
mod supervisor;
mod tests;

use std::alloc::System;
use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use board::PATIENCE;
use processes::Processes;
use supervisor::{Length, Plan, Supervisor};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The operations of a lap on the real device.
const LAP: u64 = 3_000;

/// How many bytes are allocated.
fn heap() -> u64 {
    let stats = ALLOCATOR.stats();
    let live = stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated);
    live as u64
}

fn main() -> ExitCode {
    let ended = match (processes::process(), minutes()) {
        (Some(ended), _) => ended,
        (None, Ok(Some((minutes, seed)))) => soak(minutes, seed),
        (None, Ok(None)) => tests::run(),
        (None, Err(error)) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The minutes and the seed, where the soak is to run on the real device.
fn minutes() -> Result<Option<(u64, u64)>> {
    let words: Vec<String> = env::args().skip(1).collect();
    match &words[..] {
        [first, minutes, second, seed] if first == "--minutes" && second == "--seed" => {
            Ok(Some((minutes.parse()?, seed.parse()?)))
        }
        _ => Ok(None),
    }
}

/// Runs it on the real device.
fn soak(minutes: u64, seed: u64) -> Result<()> {
    println!("soak: {minutes} minutes, seed {seed}");
    let (mut processes, board) = Processes::new(seed)?;
    let plan = Plan {
        seed,
        length: Length::Time(Duration::from_secs(60 * minutes)),
        lap: LAP,
        patience: PATIENCE,
    };
    let mut supervisor = Supervisor::new(board, &mut processes, plan);
    let ended = supervisor.run(|line| println!("soak: {line}"));
    println!("soak: {supervisor}");
    ended
}
