//! The list of ports, and the commands in the documents: on the simulator (`sim::`) and on `/dev/xen/evtchn` (`xen::`).
//! Without the device the second half is ignored, and a message says so; with `EVTCHN_REQUIRE_XEN=1` it fails.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]

mod documents;
mod ls;

use std::{env, fs};

use evtchn::xen::DEVICE_PATH;
use libtest_mimic::Arguments;

/// Whether the device is missing and not required.
fn is_left_out() -> bool {
    let is_missing = !fs::exists(DEVICE_PATH).unwrap_or(true);
    let is_required = env::var_os("EVTCHN_REQUIRE_XEN").is_some_and(|value| value == "1");
    is_missing && !is_required
}

fn main() {
    if is_left_out() {
        eprintln!("xen: skipped, no {DEVICE_PATH} (run `cargo xtask xen`)");
    }
    let mut trials = documents::trials();
    trials.extend(ls::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
