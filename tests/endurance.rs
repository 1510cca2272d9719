//! Load: many wakes, overflows, binds and unbinds, and what they leave behind. The same code runs
//! on the simulator (`sim::`) and, in larger doses, on `/dev/xen/evtchn` (`xen::`), there with any
//! number of vCPUs.
//!
//! Without the device the second half is ignored, and reported as ignored; with
//! `EVTCHN_REQUIRE_XEN=1` it fails. `cargo xtask xen` boots a machine that has it. One allocator
//! counts for the whole process, so the loads run one after the other, on the thread that counts.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "loads fail by panicking, and so do their helpers"
)]

use std::sync::Mutex;

use libtest_mimic::{Completion, Trial};

mod churn;
mod due;
mod overflow;
mod rig;
mod side;
mod steady;
mod teardown;
mod traffic;

use side::{Side, Sim, Xen};

macro_rules! loads {
    ($($topic:ident::$load:ident)*) => {
        /// Every load, by name.
        fn loads<S: Side>() -> Vec<(&'static str, fn(&S))> {
            vec![$((stringify!($load), $topic::$load::<S>)),*]
        }
    };
}

loads! {
    traffic::ping_pong_between_two_contexts_loses_no_wake_and_grows_nothing
    traffic::bursts_over_512_channels_lose_no_wake_and_grow_nothing
    traffic::thousands_of_ports_come_with_few_reads_and_go_back_with_few_writes
    overflow::overflows_under_load_wake_every_waiter_once_and_lose_nothing
    churn::churn_with_unread_entries_never_overflows_and_wakes_no_wrong_owner
    teardown::teardown_after_load_leaves_nothing_and_the_next_life_works
}

/// The figures of the loads, printed after them.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes figures of a load.
fn note(figures: String) {
    NOTES.lock().unwrap().push(figures);
}

fn on<S: Side>(
    name: &'static str,
    start: fn() -> S,
    excuse: fn() -> Result<Option<String>, String>,
) -> Vec<Trial> {
    let trial = |(load, run): (&'static str, fn(&S))| {
        Trial::ignorable_test(format!("endurance::{name}::{load}"), move || {
            if let Some(reason) = excuse()? {
                return Ok(Completion::ignored_with(reason));
            }
            run(&start());
            Ok(Completion::Completed)
        })
    };
    loads().into_iter().map(trial).collect()
}

/// Every load, on both sides.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on("sim", Sim::new, Sim::excuse);
    trials.extend(on("xen", Xen::new, Xen::excuse));
    trials
}

/// Prints the figures of the loads.
pub(crate) fn report() {
    for figures in NOTES.lock().unwrap().iter() {
        eprintln!("{figures}");
    }
    if let Ok(Some(reason)) = Xen::excuse() {
        eprintln!("xen: skipped, {reason} (run `cargo xtask xen`)");
    }
}
