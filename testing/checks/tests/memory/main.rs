//! Tests that count what the whole process has on the heap: no input takes more than 16 MiB beyond four times its own
//! size. They run one after the other, on the thread that counts. `cargo test -p evtchn-checks --test memory NAME` runs one.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

mod large;
mod long;

use std::alloc::System;
use std::path::{Path, PathBuf};

use evtchn_checks::{Target, is_counted, room, within};
use libtest_mimic::{Arguments, Failed, Trial};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc};

#[global_allocator]
static HEAP: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let mut trials = vec![Trial::test(
        "an_input_that_takes_more_than_it_may_is_noticed",
        noticed,
    )];
    trials.extend(Target::ALL.map(|target| {
        let name = format!("inputs_of_{}_take_no_more_than_they_may", target.name());
        Trial::test(name, move || each_of(target))
    }));
    trials.extend(large::trials());
    trials.extend(long::trials());
    libtest_mimic::run(&arguments, trials).exit();
}

fn noticed() -> Result<(), Failed> {
    assert!(is_counted());
    for length in [0, 1_000_000] {
        let take = |bytes| {
            within(length, || {
                drop(std::hint::black_box(vec![0_u8; bytes]));
                Ok(())
            })
        };
        assert_eq!(take(room(length) - 1000), Ok(()));
        assert!(take(room(length) + 1).is_err());
    }
    Ok(())
}

/// The committed inputs of a target.
fn each_of(target: Target) -> Result<(), Failed> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target.name());
    let mut inputs = 0;
    for file in std::fs::read_dir(folder)? {
        target.check(&std::fs::read(file?.path())?);
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus of {} is empty", target.name());
    Ok(())
}
