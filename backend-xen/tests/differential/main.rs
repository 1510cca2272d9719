//! The simulator against the real device: random system calls on both in one process, and
//! everything that can be seen compared.
//!
//! `cargo xtask xen --differential` boots a machine that has the device and runs this program in
//! it with `--ops N --seed S`; its last line is `N operations, D differences`. With `--first` the
//! first difference ends it. What is drawn stands
//! in `generate.rs`, what is compared in `play.rs`. A difference is made small and printed as a
//! script for `cases.rs`: the simulator is wrong, and the script stays as a test.
//!
//! In `cargo test` the simulator is held against itself, against itself with events that arrive
//! late, and against machines that are different, which must be noticed.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and a run prints what it found"
)]

mod burst;
mod cases;
mod defective;
mod generate;
#[path = "../shared/hypercall.rs"]
#[expect(unsafe_code, reason = "hypercalls take addresses")]
mod hypercall;
mod op;
#[path = "../shared/pair.rs"]
mod pair;
mod play;
mod profile;
mod raw;
mod real;
mod run;
mod scene;
mod shrink;
mod sim;
mod tally;
mod tests;

use std::env;
use std::error::Error;
use std::fs;
use std::process::ExitCode;

use evtchn_xen::DEVICE_PATH;

use play::{Order, Player};
use real::Device;
use run::{Found, Run};
use sim::Simulated;

/// How many there are where the kernel knows them.
const STATIC_CHANNELS: usize = 4;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--ops") {
        return match against_the_device(&words) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("differential: {error}");
                ExitCode::FAILURE
            }
        };
    }
    tests::main()
}

/// `--ops N [--seed S] [--first]`
fn against_the_device(words: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let mut run = Run {
        operations: 0,
        seed: 1,
        order: order()?,
        pair: pair::pair(),
        ends_at_once: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), words.clone().next()) {
            ("--first", _) => run.ends_at_once = true,
            ("--ops", Some(operations)) => run.operations = operations.parse()?,
            ("--seed", Some(seed)) => run.seed = seed.parse()?,
            _ => return Err("--ops N [--seed S] [--first]".into()),
        }
        if word != "--first" {
            words.next();
        }
    }
    let mut device = Device::new()?;
    let numbers = device.numbers();
    let numbers = numbers.map_err(|errno| format!("{DEVICE_PATH}: errno {errno}"))?;
    let mut simulator = Simulated::furnished(run.pair.config(run.seed), &numbers)?;
    if run.pair.bind_static.value {
        device.make_static(STATIC_CHANNELS)?;
        simulator.make_static(STATIC_CHANNELS)?;
    }
    let mut failed = false;
    for (name, script) in cases::cases() {
        if let Err((_, difference)) =
            Player::new(&mut device, &mut simulator, run.order).script(&script)
        {
            println!("case {name}: {difference}");
            failed = true;
        }
    }
    let found = run.play(&mut device, &mut simulator, &mut std::io::stderr());
    failed |= !report(&run, &found);
    Ok(ExitCode::from(u8::from(failed)))
}

/// With one vCPU events arrive at once.
fn order() -> Result<Order, Box<dyn Error>> {
    let online = fs::read_to_string("/sys/devices/system/cpu/online")?;
    Ok(match online.trim() {
        "0" => Order::Exact,
        _ => Order::Drained,
    })
}

/// Prints what was found, the verdict last. Says whether all is well.
fn report(run: &Run, found: &Found) -> bool {
    print!("{}", found.tally);
    if let Some(first) = &found.first {
        println!("the first difference, after {} operations:", first.after);
        println!(
            "{:#?}",
            first.script.iter().map(Oneline).collect::<Vec<_>>()
        );
        println!("{}", first.difference);
    }
    let missing = found.tally.missing(run.order, &run.pair);
    for what in &missing {
        println!("too rare: {what}");
    }
    println!(
        "{} operations, {} differences",
        found.tally.operations, found.differences
    );
    found.differences == 0 && missing.is_empty()
}

/// A step on a line of its own.
struct Oneline<'a>(&'a op::Op);

impl std::fmt::Debug for Oneline<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format!("{:?}", self.0))
    }
}
