//! Every wrong value in every call of the simulator: a typed error, and nothing is changed. Tables
//! list them all.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

mod devices;
mod domains;
mod files;
mod harmless;
mod rig;

use std::panic::{AssertUnwindSafe, catch_unwind};

use devices::DEVICES;
use domains::{DOMAINS, KERNELS};
use files::FILES;
use harmless::HARMLESS;
use rig::Rig;

#[test]
fn every_bad_value_is_refused_with_its_errno_and_changes_no_port_or_file() {
    for &(what, errno, call) in [FILES, DOMAINS, KERNELS, DEVICES].into_iter().flatten() {
        let rig = Rig::new();
        let before = rig.sim.dump();
        let answer = catch_unwind(AssertUnwindSafe(|| call(&rig)));
        let Ok(answer) = answer else {
            panic!("{what}: it panics");
        };
        assert_eq!(answer, Some(errno), "{what}");
        assert_eq!(rig.sim.dump(), before, "{what}");
    }
}

#[test]
fn extreme_values_that_are_no_errors_do_no_harm() {
    for &(what, call) in HARMLESS {
        let rig = Rig::new();
        let answer = catch_unwind(AssertUnwindSafe(|| call(&rig)));
        assert_eq!(answer.ok(), Some(true), "{what}");
    }
}
