//! Tests that count the bytes on the heap or the descriptors of the whole process. They run one after the other, on the
//! thread that counts. `cargo test --test alone NAME` runs one file's.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]

mod allocations;
mod churn;
mod descriptors;
mod endurance;
mod footprint;
mod memory;

use std::alloc::System;

use libtest_mimic::Arguments;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let mut trials = allocations::trials();
    trials.extend(churn::trials());
    trials.extend(descriptors::trials());
    trials.extend(endurance::trials());
    trials.extend(footprint::trials());
    trials.extend(memory::trials());
    let conclusion = libtest_mimic::run(&arguments, trials);
    endurance::report();
    conclusion.exit();
}
